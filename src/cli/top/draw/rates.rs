//! What the node does in a second, and has done in the seconds before.

use std::collections::VecDeque;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::{RenderDirection, Sparkline};

use super::style::{said, style};
use crate::cli::colour::Tone;
use crate::cli::top::picture::Traffic;
use crate::cli::top::shown::Shown;
use crate::cli::words::short;

/// In rows.
pub const HEIGHT: u16 = 4;
/// Of the words before a sparkline, in columns.
const WORDS: u16 = 41;

/// Draws a line each for what was received, sent, answered and dropped.
pub fn draw(frame: &mut Frame, area: Rect, shown: &Shown) {
    let (totals, history) = (&shown.picture.totals, &shown.history);
    let dropped = Traffic { packets: totals.dropped, bits: None };
    let is_dropping = totals.dropped.is_some_and(|rate| rate > 0.0);
    let series = [
        ("received", totals.received, &history.received, Tone::Plain),
        ("sent", totals.sent, &history.sent, Tone::Good),
        ("answered", totals.answered, &history.answered, Tone::Plain),
        ("dropped", dropped, &history.dropped, if is_dropping { Tone::Bad } else { Tone::Plain }),
    ];
    for ((title, traffic, history, tone), line) in series.into_iter().zip(area.rows()) {
        let [words, rest] = Layout::horizontal([Constraint::Length(WORDS), Constraint::Fill(1)]).areas(line);
        frame.render_widget(
            Line::from(vec![said(format!("{title:<9}"), Tone::Heading), said(in_words(traffic), tone)]),
            words,
        );
        draw_history(frame, rest, history, tone);
    }
}

fn in_words(traffic: Traffic) -> String {
    let packets = format!("{:>7} packets/s", rate(traffic.packets));
    match traffic.bits {
        Some(bits) => format!("{packets}{:>7} bits/s", short(bits)),
        None => packets,
    }
}

/// A rate, or that it is not known.
pub fn rate(rate: Option<f64>) -> String {
    rate.map_or_else(|| "-".to_owned(), short)
}

/// The newest to the right.
fn draw_history(frame: &mut Frame, area: Rect, history: &VecDeque<u64>, tone: Tone) {
    let data: Vec<u64> = history.iter().copied().take(area.width.into()).collect();
    let line = Sparkline::default().data(data).direction(RenderDirection::RightToLeft).style(style(tone));
    frame.render_widget(line, area);
}
