//! A message as a line of syslog.

use jiff::{Timestamp, tz::TimeZone};

use crate::{
    config::SyslogFormat,
    messages::AlertMessage,
    model::{AlertSeverity, one_line},
};

/// The facility: a system daemon (RFC 5424, 6.2.1).
const DAEMON: u8 = 3;

/// The longest text, in characters: with the rest of the line it fits into the 2,048 bytes that every receiver should
/// take (RFC 5424, 6.1) if it is ASCII.
const MOST_TEXT: usize = 1500;

/// Writes the line. `at` is `None` if the clock is not trusted: then the receiver dates it.
pub fn syslog_line(
    format: SyslogFormat,
    message: &AlertMessage,
    host: &str,
    at: Option<Timestamp>,
) -> String {
    let severity = match message.severity {
        _ if message.is_resolved => 5,
        AlertSeverity::High => 3,
        AlertSeverity::Normal => 4,
        AlertSeverity::Low => 5,
    };
    let priority = DAEMON * 8 + severity;
    let text = format!("{}: {}", message.title, message.text.replace('\n', "; "));
    let text = one_line(&text, MOST_TEXT);
    let host = host.split('.').next().filter(|host| !host.is_empty()).unwrap_or("-");
    match format {
        SyslogFormat::Rfc5424 => {
            // The number after the @ is the one that RFC 5612 reserves for examples: the project has none.
            let at =
                at.map_or_else(|| "-".to_owned(), |at| at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string());
            let id = format!(
                "[portscan@32473 key=\"{}\" thread=\"{}\" url=\"{}\"]",
                quoted(&message.key),
                quoted(&message.thread),
                quoted(&message.link)
            );
            format!("<{priority}>1 {at} {host} portscan - alert {id} \u{feff}{text}")
        }
        SyslogFormat::Rfc3164 => {
            // Without a date and a host the receiver adds both (RFC 3164, 4.3.2).
            let start = at.map(|at| at.to_zoned(TimeZone::system()).strftime("%b %e %H:%M:%S").to_string());
            let start = start.map(|start| format!("{start} {host} ")).unwrap_or_default();
            format!("<{priority}>{start}portscan: {text} key={}", message.key)
        }
    }
}

/// The value of a parameter (RFC 5424, 6.3.3).
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace(']', "\\]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::Origin;

    #[test]
    fn lines_are_as_the_standards_say() {
        let origin = Origin { appliance: "a1".to_owned(), page: "http://a]b\"c".to_owned(), site: None };
        let message = origin.test("log\nx", 5);
        let at: Timestamp = "2026-11-29T10:00:00.25Z".parse().unwrap();
        let text = "portscan: test: This is a test of the channel \"log; x\". Alerts arrive here.";
        assert_eq!(
            syslog_line(SyslogFormat::Rfc5424, &message, "pi.lan", Some(at)),
            format!(
                "<28>1 2026-11-29T10:00:00.250Z pi portscan - alert [portscan@32473 key=\"a1-test-5\" \
                 thread=\"a1-test-5\" url=\"http://a\\]b\\\"c/\"] \u{feff}{text}"
            )
        );
        assert!(
            syslog_line(SyslogFormat::Rfc5424, &message, "", None)
                .starts_with("<28>1 - - portscan - alert [")
        );
        let older = syslog_line(SyslogFormat::Rfc3164, &message, "pi", None);
        assert_eq!(older, format!("<28>portscan: {text} key=a1-test-5"));
    }
}
