//! What can go wrong, and what to do then.

use std::path::PathBuf;

use countersign_core::ids::{AccountId, AuthenticatorId, PersonId, ReleaseId, RequestId, TokenId};
use countersign_core::throttle::ThrottleKey;

/// The store could not be opened or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    #[error("{} is in use by another process; stop that one first, or give this one a folder of its own", path.display())]
    InUse { path: PathBuf },
    #[error("{} can't be written: {why}; make its folder writable for this user, or name another place", path.display())]
    NotWritable { path: PathBuf, why: String },
    #[error(
        "the database has schema version {found} and this program knows {known}; start the newer program, or restore the backup that was made before the upgrade"
    )]
    Newer { found: i64, known: i64 },
    #[error("the schema of the database is not the one that this program made: {0}; restore a backup")]
    Altered(String),
    #[error("{} is not a database; name another place, or restore a backup", path.display())]
    NotADatabase { path: PathBuf },
    #[error("{} exists already, and nothing is overwritten; name another place", path.display())]
    Occupied { path: PathBuf },
    #[error("{} is no backup that can be restored: {why}; take another one", path.display())]
    NotABackup { path: PathBuf, why: String },
    #[error("the disk is full; make room, nothing is lost")]
    Full,
    #[error("another program holds the database locked; close it, then try again")]
    Busy,
    #[error("the database holds what this program never wrote: {0}; restore a backup")]
    Corrupt(String),
    #[error("the store has stopped; start the service again")]
    Stopped,
    #[error("the disk reported an error: {0}; look at the system's log before you start the service again")]
    Io(String),
    #[error("a statement failed: {0}; this is a fault of the program, please report it")]
    Sql(String),
    /// Nothing was read or written.
    #[error("the database can't be reached: {why}; start it or mend the network, the service comes back by itself")]
    Away { why: String },
    /// The server answers, and must not be used as it is.
    #[error("the database can't be used as it is: {0}")]
    Unfit(String),
    #[error("the address of the database can't be used: {0}")]
    Address(String),
}

/// Why a commit was not, or may not have been, written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Nothing was written. Load again, decide again.
    #[error("somebody else was faster: {0}")]
    Conflict(Expectation),
    /// Nothing was written and nothing that was acknowledged is lost.
    #[error("the disk is full, so nothing was done; make room and ask again")]
    Full,
    /// Nothing was written.
    #[error("another program holds the database locked, so nothing was done; ask again")]
    Busy,
    /// Nothing was written.
    #[error("the database can't be reached ({why}), so nothing was done; ask again")]
    Away { why: String },
    /// It may or may not have been written; only a later look tells. On SQLite the process ends, because nothing else can look.
    #[error("it is not known whether this was done; ask again")]
    Unknown,
    /// Nothing was written, and trying again would not help.
    #[error("this can't be written: {0}; this is a fault of the program, please report it")]
    Refused(String),
}

/// What a commit expected and did not find.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Expectation {
    #[error("request {id} has changed")]
    RequestVersion { id: RequestId },
    #[error("release {id} has changed")]
    ReleaseVersion { id: ReleaseId },
    #[error("person {id} has changed")]
    PersonVersion { id: PersonId },
    #[error("account {id} has changed")]
    AccountVersion { id: AccountId },
    #[error("this code was used before")]
    StepUsed { authenticator: AuthenticatorId },
    #[error("authenticator {authenticator} is not waiting for its codes")]
    NotPending { authenticator: AuthenticatorId },
    #[error("another attempt came in between")]
    ThrottleVersion { key: ThrottleKey },
    #[error("person {person} has answered request {request} already")]
    AlreadyAnswered { request: RequestId, person: PersonId },
    #[error("the idempotency key was used before")]
    IdempotencyUsed { account: AccountId, key: String },
    #[error("{what} {key} exists already")]
    Exists { what: &'static str, key: String },
    #[error("{what} {key} does not exist")]
    Missing { what: &'static str, key: String },
    #[error("token {id} is revoked or does not exist")]
    TokenRevoked { id: TokenId },
    #[error("another policy became active in between")]
    PolicyMoved,
    #[error("setting {key} has changed")]
    MetaMoved { key: String },
    #[error("the log of epoch {epoch} has moved on")]
    LogMoved { epoch: u64 },
    #[error("the log of epoch {epoch} takes no more entries")]
    LogClosed { epoch: u64 },
    #[error("lease {name} is no longer held")]
    LeaseLost { name: String },
    /// Two commits waited for each other, and the database ended one of them.
    #[error("another commit on the same rows came first")]
    Contended,
}

/// Why the process must end: what the disk holds is not known, and only a start from what it holds can tell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}; the process ends so that nothing is answered that is not on disk")]
pub struct Fatal(pub String);

/// An error of a driver, by what it means for the transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DbError {
    /// A unique index said no; with its columns.
    Duplicate(String),
    /// A row refers to one that is not there.
    Dangling,
    /// No room. The transaction is over, nothing of it stands.
    Full,
    /// Locked by another process. Nothing was written.
    Busy,
    /// The disk or the file is broken.
    Broken(String),
    /// The database ended the transaction in favour of another one.
    Contended,
    /// The database can't be reached, or takes no work. Nothing was written.
    Away(String),
    /// The statement is wrong.
    Sql(String),
}

impl From<DbError> for StoreError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Full => Self::Full,
            // A read that lost against a write is one to ask again.
            DbError::Busy | DbError::Contended => Self::Busy,
            DbError::Away(why) => Self::Away { why },
            DbError::Broken(why) => Self::Io(why),
            DbError::Duplicate(why) | DbError::Sql(why) => Self::Sql(why),
            DbError::Dangling => Self::Sql("a row refers to one that is not there".to_owned()),
        }
    }
}

/// Why one commit of a group goes no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Unmet(Expectation),
    Refused(String),
    Db(DbError),
}

impl Failure {
    /// What the commit's own waiter is told, or the error that is not of its making.
    pub(crate) fn of_its_own(self) -> Result<CommitError, DbError> {
        match self {
            Self::Unmet(expectation) => Ok(CommitError::Conflict(expectation)),
            Self::Refused(why) | Self::Db(DbError::Sql(why)) => Ok(CommitError::Refused(why)),
            Self::Db(DbError::Duplicate(what)) => {
                Ok(CommitError::Refused(format!("another row with the same {what} exists")))
            }
            Self::Db(DbError::Dangling) => {
                Ok(CommitError::Refused("a row refers to one that does not exist".to_owned()))
            }
            Self::Db(error) => Err(error),
        }
    }
}

impl From<DbError> for Failure {
    fn from(error: DbError) -> Self {
        Self::Db(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Refused(error.to_string())
    }
}
