//! What the screen waits for, each in a thread of its own, so that no key waits for a daemon that takes its time.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use jiff::Zoned;
use ratatui::crossterm::event;
use serde_json::{Value, json};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::app::Message;
use super::ask::Asker;
use super::shown::Happened;
use crate::cli::session::{AskError, Session};
use crate::cli::watch::described;
use crate::cli::words::plain;

/// Before a daemon that has gone is looked for again.
const PAUSE: Duration = Duration::from_secs(1);

/// The local time of day.
pub fn time_of_day() -> String {
    Zoned::now().strftime("%T").to_string()
}

/// Answers questions: how all is, and the endpoints of this service.
pub fn answers(mut asker: Asker, messages: Sender<Message>) -> Sender<Option<String>> {
    let (questions, asked) = mpsc::channel::<Option<String>>();
    thread::spawn(move || {
        for service in asked {
            let answer = asker.ask(service.as_deref()).map_err(|error| error.to_string());
            if messages.send(Message::Answer(Box::new(answer))).is_err() {
                return;
            }
        }
    });
    questions
}

/// Tells what happens at the daemon, whenever there is one.
pub fn events(socket: PathBuf, messages: Sender<Message>) {
    thread::spawn(move || {
        loop {
            let tell = |event: &Value| messages.send(Message::Event(happened(event))).is_ok();
            // Why nothing is heard is said by whoever asks at the same socket.
            _ = listen(&socket, tell);
            thread::sleep(PAUSE);
        }
    });
}

/// Tells events until there are no more, or nobody wants them.
fn listen(socket: &Path, tell: impl Fn(&Value) -> bool) -> Result<(), AskError> {
    let mut session = Session::open(socket)?;
    let mut event = session.ask("subscribe", &json!({}))?;
    event["type"] = json!("connected");
    session.wait_at_most(None)?;
    while tell(&event) {
        event = match session.event() {
            Ok(event) => event,
            Err(error) => {
                tell(&json!({ "type": "disconnected", "reason": error.to_string() }));
                return Err(error);
            }
        };
    }
    Ok(())
}

fn happened(event: &Value) -> Happened {
    let (text, tone) = described(event);
    Happened { time: time_of_day(), kind: plain(&event["type"]), text, tone }
}

/// Tells each key, and each other size of the terminal.
pub fn terminal(messages: Sender<Message>) {
    thread::spawn(move || {
        loop {
            let message = event::read().map_or_else(Message::Lost, Message::Terminal);
            let is_last = matches!(message, Message::Lost(_));
            if messages.send(message).is_err() || is_last {
                return;
            }
        }
    });
}

/// Tells when a signal asks for the end.
pub fn signals(messages: Sender<Message>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::spawn(move || {
        for _ in signals.forever() {
            if messages.send(Message::Stop).is_err() {
                return;
            }
        }
    });
    Ok(())
}
