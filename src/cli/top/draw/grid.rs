//! Rows in columns, as many of both as there is room for.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use unicode_width::UnicodeWidthStr;

use super::style::{chosen, style};
use crate::cli::colour::Tone;
use crate::cli::table::{Cell, shorten};

/// What stands before the chosen row, and blanks before all others.
const MARK: &str = "> ";
/// No name is cut to less, in columns.
const SHORTEST_NAME: usize = 12;
/// A name as long as this comes before columns that can be left out.
const LONG_NAME: usize = 24;

/// One column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    title: &'static str,
    kind: Kind,
    /// 0: it is there in any case. Of the others those of a lower rank get their room first.
    rank: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// To the left; gets the room that is left, and is cut.
    Name,
    /// To the left, as wide as its widest cell.
    Word,
    /// To the right, this wide at least, so that it stays where it is while its numbers change.
    Figure(usize),
}

/// A column of names.
pub const fn name(title: &'static str) -> Column {
    Column { title, kind: Kind::Name, rank: 0 }
}

/// A column of words that are never cut.
pub const fn word(title: &'static str, rank: u8) -> Column {
    Column { title, kind: Kind::Word, rank }
}

/// A column of numbers.
pub const fn figure(title: &'static str, width: usize, rank: u8) -> Column {
    Column { title, kind: Kind::Figure(width), rank }
}

/// Which rows are to be seen where so many fit: those around the chosen one.
pub fn window(rows: usize, chosen: usize, height: usize) -> std::ops::Range<usize> {
    let first = chosen.saturating_sub(height / 2).min(rows.saturating_sub(height));
    first..rows.min(first + height)
}

/// Rows under a heading.
pub struct Grid<'a> {
    /// Its columns.
    pub columns: &'a [Column],
    /// The rows to be seen, with a cell for each column.
    pub rows: Vec<Vec<Cell>>,
    /// Which of them is chosen.
    pub chosen: Option<usize>,
}

impl Grid<'_> {
    /// Draws it; what does not fit is left out.
    pub fn draw(&self, area: Rect, buffer: &mut Buffer) {
        let widths = self.widths(usize::from(area.width));
        let heading: Vec<Cell> =
            self.columns.iter().map(|column| Cell::from(column.title).tone(Tone::Heading)).collect();
        let rows = std::iter::once((&heading, false));
        let rows = rows.chain(self.rows.iter().enumerate().map(|(i, row)| (row, self.chosen == Some(i))));
        for ((row, is_chosen), line) in rows.zip(area.rows()) {
            self.draw_row(row, &widths, line, buffer);
            if is_chosen {
                buffer.set_stringn(line.x, line.y, MARK, line.width.into(), style(Tone::Plain));
                buffer.set_style(line, chosen());
            }
        }
    }

    fn draw_row(&self, row: &[Cell], widths: &[Option<usize>], line: Rect, buffer: &mut Buffer) {
        let mut x = usize::from(line.x) + MARK.len();
        for ((cell, column), width) in row.iter().zip(self.columns).zip(widths) {
            let Some(width) = *width else { continue };
            let text = shorten(&cell.text, width);
            let before = if matches!(column.kind, Kind::Figure(_)) { width.saturating_sub(text.width()) } else { 0 };
            let room = usize::from(line.right()).saturating_sub(x + before);
            if let (true, Ok(x)) = (room > 0, u16::try_from(x + before)) {
                buffer.set_stringn(x, line.y, &text, room.min(width), style(cell.tone));
            }
            x += width + 1;
        }
    }

    /// How wide each column is; none: it is left out.
    fn widths(&self, room: usize) -> Vec<Option<usize>> {
        let mut widths: Vec<Option<usize>> =
            (0..self.columns.len()).map(|i| (self.columns[i].rank == 0).then(|| self.least(i))).collect();
        self.widen_name(&mut widths, room, LONG_NAME);
        let mut others: Vec<usize> = (0..self.columns.len()).filter(|i| self.columns[*i].rank > 0).collect();
        others.sort_by_key(|i| self.columns[*i].rank);
        for i in others {
            let least = self.least(i);
            if least < left(&widths, room) {
                widths[i] = Some(least);
            }
        }
        self.widen_name(&mut widths, room, usize::MAX);
        widths
    }

    /// Gives the names what is left, as far as they need it, up to so many columns.
    fn widen_name(&self, widths: &mut [Option<usize>], room: usize, most: usize) {
        let left = left(widths, room);
        let Some(i) = self.columns.iter().position(|column| column.kind == Kind::Name) else { return };
        widths[i] = widths[i].map(|width| self.widest(i).min(most).clamp(width, width + left));
    }

    fn least(&self, column: usize) -> usize {
        let title = self.columns[column].title.width();
        match self.columns[column].kind {
            Kind::Name => SHORTEST_NAME,
            Kind::Word => self.widest(column),
            Kind::Figure(width) => title.max(width),
        }
    }

    fn widest(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.text.width()).chain([self.columns[column].title.width()]).max().unwrap_or(0)
    }
}

/// What is left of so much room behind columns of these widths, each with a blank behind it but the last.
fn left(widths: &[Option<usize>], room: usize) -> usize {
    let taken: usize = widths.iter().flatten().map(|width| width + 1).sum();
    (room + 1).saturating_sub(MARK.len() + taken)
}
