//! What happened, as data: the pure functions of this crate draft entries, `ledger` encodes them, `engine` commits them.

use std::fmt;
use std::str::FromStr;

use crate::canonical::Value;
use crate::digest::{Digest, Salt};
use crate::ids::{EntryId, PersonId, RequestId};
use crate::time::Micros;

/// An entry that is to be committed together with the change that it tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryDraft {
    /// Names the entry wherever it lies; its place in the log is known only once it is sequenced.
    pub id: EntryId,
    /// When it happened, by the clock of the node that decided.
    pub at: Micros,
    /// What happened.
    pub kind: EntryKind,
    /// The request that it belongs to.
    pub request: Option<RequestId>,
    /// Whom it names, so that its clear texts are found when that person is erased. Kept beside the entry, never in it.
    pub person: Option<PersonId>,
    /// The policy in force.
    pub policy: Option<Digest>,
    /// Published as it is, so nothing that tells of a person, a target or a reason: counts, stages, digests, roots, public keys.
    pub clear: Vec<(&'static str, Value)>,
    /// Published as commitments only.
    pub committed: Vec<CommittedField>,
}

impl EntryDraft {
    /// The same, naming this person.
    #[must_use]
    pub fn about(self, person: Option<PersonId>) -> Self {
        Self { person, ..self }
    }
}

/// A value that the log commits to; its clear text and salt lie where they can be erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedField {
    /// The field's name, unique within its entry.
    pub field: &'static str,
    /// 16 fresh random bytes for this field alone.
    pub salt: Salt,
    /// The clear value.
    pub value: Value,
}

/// An entry type that is not known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown ledger entry type: a newer version wrote it")]
pub struct UnknownEntryKind;

macro_rules! entry_kinds {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal,)*) => {
        /// The type of an entry. A name that has been written once is never given another meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum EntryKind {
            $($(#[doc = $doc])* $variant,)*
        }

        impl EntryKind {
            /// Every type, in the order of declaration.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The dotted name that stands in the entry.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }

        impl FromStr for EntryKind {
            type Err = UnknownEntryKind;

            fn from_str(name: &str) -> Result<Self, UnknownEntryKind> {
                match name {
                    $($name => Ok(Self::$variant),)*
                    _ => Err(UnknownEntryKind),
                }
            }
        }
    };
}

entry_kinds! {
    /// The first administrator was named by `init` or `demo`.
    Bootstrap = "bootstrap",
    /// A signing key came into use; its public half is in the clear fields.
    Key = "key",
    /// First entry of a log: commits to the last known checkpoint of the epoch before.
    Epoch = "epoch",
    /// An operation was asked.
    RequestAsked = "request.asked",
    /// A demand was put to somebody.
    RequestChallenged = "request.challenged",
    /// An answer was verified and counted.
    RequestAnswered = "request.answered",
    /// An answer was wrong and did not count.
    RequestRejected = "request.rejected",
    /// All demands are met.
    RequestGranted = "request.granted",
    /// Policy refused.
    RequestRefused = "request.refused",
    /// Somebody who was asked said no.
    RequestDenied = "request.denied",
    /// The deadline passed.
    RequestExpired = "request.expired",
    /// The requester took it back.
    RequestCancelled = "request.cancelled",
    /// A live grant covered another operation.
    GrantUsed = "grant.used",
    /// A grant was taken back.
    GrantRevoked = "grant.revoked",
    /// A grant reached its natural end.
    GrantEnded = "grant.ended",
    /// A release is about to act outside; nothing acts without it.
    ReleaseIntended = "release.intended",
    /// The release happened; holds a fingerprint of what was let go.
    ReleaseDone = "release.done",
    /// Somebody wanted to use a grant and was refused.
    ReleaseRefused = "release.refused",
    /// The release failed, and provably nothing was let go.
    ReleaseFailed = "release.failed",
    /// Nobody knows whether the release happened; never tried again.
    ReleaseInDoubt = "release.in_doubt",
    /// An administrator closed a release that was in doubt.
    ReleaseClosed = "release.closed",
    /// An administrative change took effect.
    AdminApplied = "admin.applied",
    /// Somebody logged in.
    LoginSucceeded = "login.succeeded",
    /// Logins failed; one entry per account, source and minute, with a count.
    LoginFailed = "login.failed",
    /// A session or token was ended.
    SessionEnded = "session.ended",
    /// A second factor was enrolled.
    FactorEnrolled = "factor.enrolled",
    /// A program's token was made.
    TokenCreated = "token.created",
    /// A program's token was revoked.
    TokenRevoked = "token.revoked",
    /// Somebody read the audit.
    AuditRead = "audit.read",
    /// Clear texts and salts were erased; old receipts still verify.
    AuditErased = "audit.erased",
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn each_kind_has_its_own_name_and_reads_back() {
        let mut names: Vec<_> = EntryKind::ALL.iter().map(|kind| kind.as_str()).collect();
        for kind in EntryKind::ALL {
            assert_eq!(kind.as_str().parse::<EntryKind>().unwrap(), *kind);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), EntryKind::ALL.len());
        assert_eq!("request.Asked".parse::<EntryKind>(), Err(UnknownEntryKind));
    }
}
