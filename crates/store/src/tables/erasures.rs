//! `erasures` and `erased_names`: a person's words are taken out page by page, and whoever dies over it leaves behind how far it came.

use countersign_core::digest::Digest;
use countersign_core::ids::{AccountId, EntryId, PersonId, RequestId};
use countersign_core::request::Request;
use countersign_core::time::Micros;
use countersign_ledger::Opening;

use super::entries::{self, StoredEntry};
use super::{load, requests, statements};
use crate::error::{Expectation, Failure, StoreError};
use crate::reader::Tx;
use crate::sql::{Row, params};

statements! {
    BEGIN = "INSERT INTO erasures (request, person, name, version, begun_at, entries, requests) VALUES ($1, $2, $3, $4, $5, $6, $7) \
        ON CONFLICT DO NOTHING";
    GO_ON = "UPDATE erasures SET version = $2, entries = $3, requests = $4 WHERE request = $1 AND version = CAST($2 AS BIGINT) - 1";
    FINISH = "DELETE FROM erasures WHERE request = $1 AND version = $2";
    OF_REQUEST = "SELECT request, person, name, version, begun_at, entries, requests FROM erasures WHERE request = $1";
    TAKE_NAME = "INSERT INTO erased_names (hash) VALUES ($1) ON CONFLICT DO NOTHING";
    IS_TAKEN = "SELECT hash FROM erased_names WHERE hash = $1";
    ENTRIES = "SELECT e.id, e.at, e.epoch, e.leaf_index, e.bytes, o.opened FROM entries e \
        LEFT JOIN openings o ON o.entry = e.id WHERE e.person = $1 ORDER BY e.at, e.id LIMIT $2";
    CLOSED_BY = "SELECT version, state FROM requests WHERE person = $1 AND is_open = 0 ORDER BY id LIMIT $2";
    CLOSED_ABOUT = "SELECT version, state FROM requests WHERE about = $1 AND is_open = 0 ORDER BY id LIMIT $2";
    OPEN_BY = "SELECT id FROM requests WHERE person = $1 AND is_open = 1 LIMIT 1";
    OPEN_ABOUT = "SELECT id FROM requests WHERE about = $1 AND is_open = 1 LIMIT 1";
    UNLINK = "UPDATE entries SET person = NULL WHERE id = $1";
    CLOSE = "DELETE FROM openings WHERE entry = $1";
    REOPEN = "UPDATE openings SET opened = $2 WHERE entry = $1";
    REQUEST = "UPDATE requests SET version = $2, person = NULL, about = NULL, fingerprint = $3, state = $4 \
        WHERE id = $1 AND version = $5";
    ABOUT = "UPDATE requests SET version = $2, about = NULL, fingerprint = $3, state = $4 WHERE id = $1 AND version = $5";
    EVIDENCE = "UPDATE evidence SET person_name = $3 WHERE request = $1 AND person = $2";
    RELAYED = "UPDATE evidence SET relayed_by_name = $3 WHERE request = $1 AND relayed_by = $2";
    TOKENS = "UPDATE tokens SET name = $2 WHERE owner = $1";
    IDEMPOTENCY = "DELETE FROM idempotency WHERE account = $1";
    THROTTLES = "DELETE FROM throttles WHERE subject = $1";
    THROTTLE_TOTALS = "DELETE FROM throttle_totals WHERE subject = $1";
}

/// An erasure on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErasureRow {
    /// The administrative request that granted it.
    pub request: RequestId,
    pub person: PersonId,
    /// The name that goes, by which other administrative requests know the person. It goes with this row.
    pub name: String,
    pub version: i64,
    pub begun_at: Micros,
    /// What was taken out so far.
    pub entries: i64,
    pub requests: i64,
}

/// What an erasure writes.
#[derive(Clone, Debug, PartialEq)]
pub enum Erase {
    /// Expects that it has not begun yet.
    Begin(ErasureRow),
    /// Expects the version before the row's own.
    GoOn(ErasureRow),
    /// Expects this very version. The row goes, and with it the name.
    Finish(ErasureRow),
    /// Nobody gets this name again. The same hash again is no conflict.
    TakeName(Digest),
    /// Of an entry's openings only these are left. `unlink`: it names nobody any more.
    Openings { entry: EntryId, left: Vec<Opening>, unlink: bool },
    /// A request without its words. `asked`: because of who asked it. Expects that the stored version is `from`.
    Request { request: Box<Request>, asked: bool, from: i64 },
    /// The name beside an answer.
    Evidence { request: RequestId, person: PersonId, name: String },
    /// What else an account left: the names of its tokens, its retries' keys.
    Account(AccountId),
    /// The counters of a subject, with the sources that they were counted for.
    Throttles(String),
}

/// The erasure that this request asked for, while it is on its way.
#[derive(Clone, Copy, Debug)]
pub struct ErasureOf(pub RequestId);

/// Whether an erased person bore this name.
#[derive(Clone, Copy, Debug)]
pub struct IsNameTaken(pub Digest);

