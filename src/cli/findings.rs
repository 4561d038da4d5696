//! Prints the open ports that an appliance's runs find, each once, as soon as the appliance reports it.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{found::sanitize_for_terminal, runs::RunStatus};

/// The longest event that is read, in bytes; the appliance's own are shorter by far.
const LONGEST_EVENT: usize = 64 << 10;

/// The open ports that have been printed.
#[derive(Debug, Default)]
pub(super) struct Findings {
    told: BTreeSet<(String, String, u16)>,
}

/// A `port` event of `/v1/events`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct OpenEvent {
    address: String,
    protocol: String,
    port: u16,
    scan_id: i64,
}

/// A row of `/v1/scan/ID`.
#[derive(Debug, Deserialize)]
pub(super) struct ResultRow {
    address: String,
    port: u16,
    protocol: String,
    state: String,
}

impl Findings {
    /// Returns a line for each open port in the progress of these runs that has not been printed.
    pub(super) fn of_progress(&mut self, runs: &[RunStatus]) -> Vec<String> {
        let devices =
            runs.iter().filter_map(|run| run.progress.as_ref()).flat_map(|progress| &progress.devices);
        let open = devices.flat_map(|device| device.open_ports.iter().map(|port| (&device.address, *port)));
        open.filter_map(|(address, port)| self.tell(address, "tcp", port, true)).collect()
    }

    /// Returns a line for the port of an event, if it belongs to one of these runs and has not been printed.
    pub(super) fn of_event(&mut self, event: &OpenEvent, runs: &[RunStatus]) -> Option<String> {
        let is_ours = runs.iter().any(|run| run.id == event.scan_id);
        is_ours.then(|| self.tell(&event.address, &event.protocol, event.port, true)).flatten()
    }

    /// Returns a line for each open port in a run's stored result that has not been printed.
    pub(super) fn of_result(&mut self, rows: &[ResultRow]) -> Vec<String> {
        let open = rows.iter().filter(|row| row.state == "open");
        open.filter_map(|row| self.tell(&row.address, &row.protocol, row.port, false)).collect()
    }

    /// `192.168.1.7  22/tcp  open (unconfirmed)`
    fn tell(&mut self, address: &str, protocol: &str, port: u16, is_unconfirmed: bool) -> Option<String> {
        if !self.told.insert((address.to_owned(), protocol.to_owned(), port)) {
            return None;
        }
        let (address, protocol) = (sanitize_for_terminal(address), sanitize_for_terminal(protocol));
        let mark = if is_unconfirmed { " (unconfirmed)" } else { "" };
        Some(format!("{address}  {port}/{protocol}  open{mark}"))
    }
}

/// Reads `port` events from a stream of server-sent events, in pieces of any length.
#[derive(Debug, Default)]
pub(super) struct EventReader {
    /// The beginning of a line.
    line: Vec<u8>,
    /// The type of the present event, and its data.
    event: (String, String),
}

impl EventReader {
    /// Takes the next piece, and hands over the events that end in it.
    pub(super) fn take(&mut self, piece: &[u8], mut hand_over: impl FnMut(OpenEvent)) {
        for byte in piece {
            match byte {
                b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    if let Some(event) = self.end_line(&String::from_utf8_lossy(&line)) {
                        hand_over(event);
                    }
                }
                b'\r' => {}
                // The rest of a line that is too long makes its event unreadable, which is then ignored.
                byte if self.line.len() < LONGEST_EVENT => self.line.push(*byte),
                _ => {}
            }
        }
    }

    fn end_line(&mut self, line: &str) -> Option<OpenEvent> {
        if line.is_empty() {
            let (kind, data) = std::mem::take(&mut self.event);
            return (kind == "port").then(|| serde_json::from_str(&data).ok()).flatten();
        }
        let (field, value) = line.split_once(':')?;
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.0),
            "data" => value.clone_into(&mut self.event.1),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(open: &str) -> Vec<RunStatus> {
        let text = format!(
            r#"[{{"id":7,"scanner":"lan","status":"running","hosts":{{"done":0,"total":1}},"progress":{{
                "ports":{{"done":1,"total":2}},"rate":1.0,"seconds_left":null,
                "devices":[{{"address":"192.0.2.1","open_ports":[{open}]}},{{"address":"192.0.2.2"}}]}}}}]"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn tells_each_port_once_whichever_way_it_is_learned() {
        let mut findings = Findings::default();
        assert_eq!(findings.of_progress(&runs("22")), ["192.0.2.1  22/tcp  open (unconfirmed)"]);
        assert_eq!(findings.of_progress(&runs("22, 80")), ["192.0.2.1  80/tcp  open (unconfirmed)"]);
        let event = |port, scan_id| OpenEvent {
            address: "192.0.2.1".to_owned(),
            protocol: "tcp".to_owned(),
            port,
            scan_id,
        };
        assert_eq!(findings.of_event(&event(80, 7), &runs("")), None);
        assert_eq!(findings.of_event(&event(99, 8), &runs("")), None, "it is another run's");
        let told = findings.of_event(&event(443, 7), &runs(""));
        assert_eq!(told.as_deref(), Some("192.0.2.1  443/tcp  open (unconfirmed)"));
        let row = |port, state: &str| ResultRow {
            address: "192.0.2.1".to_owned(),
            port,
            protocol: "tcp".to_owned(),
            state: state.to_owned(),
        };
        let rows = [row(443, "open"), row(99, "closed"), row(8080, "open")];
        assert_eq!(findings.of_result(&rows), ["192.0.2.1  8080/tcp  open"]);
    }

    #[test]
    fn reads_events_in_pieces_of_any_length() {
        let data = r#"{"mac":null,"address":"192.0.2.1","protocol":"tcp","port":22,"scan_id":7}"#;
        let stream = format!(
            ": heartbeat\n\nid: 3\nevent: change\ndata: {{}}\n\nevent: port\ndata: {data}\n\nevent: port\r\n\
             data:{data}\r\n\r\nevent: port\ndata: nonsense\n\nevent: port\ndata: {data}\n"
        );
        for length in [1, 7, stream.len()] {
            let (mut reader, mut events) = (EventReader::default(), Vec::new());
            for piece in stream.as_bytes().chunks(length) {
                reader.take(piece, |event| events.push(event));
            }
            let event = OpenEvent {
                address: "192.0.2.1".to_owned(),
                protocol: "tcp".to_owned(),
                port: 22,
                scan_id: 7,
            };
            assert_eq!(events, [event.clone(), event], "{length}");
        }
    }

    #[test]
    fn a_line_without_an_end_fills_no_memory() {
        let mut reader = EventReader::default();
        reader.take(&vec![b'x'; 3 * LONGEST_EVENT], |_| panic!("no event"));
        assert_eq!(reader.line.len(), LONGEST_EVENT);
    }
}
