//! What must be met before a request becomes a right. Demands are AND-ed, and met by evidence, never by a flag.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::canonical::Value;
use crate::names::{Factor, GroupName};

/// One thing to be met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "demand", rename_all = "lowercase")]
pub enum Demand {
    /// The requester proves one of these factors again, for this request (`confirm`).
    Fresh { factors: Vec<Factor> },
    /// `k` other people of a group, each with one of these factors.
    Quorum { k: u32, of: GroupName, factors: Vec<Factor> },
    /// A reason that fits the pattern, given when asking.
    Reason { pattern: String },
    /// Somebody is told. Met when the message is durable.
    Notify { whom: String },
}

impl Demand {
    /// Whether only somebody with a person may ask for what carries this demand: without one, nobody could tell requester from approver.
    pub const fn needs_a_person(&self) -> bool {
        matches!(self, Self::Fresh { .. } | Self::Quorum { .. })
    }
}

/// The bounds of the right that results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// How long after the last approval the right begins.
    pub not_before: Duration,
    /// How long it lives from then on.
    pub ttl: Duration,
    /// How often it may be used.
    pub uses: u32,
}

impl Bounds {
    /// What a rule means that says nothing: once, within five minutes.
    pub const DEFAULT: Self = Self { not_before: Duration::ZERO, ttl: Duration::from_mins(5), uses: 1 };

    /// As canonical JSON; times in microseconds.
    pub fn to_value(&self) -> Value {
        let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Value::object([
            ("not_before", Value::from(micros(self.not_before))),
            ("ttl", Value::from(micros(self.ttl))),
            ("uses", Value::from(i64::from(self.uses))),
        ])
    }

    /// The tightest of both: the later begin, the shorter life, the fewer uses.
    #[must_use]
    pub fn tightest(&self, other: &Self) -> Self {
        Self {
            not_before: self.not_before.max(other.not_before),
            ttl: self.ttl.min(other.ttl),
            uses: self.uses.min(other.uses),
        }
    }
}

/// Demands as canonical JSON: what the request digest and the ledger hold of them.
pub fn to_value(demands: &[Demand]) -> Value {
    let words = |factors: &[Factor]| Value::array(factors.iter().map(|factor| factor.as_str()));
    Value::array(demands.iter().map(|demand| match demand {
        Demand::Fresh { factors } => Value::object([("demand", Value::from("fresh")), ("factors", words(factors))]),
        Demand::Quorum { k, of, factors } => Value::object([
            ("demand", Value::from("quorum")),
            ("k", Value::from(i64::from(*k))),
            ("of", Value::from(of.to_string())),
            ("factors", words(factors)),
        ]),
        Demand::Reason { pattern } => {
            Value::object([("demand", Value::from("reason")), ("pattern", Value::from(pattern.as_str()))])
        }
        Demand::Notify { whom } => {
            Value::object([("demand", Value::from("notify")), ("whom", Value::from(whom.as_str()))])
        }
    }))
}
