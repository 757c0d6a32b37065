//! The rules that no file can take away.
//!
//! - **`admin.*`**: only members of `local:administrators` ask. Each confirms with a fresh factor; where there are two administrators or more,
//!   another one countersigns. A file may deny such an action or demand more, and only with a pattern that begins with `admin.`: `*` does not reach
//!   administration, or one careless `deny` on everything would keep administrators from repairing it.
//! - **a policy that the server itself proposes** (account `local:server`, no person, action `admin.policy.apply`): whoever edited the file is
//!   unknown, so nobody can be told apart from him. Two administrators agree, or the only one.
//! - **`login`** is allowed. A file may deny it or demand `confirm`, by its own name; `*` does not reach it.

use std::collections::{BTreeMap, BTreeSet};

use countersign_core::names::{Factor, GroupName, LOCAL_REALM};

use crate::decide::Query;
use crate::merge::{Seats, Wanted};
use crate::pattern::{LOGIN, POLICY_APPLY};

/// What the built-in rules need to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Builtin {
    /// Active members of `local:administrators`.
    pub administrators: usize,
}

/// What a built-in rule says of an operation.
#[derive(Debug)]
pub(crate) enum BuiltIn {
    /// None is about it: the file decides alone.
    Silent,
    Allow(&'static str),
    Deny(&'static str, &'static str),
    Require(&'static str, Wanted),
}

const ADMINISTRATION: &str = "built-in admin";
const PROPOSAL: &str = "built-in policy proposal";

pub(crate) fn judge(query: &Query<'_>) -> BuiltIn {
    let action = &query.operation.action;
    if action.as_str() == LOGIN {
        return BuiltIn::Allow("built-in login");
    }
    if !action.is_administration() {
        return BuiltIn::Silent;
    }
    let administrators = query.builtin.administrators;
    if is_proposal(query) {
        return match administrators {
            // Without anybody to ask, no demand would be left and the file would apply itself.
            0 => BuiltIn::Deny(PROPOSAL, "there is no administrator who could agree to it; run countersign init first"),
            1 => BuiltIn::Require(PROPOSAL, quorum(1)),
            _ => BuiltIn::Require(PROPOSAL, quorum(2)),
        };
    }
    if !query.groups.contains(&GroupName::administrators()) {
        return BuiltIn::Deny(ADMINISTRATION, "only members of local:administrators can ask for this");
    }
    BuiltIn::Require(ADMINISTRATION, administration(administrators))
}

/// What an administrator meets who changes something.
pub(crate) fn administration(administrators: usize) -> Wanted {
    let others = if administrators >= 2 { quorum(1) } else { Wanted::nothing() };
    Wanted { confirm: Some(BTreeSet::from([Factor::Totp])), ..others }
}

fn quorum(k: u32) -> Wanted {
    let seats = Seats { k, factors: BTreeSet::from([Factor::Totp]) };
    Wanted { quorum: BTreeMap::from([(GroupName::administrators(), seats)]), ..Wanted::nothing() }
}

/// Whether the server itself proposes a changed policy. It has no person, so nobody is excluded from its quorum.
pub(crate) fn is_proposal(query: &Query<'_>) -> bool {
    let server = query.account.realm() == LOCAL_REALM && query.account.name() == "server";
    server && query.person.is_none() && query.operation.action.as_str() == POLICY_APPLY
}
