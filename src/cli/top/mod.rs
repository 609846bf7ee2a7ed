//! `top`: a live screen. Threads wait for the daemon, for keys and for signals, and say so in one channel; what they say
//! makes a picture ([`app`]), which is drawn ([`draw`]).

mod app;
mod ask;
mod draw;
#[cfg(test)]
mod fixtures;
mod order;
mod picture;
mod reading;
mod sample;
mod screen;
mod shown;
mod threads;
mod view;

use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::client::DEFAULT_SOCKET;
use app::{App, Message};
use ask::Asker;
use screen::Screen;
use threads::time_of_day;
use view::Outcome;

/// A daemon that has not answered for so long is said to be away.
const PATIENCE: Duration = Duration::from_secs(3);

/// `pointsman top`
#[derive(Debug, clap::Args)]
pub struct Top {
    /// The seconds between two looks at the counters
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    interval: Duration,
    /// The daemon's control socket
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
}

fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=60.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "a number of seconds from 0.1 to 60".to_owned())
}

/// Shows the screen until a key or a signal ends it. A daemon that is not there in the first place is an error; one that
/// goes is waited for.
pub fn top(args: &Top) -> Result<()> {
    screen::refuse_without_terminal()?;
    let mut asker = Asker::new(&args.socket);
    let first = asker.ask(None)?;
    let mut app = App::new(args.interval);
    app.take(Message::Answer(Box::new(Ok(first))), time_of_day)?;

    let (sender, messages) = mpsc::channel();
    threads::signals(sender.clone())?;
    let mut screen = Screen::open()?;
    threads::terminal(sender.clone());
    threads::events(args.socket.clone(), sender.clone());
    let questions = Questions::new(threads::answers(asker, sender), args.interval);
    run(&mut screen, &mut app, &messages, questions)
}

fn run(screen: &mut Screen, app: &mut App, messages: &Receiver<Message>, mut questions: Questions) -> Result<()> {
    loop {
        questions.ask_if_due(app.wanted());
        screen.draw(|frame| draw::draw(frame, app.shown(), &app.view))?;
        let mut next = match messages.recv_timeout(questions.pause()) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => questions.silence().map(Message::Silence),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        // All that came is taken in before anything is drawn: a thousand events are one picture.
        while let Some(message) = next {
            questions.is_open &= !matches!(message, Message::Answer(_));
            if app.take(message, time_of_day)? == Outcome::Quit {
                return Ok(());
            }
            next = messages.try_recv().ok();
        }
    }
}

/// When the daemon is asked: once an interval, and at once where another service is chosen; never twice at a time.
struct Questions {
    to: Sender<Option<String>>,
    interval: Duration,
    due: Instant,
    asked: Instant,
    is_open: bool,
    service: Option<String>,
}

impl Questions {
    fn new(to: Sender<Option<String>>, interval: Duration) -> Self {
        let now = Instant::now();
        Self { to, interval, due: now, asked: now, is_open: false, service: None }
    }

    fn ask_if_due(&mut self, service: Option<String>) {
        let now = Instant::now();
        if self.is_open || (now < self.due && service == self.service) {
            return;
        }
        if now >= self.due {
            self.due = now + self.interval;
        }
        // Where nobody answers any more the channel of messages says so, too.
        self.is_open = self.to.send(service.clone()).is_ok();
        (self.service, self.asked) = (service, now);
    }

    /// How long an answer has been waited for, if that is longer than a busy daemon takes.
    fn silence(&self) -> Option<Duration> {
        let elapsed = self.asked.elapsed();
        (self.is_open && elapsed > PATIENCE).then_some(elapsed)
    }

    /// How long there is nothing to do.
    fn pause(&self) -> Duration {
        if self.is_open { self.interval.min(PATIENCE) } else { self.due.saturating_duration_since(Instant::now()) }
    }
}
