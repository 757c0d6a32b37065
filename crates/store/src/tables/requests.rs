//! `requests`. The whole request is one JSON text; beside it stand the columns that questions are asked by.

use countersign_core::digest::Digest;
use countersign_core::erasure::person_named;
use countersign_core::ids::{AccountId, PersonId, RequestId};
use countersign_core::request::Request;
use countersign_core::time::Micros;

use super::{load, statements};
use crate::error::{Expectation, Failure, StoreError};
use crate::reader::{Reader, Tx};
use crate::seal::SealedColumn;
use crate::sql::{Param, Row, params};

/// `row` is the request's id.
pub const REQUEST_SEALED: SealedColumn = SealedColumn { table: "requests", column: "sealed" };

/// How many places the statement has.
const VERSIONS_AT_ONCE: usize = 32;

statements! {
    INSERT = "INSERT INTO requests \
        (id, version, stage, account, person, about, fingerprint, deadline, is_open, live_until, state) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING";
    UPDATE = "UPDATE requests SET version = $2, stage = $3, deadline = $4, is_open = $5, live_until = $6, state = $7 \
        WHERE id = $1 AND version = $8";
    BY_ID = "SELECT version, state FROM requests WHERE id = $1";
    BY_FINGERPRINT = "SELECT version, state FROM requests \
        WHERE fingerprint = $1 AND account = $2 AND is_open = 1 ORDER BY id DESC LIMIT 64";
    VERSIONS = "SELECT id, version FROM requests WHERE id IN ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, \
        $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32)";
    OPEN_PAGE = "SELECT version, state FROM requests WHERE is_open = 1 AND id > $1 ORDER BY id LIMIT $2";
    PAGE = "SELECT version, state FROM requests WHERE id < $1 ORDER BY id DESC LIMIT $2";
    PAGE_ACCOUNT = "SELECT version, state FROM requests WHERE account = $3 AND id < $1 ORDER BY id DESC LIMIT $2";
    PAGE_PERSON = "SELECT version, state FROM requests WHERE person = $3 AND id < $1 ORDER BY id DESC LIMIT $2";
}

#[derive(Clone, Copy, Debug)]
pub struct RequestById(pub RequestId);

/// The versions that these requests have now; what is not there is left out. Reads nothing else of them.
#[derive(Clone, Debug)]
pub struct RequestVersions(pub Vec<RequestId>);

/// What this account has asked already in the same words: pending, or with a grant that was live when it was last written. Newest first.
#[derive(Clone, Copy, Debug)]
pub struct RequestsByFingerprint {
    pub account: AccountId,
    pub fingerprint: Digest,
}

/// A page of requests, newest first.
#[derive(Clone, Copy, Debug)]
pub struct RequestsOf {
    pub whose: Whose,
    /// The last one of the page before.
    pub before: Option<RequestId>,
    pub limit: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Everybody,
    Account(AccountId),
    Person(PersonId),
}

/// A page of the requests that are pending or have a live grant, oldest first.
#[derive(Clone, Copy, Debug)]
pub struct OpenRequests {
    /// The last one of the page before.
    pub after: Option<RequestId>,
    pub limit: u32,
}

load!(OpenRequests => Vec<Request>, |Self { after, limit }, reader| {
    let after = after.map_or_else(String::new, |id| id.to_string());
    reader.all(OPEN_PAGE, params![after, limit], read).await
});
load!(RequestById => Option<Request>, |Self(id), reader| find(reader, id).await);
load!(RequestVersions => Vec<(RequestId, i64)>, |Self(ids), reader| {
    let mut versions = Vec::with_capacity(ids.len());
    for ids in ids.chunks(VERSIONS_AT_ONCE) {
        // One text for every number of ids: places that are left over hold some of them again.
        let params: Vec<Param<'_>> = ids.iter().cycle().take(VERSIONS_AT_ONCE).map(|id| (*id).into()).collect();
        versions.extend(reader.all(VERSIONS, &params, read_version).await?);
    }
    Ok(versions)
});
load!(RequestsByFingerprint => Vec<Request>, |Self { account, fingerprint }, reader| {
    reader.all(BY_FINGERPRINT, params![&fingerprint, account], read).await
});
load!(RequestsOf => Vec<Request>, |Self { whose, before, limit }, reader| {
    // Later than every id: they are hexadecimal.
    let before = before.map_or_else(|| "~".to_owned(), |id| id.to_string());
    match whose {
        Whose::Everybody => reader.all(PAGE, params![before, limit], read).await,
        Whose::Account(account) => reader.all(PAGE_ACCOUNT, params![before, limit, account], read).await,
        Whose::Person(person) => reader.all(PAGE_PERSON, params![before, limit, person], read).await,
    }
});

pub(crate) async fn find(reader: &mut Reader<'_>, id: RequestId) -> Result<Option<Request>, StoreError> {
    reader.first(BY_ID, params![id], read).await
}

pub(crate) async fn insert(tx: &mut Tx<'_>, request: &Request) -> Result<(), Failure> {
    let row = params![
        request.id,
        request.version,
        request.stage.name(),
        request.account,
        request.person.as_ref().map(|person| person.id),
        person_named(&request.operation),
        &request.fingerprint,
        request.deadline,
        is_open(request),
        live_until(request),
        state(request)?
    ];
    tx.one(INSERT, row, || Expectation::Exists { what: "request", key: request.id.to_string() }).await
}

pub(crate) async fn update(tx: &mut Tx<'_>, request: &Request, from: i64) -> Result<(), Failure> {
    if request.version <= from {
        return Err(Failure::Refused(format!("request {} would go back from version {from}", request.id)));
    }
    let row = params![
        request.id,
        request.version,
        request.stage.name(),
        request.deadline,
        is_open(request),
        live_until(request),
        state(request)?,
        from
    ];
    tx.one(UPDATE, row, || Expectation::RequestVersion { id: request.id }).await
}

fn is_open(request: &Request) -> bool {
    request.is_pending() || live_until(request).is_some()
}

fn live_until(request: &Request) -> Option<Micros> {
    request.grant().filter(|grant| grant.is_live()).map(|grant| grant.expires_at)
}

pub(super) fn state(request: &Request) -> Result<String, Failure> {
    serde_json::to_string(request).map_err(|error| Failure::Refused(error.to_string()))
}

fn read_version(row: Row) -> Result<(RequestId, i64), StoreError> {
    let mut columns = row.columns("requests");
    Ok((columns.parsed()?, columns.int()?))
}

pub(super) fn read(row: Row) -> Result<Request, StoreError> {
    let mut columns = row.columns("requests");
    let version = columns.int()?;
    let request: Request = columns.json()?;
    // The version decides races, so the column and the text must not tell two stories.
    if request.version == version { Ok(request) } else { Err(columns.corrupt("one version")) }
}