/// The next entries that name this person, the oldest first.
#[derive(Clone, Copy, Debug)]
pub struct EntriesNaming {
    pub person: PersonId,
    pub limit: u32,
}

/// The next requests that this person asked, or that are about the person of this name, and that have come to their end.
#[derive(Clone, Debug)]
pub struct ClosedRequests {
    pub whose: Concerned,
    pub limit: u32,
}

/// Whether one of them has not come to its end yet.
#[derive(Clone, Debug)]
pub struct AnyOpenRequest(pub Concerned);

#[derive(Clone, Debug)]
pub enum Concerned {
    AskedBy(PersonId),
    About(String),
}

load!(ErasureOf => Option<ErasureRow>, |Self(request), reader| reader.first(OF_REQUEST, params![request], read).await);
load!(IsNameTaken => bool, |Self(hash), reader| {
    Ok(reader.first(IS_TAKEN, params![&hash], |_| Ok(())).await?.is_some())
});
load!(EntriesNaming => Vec<StoredEntry>, |Self { person, limit }, reader| {
    reader.all(ENTRIES, params![person, limit], entries::read).await
});
load!(ClosedRequests => Vec<Request>, |Self { whose, limit }, reader| match whose {
    Concerned::AskedBy(person) => reader.all(CLOSED_BY, params![person, limit], requests::read).await,
    Concerned::About(name) => reader.all(CLOSED_ABOUT, params![&name, limit], requests::read).await,
});
load!(AnyOpenRequest => bool, |Self(whose), reader| {
    let found = match whose {
        Concerned::AskedBy(person) => reader.first(OPEN_BY, params![person], |_| Ok(())).await?,
        Concerned::About(name) => reader.first(OPEN_ABOUT, params![&name], |_| Ok(())).await?,
    };
    Ok(found.is_some())
});

impl Erase {
    /// What it writes first, and the key of that row.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::Begin(row) | Self::GoOn(row) | Self::Finish(row) => format!("0 {}", row.request),
            Self::TakeName(hash) => format!("1 {hash}"),
            Self::Throttles(subject) => format!("2 {subject}"),
            Self::Account(account) => format!("3 {account}"),
            Self::Request { request, .. } => format!("4 {}", request.id),
            Self::Evidence { request, person, .. } => format!("5 {request} {person}"),
            Self::Openings { entry, .. } => format!("6 {entry}"),
        }
    }

    pub(crate) async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        match self {
            Self::Begin(row) => begin(tx, row).await,
            Self::GoOn(ErasureRow { request, version, entries, requests, .. }) => {
                tx.one(GO_ON, params![request, *version, *entries, *requests], || moved(*request)).await
            }
            Self::Finish(ErasureRow { request, version, .. }) => {
                tx.one(FINISH, params![request, *version], || moved(*request)).await
            }
            Self::TakeName(hash) => {
                tx.execute(TAKE_NAME, params![hash]).await?;
                Ok(())
            }
            Self::Openings { entry, left, unlink } => {
                if left.is_empty() {
                    tx.execute(CLOSE, params![entry]).await?;
                } else {
                    tx.execute(REOPEN, params![entry, entries::opened(left)?]).await?;
                }
                if *unlink {
                    tx.execute(UNLINK, params![entry]).await?;
                }
                Ok(())
            }
            Self::Request { request, asked, from } => {
                let sql = if *asked { REQUEST } else { ABOUT };
                let row = params![request.id, request.version, &request.fingerprint, requests::state(request)?, *from];
                tx.one(sql, row, || Expectation::RequestVersion { id: request.id }).await
            }
            Self::Evidence { request, person, name } => {
                tx.execute(EVIDENCE, params![request, person, name]).await?;
                tx.execute(RELAYED, params![request, person, name]).await?;
                Ok(())
            }
            Self::Account(account) => {
                tx.execute(TOKENS, params![account, countersign_core::erasure::ERASED]).await?;
                tx.execute(IDEMPOTENCY, params![account]).await?;
                Ok(())
            }
            Self::Throttles(subject) => {
                tx.execute(THROTTLES, params![subject]).await?;
                tx.execute(THROTTLE_TOTALS, params![subject]).await?;
                Ok(())
            }
        }
    }
}

async fn begin(tx: &mut Tx<'_>, row: &ErasureRow) -> Result<(), Failure> {
    let ErasureRow { request, person, name, version, begun_at, entries, requests } = row;
    let row = params![request, person, name, *version, *begun_at, *entries, *requests];
    tx.one(BEGIN, row, || moved(*request)).await
}

fn moved(request: RequestId) -> Expectation {
    Expectation::LeaseLost { name: format!("erasure {request}") }
}

fn read(row: Row) -> Result<ErasureRow, StoreError> {
    let mut columns = row.columns("erasures");
    Ok(ErasureRow {
        request: columns.parsed()?,
        person: columns.parsed()?,
        name: columns.text()?,
        version: columns.int()?,
        begun_at: columns.micros()?,
        entries: columns.int()?,
        requests: columns.int()?,
    })
}
