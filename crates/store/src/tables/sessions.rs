//! `sessions`.

use countersign_core::digest::Digest;
use countersign_core::identity::{Account, Person, Session};
use countersign_core::ids::{AccountId, SessionId};
use countersign_core::names::Factor;
use countersign_core::time::Micros;

use super::accounts::{self, account_columns};
use super::persons::{self, person_columns};
use super::{load, statements};
use crate::error::{Expectation, Failure, StoreError};
use crate::reader::Tx;
use crate::sql::{Columns, Row, params};

macro_rules! session_columns {
    () => {
        "s.id, s.hash, s.account, s.created_at, s.last_used_at, s.expires_at, s.fresh_at, s.fresh_factor, s.source"
    };
}

macro_rules! with_holder {
    () => {
        concat!(
            "SELECT ",
            session_columns!(),
            ", ",
            account_columns!(),
            ", ",
            person_columns!(),
            " FROM sessions s JOIN accounts a ON a.id = s.account LEFT JOIN persons p ON p.id = a.person"
        )
    };
}

statements! {
    INSERT = "INSERT INTO sessions (id, hash, account, created_at, last_used_at, expires_at, fresh_at, fresh_factor, source) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";
    TOUCH = "UPDATE sessions SET last_used_at = $2 WHERE id = $1 AND last_used_at < $2";
    FRESHEN = "UPDATE sessions SET fresh_factor = $3, \
        fresh_at = CASE WHEN fresh_at < $2 THEN $2 ELSE fresh_at END, \
        last_used_at = CASE WHEN last_used_at < $2 THEN $2 ELSE last_used_at END WHERE id = $1";
    END = "DELETE FROM sessions WHERE id = $1";
    END_OF = "DELETE FROM sessions WHERE account = $1";
    PURGE = "DELETE FROM sessions WHERE expires_at <= $1";
    // In parts, so that no statement takes long.
    END_SOME = "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions ORDER BY expires_at, id LIMIT 4096)";
    COUNT = "SELECT COUNT(*) FROM sessions WHERE expires_at > $1";
    BY_HASH = concat!(with_holder!(), " WHERE s.hash = $1");
    BY_ID = concat!(with_holder!(), " WHERE s.id = $1");
    OF_ACCOUNT = concat!("SELECT ", session_columns!(), " FROM sessions s WHERE s.account = $1 ORDER BY s.id");
    LIVE = concat!(with_holder!(), " WHERE (s.expires_at, s.id) > ($1, $2) ORDER BY s.expires_at, s.id LIMIT $3");
}

/// A session and who holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    pub session: Session,
    pub account: Account,
    pub person: Option<Person>,
}

/// How many sessions there are at this time.
#[derive(Clone, Copy, Debug)]
pub struct CountSessions(pub Micros);

load!(heavy CountSessions => u64, |Self(now), reader| {
    let count = |row: Row| row.columns("sessions").unsigned();
    Ok(reader.first(COUNT, params![now], count).await?.unwrap_or(0))
});

#[derive(Clone, Copy, Debug)]
pub struct SessionByHash(pub Digest);

#[derive(Clone, Copy, Debug)]
pub struct SessionById(pub SessionId);

#[derive(Clone, Copy, Debug)]
pub struct SessionsOf(pub AccountId);

/// A page of the sessions that have not expired, by expiry and id.
#[derive(Clone, Copy, Debug)]
pub struct LiveSessions {
    pub now: Micros,
    /// When the last one of the page before expires, and its id.
    pub after: Option<(Micros, SessionId)>,
    pub limit: u32,
}

load!(SessionByHash => Option<SessionRow>, |Self(hash), reader| reader.first(BY_HASH, params![&hash], read_row).await);
load!(SessionById => Option<SessionRow>, |Self(id), reader| reader.first(BY_ID, params![id], read_row).await);
load!(SessionsOf => Vec<Session>, |Self(account), reader| reader.all(OF_ACCOUNT, params![account], read).await);
load!(heavy LiveSessions => Vec<SessionRow>, |Self { now, after, limit }, reader| {
    // Later than every id of that moment: ids are hexadecimal.
    let (expiry, id) = after.map_or_else(|| (now, "~".to_owned()), |(expiry, id)| (expiry, id.to_string()));
    reader.all(LIVE, params![expiry, id, limit], read_row).await
});

pub(crate) async fn insert(tx: &mut Tx<'_>, session: &Session) -> Result<(), Failure> {
    let Session { id, hash, account, created_at, last_used_at, expires_at, fresh_at, fresh_factor, source } = session;
    let row =
        params![id, hash, account, *created_at, *last_used_at, *expires_at, *fresh_at, fresh_factor.as_str(), source];
    tx.one(INSERT, row, || Expectation::Exists { what: "session", key: id.to_string() }).await
}

pub(crate) async fn touch(tx: &mut Tx<'_>, id: SessionId, at: Micros) -> Result<(), Failure> {
    tx.execute(TOUCH, params![id, at]).await?;
    Ok(())
}

pub(crate) async fn freshen(tx: &mut Tx<'_>, id: SessionId, at: Micros, factor: Factor) -> Result<(), Failure> {
    tx.one(FRESHEN, params![id, at, factor.as_str()], || Expectation::Missing { what: "session", key: id.to_string() })
        .await
}

pub(crate) async fn end(tx: &mut Tx<'_>, id: SessionId) -> Result<(), Failure> {
    tx.execute(END, params![id]).await?;
    Ok(())
}

pub(crate) async fn end_of(tx: &mut Tx<'_>, account: AccountId) -> Result<(), Failure> {
    tx.execute(END_OF, params![account]).await?;
    Ok(())
}

pub(crate) async fn purge(tx: &mut Tx<'_>, now: Micros) -> Result<(), Failure> {
    tx.execute(PURGE, params![now]).await?;
    Ok(())
}

pub(crate) async fn end_all(tx: &mut Tx<'_>) -> Result<(), Failure> {
    while tx.execute(END_SOME, params![]).await? > 0 {}
    Ok(())
}

fn read(row: Row) -> Result<Session, StoreError> {
    session(&mut row.columns("sessions"))
}

fn read_row(row: Row) -> Result<SessionRow, StoreError> {
    let mut columns = row.columns("sessions");
    Ok(SessionRow {
        session: session(&mut columns)?,
        account: accounts::account(&mut columns)?,
        person: persons::optional(&mut columns)?,
    })
}

fn session(columns: &mut Columns) -> Result<Session, StoreError> {
    Ok(Session {
        id: columns.parsed()?,
        hash: columns.digest()?,
        account: columns.parsed()?,
        created_at: columns.micros()?,
        last_used_at: columns.micros()?,
        expires_at: columns.micros()?,
        fresh_at: columns.micros()?,
        fresh_factor: columns.parsed()?,
        source: columns.text()?,
    })
}
