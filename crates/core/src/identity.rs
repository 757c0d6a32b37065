//! Who exists: people, their ways in, and what proves their factors. Rows as the store keeps them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::ids::{AccountId, AuthenticatorId, PersonId, SessionId, TokenId};
use crate::names::{AccountName, Factor, GroupName};
use crate::sealed::Sealed;
use crate::time::Micros;

/// A person by id and by the name that people read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PersonRef {
    pub id: PersonId,
    pub name: String,
}

impl fmt::Display for PersonRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A human being. "Distinct people" is counted on these, never on accounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    pub id: PersonId,
    pub name: String,
    pub active: bool,
    pub created_at: Micros,
    pub version: i64,
}

impl Person {
    pub fn reference(&self) -> PersonRef {
        PersonRef { id: self.id, name: self.name.clone() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountKind {
    /// A human being's login.
    Person,
    /// A program of its own. Fills no slot, whoever it belongs to.
    Service,
}

impl AccountKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Service => "service",
        }
    }

    pub fn from_str_exact(text: &str) -> Option<Self> {
        match text {
            "person" => Some(Self::Person),
            "service" => Some(Self::Service),
            _ => None,
        }
    }
}

/// A way in: a name in a realm. Several accounts may belong to one person; an account without one may ask but fills no slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub id: AccountId,
    pub name: AccountName,
    pub kind: AccountKind,
    pub person: Option<PersonId>,
    pub active: bool,
    /// The password's argon2id string, sealed; absent for accounts that log in elsewhere or not at all.
    pub password: Option<Sealed>,
    pub created_at: Micros,
    pub version: i64,
}

/// A membership, and whether a second administrator agreed to it: an uncountersigned one fills no slot until it has cooled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    pub group: GroupName,
    pub person: PersonId,
    pub since: Micros,
    pub countersigned: bool,
}

/// Something that proves a factor. `last_step` only grows: each code counts once, for ever, on every replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authenticator {
    pub id: AuthenticatorId,
    pub person: PersonId,
    pub factor: Factor,
    /// The secret and its parameters, sealed by `keys` in the context of this row.
    pub secret: Sealed,
    pub state: AuthenticatorState,
    pub last_step: i64,
    pub enrolled_at: Micros,
    pub countersigned: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthenticatorState {
    /// The secret was shown; two different codes are still to come.
    Pending,
    Active,
    /// Reset or replaced. Kept, because its used steps must stay used.
    Removed,
}

impl AuthenticatorState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Removed => "removed",
        }
    }

    pub fn from_str_exact(text: &str) -> Option<Self> {
        match text {
            "pending" => Some(Self::Pending),
            "active" => Some(Self::Active),
            "removed" => Some(Self::Removed),
            _ => None,
        }
    }
}

/// A login. The bearer value itself is never stored, only its SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub id: SessionId,
    pub hash: Digest,
    pub account: AccountId,
    pub created_at: Micros,
    pub last_used_at: Micros,
    pub expires_at: Micros,
    /// When, and with which factor, the holder last proved himself in this session.
    pub fresh_at: Micros,
    pub fresh_factor: Factor,
    pub source: String,
}

/// A credential for a program. It acts for its owner, within its scopes, and never fills a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub id: TokenId,
    pub hash: Digest,
    pub name: String,
    pub owner: AccountId,
    /// Action patterns that it may ask for: an exact action, or `prefix.*`, or `*`.
    pub scopes: Vec<String>,
    pub created_at: Micros,
    pub expires_at: Micros,
    pub revoked_at: Option<Micros>,
}
