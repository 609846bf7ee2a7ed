//! How somebody looks at the picture, and what each key makes of that.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::order;
use super::shown::Shown;

/// How far a page is, in rows.
const PAGE: isize = 10;
/// The longest text to filter by, in letters.
const LONGEST_FILTER: usize = 100;

/// A part of the screen that can be moved in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pane {
    /// Every service.
    #[default]
    Services,
    /// The endpoints of the chosen service.
    Endpoints,
    /// Dropped packets by reason.
    Drops,
    /// Every worker.
    Workers,
    /// What happened, the newest first.
    Events,
}

impl Pane {
    /// In the order in which Tab visits them.
    pub const ALL: [Self; 5] = [Self::Services, Self::Endpoints, Self::Drops, Self::Workers, Self::Events];

    /// The one after so many others, round and round.
    fn after(self, step: usize) -> Self {
        Self::ALL[(self as usize + step) % Self::ALL.len()]
    }
}

/// How one pane is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// The column by which it is sorted: one of [`order::columns`].
    pub sort: usize,
    /// The other way round.
    pub is_reversed: bool,
    /// Only rows with this in them; empty: all.
    pub filter: String,
    /// The row that is chosen. That of a service is chosen by its name.
    pub row: usize,
}

/// What follows from a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on.
    Stay,
    /// It ends.
    Quit,
}

/// How the screen is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The pane that keys are for.
    pub focus: Pane,
    /// It has the screen to itself.
    pub is_zoomed: bool,
    /// The keys are explained.
    pub is_help: bool,
    /// The picture stands still.
    pub is_paused: bool,
    /// Keys are letters of the filter.
    pub is_typing: bool,
    /// The chosen service; none: the first.
    pub service: Option<String>,
    looks: [Look; Pane::ALL.len()],
}

impl View {
    /// How this pane is looked at.
    pub fn look(&self, pane: Pane) -> &Look {
        &self.looks[pane as usize]
    }

    fn look_mut(&mut self) -> &mut Look {
        &mut self.looks[self.focus as usize]
    }

    /// What a key makes of it.
    pub fn key(&mut self, key: KeyEvent, shown: &Shown) -> Outcome {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if is_control => return Outcome::Quit,
            KeyCode::Char(_) if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => {}
            code if self.is_typing => self.typed(code),
            KeyCode::Char('q') => return Outcome::Quit,
            _ if self.is_help => self.is_help = false,
            code => self.command(code, shown),
        }
        Outcome::Stay
    }

    /// A key while a filter is typed. Each letter takes effect at once.
    fn typed(&mut self, code: KeyCode) {
        let look = self.look_mut();
        look.row = 0;
        match code {
            KeyCode::Char(letter) if !letter.is_control() && look.filter.chars().count() < LONGEST_FILTER => {
                look.filter.push(letter);
            }
            KeyCode::Backspace => _ = look.filter.pop(),
            KeyCode::Esc => {
                look.filter.clear();
                self.is_typing = false;
            }
            KeyCode::Enter => self.is_typing = false,
            _ => {}
        }
    }

    fn command(&mut self, code: KeyCode, shown: &Shown) {
        match code {
            KeyCode::Char('?' | 'h') => self.is_help = true,
            KeyCode::Tab | KeyCode::Right => self.focus = self.focus.after(1),
            KeyCode::BackTab | KeyCode::Left => self.focus = self.focus.after(Pane::ALL.len() - 1),
            KeyCode::Char(' ' | 'p') => self.is_paused = !self.is_paused,
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Enter | KeyCode::Char('z') => self.is_zoomed = !self.is_zoomed,
            KeyCode::Esc => self.undo(),
            KeyCode::Char('s') => self.sort(1),
            KeyCode::Char('S') => self.sort(order::columns(self.focus).len().saturating_sub(1)),
            KeyCode::Char('r') => self.look_mut().is_reversed ^= true,
            KeyCode::Up | KeyCode::Char('k') => self.step(-1, shown),
            KeyCode::Down | KeyCode::Char('j') => self.step(1, shown),
            KeyCode::PageUp => self.step(-PAGE, shown),
            KeyCode::PageDown => self.step(PAGE, shown),
            KeyCode::Home | KeyCode::Char('g') => self.step(isize::MIN, shown),
            KeyCode::End | KeyCode::Char('G') => self.step(isize::MAX, shown),
            _ => {}
        }
    }

    /// Takes back what hides something: the filter first.
    fn undo(&mut self) {
        if self.look(self.focus).filter.is_empty() {
            self.is_zoomed = false;
        } else {
            self.look_mut().filter.clear();
        }
    }

    fn sort(&mut self, step: usize) {
        let columns = order::columns(self.focus).len();
        let look = self.look_mut();
        if columns > 0 {
            look.sort = (look.sort + step) % columns;
        }
        look.is_reversed = false;
    }

    /// Chooses another row.
    fn step(&mut self, by: isize, shown: &Shown) {
        let rows = order::rows(shown, self, self.focus);
        let row = self.row(self.focus, shown).saturating_add_signed(by).min(rows.saturating_sub(1));
        self.look_mut().row = row;
        if self.focus == Pane::Services {
            self.service = order::services(shown, self).get(row).map(|service| service.name.clone());
            // Its endpoints are others.
            self.looks[Pane::Endpoints as usize].row = 0;
        }
    }

    /// The row of a pane that is chosen: of a service that has moved, where it is now.
    pub fn row(&self, pane: Pane, shown: &Shown) -> usize {
        let of_service = || {
            let name = self.service.as_ref().filter(|_| pane == Pane::Services)?;
            order::services(shown, self).iter().position(|service| service.name == *name)
        };
        of_service().unwrap_or(self.look(pane).row).min(order::rows(shown, self, pane).saturating_sub(1))
    }

    /// The name of the service whose endpoints are to be seen.
    pub fn chosen_service(&self, shown: &Shown) -> Option<String> {
        let services = order::services(shown, self);
        services.get(self.row(Pane::Services, shown)).map(|service| service.name.clone())
    }
}
