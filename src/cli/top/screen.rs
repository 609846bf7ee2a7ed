//! The terminal while the screen is on it, and as it was before.

use std::io::{self, BufWriter, IsTerminal, Stdout, stdin, stdout};

use anyhow::{Result, bail};
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::{Frame, Terminal};

/// Most pictures are written at once, so that none is seen half drawn, in bytes.
const PICTURE: usize = 1 << 16;

/// A terminal that shows the screen, until this is dropped.
pub struct Screen(Terminal<CrosstermBackend<BufWriter<Stdout>>>);

impl Screen {
    /// Takes the terminal. A panic gives it back before it says anything, and ends every thread.
    pub fn open() -> io::Result<Self> {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            before(panic);
            std::process::exit(101);
        }));
        let terminal = Terminal::new(CrosstermBackend::new(BufWriter::with_capacity(PICTURE, stdout())))?;
        let screen = Self(terminal);
        enable_raw_mode()?;
        execute!(stdout(), EnterAlternateScreen)?;
        Ok(screen)
    }

    /// Draws a picture.
    pub fn draw(&mut self, picture: impl FnOnce(&mut Frame)) -> io::Result<()> {
        self.0.draw(picture).map(drop)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Leaves the terminal as it was. Where that fails the terminal has gone.
fn restore() {
    _ = disable_raw_mode();
    _ = execute!(stdout(), LeaveAlternateScreen, Show);
}

/// A live screen needs a terminal to write on that can be written on anywhere, and one to read keys from.
pub fn refuse_without_terminal() -> Result<()> {
    let is_dumb = std::env::var_os("TERM").is_some_and(|kind| kind == "dumb");
    if is_dumb || !stdin().is_terminal() || !stdout().is_terminal() {
        bail!(
            "a live screen needs a terminal: in a pipe or a script use `pointsman stats --json` or `pointsman watch`"
        );
    }
    Ok(())
}
