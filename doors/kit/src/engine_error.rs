//! What the engine refuses, as problems: the one mapping for all doors that speak problem+json.

use countersign_core::decide::Rejection;
use countersign_engine::EngineError;

use crate::{Problem, Slug};

impl From<EngineError> for Problem {
    /// An [`EngineError::AnswerRejected`] comes without its view: a door shows that in its own words.
    fn from(error: EngineError) -> Self {
        let detail = error.to_string();
        match error {
            EngineError::LoginRefused => Self::new(Slug::LoginRefused, detail),
            EngineError::CodeNeeded => Self::new(Slug::CodeNeeded, detail),
            EngineError::Unauthenticated => Self::new(Slug::Unauthenticated, detail),
            EngineError::TooManyAttempts { retry_at } => {
                Self::new(Slug::TooManyAttempts, detail).with("retry_at", retry_at.to_string()).retry_at(retry_at)
            }
            EngineError::Closed => Self::new(Slug::TooManyAttempts, detail),
            EngineError::RefusedByPolicy { why } => Self::new(Slug::RefusedByPolicy, detail).with("why", why),
            EngineError::NotPermitted(_) => Self::new(Slug::NotPermitted, detail),
            EngineError::StaleSession => Self::new(Slug::StaleSession, detail),
            EngineError::NotFound(_) => Self::new(Slug::NotFound, detail),
            EngineError::Conflict { stage, .. } => Self::new(Slug::Conflict, detail).with("stage", stage),
            EngineError::NotBegun { not_before } => {
                Self::new(Slug::GrantNotBegun, detail).with("not_before", not_before.to_string())
            }
            EngineError::AnswerRejected { why, .. } => {
                let problem = Self::new(Slug::AnswerRejected, detail).with("why", word(&why));
                if let Rejection::Over(stage) = why { problem.with("stage", stage) } else { problem }
            }
            EngineError::Invalid(_) => Self::new(Slug::Malformed, detail),
            EngineError::Exists { .. } => Self::new(Slug::Exists, detail),
            EngineError::IdempotencyMismatch => Self::new(Slug::IdempotencyMismatch, detail),
            EngineError::ReceiptNotReady => Self::new(Slug::ReceiptNotReady, detail).retry_after(1),
            EngineError::LedgerBehind => Self::new(Slug::LedgerBehind, detail).retry_after(5),
            EngineError::SinkRefused { ref sink } => {
                let sink = sink.clone();
                Self::new(Slug::SinkRefused, detail).with("sink", sink).retry_after(2)
            }
            EngineError::DatabaseAway => Self::new(Slug::DatabaseAway, detail).retry_after(2),
            EngineError::ClockApart { ours, theirs } => Self::new(Slug::ClockApart, detail)
                .with("server", ours.to_string())
                .with("database", theirs.to_string())
                .retry_after(10),
            EngineError::Restored => Self::new(Slug::Restored, detail),
            EngineError::UnknownOutcome => Self::new(Slug::UnknownOutcome, detail).retry_after(1),
            EngineError::DiskFull => Self::new(Slug::DiskFull, detail),
            EngineError::TooManyWaiting => Self::new(Slug::TooManyWaiting, detail).retry_after(1),
            EngineError::Busy | EngineError::Moved => Self::new(Slug::Unavailable, detail).retry_after(1),
            EngineError::Internal(cause) => Self::internal(cause),
        }
    }
}

/// The word that programs branch on.
const fn word(why: &Rejection) -> &'static str {
    match why {
        Rejection::Over(_) => "over",
        Rejection::OwnRequest => "own-request",
        Rejection::NotEligible => "not-eligible",
        Rejection::AlreadyAnswered => "already-answered",
        Rejection::NotNeeded => "not-needed",
        Rejection::OtherRequest => "other-request",
        Rejection::WrongFactor => "wrong-factor",
        Rejection::UsedCode => "used-code",
        Rejection::Cooling => "cooling",
        Rejection::Relayed => "relayed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_inside_is_not_told() {
        let problem = Problem::from(EngineError::Internal("row 7 of authenticators does not open".into()));
        assert_eq!(problem.slug(), Slug::Internal);
        assert!(!problem.detail().contains("authenticators"));
    }
}
