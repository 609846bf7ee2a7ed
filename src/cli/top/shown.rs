//! What there is to be seen at one time: the newest picture, rates before it, and what happened.

use std::collections::VecDeque;
use std::sync::Arc;

use super::picture::Picture;
use crate::cli::colour::Tone;

/// The most columns that a history is drawn in.
const LONGEST_HISTORY: usize = 512;
/// The most events that are kept.
const MOST_EVENTS: usize = 500;

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// The newest picture.
    pub picture: Arc<Picture>,
    /// When it was made: the local time of day.
    pub time: String,
    /// Rates up to it.
    pub history: History,
    /// What happened, the newest first.
    pub events: VecDeque<Happened>,
    /// The daemon does not answer.
    pub away: Option<Away>,
}

/// Packets in a second, the newest first.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub received: VecDeque<u64>,
    pub sent: VecDeque<u64>,
    pub answered: VecDeque<u64>,
    pub dropped: VecDeque<u64>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// The local time of day.
    pub time: String,
    /// Its type.
    pub kind: String,
    /// What happened, in a sentence.
    pub text: String,
    pub tone: Tone,
}

/// Why the picture is old.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Away {
    /// The local time of day.
    pub since: String,
    /// One sentence.
    pub reason: String,
}

impl Shown {
    /// Shows a new picture; its rates belong into the history if they are a step after those before.
    pub fn see(&mut self, picture: Picture, time: String, is_step: bool) {
        if is_step {
            let totals = &picture.totals;
            for (series, rate) in [
                (&mut self.history.received, totals.received.packets),
                (&mut self.history.sent, totals.sent.packets),
                (&mut self.history.answered, totals.answered.packets),
                (&mut self.history.dropped, totals.dropped),
            ] {
                series.push_front(rate.unwrap_or(0.0).round() as u64);
                series.truncate(LONGEST_HISTORY);
            }
        }
        (self.picture, self.time, self.away) = (Arc::new(picture), time, None);
    }

    /// The daemon does not answer, from this time on if it did so far.
    pub fn miss(&mut self, time: String, reason: String) {
        let since = self.away.take().map_or(time, |away| away.since);
        self.away = Some(Away { since, reason });
    }

    /// Keeps an event.
    pub fn hear(&mut self, event: Happened) {
        self.events.push_front(event);
        self.events.truncate(MOST_EVENTS);
    }
}
