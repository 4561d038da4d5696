//! A configuration in JSON, with the same keys in the same sections. Home Assistant writes an add-on's options in
//! this form.
//!
//! It is rewritten as TOML, so that there is one reader. A fault names the key; its line is that of the rewritten
//! text, in which each top-level key has one line.

use std::fmt::Write;

use serde_json::{Map, Value};

/// # Errors
/// Says what is wrong with the text.
pub(super) fn to_toml(json: &str) -> Result<String, String> {
    match serde_json::from_str(json) {
        Ok(Value::Object(keys)) => {
            Ok(keys.iter().filter_map(assignment).fold(String::new(), |text, line| text + &line + "\n"))
        }
        Ok(_) => Err("it is no JSON object; write it as {\"feed\": {\"discover\": [\"eth0\"]}}".to_owned()),
        Err(error) => Err(format!("it is not valid JSON: {error}")),
    }
}

/// `None` for a key without a value, which is one that is left out.
fn assignment((key, value): (&String, &Value)) -> Option<String> {
    let mut text = quoted(key) + " = ";
    (!value.is_null()).then(|| write_value(&mut text, value))?;
    Some(text)
}

fn write_value(text: &mut String, value: &Value) {
    match value {
        Value::String(string) => *text += &quoted(string),
        Value::Array(values) => {
            *text += "[";
            for value in values.iter().filter(|value| !value.is_null()) {
                write_value(text, value);
                *text += ", ";
            }
            *text += "]";
        }
        Value::Object(keys) => {
            *text += &inline_table(keys);
        }
        // Numbers and booleans are written alike in both. `null` was left out above.
        _ => _ = write!(text, "{value}"),
    }
}

fn inline_table(keys: &Map<String, Value>) -> String {
    let assignments: Vec<String> = keys.iter().filter_map(assignment).collect();
    format!("{{ {} }}", assignments.join(", "))
}

/// TOML's basic strings know every escape of JSON's writer; only the character 7F needs one in TOML alone.
fn quoted(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_the_same_keys_in_a_file_of_toml_are() {
        let options = r#"{
            "log": "debug", "max_in_flight": 8, "exclude": ["192.168.1.9", null], "spool": null,
            "feed": {"url": [], "discover": ["eth0"], "hosts": [{"address": "192.0.2.1", "name": "a \"b\" \\ \u007f\n\u0001"}]},
            "mdns": {"enabled": false},
            "scanner": [{"name": "a", "ports": "22"}, {"name": "b"}]
        }"#;
        let read: toml::Table = to_toml(options).unwrap().parse().unwrap();
        let expected = r#"
            log = "debug"
            max_in_flight = 8
            exclude = ["192.168.1.9"]
            scanner = [{ name = "a", ports = "22" }, { name = "b" }]
            [feed]
            url = []
            discover = ["eth0"]
            hosts = [{ address = "192.0.2.1", name = "a \"b\" \\ \u007f\n\u0001" }]
            [mdns]
            enabled = false
        "#;
        assert_eq!(read, expected.parse().unwrap());
    }

    #[test]
    fn what_is_no_object_is_refused_with_what_to_write() {
        assert_eq!(to_toml("{}").unwrap(), "");
        assert!(to_toml("[]").unwrap_err().contains("write it as {"));
        assert!(to_toml("{\"a\": }").unwrap_err().contains("not valid JSON: expected value at line 1"));
    }
}
