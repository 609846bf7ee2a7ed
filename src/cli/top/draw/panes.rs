//! The panes: each a title, and rows in columns.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use serde_json::Value;

use super::grid::{Column, Grid, figure, name, window, word};
use super::rates::rate;
use super::style::said;
use crate::cli::colour::Tone;
use crate::cli::table::Cell;
use crate::cli::top::order::{self, Rows};
use crate::cli::top::picture::{Drop, Endpoint, Service, Worker};
use crate::cli::top::shown::{Happened, Shown};
use crate::cli::top::view::{Pane, View};
use crate::cli::words::{moment, or_any, short, shown as escaped};

const SERVICES: [Column; 12] = [
    name("SERVICE"),
    word("VIP", 1),
    word("PROTOCOL", 5),
    word("PORTS", 6),
    figure("PACKETS/S", 9, 0),
    figure("BITS/S", 8, 3),
    figure("NEW/S", 7, 4),
    figure("ACTIVE", 6, 0),
    figure("DRAIN", 5, 0),
    figure("DOWN", 4, 0),
    figure("TRACKED", 7, 0),
    figure("HANDOVER", 8, 0),
];

const ENDPOINTS: [Column; 10] = [
    name("ENDPOINT"),
    word("ADDRESS", 2),
    word("STATE", 0),
    figure("WEIGHT", 6, 0),
    figure("DUE", 6, 0),
    figure("SHARE", 6, 0),
    figure("PACKETS/S", 9, 0),
    figure("BITS/S", 8, 3),
    figure("TRACKED", 7, 0),
    figure("REMEMBERED", 10, 4),
];

const DROPS: [Column; 3] = [name("REASON"), figure("TOTAL", 7, 1), figure("DROPS/S", 7, 0)];

const WORKERS: [Column; 9] = [
    figure("WORKER", 6, 0),
    figure("QUEUE", 5, 4),
    figure("CORE", 4, 3),
    figure("BUSY", 6, 0),
    figure("PACKETS/S", 9, 0),
    figure("SENT/S", 8, 5),
    figure("P50", 8, 2),
    figure("P99", 8, 0),
    figure("MAX", 8, 0),
];

const EVENTS: [Column; 3] = [word("TIME", 0), word("TYPE", 0), name("WHAT")];

/// Draws one pane.
pub fn draw(frame: &mut Frame, area: Rect, pane: Pane, rows: &Rows<'_>, shown: &Shown, view: &View) {
    let all = &shown.picture;
    let place = Place { pane, area, row: rows.row(pane, view), view };
    match pane {
        Pane::Services => place.draw(frame, "services", all.services.len(), &SERVICES, &rows.services, service),
        Pane::Endpoints => draw_endpoints(frame, &place, rows, shown),
        Pane::Drops => place.draw(frame, "drops", all.drops.len(), &DROPS, &rows.drops, drop),
        Pane::Workers => place.draw(frame, "workers", all.workers.len(), &WORKERS, &rows.workers, worker),
        Pane::Events => place.draw(frame, "events", shown.events.len(), &EVENTS, &rows.events, event),
    }
}

fn draw_endpoints(frame: &mut Frame, place: &Place<'_>, rows: &Rows<'_>, shown: &Shown) {
    let Some(chosen) = rows.service() else {
        return place.draw(frame, "endpoints: no service is chosen", 0, &ENDPOINTS, &[], endpoint);
    };
    let title = format!("endpoints of {} at {}", escaped(&chosen.name), escaped(&chosen.vip));
    match &rows.endpoints {
        Some(rows) => {
            let all = shown.picture.endpoints.as_ref().map_or(0, |known| known.all.len());
            place.draw(frame, &title, all, &ENDPOINTS, rows, endpoint);
        }
        None => {
            let why = if place.view.is_paused { "not asked for while paused" } else { "not answered yet" };
            place.draw(frame, &format!("{title}: {why}"), 0, &ENDPOINTS, &[], endpoint);
        }
    }
}

/// Where a pane is, and how it is looked at.
struct Place<'a> {
    pane: Pane,
    area: Rect,
    /// The chosen one.
    row: usize,
    view: &'a View,
}

