//! What is shown, drawn: a head, rates, panes, a foot. Pure: from what there is to be seen and how it is looked at.

mod foot;
mod grid;
mod head;
mod help;
mod panes;
mod rates;
mod style;
#[cfg(test)]
mod tests;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Clear, Paragraph, Wrap};

use super::order::Rows;
use super::shown::Shown;
use super::view::{Pane, View};

/// The least columns and rows that say anything.
const LEAST: (u16, u16) = (60, 16);
/// From so many rows for the panes on, all of them are to be seen at once.
const ALL_AT_ONCE: u16 = 26;
/// What a pane has that is not the one that keys are for, in rows.
const SMALL: u16 = 5;

/// Draws all of it.
pub fn draw(frame: &mut Frame, shown: &Shown, view: &View) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        return draw_too_small(frame, area);
    }
    let head = head::lines(shown, view);
    let heights = [head.len() as u16, rates::HEIGHT, 0, 1];
    let [head_area, rates_area, panes_area, foot_area] = Layout::vertical(
        heights.map(|height| if height == 0 { Constraint::Fill(1) } else { Constraint::Length(height) }),
    )
    .areas(area);
    frame.render_widget(Paragraph::new(head), head_area);
    rates::draw(frame, rates_area, shown);
    if view.is_help {
        help::draw(frame, panes_area);
    } else {
        let rows = Rows::of(shown, view);
        for (pane, area) in places(panes_area, view) {
            panes::draw(frame, area, pane, &rows, shown, view);
        }
    }
    frame.render_widget(foot::line(view), foot_area);
}

fn draw_too_small(frame: &mut Frame, area: Rect) {
    let sentence = format!(
        "The terminal has {} columns and {} rows; pointsman top needs {} and {}. q quits.",
        area.width, area.height, LEAST.0, LEAST.1
    );
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(Line::from(sentence)).wrap(Wrap { trim: true }), area);
}

/// Which panes are to be seen, and where.
fn places(area: Rect, view: &View) -> Vec<(Pane, Rect)> {
    if view.is_zoomed {
        return vec![(view.focus, area)];
    }
    if area.height >= ALL_AT_ONCE {
        let heights = [Constraint::Fill(3), Constraint::Fill(2), Constraint::Length(8), Constraint::Length(7)];
        let [services, endpoints, middle, events] = Layout::vertical(heights).areas(area);
        let [drops, workers] = side_by_side(middle);
        let places = [services, endpoints, drops, workers, events];
        return Pane::ALL.into_iter().zip(places).collect();
    }
    let small = (area.height / 3).min(SMALL);
    let floor = match view.focus {
        Pane::Services => 0,
        Pane::Endpoints => 1,
        _ => 2,
    };
    let height = |i| if i == floor { Constraint::Fill(1) } else { Constraint::Length(small) };
    let [services, endpoints, below] = Layout::vertical([0, 1, 2].map(height)).areas(area);
    let mut places = vec![(Pane::Services, services), (Pane::Endpoints, endpoints)];
    if view.focus == Pane::Events {
        places.push((Pane::Events, below));
    } else {
        places.extend([Pane::Drops, Pane::Workers].into_iter().zip(side_by_side(below)));
    }
    places
}

/// Drops and workers.
fn side_by_side(area: Rect) -> [Rect; 2] {
    Layout::horizontal([Constraint::Fill(3), Constraint::Fill(5)]).spacing(1).areas(area)
}
