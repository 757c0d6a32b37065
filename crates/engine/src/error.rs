//! What the verbs answer when they do not do what was asked.

use countersign_core::decide::{CloseError, Rejection, ReleaseRefused};
use countersign_core::time::Micros;
use countersign_store::{CommitError, StoreError};

use crate::flow::View;

/// Doors map each of these to one status of their wire, in one place.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// One text for every failed login, whatever failed.
    #[error("name or password is wrong")]
    LoginRefused,
    #[error("a code is needed as well; give it with the password")]
    CodeNeeded,
    /// No, or no longer a, valid credential.
    #[error("log in first")]
    Unauthenticated,
    #[error("too many attempts; nothing was checked, try again at {retry_at}")]
    TooManyAttempts { retry_at: Micros },
    #[error(
        "too many wrong attempts from elsewhere; use a place where you succeeded before, or ask an administrator to unlock it"
    )]
    Closed,
    #[error("{why}")]
    RefusedByPolicy { why: String },
    #[error("{0}")]
    NotPermitted(String),
    #[error("prove a factor first: this needs one that is at most 5 minutes old")]
    StaleSession,
    #[error("there is no such {0}, or you may not see it")]
    NotFound(&'static str),
    #[error("{why}")]
    Conflict { why: String, stage: Option<&'static str> },
    #[error("the grant does not begin before {not_before}")]
    NotBegun { not_before: Micros },
    #[error("{why}")]
    AnswerRejected { why: Rejection, view: Box<View> },
    #[error("{0}")]
    Invalid(String),
    #[error("there is a {what} called {key} already")]
    Exists { what: &'static str, key: String },
    #[error("this idempotency key was used for another request body; choose a new key")]
    IdempotencyMismatch,
    #[error("the checkpoint that covers this request is not signed yet; ask again in a second")]
    ReceiptNotReady,
    #[error("the ledger lags behind, so nothing is released; look at the server's log")]
    LedgerBehind,
    #[error("the database can't be reached, so nothing was done; try again in a moment")]
    DatabaseAway,
    #[error(
        "this server's clock says {ours} and the database's says {theirs}; nothing is asked, answered or released before they agree: synchronise both machines"
    )]
    ClockApart { ours: Micros, theirs: Micros },
    /// A required sink did not take the record in time. What was begun is taken back.
    #[error(
        "the sink {sink} did not take the record of this, so nothing was let go; try again in a moment, and tell whoever runs this server"
    )]
    SinkRefused { sink: String },
    /// The database is older than what is known of it.
    #[error(
        "this server's data was restored from a backup and nothing is let go until its operator runs `countersign restore accept` on the server"
    )]
    Restored,
    #[error("nobody knows whether this was written; ask again")]
    UnknownOutcome,
    #[error("the disk is full; nothing was lost, free some space and try again")]
    DiskFull,
    #[error("too many calls wait already; try again in a moment")]
    TooManyWaiting,
    #[error("busy; try again in a moment")]
    Busy,
    /// Something that should not happen. The text is for the log, never for a caller.
    #[error("something went wrong inside; the server's log says what")]
    Internal(String),
    /// A row moved between load and commit: the verb loads and decides again.
    #[error("somebody else was faster; try again")]
    Moved,
}

impl EngineError {
    pub(crate) fn internal(error: impl std::fmt::Display) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<StoreError> for EngineError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Self::DiskFull,
            StoreError::Busy => Self::Busy,
            StoreError::Away { .. } => Self::DatabaseAway,
            other => Self::internal(other),
        }
    }
}

impl From<CommitError> for EngineError {
    fn from(error: CommitError) -> Self {
        use countersign_store::Expectation;
        match error {
            CommitError::Conflict(Expectation::Exists { what, key }) => Self::Exists { what, key },
            CommitError::Conflict(Expectation::Missing { what, .. }) => Self::NotFound(what),
            CommitError::Conflict(Expectation::LogClosed { .. }) => Self::Restored,
            CommitError::Conflict(_) => Self::Moved,
            CommitError::Full => Self::DiskFull,
            CommitError::Busy => Self::Busy,
            CommitError::Away { .. } => Self::DatabaseAway,
            CommitError::Unknown => Self::UnknownOutcome,
            other => Self::internal(other),
        }
    }
}

impl From<CloseError> for EngineError {
    fn from(error: CloseError) -> Self {
        match error {
            CloseError::NotEligible | CloseError::OwnRequest | CloseError::NotRequester => {
                Self::NotPermitted(error.to_string())
            }
            CloseError::Transition(error) => error.into(),
        }
    }
}

impl From<countersign_core::request::TransitionError> for EngineError {
    fn from(error: countersign_core::request::TransitionError) -> Self {
        use countersign_core::grant::GrantError;
        use countersign_core::request::TransitionError;
        let stage = match &error {
            TransitionError::Over(stage) => Some(*stage),
            TransitionError::NotGranted => Some("challenged"),
            TransitionError::NotDue => None,
            TransitionError::Grant(GrantError::TooEarly(not_before)) => {
                return Self::NotBegun { not_before: *not_before };
            }
            TransitionError::Grant(GrantError::Ended) => Some("ended"),
            TransitionError::Grant(GrantError::Spent) => Some("spent"),
            TransitionError::Grant(GrantError::Revoked) => Some("revoked"),
        };
        Self::Conflict { why: error.to_string(), stage }
    }
}

impl From<ReleaseRefused> for EngineError {
    fn from(error: ReleaseRefused) -> Self {
        match error {
            ReleaseRefused::Transition(error) => error.into(),
            ReleaseRefused::NotRequester => Self::NotPermitted(error.to_string()),
            ReleaseRefused::DeniedToday(_) | ReleaseRefused::NoLongerEligible => {
                Self::RefusedByPolicy { why: error.to_string() }
            }
            ReleaseRefused::NotRecorded { sink } => Self::SinkRefused { sink },
            ReleaseRefused::Altered => Self::Internal(error.to_string()),
        }
    }
}

impl From<countersign_core::release::ReleaseError> for EngineError {
    fn from(error: countersign_core::release::ReleaseError) -> Self {
        use countersign_core::release::ReleaseError;
        match error {
            ReleaseError::NotOwner => Self::NotPermitted(error.to_string()),
            ReleaseError::Over | ReleaseError::StillLeased => Self::Conflict { why: error.to_string(), stage: None },
        }
    }
}
