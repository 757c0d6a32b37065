//! Policy's answer, with the path that led to it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::demand::{Bounds, Demand};
use crate::digest::Digest;

/// What policy says about one operation of one principal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    pub verdict: Verdict,
    /// The digest of the policy text that said so.
    pub policy: Digest,
    /// Every rule that was looked at and what it contributed, in order: the explanation.
    pub path: Vec<PathStep>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub enum Verdict {
    Allow { bounds: Bounds },
    Deny { reason: String },
    Require(Requirements),
}

/// The demands of all matching rules together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirements {
    pub demands: Vec<Demand>,
    pub bounds: Bounds,
    /// How long people have to answer.
    pub deadline: Duration,
    /// Whether a code carried by the requester may count. Only where every matching rule says so.
    pub relayed: bool,
}

/// One rule's part in a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathStep {
    pub rule: String,
    /// Where it stands in the policy text; 0 for a built-in rule.
    pub line: u32,
    pub matched: bool,
    /// In words: what it contributed, or the first condition that did not hold.
    pub why: String,
}
