//! `releases`.

use countersign_core::ids::{ReleaseId, RequestId};
use countersign_core::release::Release;
use countersign_core::request::Request;

use super::{load, requests, statements};
use crate::error::{Expectation, Failure, StoreError};
use crate::reader::{Reader, Tx};
use crate::sql::{Row, params};

statements! {
    INSERT = "INSERT INTO releases (id, request, version, begun_at, fingerprint, state) VALUES ($1, $2, $3, $4, $5, $6) \
        ON CONFLICT DO NOTHING";
    UPDATE = "UPDATE releases SET version = $2, state = $3 WHERE id = $1 AND version = CAST($2 AS BIGINT) - 1";
    BY_ID = "SELECT version, state FROM releases WHERE id = $1";
    // The timer of its lease stands as long as an intent has no result.
    INTENDED = "SELECT r.version, r.state FROM timers t JOIN releases r ON r.id = t.subject \
        WHERE t.kind = 'release_lease' AND t.subject > $1 ORDER BY t.subject LIMIT $2";
    OF_REQUEST = "SELECT version, state FROM releases WHERE request = $1 ORDER BY id";
}

#[derive(Clone, Copy, Debug)]
pub struct ReleaseById(pub ReleaseId);

/// A release and the request whose grant it uses.
#[derive(Clone, Copy, Debug)]
pub struct ReleaseWithRequest(pub ReleaseId);

/// The uses of a request's grant, oldest first.
#[derive(Clone, Copy, Debug)]
pub struct ReleasesOf(pub RequestId);

/// A page of the intents that have no result yet, oldest first.
#[derive(Clone, Copy, Debug)]
pub struct IntendedReleases {
    /// The last one of the page before.
    pub after: Option<ReleaseId>,
    pub limit: u32,
}

load!(IntendedReleases => Vec<Release>, |Self { after, limit }, reader| {
    let after = after.map_or_else(String::new, |id| id.to_string());
    reader.all(INTENDED, params![after, limit], read).await
});
load!(ReleaseById => Option<Release>, |Self(id), reader| find(reader, id).await);
load!(ReleasesOf => Vec<Release>, |Self(request), reader| reader.all(OF_REQUEST, params![request], read).await);
load!(ReleaseWithRequest => Option<(Release, Request)>, |Self(id), reader| {
    match find(reader, id).await? {
        Some(release) => Ok(requests::find(reader, release.request).await?.map(|request| (release, request))),
        None => Ok(None),
    }
});

async fn find(reader: &mut Reader<'_>, id: ReleaseId) -> Result<Option<Release>, StoreError> {
    reader.first(BY_ID, params![id], read).await
}

pub(crate) async fn insert(tx: &mut Tx<'_>, release: &Release) -> Result<(), Failure> {
    let row =
        params![release.id, release.request, release.version, release.begun_at, &release.fingerprint, state(release)?];
    tx.one(INSERT, row, || Expectation::Exists { what: "release", key: release.id.to_string() }).await
}

pub(crate) async fn update(tx: &mut Tx<'_>, release: &Release) -> Result<(), Failure> {
    tx.one(UPDATE, params![release.id, release.version, state(release)?], || Expectation::ReleaseVersion {
        id: release.id,
    })
    .await
}

fn state(release: &Release) -> Result<String, Failure> {
    serde_json::to_string(release).map_err(|error| Failure::Refused(error.to_string()))
}

fn read(row: Row) -> Result<Release, StoreError> {
    let mut columns = row.columns("releases");
    let version = columns.int()?;
    let release: Release = columns.json()?;
    if release.version == version { Ok(release) } else { Err(columns.corrupt("one version")) }
}
