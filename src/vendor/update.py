#!/usr/bin/env python3
"""Makes vendors.bin and sample.tsv; run as `make vendors`. What they rest on and their form: README.md.

Needs python3 and cargo. The source is pinned, so that the same command gives the same files; to renew them, raise
the version here and read the difference of sample.tsv before committing it.
"""

import collections
import csv
import heapq
import pathlib
import re
import subprocess
import tempfile
import unicodedata

HERE = pathlib.Path(__file__).parent
# The crate carries the IEEE's own CSV files.
CRATE, VERSION = "oui-data", "0.2.4"
# The prefix lengths in hexadecimal digits, with the files that have them. iab.csv is MA-S under its older name.
FILES = {6: ["oui.csv"], 7: ["oui28.csv"], 9: ["oui36.csv", "iab.csv"]}
LONGEST = 32
# Entries between two marks of the index, and names between two marks of theirs.
ENTRIES, NAMES = 64, 16
# Codes of vendors.bin's text: 0 ends a name, printable ASCII is itself, all others stand for pairs of codes.
PAIRS = [*range(0x01, 0x20), *range(0x7F, 0x100)]
# Of every so many entries one is in sample.tsv.
SAMPLE = 61

# What says how a firm is owned, in the languages of most; only at the end, and never all of a name.
LEGAL = re.compile(
    r"""(?ix) (?: [\s,.&/-]+ | ^ ) (?: co(?:mpany|rp(?:oration)?|rps)? | inc(?:orporated)? | l(?:imited|td|lc|lp|p)
    | ltda | l\.?l\.?c | l\.?p | limit | gmbh (?:\s*&\s*co\.?\s*kg)? | m\.?b\.?h | ag | kg | kgaa | se | ug | e\.?k | e\.?v
    | s\.?\s?a (?:\.?\s?s)? | s\.?p\.?a | s\.?r\.?l | s\.?a\.?r\.?l | s\.?l (?:\.?u)? | sdn\.?\s*bhd | bhd
    | b\.?v | n\.?v | v\.?o\.?f | ab | a/s | aps | a\.?s | oy (?:j)? | asa | k\.?k | y\.?k | p(?:ty|vt|te|lc|rivate)
    | s\.?r\.?o | spol | d\.?o\.?o | sp\.?\s*z\s*o\.?\s*o | sp\.?\s?k | kft | zrt | nyrt | jsc | ojsc | cjsc | ooo | llp
    | pllc | pjsc | pt | tbk | s\.?a\.?\s*de\s*c\.?v | u\.?k | usa | int'?l | intl | tic | san | ve | ltd\.?\s*sti ) \.? $""")


