//! The owner's templates: in the language of Jinja, over the fields of the generic webhook.
//!
//! The owner writes them, so they are not hostile, but a mistake must not stop the appliance. So the steps of a
//! rendering and the length of its output are bounded, an unknown field is an error, and if a template fails, the
//! built-in text is sent.

use std::io;

use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, value::Serde};

use super::{message::AlertMessage, samples::samples, shapes};
use crate::model::one_line;

/// The most steps of one rendering: a hundred changes with a hundred steps each.
const FUEL: u64 = 200_000;

/// The longest template, in bytes.
const LONGEST: usize = 8 * 1024;

/// The longest title, in characters: mail readers and phones show fewer.
const MOST_TITLE: usize = 200;

/// The longest text, in bytes.
const MOST_TEXT: usize = 16 * 1024;

/// The most characters of an error.
const MOST_ERROR: usize = 200;

/// A channel's templates; without one, the built-in text is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageTemplates {
    /// Of the title: one line.
    pub title: Option<String>,
    /// Of the text.
    pub text: Option<String>,
}

/// The output of a channel's templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessagePart {
    /// The title.
    Title,
    /// The text.
    Text,
}

/// Why a template cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It is longer than 8 KiB.
    #[error("this template is longer than {LONGEST} bytes; shorten it")]
    TooLong,
    /// The template is malformed, or fails for some message.
    #[error("line {line} of the template: {cause}")]
    Wrong {
        /// The line of the template, from 1.
        line: usize,
        /// What is wrong, on one line.
        cause: String,
    },
    /// It writes more than fits into a message.
    #[error("the template writes more than {MOST_TEXT} bytes; show fewer of the changes, as by changes[:20]")]
    Overflow,
    /// It writes nothing.
    #[error("the template writes nothing")]
    Nothing,
    /// It fails for one kind of message.
    #[error("{error}; so it fails for a message of the kind \"{sample}\"")]
    Sample {
        /// The kind.
        sample: &'static str,
        /// Why.
        error: Box<Self>,
    },
}

impl MessageTemplates {
    /// Whether no template is configured.
    pub fn is_empty(&self) -> bool {
        self.title.is_none() && self.text.is_none()
    }

    /// Tries a template on a message of each kind, and returns it.
    ///
    /// # Errors
    /// Fails if the template fails for one of them.
    pub fn check(part: MessagePart, template: &str) -> Result<String, TemplateError> {
        if template.len() > LONGEST {
            return Err(TemplateError::TooLong);
        }
        for (sample, message) in samples() {
            part.render(template, &message).map_err(|error| match error {
                // A malformed template fails for every message, so the error names none.
                wrong @ TemplateError::Wrong { .. } if is_malformed(template) => wrong,
                error => TemplateError::Sample { sample, error: Box::new(error) },
            })?;
        }
        Ok(template.to_owned())
    }

    /// Replaces the built-in texts by those of the templates. If a template fails, the built-in text stays, and the
    /// reason is returned.
    pub fn apply(&self, message: &AlertMessage) -> (AlertMessage, Option<String>) {
        let mut written = message.clone();
        let mut failures = Vec::new();
        for (part, template) in [(MessagePart::Title, &self.title), (MessagePart::Text, &self.text)] {
            let Some(template) = template else { continue };
            match (part, part.render(template, message)) {
                (MessagePart::Title, Ok(title)) => written.title = title,
                (MessagePart::Text, Ok(text)) => written.text = text,
                (MessagePart::Title, Err(error)) => failures.push(format!("title: {error}")),
                (MessagePart::Text, Err(error)) => failures.push(format!("text: {error}")),
            }
        }
        let failure = (!failures.is_empty()).then(|| one_line(&failures.join("; "), 2 * MOST_ERROR));
        (written, failure)
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // Each channel escapes for its own format.
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment
}

/// Whether the template is malformed, so that it fails for every message.
fn is_malformed(template: &str) -> bool {
    environment().template_from_str(template).is_err()
}

impl MessagePart {
    fn render(self, template: &str, message: &AlertMessage) -> Result<String, TemplateError> {
        let environment = environment();
        let parsed = environment.template_from_str(template).map_err(|error| wrong(&error))?;
        let mut output = Bounded::default();
        let rendered = parsed.render_captured_to(Serde(shapes::generic(message)), &mut output);
        // An error of the writer is reported as another kind of error.
        if output.is_full {
            return Err(TemplateError::Overflow);
        }
        rendered.map_err(|error| wrong(&error))?;
        let text = String::from_utf8_lossy(&output.written);
        let text = match self {
            Self::Title => one_line(text.trim(), MOST_TITLE),
            Self::Text => {
                text.lines().map(|line| one_line(line.trim_end(), MOST_TEXT)).collect::<Vec<_>>().join("\n")
            }
        };
        if text.trim().is_empty() { Err(TemplateError::Nothing) } else { Ok(text) }
    }
}

fn wrong(error: &Error) -> TemplateError {
    let cause = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => {
            "it takes too many steps; show fewer of the changes, as by changes[:20]".to_owned()
        }
        (ErrorKind::UndefinedError, None) => {
            "there is no such field; docs/alerts.md lists the fields".to_owned()
        }
        (kind, None) => kind.to_string(),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
    };
    TemplateError::Wrong { line: error.line().unwrap_or(1), cause: one_line(&cause, MOST_ERROR) }
}

