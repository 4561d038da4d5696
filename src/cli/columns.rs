//! A table that drops columns where the terminal is too narrow for all of them.

use std::io::{self, Write};

use super::table;

/// The minimum width of a column that may be folded.
const LEAST: usize = 10;

/// Between two columns.
const GAP: usize = 2;

/// A column of a table.
pub(super) struct Column {
    title: &'static str,
    cells: Vec<String>,
    /// Whether long cells are folded.
    folds: bool,
}

impl Column {
    /// A column with cells that stay on one line.
    pub(super) fn fixed(title: &'static str, cells: impl Iterator<Item = String>) -> Self {
        Self { title, cells: cells.collect(), folds: false }
    }

    /// A column with cells that are folded to fit the terminal; it comes after all columns that are not.
    pub(super) fn folding(title: &'static str, cells: impl Iterator<Item = String>) -> Self {
        Self { title, cells: cells.collect(), folds: true }
    }

    fn needs(&self) -> usize {
        let lengths = self.cells.iter().map(|cell| cell.chars().count());
        let longest = lengths.fold(self.title.len(), usize::max);
        GAP + if self.folds { longest.min(LEAST) } else { longest }
    }
}

/// Writes the columns, except for as many of the dispensable ones as do not fit the width, in the order in which they
/// are named.
pub(super) fn write(
    out: &mut dyn Write,
    mut columns: Vec<Column>,
    dispensable: &[&str],
    width: Option<u16>,
) -> io::Result<()> {
    for title in dispensable {
        let needed: usize = columns.iter().map(Column::needs).sum();
        if width.is_none_or(|width| needed <= usize::from(width) + GAP) {
            break;
        }
        columns.retain(|column| column.title != *title);
    }
    let titles: Vec<&str> = columns.iter().map(|column| column.title).collect();
    let count = columns.first().map_or(0, |column| column.cells.len());
    let rows = (0..count).map(|row| columns.iter().map(|column| column.cells[row].clone()).collect());
    let fixed = columns.iter().filter(|column| !column.folds).count();
    table::write(out, &titles, rows, fixed, width)
}
