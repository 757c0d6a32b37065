//! `changes`: what a process keeps in memory and another one changed. Numbered without gaps, in the order of the commits.

use countersign_core::changes::Write;

use super::{load, signed, statements};
use crate::error::Failure;
use crate::reader::Tx;
use crate::sql::{Row, params};

/// How many are kept. Who is further behind begins anew.
const KEPT: i64 = 10_000;

statements! {
    // The row's lock is what orders the commits.
    NUMBER = "UPDATE change_clock SET n = n + 1 WHERE id = 1";
    INSERT = "INSERT INTO changes (n, kind, subject) SELECT n, $1, $2 FROM change_clock WHERE id = 1";
    NOW = "SELECT n FROM change_clock WHERE id = 1";
    SINCE = "SELECT n, kind, subject FROM changes WHERE n > $1 ORDER BY n LIMIT $2";
    // Further than any process can be ahead of a database that is old.
    LEAP = "UPDATE change_clock SET n = n + 1000000 WHERE id = 1";
    FORGET = "DELETE FROM changes WHERE n <= (SELECT n FROM change_clock WHERE id = 1)";
    PURGE = "DELETE FROM changes WHERE n <= (SELECT n FROM change_clock WHERE id = 1) - $1";
}

/// What is kept in memory and changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// A token was revoked; the subject is its id.
    Token,
    /// A session ended or was made fresh; the subject is its id.
    Session,
    /// An account, or what opens doors in its name; the subject is its id.
    Account,
    /// A person; the subject is its id.
    Person,
    /// Another policy is in force; the subject is its digest.
    Policy,
    /// The log's epoch, the keys, or whether releases are stopped; the subject says nothing.
    Log,
}

impl ChangeKind {
    const ALL: [Self; 6] = [Self::Token, Self::Session, Self::Account, Self::Person, Self::Policy, Self::Log];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Session => "session",
            Self::Account => "account",
            Self::Person => "person",
            Self::Policy => "policy",
            Self::Log => "log",
        }
    }

    fn from_str_exact(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Something that a process may hold an old copy of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    pub kind: ChangeKind,
    pub subject: String,
}

/// The number of the last change.
#[derive(Clone, Copy, Debug)]
pub struct LastChange;

/// What changed after a number, the oldest first. `None` when some of that is no longer kept: whoever asked must read everything anew.
#[derive(Clone, Copy, Debug)]
pub struct ChangesSince {
    pub after: u64,
    pub limit: u32,
}

load!(LastChange => u64, |Self, reader| Ok(reader.first(NOW, params![], read_number).await?.unwrap_or(0)));
load!(ChangesSince => Option<Vec<(u64, Change)>>, |Self { after, limit }, reader| {
    let changes = reader.all(SINCE, params![signed(after)?, limit], read).await?;
    let last = reader.first(NOW, params![], read_number).await?.unwrap_or(0);
    let whole = match changes.first() {
        Some((first, _)) => *first == after + 1,
        // A clock that went back belongs to a database that was restored.
        None => last == after,
    };
    Ok(whole.then_some(changes))
});

impl Change {
    /// What others must hear of when this is written.
    pub(crate) fn of(write: &Write) -> Option<Self> {
        let (kind, subject) = match write {
            Write::RevokeToken { id, .. } => (ChangeKind::Token, id.to_string()),
            Write::EndSession { id } | Write::FreshenSession { id, .. } => (ChangeKind::Session, id.to_string()),
            Write::EndSessionsOf { account } => (ChangeKind::Account, account.to_string()),
            Write::RevokeTokensOf { owner, .. } => (ChangeKind::Account, owner.to_string()),
            Write::UpdateAccount(account) => (ChangeKind::Account, account.id.to_string()),
            Write::UpdatePerson(person) => (ChangeKind::Person, person.id.to_string()),
            Write::ActivatePolicy { digest, .. } => (ChangeKind::Policy, digest.to_string()),
            _ => return None,
        };
        Some(Self { kind, subject })
    }
}

pub(crate) async fn insert(tx: &mut Tx<'_>, change: &Change) -> Result<(), Failure> {
    tx.execute(NUMBER, params![]).await?;
    tx.execute(INSERT, params![change.kind.as_str(), &change.subject]).await?;
    Ok(())
}

pub(crate) async fn purge(tx: &mut Tx<'_>) -> Result<(), Failure> {
    tx.execute(PURGE, params![KEPT]).await?;
    Ok(())
}

/// Leaves a hole in the numbers, so that everybody reads everything anew.
pub(crate) async fn forget(tx: &mut Tx<'_>) -> Result<(), Failure> {
    tx.execute(LEAP, params![]).await?;
    tx.execute(FORGET, params![]).await?;
    Ok(())
}

fn read(row: Row) -> Result<(u64, Change), crate::error::StoreError> {
    let mut columns = row.columns("changes");
    let n = columns.unsigned()?;
    Ok((n, Change { kind: columns.one_of(ChangeKind::from_str_exact)?, subject: columns.text()? }))
}

fn read_number(row: Row) -> Result<u64, crate::error::StoreError> {
    row.columns("change_clock").unsigned()
}
