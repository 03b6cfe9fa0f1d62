//! Tables: headings and rows, each column as wide as its widest cell.

use super::{Paint, plain};

/// What a cell says of the thing that it shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Tone {
    #[default]
    Plain,
    Good,
    Warning,
    Bad,
}

/// A text and its tone. The text may come from anywhere; it is cleaned when it is put into a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(crate) fn new(text: impl AsRef<str>, tone: Tone) -> Self {
        Self { text: plain(text.as_ref()), tone }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::new(text, Tone::Plain)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::new(text, Tone::Plain)
    }
}

/// Headings and rows of as many cells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(headings: [&'static str; N], rows: impl IntoIterator<Item = [Cell; N]>) -> Self {
        Self { headings: headings.to_vec(), rows: rows.into_iter().map(Vec::from).collect() }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The table as lines. Colours stand around the text and not around the space behind it.
    pub(crate) fn lines(&self, paint: Paint) -> Vec<String> {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].text.chars().count());
            cells.chain([self.headings[column].len()]).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..self.headings.len()).map(width).collect();
        let line = |cells: &mut dyn Iterator<Item = (String, usize)>| {
            let mut line = String::new();
            for ((shown, length), width) in cells.zip(&widths) {
                line.push_str(&shown);
                line.extend(std::iter::repeat_n(' ', width - length + 2));
            }
            line.truncate(line.trim_end().len());
            line
        };
        let heading = line(&mut self.headings.iter().map(|heading| (paint.bold(heading), heading.len())));
        let rows = self.rows.iter().map(|row| {
            line(&mut row.iter().map(|cell| {
                let shown = match cell.tone {
                    Tone::Plain => cell.text.clone(),
                    Tone::Good => paint.green(&cell.text),
                    Tone::Warning => paint.yellow(&cell.text),
                    Tone::Bad => paint.red(&cell.text),
                };
                (shown, cell.text.chars().count())
            }))
        });
        std::iter::once(heading).chain(rows).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["über-1".into(), Cell::new("down", Tone::Bad)], ["b".into(), Cell::new("al\nive", Tone::Good)]];
        let table = Table::new(["NAME", "STATE"], rows);
        assert_eq!(table.lines(Paint { on: false }), ["NAME    STATE", "über-1  down", "b       al\u{fffd}ive"]);
        let coloured = table.lines(Paint { on: true });
        assert_eq!(coloured[2], "b       \u{1b}[32;1mal\u{fffd}ive\u{1b}[0m");
    }
}
