//! One registry of typed identifiers: UUID version 7 behind a newtype each, so that a grant's id can't be passed where a request's is due.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::time::Micros;

/// The text was not a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id: ids look like 0197a3c4-5b6d-7e8f-8a9b-0c1d2e3f4a5b")]
pub struct IdError;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A version 7 UUID of the moment `at` with the given random tail.
            pub fn new(at: Micros, random: [u8; 10]) -> Self {
                let millis = u64::try_from(at.as_micros().div_euclid(1_000)).unwrap_or(0);
                Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.hyphenated(), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0.hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            /// Only the hyphenated lower-case form: one id has one spelling, in the database as on the wire.
            fn from_str(text: &str) -> Result<Self, IdError> {
                let id = Uuid::try_parse(text).map(Self).map_err(|_| IdError)?;
                if id.to_string() == text { Ok(id) } else { Err(IdError) }
            }
        }
    )+};
}

ids! {
    /// A way in: a name in a realm.
    AccountId
    /// Something that proves a factor: one TOTP secret, one passkey.
    AuthenticatorId
    /// A demand put to somebody.
    ChallengeId
    /// A line of the ledger.
    EntryId
    /// The right that a met request becomes.
    GrantId
    /// A message to be delivered.
    OutboxId
    /// A human being.
    PersonId
    /// One use of a grant.
    ReleaseId
    /// An operation asked by a principal.
    RequestId
    /// A login.
    SessionId
    /// Something due at a time.
    TimerId
    /// A program's credential.
    TokenId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_id_has_one_spelling() {
        let id = RequestId::new(Micros::from_secs(1_700_000_000), [7; 10]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().to_uppercase().parse::<RequestId>(), Err(IdError));
        assert_eq!("".parse::<RequestId>(), Err(IdError));
    }

    #[test]
    fn later_ids_sort_after_earlier_ones() {
        let early = EntryId::new(Micros::from_secs(1), [255; 10]);
        let late = EntryId::new(Micros::from_secs(2), [0; 10]);
        assert!(early < late && early.to_string() < late.to_string());
    }
}
