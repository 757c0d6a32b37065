//! A request and its stages. A stage changes only through a function that consumes the request and raises its version.

use serde::{Deserialize, Serialize};

use crate::canonical::Value;
use crate::decide::Role;
use crate::demand::{self, Bounds, Demand};
use crate::digest::{Digest, Salt, commit};
use crate::evidence::RecordedEvidence;
use crate::grant::{Grant, GrantError};
use crate::identity::PersonRef;
use crate::ids::{AccountId, ChallengeId, RequestId};
use crate::names::{AccountName, GroupName};
use crate::operation::{Asked, OPERATION_FIELD, Operation};
use crate::sealed::Sealed;
use crate::time::Micros;

/// An operation asked by a principal. What is asked never changes; only the stage does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    pub id: RequestId,
    pub version: i64,
    pub operation: Operation,
    /// What must not be shown even to an approver, sealed: the secrets of an administrative change.
    pub sealed: Option<Sealed>,
    pub account: AccountId,
    pub account_name: AccountName,
    pub person: Option<PersonRef>,
    pub reason: Option<String>,
    pub asked_at: Micros,
    pub deadline: Micros,
    pub salt: Salt,
    /// What approvers sign and the ledger holds.
    pub digest: Digest,
    /// Finds the same operation again. Never published.
    pub fingerprint: Digest,
    /// The policy under which it was asked: its demands hold to the end.
    pub policy: Digest,
    pub demands: Vec<Demand>,
    pub bounds: Bounds,
    pub relayed: bool,
    /// The moment of its newest ledger entry, so that each request's entries keep their order.
    pub last_entry_at: Micros,
    /// How many ledger entries tell of it.
    pub entries: i64,
    /// What was said in it is gone ([`crate::erasure`]): its digest holds nothing any more, and nothing is released for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub erased: bool,
    pub stage: Stage,
}

/// Where a request stands, with what belongs to that stage alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "lowercase")]
pub enum Stage {
    /// Just asked; policy has spoken, nothing has been put to anybody.
    Asked,
    Challenged {
        challenges: Vec<Challenge>,
        approvals: Vec<Approval>,
    },
    Granted {
        approvals: Vec<Approval>,
        grant: Grant,
    },
    Refused {
        approvals: Vec<Approval>,
        by: PersonRef,
        at: Micros,
        why: Option<String>,
    },
    Expired {
        approvals: Vec<Approval>,
        at: Micros,
    },
    Cancelled {
        approvals: Vec<Approval>,
        by: AccountName,
        at: Micros,
    },
}

/// A demand put to somebody. It belongs to this request's digest; each person answers it once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    pub id: ChallengeId,
    pub put_to: PutTo,
    pub expires_at: Micros,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PutTo {
    /// The one who asked: `confirm`.
    Requester,
    /// Everybody whom a quorum names.
    Approvers { groups: Vec<GroupName> },
}

/// An answer that counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    pub evidence: RecordedEvidence,
    /// True for the requester's own `confirm`, which fills no slot of a quorum.
    pub own: bool,
}

/// The request's stage does not allow this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransitionError {
    #[error("the request is already {0}")]
    Over(&'static str),
    #[error("the request has not been granted")]
    NotGranted,
    #[error("the request's time has not run out yet")]
    NotDue,
    #[error(transparent)]
    Grant(#[from] GrantError),
}

impl Stage {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Challenged { .. } => "challenged",
            Self::Granted { .. } => "granted",
            Self::Refused { .. } => "denied",
            Self::Expired { .. } => "expired",
            Self::Cancelled { .. } => "cancelled",
        }
    }
}

impl Stage {
    /// What was put to people, while it waits.
    pub fn challenges(&self) -> &[Challenge] {
        match self {
            Self::Challenged { challenges, .. } => challenges,
            _ => &[],
        }
    }
}

impl Request {
    /// What is signed of it, as canonical JSON.
    pub fn signed_form(&self) -> Value {
        self.operation.signed_form(Asked {
            request: self.id,
            account: self.account,
            person: self.person.as_ref(),
            reason: self.reason.as_deref(),
            terms: &self.terms(),
        })
    }

    /// What it takes and what it gives. Times in microseconds.
    fn terms(&self) -> Value {
        Value::object([
            ("policy", Value::from(self.policy.to_string())),
            ("demands", demand::to_value(&self.demands)),
            ("bounds", self.bounds.to_value()),
            ("deadline", Value::from(self.deadline.as_micros())),
            ("relayed", Value::from(self.relayed)),
        ])
    }

