//! What time it is, for all that this node counts by the second.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::moment::{Now, Second};

/// A clock that goes on evenly, whatever is done to the wall clock meanwhile: it begins with what that says, and counts by
/// the machine's monotonic clock from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// What it says at `monotonic`: the time since 1970.
    says: Duration,
    /// By the monotonic clock, which all processes of a machine share until it is booted again.
    monotonic: Duration,
}

impl Clock {
    /// One that begins now.
    pub fn start() -> Self {
        Self { says: wall(), monotonic: monotonic() }
    }

    /// What time it is.
    pub fn now(&self) -> Now {
        self.now_by(wall(), monotonic())
    }

    fn now_by(&self, wall: Duration, monotonic: Duration) -> Now {
        let steady = self.says.saturating_add(monotonic.saturating_sub(self.monotonic));
        // A difference of less than a second is no difference, on whichever side of a full second the two are.
        let ahead = wall.as_millis() as i64 - steady.as_millis() as i64;
        let steady = Second::try_from(steady.as_secs()).unwrap_or(Second::MAX);
        let wall = i64::from(steady) + ahead / 1_000;
        Now { steady, wall: Second::try_from(wall.max(0)).unwrap_or(Second::MAX) }
    }
}

/// Seconds since 1970.
pub fn wall_clock() -> Second {
    Second::try_from(wall().as_secs()).unwrap_or(Second::MAX)
}

fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_evenly_while_the_wall_clock_is_put_forward_and_back() {
        let seconds = Duration::from_secs;
        let clock = Clock { says: seconds(1_795_255_200), monotonic: Duration::from_millis(5_900) };
        let now = |wall: u64, monotonic: u64| {
            let now = clock.now_by(seconds(1_795_255_200 + wall), seconds(5 + monotonic));
            (now.steady - 1_795_255_200, now.offset())
        };
        assert_eq!(now(10, 11), (10, 0));
        assert_eq!(now(910, 11), (10, 899));
        assert_eq!(now(911, 12), (11, 899));
        assert_eq!(clock.now_by(seconds(7), seconds(9)), Now { steady: 1_795_255_203, wall: 7 });
        assert!(clock.now_by(seconds(0), seconds(0)).steady == 1_795_255_200, "nobody's monotonic clock goes back");
    }
}
