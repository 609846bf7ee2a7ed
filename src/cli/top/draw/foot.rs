//! The last line: the keys, or the filter that is being typed.

use ratatui::text::Line;

use super::style::said;
use crate::cli::colour::Tone;
use crate::cli::top::view::View;

const KEYS: [(&str, &str); 8] = [
    ("q", "quit"),
    ("?", "help"),
    ("Tab", "pane"),
    ("↑↓", "row"),
    ("s r", "sort"),
    ("/", "filter"),
    ("p", "pause"),
    ("Enter", "zoom"),
];

/// The line.
pub fn line(view: &View) -> Line<'static> {
    if view.is_typing {
        let filter = &view.look(view.focus).filter;
        let hint = "  Enter keeps, Esc clears";
        return Line::from(vec![said(format!("/{filter}_"), Tone::Heading), said(hint, Tone::Faint)]);
    }
    let keys =
        KEYS.iter().flat_map(|(key, does)| [said(*key, Tone::Heading), said(format!(" {does}   "), Tone::Faint)]);
    Line::from(keys.collect::<Vec<_>>())
}
