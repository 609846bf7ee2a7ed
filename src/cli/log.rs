//! Where the daemon's words go: to the journal as fields where systemd has connected it there, else to standard error.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anstream::{AutoStream, ColorChoice};
use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

/// What stands before the names of fields in the journal: `POINTSMAN_REVISION=...`.
const FIELD_PREFIX: &str = "POINTSMAN";
/// The same line of code may speak so often within a period; what others have the node say must not fill a disk.
const MOST: u32 = 20;
const PERIOD: Duration = Duration::from_secs(10);

/// From now on the daemon can be heard. `RUST_LOG` chooses what is said; by default `info` and above.
pub fn init() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let said = tracing_subscriber::registry().with(filter).with(RateLimit::default());
    match journal() {
        Some(journal) => said.with(journal).init(),
        None => said
            .with(
                fmt::layer().with_ansi(AutoStream::choice(&io::stderr()) != ColorChoice::Never).with_writer(io::stderr),
            )
            .init(),
    }
}

/// The journal, where standard error is a stream to it (systemd.exec(5), `$JOURNAL_STREAM`). Where it cannot be had, what
/// is written there gets into it all the same, as text.
fn journal() -> Option<tracing_journald::Layer> {
    let stream = std::env::var("JOURNAL_STREAM").ok()?;
    let stderr = rustix::fs::fstat(io::stderr()).ok()?;
    if stream != format!("{}:{}", stderr.st_dev, stderr.st_ino) {
        return None;
    }
    let journal = tracing_journald::layer().ok()?;
    Some(journal.with_field_prefix(Some(FIELD_PREFIX.to_owned())).with_syslog_identifier("pointsman".to_owned()))
}

/// Leaves out what one line of code says too often, and says afterwards how much that was.
#[derive(Default)]
struct RateLimit {
    by_line: Mutex<HashMap<Identifier, Spoken>>,
}

/// How often one line of code has spoken.
#[derive(Clone, Copy, Debug)]
struct Spoken {
    since: Instant,
    times: u32,
}

impl Spoken {
    /// Whether it may speak at `now`, and how much it was not let say in a period that is over.
    fn admit(&mut self, now: Instant) -> (bool, u32) {
        let mut left_out = 0;
        if now.duration_since(self.since) >= PERIOD {
            left_out = self.times.saturating_sub(MOST);
            *self = Self { since: now, times: 0 };
        }
        self.times = self.times.saturating_add(1);
        (self.times <= MOST, left_out)
    }
}

impl<S: Subscriber> Layer<S> for RateLimit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let (metadata, now) = (event.metadata(), Instant::now());
        if metadata.target() == module_path!() || *metadata.level() > Level::INFO {
            return true;
        }
        let (may_speak, left_out) = {
            let mut by_line = self.by_line.lock().unwrap_or_else(PoisonError::into_inner);
            let spoken = by_line.entry(metadata.callsite()).or_insert(Spoken { since: now, times: 0 });
            spoken.admit(now)
        };
        if left_out > 0 {
            let (file, line) = (metadata.file().unwrap_or_default(), metadata.line().unwrap_or_default());
            tracing::warn!(file, line, left_out, "{left_out} messages of one kind were left out; the next is another");
        }
        may_speak
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn a_line_that_has_said_too_much_is_silent_for_the_rest_of_its_period() {
        let start = Instant::now();
        let mut spoken = Spoken { since: start, times: 0 };
        let said = (0..100).filter(|_| spoken.admit(start).0).count();
        assert_eq!(said, MOST as usize);
        assert_eq!(spoken.admit(start + PERIOD - Duration::from_millis(1)), (false, 0));
        assert_eq!(spoken.admit(start + PERIOD), (true, 101 - MOST));
        assert_eq!(spoken.admit(start + 3 * PERIOD), (true, 0));
    }

    #[derive(Clone, Default)]
    struct Heard(Arc<AtomicU32>);

    impl<S: Subscriber> Layer<S> for Heard {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn one_line_that_says_too_much_silences_no_other() {
        let heard = Heard::default();
        let said = tracing_subscriber::registry().with(RateLimit::default()).with(heard.clone());
        tracing::subscriber::with_default(said, || {
            (0..1_000).for_each(|_| tracing::info!("again"));
            tracing::error!("and something else");
        });
        assert_eq!(heard.0.load(Ordering::Relaxed), MOST + 1);
    }
}
