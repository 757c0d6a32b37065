//! The system's clock, read in one place.

use std::time::{SystemTime, UNIX_EPOCH};

use countersign_core::time::Micros;
use countersign_engine::Clock;

/// The time of day. It may step; whoever compares two readings expects that.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place of the service where time comes from; everything else is given it"
    )]
    fn now(&self) -> Micros {
        let now = SystemTime::now();
        // Before 1970 the clock is plainly wrong; counting on from 0 keeps everything expired.
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        Micros::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_later_than_the_writing_of_this_test_and_does_not_stand_still() {
        let first = SystemClock.now();
        assert!(first > Micros::from_secs(1_750_000_000), "{first}");
        while SystemClock.now() == first {}
    }
}
