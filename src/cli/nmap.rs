//! Translates nmap's spellings into ours before clap parses them.
//!
//! nmap has options of two letters behind one dash (`-Pn`, `-iL`, `-sT`), which clap cannot express: it
//! would read `-Pn` as `-P -n`. Only these are translated, only after the word `scan` and before `--`.
//! Options that portscan does not support are refused here with the reason and the alternative, because an ignored
//! option gives a result that its reader misunderstands.

use std::ffi::OsString;

/// An option of nmap's that portscan does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{option}: {reason}")]
pub(super) struct UnsupportedOption {
    option: String,
    reason: &'static str,
}

const RAW: &str = "portscan asks by TCP connects (-sT) or by SYNs (-sS) alone; leave it out, or write -sT";
const ONE: &str = "a scan asks either by SYNs or by connects; write -sS or -sT";
const OTHER: &str = "only TCP and UDP can be scanned; leave it out";
const UDP_ALONE: &str = "a scan asks either TCP's or UDP's ports; write -sU alone, and scan TCP by itself";
const UDP_VERSIONS: &str = "-sV identifies TCP's services alone; write -sU without it";
const SCRIPTS: &str =
    "portscan runs no scripts; leave it out, or write -sV to identify what listens on open ports";
const INTENSITY: &str =
    "what is sent is fixed: at most one small request to ports that are known for it; leave it out";
const SYSTEM: &str = "operating systems are not recognised, for that needs forged packets; leave it out";
const PING: &str = "portscan always scans ports; `portscan probe HOST PORT` asks a single one";
const LIVENESS: &str =
    "whether a host is up is always found out by TCP connects; leave it out, or write -Pn to skip it";
const FORGED: &str = "a TCP connect cannot forge or alter packets; leave it out";
const OUTPUT: &str =
    "the formats are -oX (XML), -oN (text), -oG (a line for each host), -oA (all three) and --json";
const WHERE: &str = "name a file for it, or - for standard output";
const OVER: &str = "a report is written whole, over the one before; give each its own name";
const STYLE: &str = "the XML names no stylesheet; leave it out";
const RANDOM: &str = "only what is named is scanned, never random addresses of the internet";
const PACE: &str = "the pace follows each host's answers; choose a template with -T, or bound it with --max-rate, \
                    --max-parallelism, --max-retries and --host-timeout";
const ORDER: &str = "likely ports come first and the rest in random order, so that no device is pressed in a row; \
                     leave it out";
const NAMES: &str = "names are looked up by this machine's resolver, and only those you give; leave it out";
const RESUME: &str = "an interrupted scan cannot be resumed; scan again, or let `portscan serve` do it";

/// nmap's output options, and ours.
const OUTPUTS: &[(&str, &str)] = &[
    ("-oX", "--output-xml"),
    ("-oN", "--output-normal"),
    ("-oG", "--output-grepable"),
    ("-oA", "--output-all"),
];

/// nmap's long options that are not supported, by their beginning up to `=`.
const LONG: &[(&str, &str)] = &[
    ("script", SCRIPTS),
    ("script-args", SCRIPTS),
    ("script-help", SCRIPTS),
    ("version-intensity", INTENSITY),
    ("version-light", INTENSITY),
    ("version-all", INTENSITY),
    ("osscan-guess", SYSTEM),
    ("osscan-limit", SYSTEM),
    ("traceroute", FORGED),
    ("scanflags", FORGED),
    ("spoof-mac", FORGED),
    ("source-port", FORGED),
    ("data-length", FORGED),
    ("data", FORGED),
    ("ttl", FORGED),
    ("badsum", FORGED),
    ("mtu", FORGED),
    ("ip-options", FORGED),
    ("send-eth", FORGED),
    ("send-ip", FORGED),
    ("proxies", FORGED),
    ("min-rate", PACE),
    ("min-parallelism", PACE),
    ("min-hostgroup", PACE),
    ("max-hostgroup", PACE),
    ("initial-rtt-timeout", PACE),
    ("min-rtt-timeout", PACE),
    ("max-rtt-timeout", PACE),
    ("scan-delay", PACE),
    ("max-scan-delay", PACE),
    ("defeat-rst-ratelimit", PACE),
    ("dns-servers", NAMES),
    ("system-dns", NAMES),
    ("resume", RESUME),
    ("append-output", OVER),
    ("stylesheet", STYLE),
    ("webxml", STYLE),
];

