//! The right that a met request becomes.

use serde::{Deserialize, Serialize};

use crate::identity::PersonRef;
use crate::ids::GrantId;
use crate::time::Micros;

/// A bounded right to exactly the operation of its request. At most one per request, never wider than policy allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub id: GrantId,
    pub granted_at: Micros,
    pub not_before: Micros,
    pub expires_at: Micros,
    /// How often it could be used when it was made.
    pub uses: u32,
    pub state: GrantState,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum GrantState {
    Live { uses_left: u32 },
    Spent,
    Revoked { by: PersonRef, at: Micros },
    Ended { at: Micros },
}

/// Why a grant can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    #[error("the grant does not begin before {0}")]
    TooEarly(Micros),
    #[error("the grant has ended; ask again")]
    Ended,
    #[error("the grant has been used up; ask again")]
    Spent,
    #[error("the grant was revoked; ask again")]
    Revoked,
}

impl Grant {
    pub const fn is_live(&self) -> bool {
        matches!(self.state, GrantState::Live { .. })
    }

    /// Whether taking it back still means something.
    pub const fn is_revocable(&self) -> bool {
        matches!(self.state, GrantState::Live { .. } | GrantState::Spent)
    }

    /// Takes one use.
    pub fn use_once(mut self, now: Micros) -> Result<Self, GrantError> {
        match self.state {
            GrantState::Live { .. } if now >= self.expires_at => Err(GrantError::Ended),
            GrantState::Live { .. } if now < self.not_before => Err(GrantError::TooEarly(self.not_before)),
            GrantState::Live { uses_left } => {
                let left = uses_left.saturating_sub(1);
                self.state = if left == 0 { GrantState::Spent } else { GrantState::Live { uses_left: left } };
                Ok(self)
            }
            GrantState::Spent => Err(GrantError::Spent),
            GrantState::Revoked { .. } => Err(GrantError::Revoked),
            GrantState::Ended { .. } => Err(GrantError::Ended),
        }
    }

    /// Takes back the taking of a use that provably let nothing go. What was revoked or has ended stays so.
    #[must_use]
    pub fn give_back(mut self) -> Self {
        self.state = match self.state {
            GrantState::Live { uses_left } => {
                GrantState::Live { uses_left: uses_left.saturating_add(1).min(self.uses) }
            }
            GrantState::Spent => GrantState::Live { uses_left: 1 },
            over @ (GrantState::Revoked { .. } | GrantState::Ended { .. }) => over,
        };
        self
    }

    /// Takes the right back. Also a spent one can be revoked: what it released may still be running.
    pub fn revoke(mut self, by: PersonRef, at: Micros) -> Result<Self, GrantError> {
        match self.state {
            GrantState::Revoked { .. } => Err(GrantError::Revoked),
            GrantState::Ended { .. } => Err(GrantError::Ended),
            GrantState::Live { .. } | GrantState::Spent => {
                self.state = GrantState::Revoked { by, at };
                Ok(self)
            }
        }
    }

    /// Ends before its time. Only a live grant ends; a spent one stays spent.
    pub fn cut_off(self, at: Micros) -> Result<Self, GrantError> {
        if self.is_live() { Ok(Self { state: GrantState::Ended { at }, ..self }) } else { self.end(at) }
    }

    /// Its time has come. Only a live grant ends; a spent one stays spent.
    pub fn end(mut self, at: Micros) -> Result<Self, GrantError> {
        match self.state {
            GrantState::Live { .. } if at >= self.expires_at => {
                self.state = GrantState::Ended { at };
                Ok(self)
            }
            GrantState::Live { .. } => Err(GrantError::TooEarly(self.expires_at)),
            GrantState::Spent => Err(GrantError::Spent),
            GrantState::Revoked { .. } => Err(GrantError::Revoked),
            GrantState::Ended { .. } => Err(GrantError::Ended),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::PersonId;

    fn grant(uses: u32, state: GrantState) -> Grant {
        let at = Micros::from_secs;
        let id = GrantId::new(at(1), [1; 10]);
        Grant { id, granted_at: at(1), not_before: at(1), expires_at: at(9), uses, state }
    }

    #[test]
    fn what_is_given_back_is_what_was_taken_and_no_more() {
        let now = Micros::from_secs(2);
        for uses in [1, 2, 3] {
            let whole = grant(uses, GrantState::Live { uses_left: uses });
            let used = whole.clone().use_once(now).unwrap();
            assert_eq!(used.give_back(), whole);
            assert_eq!(whole.clone().give_back(), whole);
        }
        let by = PersonRef { id: PersonId::new(now, [2; 10]), name: "bob".to_owned() };
        for over in [GrantState::Revoked { by, at: now }, GrantState::Ended { at: now }] {
            assert_eq!(grant(1, over.clone()).give_back().state, over);
        }
    }
}
