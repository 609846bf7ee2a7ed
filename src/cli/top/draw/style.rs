//! The tones of the other commands, for the screen. Without colours nothing is styled at all.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;

use crate::cli::colour::{Tone, is_coloured};

/// What a tone looks like.
pub fn style(tone: Tone) -> Style {
    if !is_coloured() {
        return Style::new();
    }
    match tone {
        Tone::Plain => Style::new(),
        Tone::Heading => Style::new().add_modifier(Modifier::BOLD),
        Tone::Good => Style::new().fg(Color::Green),
        Tone::Notice => Style::new().fg(Color::Yellow),
        Tone::Bad => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
        Tone::Faint => Style::new().add_modifier(Modifier::DIM),
    }
}

/// What lies under the chosen row of the pane that keys are for.
pub fn chosen() -> Style {
    if is_coloured() { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() }
}

/// Some words in a tone.
pub fn said(words: impl Into<String>, tone: Tone) -> Span<'static> {
    Span::styled(words.into(), style(tone))
}