/// Returns the command line for clap, or its first unsupported option.
pub(super) fn translate(argv: &[OsString]) -> Result<Vec<OsString>, UnsupportedOption> {
    let Some(scan) = position_of_scan(argv) else { return Ok(argv.to_vec()) };
    let mut translated = argv[..=scan].to_vec();
    let mut rest = argv[scan + 1..].iter();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            translated.push(argument.clone());
            translated.extend(rest.cloned());
            break;
        }
        if let Some(option) = output_option(argument) {
            // A file's name that begins with a dash is really the next option: the name is missing.
            let file = rest.next().filter(|file| *file == "-" || !file.as_encoded_bytes().starts_with(b"-"));
            let file = file.ok_or_else(|| refusal(&argument.to_string_lossy(), WHERE))?;
            let mut joined = OsString::from(format!("{option}="));
            joined.push(file);
            translated.push(joined);
            continue;
        }
        // An argument that is not UTF-8 can only be a file's name.
        match argument.to_str() {
            Some(text) => one(text, &mut translated)?,
            None => translated.push(argument.clone()),
        }
    }
    // -sT leaves no trace above, as it is the default.
    let asks = |kind| {
        let options = argv[scan + 1..].iter().take_while(|argument| *argument != "--");
        let kinds = options.filter_map(|argument| argument.to_str()?.strip_prefix("-s"));
        kinds.into_iter().any(|kinds: &str| kinds.contains(kind))
    };
    if asks('U') && asks('T') {
        return Err(refusal("-sU", UDP_ALONE));
    }
    Ok(translated)
}

/// Finds the position of the command `scan` behind global options.
fn position_of_scan(argv: &[OsString]) -> Option<usize> {
    let mut index = 1;
    loop {
        let argument = argv.get(index)?.to_str()?;
        match argument {
            "--config" => index += 2,
            _ if argument.starts_with('-') => index += 1,
            _ => return (argument == "scan").then_some(index),
        }
    }
}

/// Returns our name of an output option that has its file in the next argument.
fn output_option(argument: &OsString) -> Option<&'static str> {
    OUTPUTS.iter().find(|(option, _)| argument == option).map(|&(_, ours)| ours)
}

fn refusal(argument: &str, reason: &'static str) -> UnsupportedOption {
    UnsupportedOption { option: argument.chars().take(40).collect(), reason }
}

fn one(argument: &str, translated: &mut Vec<OsString>) -> Result<(), UnsupportedOption> {
    let refuse = |reason| Err(refusal(argument, reason));
    if let Some(long) = argument.strip_prefix("--") {
        let name = long.split_once('=').map_or(long, |(name, _)| name);
        if let Some((_, reason)) = LONG.iter().find(|(refused, _)| *refused == name) {
            return refuse(reason);
        }
        translated.push(argument.into());
        return Ok(());
    }
    let Some(short) = argument.strip_prefix('-') else {
        translated.push(argument.into());
        return Ok(());
    };
    let mut letters = short.chars();
    match (letters.next(), letters.as_str()) {
        (Some('s'), kinds) => match scan_kinds(kinds) {
            Some(reason) => refuse(reason),
            None => {
                if kinds.contains('S') {
                    translated.push("--method=syn".into());
                }
                if kinds.contains('V') {
                    translated.push("--identify".into());
                }
                if kinds.contains('U') {
                    translated.push("--udp".into());
                }
                Ok(())
            }
        },
        // -P0 and -PN are what -Pn was called before nmap 4.
        (Some('P'), "n" | "N" | "0") => {
            translated.push("--skip-liveness".into());
            Ok(())
        }
        (Some('P'), _) => refuse(LIVENESS),
        (Some('i'), "R") => refuse(RANDOM),
        (Some('i'), list) if list.starts_with('L') => {
            let file = &list[1..];
            translated.push(if file.is_empty() {
                "--input-list".into()
            } else {
                format!("--input-list={file}").into()
            });
            Ok(())
        }
        (Some('o'), "" | "S" | "J" | "M") => refuse(OUTPUT),
        (Some('o'), _) => {
            match OUTPUTS.iter().find_map(|(option, ours)| Some((argument.strip_prefix(option)?, ours))) {
                Some((file, ours)) => {
                    translated.push(format!("{ours}={file}").into());
                    Ok(())
                }
                None => refuse(OUTPUT),
            }
        }
        (Some('A' | 'O'), "") => refuse(if short == "O" { SYSTEM } else { SCRIPTS }),
        (Some('b' | 'D' | 'e' | 'f' | 'g' | 'S'), _) => refuse(FORGED),
        (Some('r'), "") => refuse(ORDER),
        (Some('R'), "") => refuse(NAMES),
        _ => {
            translated.push(argument.into());
            Ok(())
        }
    }
}

