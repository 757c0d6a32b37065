//! Time as a number: microseconds since the Unix epoch, the form in which both databases and the ledger keep it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment: microseconds since 1970-01-01T00:00:00Z. Arithmetic saturates, so that no input can make a deadline wrap round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Micros(i64);

impl Micros {
    /// Later than every moment that this program meets.
    pub const MAX: Self = Self(i64::MAX);

    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros_of(duration)))
    }

    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(micros_of(duration)))
    }

    /// The next representable moment: used to keep the entries of one request in order when two fall on the same microsecond.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// How long from `earlier` until here; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// RFC 3339 in UTC, as people and JSON read it. `{:.6}` always has six digits of a second, so that text sorts as time does.
impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (jiff::Timestamp::from_microsecond(self.0), f.precision()) {
            (Ok(timestamp), Some(digits)) => write!(f, "{timestamp:.digits$}"),
            (Ok(timestamp), None) => write!(f, "{timestamp}"),
            (Err(_), _) => write!(f, "{}us", self.0),
        }
    }
}

fn micros_of(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_never_wraps() {
        assert_eq!(Micros::MAX.plus(Duration::from_secs(1)), Micros::MAX);
        assert_eq!(Micros::from_micros(i64::MIN).minus(Duration::from_secs(1)), Micros::from_micros(i64::MIN));
        assert_eq!(Micros::from_secs(5).since(Micros::from_secs(9)), Duration::ZERO);
    }

    #[test]
    fn seconds_round_down_before_the_epoch_too() {
        assert_eq!(Micros::from_micros(-1).as_secs(), -1);
        assert_eq!(Micros::from_micros(1_999_999).as_secs(), 1);
    }

    #[test]
    fn prints_as_rfc_3339() {
        assert_eq!(Micros::from_secs(59).to_string(), "1970-01-01T00:00:59Z");
        assert_eq!(format!("{:.6}", Micros::from_secs(59)), "1970-01-01T00:00:59.000000Z");
        assert_eq!(format!("{:.6}", Micros::from_micros(1)), "1970-01-01T00:00:00.000001Z");
    }
}
