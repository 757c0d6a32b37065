//! A verified answer.

use std::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::identity::PersonRef;
use crate::ids::AuthenticatorId;
use crate::names::Factor;
use crate::time::Micros;

/// A verified answer: made by [`Evidence::attested`] in `factors` alone, at the moment of verification. It is neither cloned nor read back from
/// the database; what is read back is a [`RecordedEvidence`], which proves nothing new.
#[derive(Debug, PartialEq, Eq)]
pub struct Evidence(EvidenceParts);

/// What somebody proved, when, and about which request.
#[derive(Debug, PartialEq, Eq)]
pub struct EvidenceParts {
    pub person: PersonRef,
    pub factor: Factor,
    pub authenticator: AuthenticatorId,
    /// The TOTP step that this proof uses up.
    pub step: i64,
    pub at: Micros,
    /// The request digest that the answer is about.
    pub digest: Digest,
    /// Who carried the answer here, if not its owner.
    pub relayed_by: Option<PersonRef>,
    /// Whether a second administrator agreed to the authenticator, and since when it exists: a new uncountersigned one fills no slot.
    pub enrolled_at: Micros,
    pub countersigned: bool,
}

impl Evidence {
    /// The only constructor. Called where a proof has just been verified (`factors`); `cargo xtask tidy` refuses it elsewhere.
    pub fn attested(parts: EvidenceParts) -> Self {
        Self(parts)
    }

    /// What is kept of it.
    pub fn record(self) -> RecordedEvidence {
        let EvidenceParts {
            person,
            factor,
            authenticator,
            step,
            at,
            digest,
            relayed_by,
            enrolled_at: _,
            countersigned: _,
        } = self.0;
        RecordedEvidence { person, factor, authenticator, step, at, digest, relayed_by }
    }
}

impl Deref for Evidence {
    type Target = EvidenceParts;

    fn deref(&self) -> &EvidenceParts {
        &self.0
    }
}

/// Evidence as the database has it: a record of what was verified once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedEvidence {
    pub person: PersonRef,
    pub factor: Factor,
    pub authenticator: AuthenticatorId,
    pub step: i64,
    pub at: Micros,
    pub digest: Digest,
    pub relayed_by: Option<PersonRef>,
}
