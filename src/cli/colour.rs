//! Colours: on a terminal, and elsewhere only where they are asked for.

use std::sync::OnceLock;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use clap::ValueEnum;

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Also in pipes and files
    Always,
    /// Nowhere
    Never,
}

/// Whether standard output is coloured.
static COLOURED: OnceLock<bool> = OnceLock::new();

/// Settles it for this process, before anything is printed.
pub fn choose(when: When) {
    let choice = match when {
        When::Auto => ColorChoice::Auto,
        When::Always => ColorChoice::Always,
        When::Never => ColorChoice::Never,
    };
    choice.write_global();
    COLOURED.get_or_init(|| AutoStream::choice(&std::io::stdout()) != ColorChoice::Never);
}

/// What a word says about itself by its colour. No tone says anything that the word does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing.
    #[default]
    Plain,
    /// The head of a column, a title.
    Heading,
    /// As it should be.
    Good,
    /// On its way, or worth a look.
    Notice,
    /// Somebody has to mend this.
    Bad,
    /// Of little weight.
    Faint,
}

/// Whether standard output is coloured.
pub fn is_coloured() -> bool {
    COLOURED.get().copied().unwrap_or(false)
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Heading => Style::new().bold(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Notice => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
            Self::Faint => Style::new().dimmed(),
        }
    }

    /// The text in this tone, if standard output is coloured.
    pub fn paint(self, text: &str) -> String {
        let style = self.style();
        if is_coloured() && self != Self::Plain && !text.is_empty() {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }
}
