//! How somebody looks at the picture, and what each key makes of that.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::order::{self, Rows};
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
        let rows = Rows::of(shown, self);
        let last = rows.count(self.focus).saturating_sub(1);
        let row = rows.row(self.focus, self).saturating_add_signed(by).min(last);
        let service = rows.services.get(row).map(|service| service.name.clone());
        self.look_mut().row = row;
        if self.focus == Pane::Services {
            self.service = service;
            // Its endpoints are others.
            self.looks[Pane::Endpoints as usize].row = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::top::fixtures::{endpoints, key, shown};
    use std::sync::Arc;

    fn press(view: &mut View, shown: &Shown, keys: &str) {
        for letter in keys.chars() {
            let code = match letter {
                '\n' => KeyCode::Enter,
                '\t' => KeyCode::Tab,
                '\u{8}' => KeyCode::Backspace,
                '\u{1b}' => KeyCode::Esc,
                letter => KeyCode::Char(letter),
            };
            assert_eq!(view.key(key(code), shown), Outcome::Stay, "{letter:?}");
        }
    }

    fn chosen(view: &View, shown: &Shown) -> Option<String> {
        Rows::of(shown, view).service().map(|service| service.name.clone())
    }

    fn row(view: &View, shown: &Shown, pane: Pane) -> usize {
        Rows::of(shown, view).row(pane, view)
    }

    fn seen(view: &View, shown: &Shown) -> Vec<String> {
        Rows::of(shown, view).services.iter().map(|service| service.name.clone()).collect()
    }

    #[test]
    fn services_are_sorted_by_each_column_and_the_other_way_round() {
        let (shown, mut view) = (shown(&["a", "b", "c"]), View::default());
        assert_eq!(seen(&view, &shown), ["c", "b", "a"], "by packets");
        press(&mut view, &shown, "r");
        assert_eq!(seen(&view, &shown), ["a", "b", "c"]);
        press(&mut view, &shown, "s");
        assert_eq!(seen(&view, &shown), ["a", "b", "c"], "what is equal is by name, and no longer reversed");
        press(&mut view, &shown, "SS");
        assert_eq!(order::columns(Pane::Services)[view.look(Pane::Services).sort], "name");
        press(&mut view, &shown, "s");
        assert_eq!(view.look(Pane::Services).sort, 0, "round and round");
        press(&mut view, &shown, "\t\t\t\tsSr");
        assert_eq!(view.focus, Pane::Events, "which have no columns to be sorted by");
    }

    #[test]
    fn a_filter_is_typed_kept_and_cleared() {
        let (shown, mut view) = (shown(&["web/a", "web/b", "qdns"]), View::default());
        press(&mut view, &shown, "/Qx\u{8}");
        assert!(view.is_typing && seen(&view, &shown) == ["qdns"], "q is a letter here: {view:?}");
        press(&mut view, &shown, "\n\u{1b}");
        assert!(!view.is_typing && seen(&view, &shown).len() == 3);
        press(&mut view, &shown, "/zzz");
        assert_eq!((seen(&view, &shown).len(), chosen(&view, &shown)), (0, None));
        press(&mut view, &shown, "\u{1b}/203.0");
        assert_eq!(seen(&view, &shown).len(), 3, "a VIP is found, too");
    }

    #[test]
    fn a_chosen_service_stays_chosen_where_the_order_changes() {
        let (before, mut view) = (shown(&["a", "b", "c"]), View::default());
        press(&mut view, &before, "j");
        assert_eq!((chosen(&view, &before).as_deref(), row(&view, &before, Pane::Services)), (Some("b"), 1));
        let after = shown(&["a", "c", "d", "b"]);
        assert_eq!((chosen(&view, &after).as_deref(), row(&view, &after, Pane::Services)), (Some("b"), 0));
        let without = shown(&["a", "c"]);
        assert_eq!(chosen(&view, &without).as_deref(), Some("a"), "the row where it was");
        press(&mut view, &before, "Gjjj");
        assert_eq!(chosen(&view, &before).as_deref(), Some("a"));
        press(&mut view, &before, "gk");
        assert_eq!(chosen(&view, &before).as_deref(), Some("c"));
        press(&mut view, &shown(&[]), "jkGg");
    }

    #[test]
    fn each_pane_is_moved_in_by_itself() {
        let mut shown = shown(&["a", "b"]);
        Arc::make_mut(&mut shown.picture).endpoints = Some(endpoints("b", &[(1, 30), (1, 40), (1, 30)]));
        let mut view = View::default();
        press(&mut view, &shown, "\tjjjj");
        assert_eq!((row(&view, &shown, Pane::Endpoints), row(&view, &shown, Pane::Services)), (2, 0));
        view.key(key(KeyCode::BackTab), &shown);
        press(&mut view, &shown, "j");
        assert_eq!((view.focus, row(&view, &shown, Pane::Endpoints)), (Pane::Services, 0), "those of another service");
        assert!(Rows::of(&shown, &view).endpoints.is_none(), "and not known yet");
        view.key(key(KeyCode::Left), &shown);
        assert_eq!(view.focus, Pane::Events, "round and round");
    }

    #[test]
    fn keys_quit_pause_zoom_and_explain() {
        let (shown, mut view) = (shown(&["a"]), View::default());
        press(&mut view, &shown, "pz?");
        assert!(view.is_paused && view.is_zoomed && view.is_help);
        press(&mut view, &shown, "p \u{1b}");
        assert!(!view.is_paused && !view.is_zoomed && !view.is_help, "the first key only ends the help");
        assert_eq!(view.key(key(KeyCode::Char('q')), &shown), Outcome::Quit);
        press(&mut view, &shown, "/q");
        let control = |letter| KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL);
        assert_eq!(view.key(control('z'), &shown), Outcome::Stay);
        assert_eq!(view.look(Pane::Services).filter, "q", "no letter");
        assert_eq!(view.key(control('c'), &shown), Outcome::Quit, "also while typing");
    }
}
