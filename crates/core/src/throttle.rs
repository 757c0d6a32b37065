//! How often somebody may guess. The rows survive restarts and are shared by replicas; each attempt expects its row's version, so that parallel
//! guesses form a line.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Micros;

/// Tries that cost nothing but the try.
pub const FREE_TRIES: i64 = 5;
/// Failures in a row after which the subject closes to sources that never succeeded.
pub const CLOSE_AFTER: i64 = 50;
const LONGEST: Duration = Duration::from_hours(1);

/// What guesses are counted on: an authenticator, or an account's password, from one source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ThrottleKey {
    /// `totp:<authenticator>` or `password:<account>`.
    pub subject: String,
    pub source: String,
}

/// One counter. Version 0 means that no row exists yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Throttle {
    pub key: ThrottleKey,
    pub version: i64,
    pub failures: i64,
    /// No attempt is looked at before this moment.
    pub open_at: Micros,
    /// Whether this source ever succeeded: such a source stays open when the subject closes to strangers.
    pub succeeded: bool,
    /// The subject's failures in a row over all sources.
    pub subject_failures: i64,
    /// What this attempt does to that count. The store adds or resets, so that two sources at once lose no failure.
    pub effect: Effect,
}

/// What an attempt does to the subject's failures in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Unchanged,
    Failed,
    Passed,
}

/// Whether an attempt is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Admission {
    Admitted,
    /// Inside a delay: nothing is verified and nothing is written.
    Wait {
        until: Micros,
    },
    /// Too many failures: only a source that succeeded before, or an administrator, opens it again.
    Closed,
}

impl Throttle {
    pub fn new(key: ThrottleKey) -> Self {
        Self {
            key,
            version: 0,
            failures: 0,
            open_at: Micros::from_micros(0),
            succeeded: false,
            subject_failures: 0,
            effect: Effect::Unchanged,
        }
    }

    pub fn admit(&self, now: Micros) -> Admission {
        if self.subject_failures >= CLOSE_AFTER && !self.succeeded {
            Admission::Closed
        } else if now < self.open_at {
            Admission::Wait { until: self.open_at }
        } else {
            Admission::Admitted
        }
    }

    /// After a wrong guess.
    #[must_use]
    pub fn failed(mut self, now: Micros) -> Self {
        self.version += 1;
        self.failures += 1;
        self.subject_failures += 1;
        self.open_at = now.plus(delay(self.failures));
        self.effect = Effect::Failed;
        self
    }

    /// After a right one: this source is known from now on and the count begins anew.
    #[must_use]
    pub fn passed(mut self, now: Micros) -> Self {
        self.version += 1;
        self.failures = 0;
        self.subject_failures = 0;
        self.open_at = now;
        self.succeeded = true;
        self.effect = Effect::Passed;
        self
    }
}

/// 2, 4, 8, ... seconds from the fifth failure on, an hour at most. The fifth try is free; what follows it waits.
fn delay(failures: i64) -> Duration {
    let over = failures - FREE_TRIES;
    if over < 0 {
        return Duration::ZERO;
    }
    let exponent = u32::try_from(over + 1).unwrap_or(u32::MAX).min(12);
    Duration::from_secs(1 << exponent).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> Throttle {
        Throttle::new(ThrottleKey { subject: "totp:x".into(), source: "127.0.0.1".into() })
    }

    #[test]
    fn five_tries_are_free_and_then_each_costs_twice_the_last() {
        let now = Micros::from_secs(1_000);
        let mut throttle = fresh();
        for _ in 0..5 {
            assert_eq!(throttle.admit(now), Admission::Admitted);
            throttle = throttle.failed(now);
        }
        assert_eq!(throttle.admit(now), Admission::Wait { until: now.plus(Duration::from_secs(2)) });
        let later = now.plus(Duration::from_secs(2));
        assert_eq!(throttle.admit(later), Admission::Admitted);
        throttle = throttle.failed(later);
        assert_eq!(throttle.admit(later), Admission::Wait { until: later.plus(Duration::from_secs(4)) });
    }

    #[test]
    fn an_hour_is_the_longest_wait() {
        let now = Micros::from_secs(0);
        let mut throttle = fresh();
        for _ in 0..40 {
            throttle = throttle.failed(now);
        }
        assert_eq!(throttle.open_at, now.plus(LONGEST));
    }

    #[test]
    fn at_fifty_it_closes_to_strangers_and_stays_open_to_the_owner() {
        let now = Micros::from_secs(0);
        let mut stranger = fresh();
        for _ in 0..50 {
            stranger = stranger.failed(now);
        }
        assert_eq!(stranger.admit(Micros::MAX), Admission::Closed);
        let owner = Throttle { subject_failures: 50, ..fresh().passed(now) };
        assert_eq!(owner.admit(now), Admission::Admitted);
    }
}
