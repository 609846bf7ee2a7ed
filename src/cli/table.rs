//! Tables for people: aligned columns, numbers to the right.

use serde_json::Value;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::colour::Tone;
use super::out;
use super::words::{plain, shown};

/// What stands between two columns.
const GAP: &str = "  ";
/// No name is cut to less, in columns: its beginning must tell it from others.
const SHORTEST_NAME: usize = 12;

/// One column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    title: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// To the left; cut where the terminal is too narrow.
    Name,
    /// To the left.
    Word,
    /// To the right.
    Number,
}

/// A column of names, which are cut where the terminal is too narrow for the table.
pub const fn name(title: &'static str) -> Column {
    Column { title, kind: Kind::Name }
}

/// A column of words that are never cut: half an address is none.
pub const fn word(title: &'static str) -> Column {
    Column { title, kind: Kind::Word }
}

/// A column of numbers.
pub const fn figure(title: &'static str) -> Column {
    Column { title, kind: Kind::Number }
}

/// What stands in one place of a table.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// Without control characters.
    pub text: String,
    /// What its colour says.
    pub tone: Tone,
}

impl Cell {
    /// The same in another tone.
    pub fn tone(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self { text: shown(text).into_owned(), tone: Tone::Plain }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<&Value> for Cell {
    fn from(value: &Value) -> Self {
        Self { text: plain(value), tone: Tone::Plain }
    }
}

/// Rows under a heading.
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these columns.
    pub fn new(columns: &[Column]) -> Self {
        let heading = columns.iter().map(|column| Cell::from(column.title).tone(Tone::Heading)).collect();
        Self { columns: columns.to_vec(), rows: vec![heading] }
    }

    /// Adds a row with a cell for each column.
    pub fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell a column");
        self.rows.push(cells);
    }

    /// Prints it, as wide as the terminal at most if names can be cut.
    pub fn print(&self) {
        out::write(format_args!("{}", self.text(out::width())));
    }

    /// The table as text of at most so many columns, if names can be cut by that much.
    pub fn text(&self, limit: Option<usize>) -> String {
        let mut widths: Vec<usize> = (0..self.columns.len()).map(|column| self.widest(column)).collect();
        if let Some(limit) = limit {
            self.cut_names(&mut widths, limit);
        }
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            // What is padded behind the last word is left out, so that a narrow terminal does not wrap it.
            let mut owed = 0;
            for ((cell, column), width) in row.iter().zip(&self.columns).zip(&widths) {
                let shortened = shorten(&cell.text, *width);
                let padding = width.saturating_sub(shortened.width());
                let (before, after) = if column.kind == Kind::Number { (padding, 0) } else { (0, padding) };
                line.extend(std::iter::repeat_n(' ', owed + before));
                line += &cell.tone.paint(&shortened);
                owed = after + GAP.len();
            }
            text += line.trim_end_matches(' ');
            text.push('\n');
        }
        text
    }

    fn widest(&self, column: usize) -> usize {
        self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.width()).max().unwrap_or(0)
    }

    /// Takes from the widest names until all fits.
    fn cut_names(&self, widths: &mut [usize], limit: usize) {
        let gaps = GAP.len() * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > limit {
            let names = widths.iter_mut().zip(&self.columns).filter(|(_, column)| column.kind == Kind::Name);
            match names.map(|(width, _)| width).max() {
                Some(width) if *width > SHORTEST_NAME => *width -= 1,
                _ => return,
            }
        }
    }
}

/// A text of at most so many columns, with an ellipsis where something is missing.
pub fn shorten(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut room = width.saturating_sub(1);
    let fits = |c: &char| {
        let needed = c.width().unwrap_or(0);
        let does = needed <= room;
        room = room.saturating_sub(needed);
        does
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_rows(first: &str, second: &str) -> Table {
        let mut table = Table::new(&[name("NAME"), word("VIP"), figure("PACKETS")]);
        table.row(vec![first.into(), "203.0.113.1".into(), "5".into()]);
        table.row(vec![second.into(), "2001:db8::1".into(), "12345".into()]);
        table
    }

    #[test]
    fn numbers_stand_right_and_words_left() {
        let text = two_rows("a", "long").text(None);
        assert_eq!(text, "NAME  VIP          PACKETS\na     203.0.113.1        5\nlong  2001:db8::1    12345\n");
    }

    #[test]
    fn wide_letters_and_long_names_keep_the_columns() {
        let long = "x".repeat(512);
        for (first, limit) in
            [("鉄道", None), (long.as_str(), None), (long.as_str(), Some(40)), ("鉄道鉄道鉄道鉄道鉄", Some(40))]
        {
            let text = two_rows(first, "b").text(limit);
            let columns: Vec<usize> = text.lines().map(|line| line.width()).collect();
            assert_eq!(columns.iter().min(), columns.iter().max(), "{text}");
            assert!(columns[0] <= limit.unwrap_or(usize::MAX), "{text}");
        }
        assert!(two_rows(&long, "b").text(Some(40)).contains("xxx…  203.0.113.1"));
        assert!(two_rows(&long, "b").text(Some(10)).contains("xxx…  203.0.113.1"), "half an address is none");
    }

    #[test]
    fn an_empty_cell_at_the_end_leaves_no_blanks() {
        let mut table = Table::new(&[word("A"), word("B")]);
        table.row(vec!["a".into(), "".into()]);
        assert_eq!(table.text(None), "A  B\na\n");
    }
}
