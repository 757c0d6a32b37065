//! One use of a grant.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::identity::PersonRef;
use crate::ids::{ReleaseId, RequestId};
use crate::time::Micros;

/// One use. Its intent is durable before anything is let go; a result follows, or doubt does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    pub id: ReleaseId,
    pub request: RequestId,
    pub version: i64,
    pub begun_at: Micros,
    /// SHA-256 of what was let go. The thing itself is stored nowhere.
    pub fingerprint: Digest,
    pub state: ReleaseState,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ReleaseState {
    /// It may be happening. The owner renews the lease; when that ends, nobody knows.
    Intended {
        owner: String,
        lease_until: Micros,
    },
    Done {
        at: Micros,
        result: ReleaseResult,
    },
    /// The lease ended without a result. Never a second try; the owner's late result, or an administrator, closes it.
    InDoubt {
        owner: String,
        since: Micros,
    },
    Closed {
        by: PersonRef,
        at: Micros,
        reason: String,
    },
    /// Provably nothing was let go, and the use was given back.
    Failed {
        at: Micros,
        why: String,
    },
}

/// How it ended, and on whose word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseResult {
    /// In words for a person, for example `exit 0` or `signal 15`.
    pub outcome: String,
    pub reported_by: ReportedBy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportedBy {
    /// The requester's own client says so. It could say anything.
    RequestersClient,
    /// Countersign did it itself, in the granting transaction.
    Server,
}

impl ReportedBy {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RequestersClient => "requesters_client",
            Self::Server => "server",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    #[error("this release belongs to another client")]
    NotOwner,
    #[error("this release has already ended")]
    Over,
    #[error("the lease of this release has not ended yet")]
    StillLeased,
}

impl Release {
    pub const fn is_open(&self) -> bool {
        matches!(self.state, ReleaseState::Intended { .. } | ReleaseState::InDoubt { .. })
    }

    /// The owner is still at it.
    pub fn renew(mut self, by: &str, now: Micros, until: Micros) -> Result<Self, ReleaseError> {
        match &self.state {
            ReleaseState::Intended { owner, .. } if owner != by => Err(ReleaseError::NotOwner),
            ReleaseState::Intended { lease_until, .. } if *lease_until <= now => Err(ReleaseError::Over),
            ReleaseState::Intended { owner, .. } => {
                self.state = ReleaseState::Intended { owner: owner.clone(), lease_until: until };
                self.version += 1;
                Ok(self)
            }
            ReleaseState::Done { .. }
            | ReleaseState::InDoubt { .. }
            | ReleaseState::Closed { .. }
            | ReleaseState::Failed { .. } => Err(ReleaseError::Over),
        }
    }

    /// The owner says how it ended; also late, when it was in doubt already.
    pub fn finish(mut self, by: &str, at: Micros, result: ReleaseResult) -> Result<Self, ReleaseError> {
        match &self.state {
            ReleaseState::Intended { owner, .. } | ReleaseState::InDoubt { owner, .. } if owner == by => {
                self.state = ReleaseState::Done { at, result };
                self.version += 1;
                Ok(self)
            }
            ReleaseState::Intended { .. } | ReleaseState::InDoubt { .. } => Err(ReleaseError::NotOwner),
            ReleaseState::Done { .. } | ReleaseState::Closed { .. } | ReleaseState::Failed { .. } => {
                Err(ReleaseError::Over)
            }
        }
    }

    /// The owner knows that nothing was let go. Also after the lease: that stays true.
    pub fn fail(mut self, by: &str, at: Micros, why: String) -> Result<Self, ReleaseError> {
        match &self.state {
            ReleaseState::Intended { owner, .. } | ReleaseState::InDoubt { owner, .. } if owner == by => {
                self.state = ReleaseState::Failed { at, why };
                self.version += 1;
                Ok(self)
            }
            ReleaseState::Intended { .. } | ReleaseState::InDoubt { .. } => Err(ReleaseError::NotOwner),
            ReleaseState::Done { .. } | ReleaseState::Closed { .. } | ReleaseState::Failed { .. } => {
                Err(ReleaseError::Over)
            }
        }
    }

    /// Whatever became of it is not in this database: doubtful at once, whether or not its lease has ended.
    pub fn lose(self, now: Micros) -> Result<Self, ReleaseError> {
        match self.state {
            ReleaseState::Intended { owner, .. } => {
                Self { state: ReleaseState::Intended { owner, lease_until: now }, ..self }.doubt(now)
            }
            _ => Err(ReleaseError::Over),
        }
    }

    /// The lease ended: from now on nobody claims to know.
    pub fn doubt(mut self, now: Micros) -> Result<Self, ReleaseError> {
        match &self.state {
            ReleaseState::Intended { lease_until, .. } if *lease_until > now => Err(ReleaseError::StillLeased),
            ReleaseState::Intended { owner, .. } => {
                self.state = ReleaseState::InDoubt { owner: owner.clone(), since: now };
                self.version += 1;
                Ok(self)
            }
            ReleaseState::Done { .. }
            | ReleaseState::InDoubt { .. }
            | ReleaseState::Closed { .. }
            | ReleaseState::Failed { .. } => Err(ReleaseError::Over),
        }
    }

    /// An administrator looked and says why the matter is closed.
    pub fn close(mut self, by: PersonRef, at: Micros, reason: String) -> Result<Self, ReleaseError> {
        match self.state {
            ReleaseState::InDoubt { .. } => {
                self.state = ReleaseState::Closed { by, at, reason };
                self.version += 1;
                Ok(self)
            }
            ReleaseState::Intended { .. } => Err(ReleaseError::StillLeased),
            ReleaseState::Done { .. } | ReleaseState::Closed { .. } | ReleaseState::Failed { .. } => {
                Err(ReleaseError::Over)
            }
        }
    }
}