impl Place<'_> {
    /// Draws a pane with these rows of so many.
    fn draw<T>(
        &self,
        frame: &mut Frame,
        title: &str,
        all: usize,
        columns: &[Column],
        rows: &[&T],
        cells: impl Fn(&T) -> Vec<Cell>,
    ) {
        let mut lines = self.area.rows();
        let Some(first) = lines.next() else { return };
        frame.render_widget(self.title(title, rows.len(), all), first);
        let area = Rect { y: first.bottom(), height: self.area.height - 1, ..self.area };
        let seen = window(rows.len(), self.row, usize::from(area.height.saturating_sub(1)));
        let has_focus = self.view.focus == self.pane;
        // Which service is chosen matters to the pane below it, too.
        let is_marked = (has_focus || self.pane == Pane::Services) && !rows.is_empty();
        let chosen = is_marked.then(|| self.row.saturating_sub(seen.start));
        let grid = Grid { columns, rows: rows[seen].iter().map(|row| cells(row)).collect(), chosen };
        grid.draw(area, frame.buffer_mut());
    }

    fn title(&self, title: &str, rows: usize, all: usize) -> Line<'static> {
        let (look, has_focus) = (self.view.look(self.pane), self.view.focus == self.pane);
        let mark = if has_focus { "▸ " } else { "─ " };
        let mut words = format!("{title} ({all})");
        if !look.filter.is_empty() {
            words = format!("{title} ({rows} of {all} with \"{}\")", escaped(&look.filter));
        }
        if let Some(column) = order::columns(self.pane).get(look.sort) {
            words += &format!(" by {column}{}", if look.is_reversed { ", reversed" } else { "" });
        }
        let rule = "─".repeat(usize::from(self.area.width));
        let tone = if has_focus { Tone::Heading } else { Tone::Plain };
        Line::from(vec![said(format!("{mark}{words} "), tone), said(rule, Tone::Faint)])
    }
}

fn count(number: u64, tone: Tone) -> Cell {
    Cell::from(number.to_string()).tone(if number > 0 { tone } else { Tone::Plain })
}

fn percent(part: f64) -> String {
    format!("{:.1}%", part * 100.0)
}

fn service(service: &Service) -> Vec<Cell> {
    let active = if service.states.active > 0 { Tone::Plain } else { Tone::Bad };
    let remembering = if service.is_handover_open { service.remembering.to_string() } else { "-".to_owned() };
    vec![
        service.name.as_str().into(),
        service.vip.as_str().into(),
        or_any(&service.protocol).into(),
        or_any(&service.ports).into(),
        rate(service.packets).into(),
        rate(service.bits).into(),
        rate(service.new_flows).into(),
        Cell::from(service.states.active.to_string()).tone(active),
        count(service.states.draining, Tone::Notice),
        count(service.states.down, Tone::Bad),
        count(service.tracked, Tone::Plain),
        Cell::from(remembering).tone(if service.is_handover_open { Tone::Notice } else { Tone::Plain }),
    ]
}

fn endpoint(endpoint: &Endpoint) -> Vec<Cell> {
    let is = &endpoint.is;
    let state = match (is.state.as_str(), &is.unreachable) {
        ("active", Some(_)) => Cell::from("unreachable").tone(Tone::Bad),
        ("active", None) => Cell::from("active").tone(Tone::Good),
        (state, _) => Cell::from(state).tone(if state == "draining" { Tone::Notice } else { Tone::Bad }),
    };
    vec![
        is.name.as_str().into(),
        is.address.as_str().into(),
        state,
        is.weight.to_string().into(),
        percent(endpoint.due()).into(),
        percent(endpoint.share()).into(),
        rate(endpoint.packets).into(),
        rate(endpoint.bits).into(),
        is.tracked_flows.to_string().into(),
        is.remembered_slots.to_string().into(),
    ]
}

fn drop(drop: &Drop) -> Vec<Cell> {
    let tone = if drop.rate.is_some_and(|rate| rate > 0.0) { Tone::Bad } else { Tone::Plain };
    vec![drop.reason.as_str().into(), short(drop.total as f64).into(), Cell::from(rate(drop.rate)).tone(tone)]
}

fn worker(worker: &Worker) -> Vec<Cell> {
    let time = |seconds: Option<f64>| Cell::from(seconds.map_or_else(|| "-".to_owned(), moment));
    let busy = worker.busy.map_or_else(|| "-".to_owned(), percent);
    let or_none = |value: &Value| Cell::from(value);
    vec![
        worker.number.to_string().into(),
        or_none(&worker.queue),
        or_none(&worker.core),
        busy.into(),
        rate(worker.received).into(),
        rate(worker.sent).into(),
        time(worker.median),
        time(worker.slow),
        time(worker.slowest),
    ]
}

fn event(event: &Happened) -> Vec<Cell> {
    vec![
        Cell::from(event.time.as_str()).tone(Tone::Faint),
        event.kind.as_str().into(),
        Cell::from(event.text.as_str()).tone(event.tone),
    ]
}
