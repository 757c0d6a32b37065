//! What is asked.

use serde::{Deserialize, Serialize};

use crate::canonical::Value;
use crate::identity::PersonRef;
use crate::ids::{AccountId, RequestId};
use crate::names::Action;

/// The ledger field whose commitment is the request digest.
pub const OPERATION_FIELD: &str = "operation";

/// A dangerous thing that somebody wants done, in the words of one door.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// The door that it came through, for example `api`.
    pub door: String,
    pub action: Action,
    /// What it is done to: a host, a role, a pack.
    pub target: String,
    /// Everything that decides what will happen. Two operations that differ here are two operations.
    pub parameters: Value,
    /// Circumstances that an approver should see and that do not decide what happens.
    pub context: Value,
}

/// The parts of a request that its digest covers besides the operation.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub request: RequestId,
    pub account: AccountId,
    pub person: Option<&'a PersonRef>,
    pub reason: Option<&'a str>,
    /// What it takes and what it gives: policy, demands, bounds, deadline. Whoever edits them in a database changes what was signed.
    pub terms: &'a Value,
}

impl Operation {
    /// What an approver signs, as canonical JSON: the operation, who asks (by id, so that an erased name leaves it verifiable) and why.
    pub fn signed_form(&self, asked: Asked<'_>) -> Value {
        Value::object([
            ("v", Value::from(1_i64)),
            ("request", Value::from(asked.request.to_string())),
            ("account", Value::from(asked.account.to_string())),
            ("person", asked.person.map_or(Value::Null, |person| Value::from(person.id.to_string()))),
            ("reason", asked.reason.map_or(Value::Null, Value::from)),
            ("door", Value::from(self.door.as_str())),
            ("action", Value::from(self.action.as_str())),
            ("target", Value::from(self.target.as_str())),
            ("parameters", self.parameters.clone()),
            ("context", self.context.clone()),
            ("terms", asked.terms.clone()),
        ])
    }

    /// What the match fingerprint is taken over: the same thing asked again by the same account, whatever the reason and the circumstances.
    pub fn match_form(&self, account: AccountId) -> Vec<u8> {
        Value::object([
            ("v", Value::from(1_i64)),
            ("account", Value::from(account.to_string())),
            ("door", Value::from(self.door.as_str())),
            ("action", Value::from(self.action.as_str())),
            ("target", Value::from(self.target.as_str())),
            ("parameters", self.parameters.clone()),
        ])
        .canonical()
    }
}