/// An output that refuses more text than a message may have.
#[derive(Default)]
struct Bounded {
    written: Vec<u8>,
    is_full: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.written.len() + bytes.len() > MOST_TEXT {
            self.is_full = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str) -> AlertMessage {
        samples().into_iter().find(|(known, _)| *known == name).unwrap().1
    }

    fn fault(part: MessagePart, template: &str) -> String {
        MessageTemplates::check(part, template).unwrap_err().to_string()
    }

    #[test]
    fn the_owners_words_replace_the_built_in_ones() {
        let text =
            "{% for change in changes %}{{ change.name or change.address }} {{ change.ports }}\n{% endfor %}";
        let templates = MessageTemplates {
            title: Some("[{{ severity }}]\n{{ title }}".to_owned()),
            text: Some(text.to_owned()),
        };
        let (written, failure) = templates.apply(&sample("unexpected"));
        assert_eq!(failure, None);
        assert_eq!(
            (written.title.as_str(), written.text.as_str()),
            ("[high]\u{fffd}printer (192.0.2.7): port 23/tcp opened, unexpected", "printer 23")
        );
        assert_eq!(written.key, sample("unexpected").key);
    }

    #[test]
    fn an_error_names_the_line_and_the_cause() {
        let told = fault(MessagePart::Text, "{{ title }}\n{% for x in %}");
        assert!(told.starts_with("line 2 of the template: syntax error: "), "{told}");
        let told = fault(MessagePart::Text, "{{ title }}\n\n{{ titel }}");
        let start =
            "line 3 of the template: there is no such field; docs/alerts.md lists the fields; so it fails";
        assert!(told.starts_with(start), "{told}");
        // Messages about the appliance's own trouble contain no change.
        let told = fault(MessagePart::Title, "{{ changes[0].ports }}");
        assert!(told.ends_with("so it fails for a message of the kind \"appliance\""), "{told}");
        assert!(fault(MessagePart::Text, &" ".repeat(9000)).contains("longer than 8192 bytes"));
        assert!(fault(MessagePart::Text, "{# nothing #}").contains("writes nothing"));
        assert!(fault(MessagePart::Text, "{{ x() }}").contains("line 1 of the template"));
    }

    #[test]
    fn a_template_that_runs_on_is_stopped() {
        let nested = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}x";
        assert!(fault(MessagePart::Text, nested).contains("it takes too many steps"));
        let long = "{% for a in range(2000) %}{{ title }}{% endfor %}";
        assert!(fault(MessagePart::Text, long).contains("writes more than 16384 bytes"));
        let repeated = "{{ 'x' * 100000000 }}";
        assert!(MessageTemplates::check(MessagePart::Text, repeated).is_err());
    }

    #[test]
    fn where_a_template_fails_the_built_in_words_are_sent() {
        let failing = MessageTemplates { title: None, text: Some("{{ 1 / changes|length }}".to_owned()) };
        let message = sample("appliance");
        let (written, failure) = failing.apply(&message);
        assert_eq!(written, message);
        assert!(failure.unwrap().starts_with("text: line 1 of the template: "));
    }
}
