//! The `model` of the TXT record of `_device-info._tcp`: the maker's code of the model, `MacBookPro18,3`.

use super::{
    claims::or_called,
    table::{MODELS, Preference, Table},
};
use crate::model::DeviceIdentification;

const TABLE: Table = Table::new(include_str!("tables/device_info.txt"));

/// Identifies a code. If no table lists it but its family is known, the code itself is the model.
pub(super) fn parse(code: &str) -> DeviceIdentification {
    let listed = |code: &str| TABLE.find(code, Preference::Longest).device;
    let mut found = listed(code);
    if found.is_empty()
        && let Some(board) = common_board(code)
    {
        found = listed(&board);
    }
    if found.is_empty() {
        return MODELS.find(code, Preference::Longest).device;
    }
    or_called(found, code)
}

/// The code of the board that a variant is of: Apple marks variants by letters before the end (`D27xAP` would be a
/// `D27AP`).
fn common_board(code: &str) -> Option<String> {
    let board = code.strip_suffix("AP")?.trim_end_matches(|c: char| c.is_ascii_lowercase());
    board.ends_with(|c: char| c.is_ascii_digit()).then(|| format!("{board}AP"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DeviceType;

    #[test]
    fn names_the_model_of_a_code() {
        let found = parse("iPhone15,4");
        assert_eq!(found.model.as_deref(), Some("iPhone 15"));
        assert_eq!((found.maker.as_deref(), found.device_type), (Some("Apple"), Some(DeviceType::Phone)));
        assert_eq!(parse("Mac14,2").model.as_deref(), Some("MacBook Air (M2, 2022)"));
    }

    #[test]
    fn knows_a_variant_by_its_board_and_a_newer_model_by_its_family() {
        assert_eq!(common_board("D27xAP").as_deref(), Some("D27AP"));
        assert_eq!(parse("iPhone99,1").model.as_deref(), Some("iPhone99,1"));
        assert_eq!(parse("iPhone99,1").device_type, Some(DeviceType::Phone));
        assert!(parse("").is_empty() && parse("AP").is_empty() && parse("xAP").is_empty());
    }
}
