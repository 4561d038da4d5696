//! The texts of a site's rows. The appliance has cleaned what it took from its network before it stored it, as
//! [`one_line`](crate::model::one_line) does; whoever has a site's key may send anything. So a hub cleans the rows as they
//! arrive, in the one place that all of them pass, rather than wherever they are shown. They are not refused: an owner's
//! own words may have such characters by mistake.

use serde_json::Value;

use super::fleet_tables::FleetTable;
use crate::{
    fleet::{ChangedRow, RowValue},
    model::replace_unseen,
};

/// What the words of an owner may have, and no other text: line breaks, and the joiners of emoji and of Persian words.
const OF_WORDS: &[char] = &['\n', '\u{200c}', '\u{200d}'];

/// Replaces what is invisible or changes the reading direction in all texts of a row but its key, which is parsed.
pub(super) fn clean(table: &FleetTable, row: &mut ChangedRow) {
    let Some(rest) = &mut row.rest else { return };
    for (column, value) in table.rest.iter().zip(rest) {
        let RowValue::Text(text) = value else { continue };
        let kept = if matches!(column.as_str(), "own_name" | "note" | "comment") { OF_WORDS } else { &[] };
        replace_unseen(text, kept);
        // JSON may say the same by an escape, and what this program has stored has none.
        if table.name == "identifications" && text.contains("\\u") {
            // One that is malformed is refused by another check.
            let Ok(mut body) = serde_json::from_str(text) else { continue };
            clean_json(&mut body);
            *text = body.to_string();
        }
    }
}

/// Does so in all texts of a document. Its depth is bounded by the parser.
fn clean_json(value: &mut Value) {
    match value {
        Value::String(text) => replace_unseen(text, &[]),
        Value::Array(elements) => elements.iter_mut().for_each(clean_json),
        Value::Object(members) => members.values_mut().for_each(clean_json),
        _ => {}
    }
}
