//! Reads `identified.txt`, which is a part of the binary: the advice on ports with an identified service.

use std::sync::LazyLock;

use super::file::{AdviceText, Fields, PortUse, paragraphs, uses_of};
use crate::model::{AdviceLevel, PortIdentification, Protocol};

/// The file; its first lines explain its format.
pub(super) const IDENTIFIED: &str = include_str!("identified.txt");

static RULES: LazyLock<Vec<Rule>> =
    LazyLock::new(|| paragraphs(IDENTIFIED).filter_map(|text| Rule::read(text).ok()).collect());

/// The names of the fields, in the order in which a paragraph has them.
pub(super) const FIELDS: [&str; 6] = ["if", "like", "level", "why", "remedy", "source"];

/// A rule: the advice on some services, a paragraph of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// The services, separated by commas.
    services: &'static str,
    /// Its common name.
    pub(super) name: AdviceText,
    condition: Option<&'static str>,
    pub(super) texts: Texts,
}

/// Where the texts of a rule are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Texts {
    /// In the general paragraph of this port in `ports.txt`.
    Like(Protocol, u16),
    /// In the rule.
    Own {
        /// How much it matters.
        level: AdviceLevel,
        why: AdviceText,
        remedy: AdviceText,
    },
}

/// What a rule says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    pub(super) name: AdviceText,
    pub(super) level: AdviceLevel,
    pub(super) why: AdviceText,
    pub(super) remedy: AdviceText,
}

impl Rule {
    /// Reads a paragraph.
    pub(super) fn read(paragraph: &'static str) -> Result<Self, String> {
        let (heading, rest) = paragraph.split_once('\n').ok_or("it has a heading only")?;
        let heading = heading.strip_prefix('[').and_then(|heading| heading.split_once(']'));
        let (services, name) = heading.ok_or("it does not begin with [SERVICE, ...] and a name")?;
        let fields = Fields::read(rest, &FIELDS)?;
        let texts = match fields.find("like") {
            Some(like) => {
                let malformed = || format!("\"{like}\" is not PORT/PROTOCOL");
                let (port, protocol) = like.split_once('/').ok_or_else(malformed)?;
                let (port, protocol) = (port.parse(), protocol.parse());
                Texts::Like(protocol.map_err(|_| malformed())?, port.map_err(|_| malformed())?)
            }
            None => {
                fields.text("source")?;
                Texts::Own {
                    level: fields.level()?,
                    why: fields.text("why")?,
                    remedy: fields.text("remedy")?,
                }
            }
        };
        Ok(Self { services, name: AdviceText::of(name.trim()), condition: fields.find("if"), texts })
    }

    /// Whether the rule applies to this service.
    pub(super) fn is_about(&self, service: &str) -> bool {
        self.services.split(',').any(|known| known.trim().eq_ignore_ascii_case(service))
    }

    /// Whether all conditions of the rule hold; an unknown condition never does.
    fn fits(&self, found: &PortIdentification) -> bool {
        self.condition.is_none_or(|all| all.split(';').all(|condition| holds(condition.trim(), found)))
    }

    /// Returns the texts of the rule; `None` if it refers to a missing paragraph.
    pub(super) fn said(&self) -> Option<Said> {
        let name = self.name;
        match self.texts {
            Texts::Own { level, why, remedy } => Some(Said { name, level, why, remedy }),
            Texts::Like(protocol, port) => {
                let PortUse { level, why, remedy, .. } =
                    *uses_of(protocol, port).find(|known| known.is_general())?;
                Some(Said { name, level, why, remedy })
            }
        }
    }
}

/// Whether a condition is one that the file may have.
#[cfg(test)]
pub(super) fn is_condition(condition: &str) -> bool {
    matches!(condition, "clear" | "tls")
        || condition.starts_with("product ")
        || condition.starts_with("says ")
}

fn holds(condition: &str, found: &PortIdentification) -> bool {
    let lower = |text: &str| text.to_ascii_lowercase();
    let any =
        |texts: &str, holds: &dyn Fn(&str) -> bool| texts.split('|').any(|text| holds(&lower(text.trim())));
    match condition.split_once(' ') {
        None => condition == if found.tls { "tls" } else { "clear" },
        Some(("product", texts)) => {
            let product = lower(found.product.as_deref().unwrap_or_default());
            any(texts, &|text| product.starts_with(text))
        }
        Some(("says", texts)) => {
            let said = lower(&found.evidence.text);
            any(texts, &|text| said.contains(text))
        }
        Some(_) => false,
    }
}

/// Returns the advice on an identified service; `None` if the service is unknown, or not in the file.
pub(super) fn of_service(found: &PortIdentification) -> Option<Said> {
    let service = found.service.as_deref()?;
    RULES.iter().find(|rule| rule.is_about(service) && rule.fits(found))?.said()
}

/// Returns the texts of the rule with this name, which is not that of a service.
pub(super) fn named(name: &str) -> Option<Said> {
    RULES.iter().find(|rule| rule.services == name)?.said()
}
