//! Pages of a list: a history of years is read in little memory, and a slow reader does not delay others.

/// Some rows, and where the next page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// In order; may be empty only at the end.
    pub rows: Vec<T>,
    /// The cursor of the next page; `None` at the end.
    pub next: Option<i64>,
}

impl<T> Page<T> {
    /// Makes a page of these rows; it is full if there are `most`. Each row has its own number, and the next page has
    /// the greater ones.
    pub(super) fn of(rows: Vec<(i64, T)>, most: u32) -> Self {
        let next = (rows.len() >= most as usize).then(|| rows.last().map(|(place, _)| *place)).flatten();
        Self { next, ..Self::cut(rows) }
    }

    /// Makes a page that ends here because its rows are large: more may follow.
    pub(super) fn cut(rows: Vec<(i64, T)>) -> Self {
        let next = rows.last().map(|(place, _)| *place);
        Self { rows: rows.into_iter().map(|(_, row)| row).collect(), next }
    }
}
