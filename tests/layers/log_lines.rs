//! Finds log lines with a message that is not constant.

use super::Source;

/// The macros that write a line to the log.
const MACROS: [&str; 5] = ["trace!(", "debug!(", "info!(", "warn!(", "error!("];

/// The line that names the page's address: a terminal makes a link of it.
const LISTENING: &str = "listening on http://{}/";

/// The last string of each call, which is its message; the fields come before it.
fn messages(code: &str) -> Vec<&str> {
    let calls = MACROS.iter().flat_map(|name| code.split(name).skip(1).filter_map(arguments));
    calls.filter_map(|arguments| strings(arguments).pop()).collect()
}

/// What stands before the parenthesis that closes a call. `None`: there is no such parenthesis.
fn arguments(text: &str) -> Option<&str> {
    let (mut depth, mut in_string, mut is_escaped) = (1, false, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => in_string = !in_string,
            '(' if !in_string => depth += 1,
            ')' if !in_string => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(&text[..at]);
        }
    }
    None
}

/// The string literals, without their quotes. One with an escaped quote counts as two, which harms no message.
fn strings(arguments: &str) -> Vec<&str> {
    arguments.split('"').skip(1).step_by(2).collect()
}

/// The messages with data in them, which belongs in fields, each with its file. A file's own tests do not count.
pub(super) fn changing_messages(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for Source { path, text } in sources {
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let changing =
            messages(code).into_iter().filter(|message| message.contains('{') && *message != LISTENING);
        found.extend(changing.map(|message| format!("{path}: \"{message}\"")));
    }
    found
}

#[test]
fn finds_a_message_with_data_in_it() {
    let text = r#"
        info!(%name, "a name");
        tracing::warn!(error = %text("{a} (b"), "failed to {what}");
        warn!("{error}");
        #[cfg(test)]
mod tests { info!("{ignored}"); }
    "#;
    let sources = [Source { path: "a.rs".to_owned(), text: text.to_owned() }];
    assert_eq!(changing_messages(&sources), ["a.rs: \"failed to {what}\"", "a.rs: \"{error}\""]);
}
