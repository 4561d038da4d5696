//! Pages of a list: a history of years is read in little memory, and a slow reader does not keep others waiting.

/// Some rows, and where the next ones begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// In order; may be empty only at the end.
    pub rows: Vec<T>,
    /// What to ask for next; `None` at the end.
    pub next: Option<i64>,
}

impl<T> Page<T> {
    /// The page that these rows are, if a full one has `most`. A row's place is its own number, and the next
    /// page has the greater ones.
    pub(super) fn of(rows: Vec<(i64, T)>, most: u32) -> Self {
        let next = (rows.len() >= most as usize).then(|| rows.last().map(|(place, _)| *place)).flatten();
        Self { next, ..Self::cut(rows) }
    }

    /// A page that ends with these rows because they are large: there may be more.
    pub(super) fn cut(rows: Vec<(i64, T)>) -> Self {
        let next = rows.last().map(|(place, _)| *place);
        Self { rows: rows.into_iter().map(|(_, row)| row).collect(), next }
    }
}
