//! Tables for people: aligned columns, numbers to the right.

use serde_json::Value;

/// Rows under a heading.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub fn new(heading: &[&str]) -> Self {
        Self { rows: vec![heading.iter().map(|title| (*title).to_owned()).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The table as text; a column whose cells are all numbers is aligned to the right.
    pub fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
        let is_number = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
        let measure = |column| {
            let width = self.rows.iter().map(|row| cell(row, column).chars().count()).max().unwrap_or(0);
            let numeric = self.rows.iter().skip(1).all(|row| is_number(&cell(row, column)));
            (width, numeric)
        };
        let measured: Vec<(usize, bool)> = (0..columns).map(measure).collect();
        let mut text = String::new();
        for row in &self.rows {
            let cells = measured.iter().enumerate().map(|(column, &(width, numeric))| {
                let value = cell(row, column);
                if numeric { format!("{value:>width$}") } else { format!("{value:<width$}") }
            });
            text += cells.collect::<Vec<_>>().join("  ").trim_end();
            text.push('\n');
        }
        text
    }
}

/// A value as a cell shows it.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(truth) => if *truth { "yes" } else { "no" }.to_owned(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right_and_words_left() {
        let mut table = Table::new(&["NAME", "PACKETS"]);
        table.row(vec!["a".into(), "5".into()]);
        table.row(vec!["long".into(), "12345".into()]);
        assert_eq!(table.text(), "NAME  PACKETS\na           5\nlong    12345\n");
    }
}