    /// Whether what is stored is still what was digested: a row edited by hand is refused before anybody signs it.
    pub fn digest_holds(&self) -> bool {
        self.signed_digest() == self.digest
    }

    /// The ledger's commitment of the field `operation`, so that one opening proves both what was signed and what was logged.
    pub fn signed_digest(&self) -> Digest {
        commit(OPERATION_FIELD, &self.salt, &self.signed_form().canonical())
    }

    pub fn approvals(&self) -> &[Approval] {
        match &self.stage {
            Stage::Asked => &[],
            Stage::Challenged { approvals, .. }
            | Stage::Granted { approvals, .. }
            | Stage::Refused { approvals, .. }
            | Stage::Expired { approvals, .. }
            | Stage::Cancelled { approvals, .. } => approvals,
        }
    }

    /// The challenge that somebody in this role answers.
    pub fn challenge_for(&self, role: Role) -> Option<ChallengeId> {
        let fits = |put_to: &PutTo| match (role, put_to) {
            (Role::Confirm, PutTo::Requester) | (Role::Approve, PutTo::Approvers { .. }) => true,
            (Role::Confirm, PutTo::Approvers { .. }) | (Role::Approve, PutTo::Requester) => false,
        };
        self.stage.challenges().iter().find(|challenge| fits(&challenge.put_to)).map(|challenge| challenge.id)
    }

    pub const fn is_pending(&self) -> bool {
        matches!(self.stage, Stage::Asked | Stage::Challenged { .. })
    }

    pub const fn grant(&self) -> Option<&Grant> {
        match &self.stage {
            Stage::Granted { grant, .. } => Some(grant),
            _ => None,
        }
    }

    pub(crate) fn challenge(self, challenges: Vec<Challenge>) -> Result<Self, TransitionError> {
        match self.stage {
            Stage::Asked => Ok(self.at(Stage::Challenged { challenges, approvals: Vec::new() })),
            _ => Err(self.over()),
        }
    }

    pub(crate) fn approve(mut self, approval: Approval) -> Result<Self, TransitionError> {
        match &mut self.stage {
            Stage::Challenged { approvals, .. } => {
                approvals.push(approval);
                self.version += 1;
                Ok(self)
            }
            _ => Err(self.over()),
        }
    }

    pub(crate) fn into_granted(self, grant: Grant) -> Result<Self, TransitionError> {
        if !self.is_pending() {
            return Err(self.over());
        }
        let approvals = self.approvals().to_vec();
        Ok(self.at(Stage::Granted { approvals, grant }))
    }

    pub(crate) fn refuse(self, by: PersonRef, at: Micros, why: Option<String>) -> Result<Self, TransitionError> {
        if !self.is_pending() {
            return Err(self.over());
        }
        let approvals = self.approvals().to_vec();
        Ok(self.at(Stage::Refused { approvals, by, at, why }))
    }

    pub(crate) fn expire(self, at: Micros) -> Result<Self, TransitionError> {
        if !self.is_pending() {
            return Err(self.over());
        }
        if at < self.deadline {
            return Err(TransitionError::NotDue);
        }
        let approvals = self.approvals().to_vec();
        Ok(self.at(Stage::Expired { approvals, at }))
    }

    pub(crate) fn cancel(self, by: AccountName, at: Micros) -> Result<Self, TransitionError> {
        if !self.is_pending() {
            return Err(self.over());
        }
        let approvals = self.approvals().to_vec();
        Ok(self.at(Stage::Cancelled { approvals, by, at }))
    }

    /// Changes the grant by one of its own transitions.
    pub(crate) fn with_grant(
        mut self,
        change: impl FnOnce(Grant) -> Result<Grant, GrantError>,
    ) -> Result<Self, TransitionError> {
        match self.stage {
            Stage::Granted { approvals, grant } => {
                self.stage = Stage::Granted { approvals, grant: change(grant)? };
                self.version += 1;
                Ok(self)
            }
            Stage::Asked | Stage::Challenged { .. } => Err(TransitionError::NotGranted),
            Stage::Refused { .. } | Stage::Expired { .. } | Stage::Cancelled { .. } => {
                Err(TransitionError::Over(self.stage.name()))
            }
        }
    }

    /// A use was taken, and nothing was let go.
    pub(crate) fn give_back(mut self) -> Self {
        if let Stage::Granted { approvals, grant } = self.stage {
            self.stage = Stage::Granted { approvals, grant: grant.give_back() };
        }
        self.version += 1;
        self
    }

    fn at(mut self, stage: Stage) -> Self {
        self.stage = stage;
        self.version += 1;
        self
    }

    fn over(&self) -> TransitionError {
        TransitionError::Over(self.stage.name())
    }
}
