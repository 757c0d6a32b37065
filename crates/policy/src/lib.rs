//! Rules: what may be asked, by whom, and what must be met first.
//!
//! A policy is a text in TOML. This is all that it can hold; `sample.toml` next to this file is a small one.
//!
//! ```toml
//! version = 1                                 # always
//!
//! [[rule]]
//! id = "prod-db"                              # unique; letters, digits and . _ - @ +
//! effect = "require"                          # allow, deny or require
//! action = "db.*"                             # an action, all below it, or "*"; or a list
//! target = ["prod-*"]                         # a text with * and ?; or a list; none: any
//! by = "local:dba"                            # person:alice, account:local:ci, a group, "*"; or a list; none: anyone
//! when = { user = "root", "argv.0" = "psql" } # parameters; all of them, each a text with * and ?, a number, a bool, or a list of these
//!
//! # Only with effect "require", at least one of the first four:
//! reason = "[A-Z]+-[0-9]+ .+"                 # the whole reason must fit
//! confirm = true                              # the requester's own fresh factor; or a list of factors
//! quorum = [{ k = 1, of = "local:security", factors = ["totp"] }]
//! notify = ["ops"]
//! relayed = "allow"                           # codes that the requester carries count; "refuse" if not said
//! deadline = "30m"                            # 1s to 7d
//! grant = { not_before = "0s", ttl = "5m", uses = 1 }   # also with "allow"; ttl up to 24h, uses up to 1000
//!
//! [[rule.test]]                               # must hold, or the file is refused
//! name = "a dba needs security"
//! by = "person:alice"
//! groups = ["local:dba"]
//! action = "db.drop"
//! target = "prod-1"
//! params = { user = "root", argv = ["psql"] }
//! reason = "OPS-1 cleaning up"
//! expect = "require"                          # allow, deny, require, or skip: this rule does not match
//! needs = ["1 of local:security", "confirm", "reason", "notify ops"]   # all of them, in any order
//! ```
//!
//! How rules are applied is told in `decide.rs`, how their demands add up in `merge.rs`, which rules are built in, in `builtin.rs`, and what `when`
//! can look at, in `when.rs`. Whatever is unknown or can never be met is refused when the file is loaded, with the line and the rule.

mod builtin;
mod decide;
mod duration;
mod error;
mod explain;
mod merge;
mod pattern;
mod read;
mod rule;
mod supply;
mod when;
mod words;

use std::collections::BTreeSet;

use countersign_core::digest::Digest;
use countersign_core::names::GroupName;

pub use builtin::Builtin;
pub use decide::Query;
pub use error::{Place, PolicyError, Problem, Warning};
pub use explain::{Explanation, Need, SupplyView};
pub use supply::{SupplyFacts, SupplyReport};
pub use words::{bounds_in_words, demand_in_words, needs_in_words};

use crate::pattern::Who;
use crate::rule::Rule;

/// The rules, read and found sound. Their text is what was digested.
#[derive(Clone, Debug)]
pub struct Policy {
    name: String,
    text: String,
    rules: Vec<Rule>,
}

impl Policy {
    /// Reads rules and runs their tests. `name` is what errors call the file. Finds everything that is wrong at once, in the order of the lines; what
    /// depends on who exists is left to [`Policy::check_supply`].
    pub fn parse(text: &str, name: &str) -> Result<Self, Vec<PolicyError>> {
        read::policy(text, name)
    }

    /// SHA-256 of the text, byte by byte: a comment that changes is another policy.
    pub fn digest(&self) -> Digest {
        Digest::sha256(self.text.as_bytes())
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// What errors call the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All groups that rules name, as quorum or as requesters, and `local:administrators`, which the built-in rules name: a change to who is in one of
    /// them can change what this policy permits.
    pub fn groups_named(&self) -> BTreeSet<GroupName> {
        let quorum = self.rules.iter().flat_map(|rule| rule.wanted.quorum.keys());
        let by = self.rules.iter().flat_map(|rule| rule.scope.by.iter().flatten()).filter_map(|who| match who {
            Who::Group(group) => Some(group),
            Who::Person(_) | Who::Account(_) | Who::Anyone => None,
        });
        quorum.chain(by).cloned().chain([GroupName::administrators()]).collect()
    }
}

/// The rules that the demo starts with, and an example for newcomers.
pub const fn sample_policy() -> &'static str {
    include_str!("sample.toml")
}
