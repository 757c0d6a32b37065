//! The bodies of `/api/countersign/v1`, as the client reads them. What a newer server adds is left alone.

use countersign_core::canonical::Value;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// An error body (RFC 9457) with the members that some errors add.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(crate) struct Problem {
    pub(crate) slug: String,
    pub(crate) title: String,
    pub(crate) detail: String,
    pub(crate) why: Option<String>,
    pub(crate) stage: Option<String>,
    pub(crate) retry_at: Option<Timestamp>,
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) request: Option<Box<View>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct LoggedIn {
    pub(crate) token: SecretString,
    pub(crate) account: String,
    pub(crate) person: Option<String>,
    pub(crate) expires_at: Timestamp,
    pub(crate) log: LogKey,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogKey {
    pub(crate) origin: String,
    pub(crate) vkey: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WhoAmI {
    pub(crate) account: String,
    pub(crate) person: Option<String>,
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) groups: Vec<String>,
    pub(crate) via: String,
    pub(crate) fresh: Option<Fresh>,
    #[serde(default)]
    pub(crate) enrolled: Vec<String>,
    pub(crate) expires_at: Option<Timestamp>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Fresh {
    pub(crate) factor: String,
    pub(crate) at: Timestamp,
}

/// What is asked.
#[derive(Debug, Serialize)]
pub(crate) struct Asking {
    pub(crate) action: String,
    pub(crate) target: String,
    pub(crate) parameters: Value,
    pub(crate) context: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deadline_secs: Option<u64>,
}

/// A request as its reader may see it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct View {
    pub(crate) id: String,
    pub(crate) version: i64,
    pub(crate) stage: Stage,
    pub(crate) door: String,
    pub(crate) action: String,
    pub(crate) target: String,
    pub(crate) parameters: Value,
    #[serde(default)]
    pub(crate) context: Value,
    pub(crate) reason: Option<String>,
    pub(crate) requester: Requester,
    pub(crate) asked_at: Timestamp,
    pub(crate) deadline: Timestamp,
    pub(crate) digest: String,
    pub(crate) policy: String,
    pub(crate) needs: String,
    pub(crate) progress: Progress,
    pub(crate) you: You,
    #[serde(default)]
    pub(crate) can_approve: Vec<Members>,
    pub(crate) grant: Option<Grant>,
    pub(crate) ended: Option<Ended>,
    #[serde(default)]
    pub(crate) releases: Vec<Release>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    Asked,
    Challenged,
    Granted,
    Denied,
    Expired,
    Cancelled,
}

impl Stage {
    pub(crate) fn is_pending(self) -> bool {
        matches!(self, Self::Asked | Self::Challenged)
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Challenged => "challenged",
            Self::Granted => "granted",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Requester {
    pub(crate) account: String,
    pub(crate) person: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) confirm: Option<bool>,
    #[serde(default)]
    pub(crate) slots: Vec<Slot>,
    #[serde(default)]
    pub(crate) summary: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Slot {
    pub(crate) group: String,
    pub(crate) filled_by: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct You {
    #[serde(default)]
    pub(crate) may: Vec<String>,
    pub(crate) challenge: Option<String>,
}

impl View {
    pub(crate) fn may(&self, verb: &str) -> bool {
        self.you.may.iter().any(|may| may == verb)
    }
}

/// A group and who of it could answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Members {
    pub(crate) group: String,
    #[serde(default)]
    pub(crate) people: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub(crate) state: GrantState,
    pub(crate) uses_left: i64,
    pub(crate) not_before: Timestamp,
    pub(crate) expires_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum GrantState {
    Live,
    Spent,
    Revoked,
    Ended,
}

impl GrantState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Spent => "spent",
            Self::Revoked => "revoked",
            Self::Ended => "ended",
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) by: Option<String>,
    pub(crate) at: Timestamp,
    pub(crate) why: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Release {
    pub(crate) id: String,
    pub(crate) state: String,
    pub(crate) outcome: Option<String>,
    pub(crate) reported_by: Option<String>,
    pub(crate) begun_at: Timestamp,
    pub(crate) ended_at: Option<Timestamp>,
}

/// The answer that a use of the grant has begun. Without one nothing is run.
#[derive(Debug, Deserialize)]
pub(crate) struct Begun {
    pub(crate) release: String,
    pub(crate) renew_every_secs: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Explanation {
    pub(crate) verdict: String,
    pub(crate) why: String,
    #[serde(default)]
    pub(crate) needs: String,
    #[serde(default)]
    pub(crate) path: Vec<Step>,
    #[serde(default)]
    pub(crate) slots: Vec<Members>,
    #[serde(default)]
    pub(crate) missing: Vec<String>,
}

/// A rule that policy looked at.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) rule: String,
    pub(crate) line: Option<u64>,
    pub(crate) matched: bool,
    pub(crate) why: Option<String>,
}

/// A part of a list.
#[derive(Debug, Deserialize)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next_cursor: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PersonRow {
    pub(crate) name: String,
    pub(crate) active: bool,
    #[serde(default)]
    pub(crate) groups: Vec<String>,
    #[serde(default)]
    pub(crate) factors: Vec<String>,
    #[serde(default)]
    pub(crate) accounts: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct GroupRow {
    pub(crate) group: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct MembershipRow {
    pub(crate) group: String,
    pub(crate) person: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct NewToken {
    pub(crate) id: String,
    pub(crate) token: SecretString,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TokenRow {
    pub(crate) id: String,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) scopes: Vec<String>,
    pub(crate) expires_at: Option<Timestamp>,
    #[serde(default)]
    pub(crate) revoked: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Enrolment {
    pub(crate) authenticator: String,
    pub(crate) otpauth: SecretString,
    pub(crate) secret: SecretString,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Policy {
    pub(crate) digest: String,
    pub(crate) text: String,
}