/// Returns why one of the letters behind `-s` is not supported; `None` for `-sT`, which is the default, `-sS`, `-sV` and
/// `-sU`.
fn scan_kinds(kinds: &str) -> Option<&'static str> {
    if kinds.is_empty() {
        return Some(RAW);
    }
    if kinds.contains('S') && kinds.contains('T') {
        return Some(ONE);
    }
    if kinds.contains('U') && kinds.contains(['S', 'T']) {
        return Some(UDP_ALONE);
    }
    if kinds.contains('U') && kinds.contains('V') {
        return Some(UDP_VERSIONS);
    }
    kinds.chars().find_map(|kind| match kind {
        'S' | 'T' | 'U' | 'V' => None,
        'Y' | 'Z' | 'O' => Some(OTHER),
        'C' => Some(SCRIPTS),
        'R' => Some(INTENSITY),
        'n' | 'P' | 'L' => Some(PING),
        _ => Some(RAW),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(line: &str) -> Result<String, UnsupportedOption> {
        let argv: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let words = translate(&argv)?;
        Ok(words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn only_options_that_clap_cannot_read_are_translated() {
        for (typed, expected) in [
            ("portscan scan -Pn -n 10.0.0.1", "portscan scan --skip-liveness -n 10.0.0.1"),
            ("portscan scan -sT -p- -T4 a.lan", "portscan scan -p- -T4 a.lan"),
            ("portscan scan -sV a.lan", "portscan scan --identify a.lan"),
            ("portscan scan -sSV a.lan", "portscan scan --method=syn --identify a.lan"),
            ("portscan scan -sTV a.lan", "portscan scan --identify a.lan"),
            ("portscan scan -sU -p U:53 a.lan", "portscan scan --udp -p U:53 a.lan"),
            ("portscan scan -iL hosts.txt -F", "portscan scan --input-list hosts.txt -F"),
            ("portscan scan -iLhosts.txt", "portscan scan --input-list=hosts.txt"),
            ("portscan scan -iL -", "portscan scan --input-list -"),
            ("portscan scan -p -100 a.lan", "portscan scan -p -100 a.lan"),
            (
                "portscan scan -oX out.xml -oG - a.lan",
                "portscan scan --output-xml=out.xml --output-grepable=- a.lan",
            ),
            (
                "portscan scan -oNout.txt -oA today a.lan",
                "portscan scan --output-normal=out.txt --output-all=today a.lan",
            ),
            ("portscan -v --config f scan -P0 a.lan", "portscan -v --config f scan --skip-liveness a.lan"),
            ("portscan scan -- -sS", "portscan scan -- -sS"),
            ("portscan serve -sS", "portscan serve -sS"),
            ("portscan --config scan serve -Pn", "portscan --config scan serve -Pn"),
            ("portscan", "portscan"),
        ] {
            assert_eq!(translated(typed).unwrap(), expected, "{typed}");
        }
    }

    #[test]
    fn unsupported_options_are_refused_with_the_alternative() {
        for (typed, why) in [
            ("-sX", "write -sT"),
            ("-sST", "-sS or -sT"),
            ("-sN", "write -sT"),
            ("-s", "write -sT"),
            ("-sY", "only TCP and UDP"),
            ("-sTU", "write -sU alone"),
            ("-sU -sT", "write -sU alone"),
            ("-sSU", "write -sU alone"),
            ("-sUV", "without it"),
            ("-sC", "write -sV"),
            ("-sVC", "write -sV"),
            ("-A", "write -sV"),
            ("--script=default", "write -sV"),
            ("--script", "write -sV"),
            ("--version-all", "one small request"),
            ("-O", "operating systems"),
            ("-sn", "portscan probe"),
            ("-PS22,80", "write -Pn"),
            ("-PE", "write -Pn"),
            ("-oS out.txt", "-oX"),
            ("-oJ out.json", "--json"),
            ("-oops", "-oX"),
            ("--append-output", "over the one before"),
            ("--webxml", "stylesheet"),
            ("-iR", "random addresses"),
            ("-D", "forge"),
            ("--spoof-mac", "forge"),
            ("--min-rate=1000", "--max-rate"),
            ("--scan-delay", "--max-rate"),
            ("-r", "likely ports come first"),
            ("-R", "resolver"),
            ("--resume", "resumed"),
        ] {
            let refusal = translated(&format!("portscan scan {typed} 10.0.0.1")).unwrap_err().to_string();
            let option = typed.split(' ').next().unwrap();
            assert!(refusal.starts_with(option) && refusal.contains(why), "{typed}: {refusal}");
        }
        for typed in ["-oX", "-oX -p 22", "-oA -oX out.xml"] {
            let refusal = translated(&format!("portscan scan a.lan {typed}")).unwrap_err().to_string();
            assert!(refusal.contains("name a file"), "{typed}: {refusal}");
        }
    }
}
