//! `watch`: an event a line, until interrupted.

use std::time::Duration;

use anyhow::Result;
use jiff::Zoned;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

use super::changes::{mark, sentence};
use super::client::Connection;
use super::colour::Tone;
use super::out::say;
use super::session::{AskError, Session};
use super::words::{plain, quoted};

/// How long the first attempt to reach a daemon that has gone waits. Each later one waits twice as long as the one before,
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// `pointsman watch`
#[derive(Debug, clap::Args)]
pub struct Watch {
    /// End with exit code 1 when the daemon goes away, instead of waiting for it
    #[arg(long)]
    exit: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Prints what happens. A daemon that is not there in the first place is an error; one that goes is waited for.
pub fn watch(args: &Watch) -> Result<()> {
    let mut session = subscribe(&args.connection)?;
    loop {
        let lost = follow(&mut session, args.connection.json);
        tell(args.connection.json, &json!({ "type": "disconnected", "reason": lost.to_string() }));
        if args.exit {
            return Err(lost.into());
        }
        session = reconnect(&args.connection);
    }
}

/// Connects, and says what is in force now.
fn subscribe(connection: &Connection) -> Result<Session, AskError> {
    let mut session = connection.open()?;
    let mut now = session.ask("subscribe", &json!({}))?;
    now["type"] = json!("connected");
    tell(connection.json, &now);
    session.wait_at_most(None)?;
    Ok(session)
}

fn reconnect(connection: &Connection) -> Session {
    let mut pause = FIRST_PAUSE;
    loop {
        wait(None, Some(pause));
        if let Ok(session) = subscribe(connection) {
            return session;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Prints events until there are no more, and answers why.
fn follow(session: &mut Session, is_json: bool) -> AskError {
    loop {
        if !session.has_read_ahead() {
            wait(Some(session), None);
        }
        match session.event() {
            Ok(event) => tell(is_json, &event),
            Err(error) => return error,
        }
    }
}

/// Waits for the daemon to say something or for a time to pass. Ends the command when nobody reads any more what it
/// prints: it would else learn that from the next event only, and that may never come.
fn wait(session: Option<&Session>, limit: Option<Duration>) {
    let out = std::io::stdout();
    // Of standard output only errors are wanted, which need not be asked for.
    let mut descriptors = vec![PollFd::new(&out, PollFlags::empty())];
    descriptors.extend(session.map(|session| PollFd::new(session.stream(), PollFlags::IN)));
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    let has_happened = poll(&mut descriptors, limit.as_ref()).is_ok_and(|happened| happened > 0);
    if has_happened && descriptors[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
        std::process::exit(0);
    }
}

fn tell(is_json: bool, event: &Value) {
    let now = Zoned::now();
    if is_json {
        let mut event = event.clone();
        event["time"] = json!(now.strftime("%FT%T%.3f%:z").to_string());
        say!("{event}");
        return;
    }
    let (kind, (text, tone)) = (plain(&event["type"]), described(event));
    let time = Tone::Faint.paint(&now.strftime("%F %T").to_string());
    say!("{time}  {}", tone.paint(&format!("{kind:<12}  {text}")));
}

/// An event without its type, in a tone, the command's own types too.
pub fn described(event: &Value) -> (String, Tone) {
    match event["type"].as_str().unwrap_or_default() {
        "connected" => {
            let (revision, generation) = (quoted(&event["revision"]), plain(&event["generation"]));
            (format!("{revision} is in force as generation {generation}"), Tone::Good)
        }
        "disconnected" => (plain(&event["reason"]), Tone::Bad),
        "service" | "endpoint" => {
            let (text, tone) = sentence(event);
            (format!("{} {text}", mark(event).sign), tone)
        }
        _ => sentence(event),
    }
}
