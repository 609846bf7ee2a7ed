//! What is seen and how it is looked at, and what each message makes of both. No terminal, socket or clock here.

use std::time::Duration;

use ratatui::crossterm::event::{Event, KeyEventKind};

use super::order::Rows;
use super::picture::Service;
use super::reading::Reading;
use super::sample::Sampler;
use super::shown::{Happened, Shown};
use super::view::{Outcome, View};

/// What the threads have to say.
#[derive(Debug)]
pub enum Message {
    /// A key, or another size of the terminal.
    Terminal(Event),
    /// What the daemon has answered, or why it has not.
    Answer(Box<Result<Reading, String>>),
    /// The daemon has not answered for so long.
    Silence(Duration),
    /// Something happened at the daemon.
    Event(Happened),
    /// A signal asks for the end.
    Stop,
    /// The terminal has gone.
    Lost(std::io::Error),
}

/// All that the screen is drawn from.
pub struct App {
    sampler: Sampler,
    now: Shown,
    /// What was to be seen when it was told to stand still.
    still: Option<Shown>,
    /// How it is looked at.
    pub view: View,
}

impl App {
    /// One that gets a reading in each interval.
    pub fn new(interval: Duration) -> Self {
        Self { sampler: Sampler::new(interval), now: Shown::default(), still: None, view: View::default() }
    }

    /// What is to be seen.
    pub fn shown(&self) -> &Shown {
        self.still.as_ref().unwrap_or(&self.now)
    }

    /// The service whose endpoints are wanted.
    pub fn wanted(&self) -> Option<String> {
        Rows::of(self.shown(), &self.view).service().map(|service| service.name.clone())
    }

    /// Takes in what came at this time of day.
    pub fn take(&mut self, message: Message, time: impl FnOnce() -> String) -> std::io::Result<Outcome> {
        match message {
            Message::Terminal(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                let shown = self.still.as_ref().unwrap_or(&self.now);
                let outcome = self.view.key(key, shown);
                self.settle();
                return Ok(outcome);
            }
            Message::Terminal(_) => {}
            Message::Answer(answer) => self.answered(*answer, time()),
            Message::Silence(elapsed) => {
                self.now.miss(time(), format!("no answer for {} s", elapsed.as_secs()));
            }
            Message::Event(event) => self.now.hear(event),
            Message::Stop => return Ok(Outcome::Quit),
            Message::Lost(error) => return Err(error),
        }
        Ok(Outcome::Stay)
    }

    fn answered(&mut self, answer: Result<Reading, String>, time: String) {
        match answer {
            Ok(reading) => {
                let (picture, is_step) = self.sampler.take(reading);
                self.now.see(picture, time, is_step);
            }
            Err(reason) => self.now.miss(time, reason),
        }
        // Rates come and go: the first service that is seen to be the busiest stays chosen until somebody chooses.
        let is_busy = |service: &Service| service.packets.is_some_and(|rate| rate > 0.0);
        if self.view.service.is_none() && self.now.picture.services.iter().any(is_busy) {
            self.view.service = self.wanted();
        }
    }

    /// Stands still, or no longer, as the view says.
    fn settle(&mut self) {
        if !self.view.is_paused {
            self.still = None;
        } else if self.still.is_none() {
            self.still = Some(self.now.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use ratatui::crossterm::event::KeyCode;
    use serde_json::json;

    use super::*;
    use crate::cli::colour::Tone;
    use crate::cli::top::fixtures::{key, reading};

    fn take(app: &mut App, message: Message, time: &str) -> Outcome {
        app.take(message, || time.to_owned()).expect("the terminal is there")
    }

    fn press(letter: char) -> Message {
        Message::Terminal(Event::Key(key(KeyCode::Char(letter))))
    }

    fn answer(begun: Instant, after: u64) -> Message {
        let stats = json!({
            "pointsman_received_packets_total": { "0": after },
            "pointsman_service_packets_total": { "web": after },
        });
        Message::Answer(Box::new(Ok(reading(begun, after, 1, stats))))
    }

    #[test]
    fn while_it_stands_still_nothing_of_what_comes_is_lost() {
        let (begun, mut app) = (Instant::now(), App::new(Duration::from_secs(1)));
        take(&mut app, answer(begun, 0), "12:00:00");
        assert_eq!((app.wanted().as_deref(), &app.view.service), (Some("web"), &None), "nothing is known to be busy");
        take(&mut app, press('p'), "");
        take(&mut app, answer(begun, 1_000), "12:00:01");
        let (time, kind, text) = ("12:00:01".to_owned(), "drain".to_owned(), String::new());
        take(&mut app, Message::Event(Happened { time, kind, text, tone: Tone::Plain }), "");
        take(&mut app, Message::Answer(Box::new(Err("gone".to_owned()))), "12:00:02");
        assert_eq!((app.shown().time.as_str(), app.shown().events.len(), &app.shown().away), ("12:00:00", 0, &None));
        take(&mut app, press('p'), "");
        assert_eq!((app.shown().time.as_str(), app.shown().events.len()), ("12:00:01", 1));
        assert_eq!(app.shown().picture.totals.received.packets, Some(1_000.0));
        assert_eq!(app.view.service.as_deref(), Some("web"), "it stays chosen");
        assert_eq!(app.shown().away.as_ref().map(|away| away.since.as_str()), Some("12:00:02"));
    }

    #[test]
    fn a_daemon_that_is_silent_is_away_until_it_answers() {
        let (begun, mut app) = (Instant::now(), App::new(Duration::from_secs(1)));
        for (seconds, time) in [(3, "12:00:03"), (4, "12:00:04")] {
            take(&mut app, Message::Silence(Duration::from_secs(seconds)), time);
        }
        let away = app.shown().away.clone().expect("it is");
        assert_eq!((away.since.as_str(), away.reason.as_str()), ("12:00:03", "no answer for 4 s"));
        take(&mut app, answer(begun, 0), "12:00:05");
        assert_eq!(app.shown().away, None);
    }

    #[test]
    fn a_key_a_signal_and_a_lost_terminal_end_it() {
        let mut app = App::new(Duration::from_secs(1));
        assert_eq!(take(&mut app, Message::Terminal(Event::Resize(1, 1)), ""), Outcome::Stay);
        assert_eq!(take(&mut app, press('q'), ""), Outcome::Quit);
        assert_eq!(take(&mut app, Message::Stop, ""), Outcome::Quit);
        let lost = Message::Lost(std::io::ErrorKind::BrokenPipe.into());
        assert!(app.take(lost, String::new).is_err());
    }
}