def shortened(name):
    """A firm's name as people say it."""
    name = unicodedata.normalize("NFKD", name.replace("ß", "ss")).encode("ascii", "ignore").decode()
    name = re.sub(r"\([^)]*\)|\uff08[^\uff09]*\uff09", " ", name)
    name = re.sub(r"[^\x20-\x7e]|[()\"]", " ", name)
    name = re.sub(r"\s*,\s*", ", ", re.sub(r"\s+", " ", name)).strip(" ,.-;&/'")
    # Capitals shout, unless they stand for something.
    name = re.sub(r"\b[A-Z]{5,}\b", lambda word: word[0].capitalize(), name)
    name = re.sub(r" (AND|FOR|OF|THE) ", lambda word: word[0].lower(), name)
    while True:
        shorter = LEGAL.sub("", name).strip(" ,.-;&/'")
        if shorter in ("", name):
            break
        name = shorter
    if len(name) > LONGEST:
        # Between two words, if that leaves enough of it.
        words = name[: LONGEST + 1].rfind(" ")
        name = name[: words if words > LONGEST // 2 else LONGEST].rstrip(" ,.-;&/'")
    return name


def registry(folder):
    """Prefix -> name. A prefix assigned twice, or to the registry itself for subdivision, has no name."""
    owners = collections.defaultdict(set)
    for digits, files in FILES.items():
        for file in files:
            with open(folder / file, newline="", encoding="utf-8") as table:
                for row in csv.DictReader(table):
                    prefix = row["Assignment"].strip().upper()
                    assert len(prefix) == digits, (file, prefix)
                    owners[prefix].add(shortened(row["Organization Name"]))
    # Bit 1 of the first octet: made up by software; bit 0: a group's.
    nobodys = lambda prefix: int(prefix[1], 16) & 0b11
    named = {prefix: names.pop() for prefix, names in owners.items() if len(names) == 1 and not nobodys(prefix)}
    no_firm = {"", "IEEE Registration Authority"}
    return {prefix: name for prefix, name in named.items() if name not in no_firm}


def paired(names):
    """The names with their commonest pairs of codes replaced by one code each, over and over; and the pairs."""
    texts = [list(name.encode("ascii")) for name in names]
    pairs = []
    where = collections.defaultdict(set)
    counts = collections.Counter()
    for index, text in enumerate(texts):
        for pair in zip(text, text[1:]):
            counts[pair] += 1
            where[pair].add(index)
    for code in PAIRS:
        # Of several that are equally common the least: the same files at every run.
        pair = max(counts, key=lambda pair: (counts[pair], -pair[0], -pair[1]))
        pairs.append(pair)
        for index in sorted(where.pop(pair)):
            old, new = texts[index], []
            counts.subtract(zip(old, old[1:]))
            while old:
                if tuple(old[:2]) == pair:
                    new.append(code)
                    old = old[2:]
                else:
                    new.append(old[0])
                    old = old[1:]
            texts[index] = new
            for fresh in zip(new, new[1:]):
                counts[fresh] += 1
                where[fresh].add(index)
    return texts, pairs


def varint(number):
    octets = []
    while number >= 0x80:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(octets + [number])


def marked(rows, every, first):
    """Rows one after the other, with an index before them: their number, and what of every so many the first is."""
    index, body = [], b""
    for number, row in enumerate(rows):
        if number % every == 0:
            index.append(first(number) + len(body).to_bytes(3, "little"))
        body += row
    return len(index).to_bytes(3, "little") + b"".join(index) + len(body).to_bytes(3, "little") + body


def packed(entries):
    """All of vendors.bin."""
    uses = collections.Counter(entries.values())
    names = sorted(uses, key=lambda name: (-uses[name], name))
    texts, pairs = paired(names)
    texts = {name: bytes(text) + b"\0" for name, text in zip(names, texts)}
    # A name that is used once stands where it is used.
    shared = [name for name in names if uses[name] > 1]
    numbers = {name: varint(number + 1) for number, name in enumerate(shared)}
    packed = b"".join(bytes(pair) for pair in pairs)
    packed += marked([texts[name] for name in shared], NAMES, lambda _: b"")
    for digits in FILES:
        rows = sorted((int(prefix, 16), name) for prefix, name in entries.items() if len(prefix) == digits)
        before = [0] + [prefix for prefix, _ in rows]
        gap = lambda number: 0 if number % ENTRIES == 0 else rows[number][0] - before[number]
        of = lambda name: numbers.get(name) or varint(0) + texts[name]
        row = lambda number: varint(gap(number)) + of(rows[number][1])
        packed += marked(map(row, range(len(rows))), ENTRIES, lambda number: rows[number][0].to_bytes(5, "little"))
    return packed


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "src").mkdir()
        (folder / "src/lib.rs").touch()
        manifest = f'[package]\nname = "fetch"\n[workspace]\n[dependencies]\n{CRATE} = "={VERSION}"\n'
        (folder / "Cargo.toml").write_text(manifest)
        subprocess.run(["cargo", "vendor", "-q", "sources"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        entries = registry(folder / "sources" / CRATE / "data")
    (HERE / "vendors.bin").write_bytes(packed(entries))
    rows = sorted(entries.items(), key=lambda row: (len(row[0]), row[0]))[::SAMPLE]
    (HERE / "sample.tsv").write_text("".join(f"{prefix}\t{name}\n" for prefix, name in rows))


if __name__ == "__main__":
    main()
