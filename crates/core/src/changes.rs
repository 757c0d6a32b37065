//! What a decision wants written: data, committed all or nothing. Each write names what it expects; the store says which expectation failed.

use crate::digest::Digest;
use crate::entry::EntryDraft;
use crate::evidence::RecordedEvidence;
use crate::identity::{Account, Authenticator, Membership, Person, Session, Token};
use crate::ids::{AccountId, AuthenticatorId, OutboxId, PersonId, ReleaseId, RequestId, SessionId, TokenId};
use crate::names::GroupName;
use crate::release::Release;
use crate::request::Request;
use crate::throttle::Throttle;
use crate::time::Micros;

/// Rows and ledger entries of one commit.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Changes {
    pub writes: Vec<Write>,
    pub entries: Vec<EntryDraft>,
}

/// One row to write, with the condition under which it may be. A condition that does not hold fails the whole commit.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Expects that no request has this id.
    InsertRequest(Box<Request>),
    /// Expects that the stored version is `from`.
    UpdateRequest {
        request: Box<Request>,
        from: i64,
    },
    /// Puts the request before everybody of the groups.
    InsertInbox {
        request: RequestId,
        groups: Vec<GroupName>,
        deadline: Micros,
    },
    ClearInbox {
        request: RequestId,
    },
    /// Expects that this person has not answered this request: one person, one answer.
    InsertEvidence {
        request: RequestId,
        evidence: RecordedEvidence,
    },
    /// Expects that the stored step is older: a code counts once, for ever, on every replica.
    ConsumeStep {
        authenticator: AuthenticatorId,
        step: i64,
    },
    /// Expects the version before the throttle's own: parallel guesses form a line.
    Throttle(Throttle),
    /// An administrator opens what too many guesses closed.
    ClearThrottles {
        subject: String,
    },
    InsertRelease(Box<Release>),
    /// Expects the version before the release's own.
    UpdateRelease(Box<Release>),
    /// Replaces a timer of the same kind and subject.
    SetTimer(Timer),
    ClearTimer {
        kind: TimerKind,
        subject: String,
    },
    InsertOutbox(OutboxMessage),
    /// Expects that the account has not used this key.
    InsertIdempotency {
        account: AccountId,
        key: String,
        body: Digest,
        request: RequestId,
        expires_at: Micros,
    },

    /// Expects that neither id nor name exists.
    InsertPerson(Person),
    /// Expects the version before the person's own.
    UpdatePerson(Person),
    /// Expects that neither id nor name exists.
    InsertAccount(Account),
    /// Expects the version before the account's own.
    UpdateAccount(Account),
    /// Expects that the group does not exist.
    InsertGroup {
        group: GroupName,
        created_at: Micros,
    },
    /// Expects that it exists. Its memberships go with it.
    DeleteGroup {
        group: GroupName,
    },
    /// Expects that the group exists. A renewed membership replaces the old one.
    PutMembership(Membership),
    /// Expects that it exists.
    DeleteMembership {
        group: GroupName,
        person: PersonId,
    },
    InsertAuthenticator(Authenticator),
    /// Two different codes were shown: pending becomes active and both steps are used. Expects that it is pending and its step older.
    ActivateAuthenticator {
        id: AuthenticatorId,
        step: i64,
        enrolled_at: Micros,
        countersigned: bool,
    },
    /// All of the person's authenticators but `except` stop proving anything. Their used steps stay used.
    RemoveAuthenticators {
        person: PersonId,
        except: Option<AuthenticatorId>,
    },
    InsertSession(Session),
    /// Notes use; `last_used_at` only grows.
    TouchSession {
        id: SessionId,
        at: Micros,
    },
    /// A factor was proved in this session. Expects that the session exists.
    FreshenSession {
        id: SessionId,
        at: Micros,
        factor: crate::names::Factor,
    },
    EndSession {
        id: SessionId,
    },
    EndSessionsOf {
        account: AccountId,
    },
    InsertToken(Token),
    /// Expects that it is not revoked.
    RevokeToken {
        id: TokenId,
        at: Micros,
    },
    RevokeTokensOf {
        owner: AccountId,
        at: Micros,
    },

    /// Keeps a policy text. The same text again is no conflict.
    InsertPolicy {
        digest: Digest,
        text: String,
        at: Micros,
    },
    /// Expects that `from` is the active one (`None`: that none is).
    ActivatePolicy {
        digest: Digest,
        from: Option<Digest>,
        at: Micros,
    },
}

/// Something due at a time. The kind and the subject name it; the row is removed by the commit that acts on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timer {
    pub kind: TimerKind,
    pub subject: String,
    pub due_at: Micros,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimerKind {
    /// A request's deadline; the subject is a request.
    RequestDeadline,
    /// A grant's end; the subject is a request.
    GrantEnd,
    /// An intent's lease; the subject is a release.
    ReleaseLease,
    /// A person's erasure goes on; the subject is the request that asked for it.
    Erasure,
}

impl TimerKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RequestDeadline => "request_deadline",
            Self::GrantEnd => "grant_end",
            Self::ReleaseLease => "release_lease",
            Self::Erasure => "erasure",
        }
    }

    pub fn from_str_exact(text: &str) -> Option<Self> {
        match text {
            "request_deadline" => Some(Self::RequestDeadline),
            "grant_end" => Some(Self::GrantEnd),
            "release_lease" => Some(Self::ReleaseLease),
            "erasure" => Some(Self::Erasure),
            _ => None,
        }
    }
}

impl Timer {
    pub fn request(kind: TimerKind, request: RequestId, due_at: Micros) -> Self {
        Self { kind, subject: request.to_string(), due_at }
    }

    pub fn lease(release: ReleaseId, due_at: Micros) -> Self {
        Self { kind: TimerKind::ReleaseLease, subject: release.to_string(), due_at }
    }
}

/// A message to be delivered at least once after the commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxMessage {
    pub id: OutboxId,
    /// What kind of message, for example `notice.asked`.
    pub topic: String,
    /// JSON. Holds no secret.
    pub payload: String,
    pub due_at: Micros,
}

impl Changes {
    /// Adds what another decision of the same commit wants.
    pub fn extend(&mut self, other: Self) {
        self.writes.extend(other.writes);
        self.entries.extend(other.entries);
    }

    pub const fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.entries.is_empty()
    }
}
