//! `leases`: which process does what only one may do.

use countersign_core::time::Micros;

use super::{load, statements};
use crate::error::{Expectation, Failure, StoreError};
use crate::reader::Tx;
use crate::sql::{Row, params};

statements! {
    ACQUIRE = "INSERT INTO leases (name, owner, fence, until_at) VALUES ($1, $2, 1, $4) \
        ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until_at = excluded.until_at, \
        fence = CASE WHEN leases.owner = excluded.owner THEN leases.fence ELSE leases.fence + 1 END \
        WHERE leases.owner = excluded.owner OR leases.until_at <= $3 RETURNING fence";
    HOLD = "UPDATE leases SET fence = fence WHERE name = $1 AND owner = $2 AND fence = $3";
    RELEASE = "UPDATE leases SET until_at = 0 WHERE name = $1 AND owner = $2";
    RELEASE_ALL = "UPDATE leases SET until_at = 0 WHERE until_at > 0";
    BY_NAME = "SELECT owner, fence, until_at FROM leases WHERE name = $1";
}

/// Grows with each new holder, so that a holder who slept through the end of his lease is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fence(pub i64);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRow {
    pub owner: String,
    pub fence: Fence,
    pub until: Micros,
}

#[derive(Clone, Debug)]
pub struct LeaseOf(pub String);

load!(LeaseOf => Option<LeaseRow>, |Self(name), reader| reader.first(BY_NAME, params![&name], read).await);

/// Takes or renews a lease; `None` while another owner holds it.
pub(crate) async fn acquire(
    tx: &mut Tx<'_>,
    name: &str,
    owner: &str,
    now: Micros,
    until: Micros,
) -> Result<Option<Fence>, Failure> {
    let rows = tx.query(ACQUIRE, params![name, owner, now, until]).await?;
    Ok(rows.into_iter().next().map(|row| row.columns("leases").int().map(Fence)).transpose()?)
}

pub(crate) async fn hold(tx: &mut Tx<'_>, name: &str, owner: &str, fence: Fence) -> Result<(), Failure> {
    tx.one(HOLD, params![name, owner, fence.0], || Expectation::LeaseLost { name: name.to_owned() }).await
}

pub(crate) async fn release(tx: &mut Tx<'_>, name: &str, owner: &str) -> Result<(), Failure> {
    tx.execute(RELEASE, params![name, owner]).await?;
    Ok(())
}

/// Ends all leases; their fences stay, so a holder who lives on after all is still recognised.
pub(crate) async fn release_all(tx: &mut Tx<'_>) -> Result<(), Failure> {
    tx.execute(RELEASE_ALL, params![]).await?;
    Ok(())
}

fn read(row: Row) -> Result<LeaseRow, StoreError> {
    let mut columns = row.columns("leases");
    Ok(LeaseRow { owner: columns.text()?, fence: Fence(columns.int()?), until: columns.micros()? })
}
