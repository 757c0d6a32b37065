//! `inbox`: which requests wait for which group.

use std::collections::BTreeSet;

use countersign_core::ids::RequestId;
use countersign_core::names::GroupName;
use countersign_core::request::Request;
use countersign_core::time::Micros;

use super::{load, requests, statements};
use crate::error::{Failure, StoreError};
use crate::reader::{Reader, Tx};
use crate::sql::{Row, params};

statements! {
    INSERT = "INSERT INTO inbox (group_name, deadline, request) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    CLEAR = "DELETE FROM inbox WHERE request = $1";
    PAGE = "SELECT deadline, request FROM inbox WHERE group_name = $1 AND (deadline, request) > ($2, $3) \
        ORDER BY deadline, request LIMIT $4";
}

/// A page of what waits for any of these groups, the most urgent first; a request that waits for two of them comes once.
#[derive(Clone, Debug)]
pub struct InboxFor {
    pub groups: Vec<GroupName>,
    /// The last one of the page before.
    pub after: Option<InboxCursor>,
    pub limit: u32,
}

/// A place in an inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InboxCursor {
    pub deadline: Micros,
    pub request: RequestId,
}

load!(InboxFor => Vec<Request>, |Self { groups, after, limit }, reader| page(reader, groups, after, limit).await);

async fn page(
    reader: &mut Reader<'_>,
    groups: Vec<GroupName>,
    after: Option<InboxCursor>,
    limit: u32,
) -> Result<Vec<Request>, StoreError> {
    let mut waiting = BTreeSet::new();
    let (deadline, request) = after.map_or_else(
        || (Micros::from_micros(i64::MIN), String::new()),
        |cursor| (cursor.deadline, cursor.request.to_string()),
    );
    for group in groups {
        for cursor in reader.all(PAGE, params![&group, deadline, &request, limit], read).await? {
            waiting.insert(cursor);
        }
    }
    let mut page = Vec::new();
    for cursor in waiting.into_iter().take(usize::try_from(limit).unwrap_or(usize::MAX)) {
        page.extend(requests::find(reader, cursor.request).await?);
    }
    Ok(page)
}

pub(crate) async fn insert(
    tx: &mut Tx<'_>,
    request: RequestId,
    groups: &[GroupName],
    deadline: Micros,
) -> Result<(), Failure> {
    let mut groups: Vec<_> = groups.iter().collect();
    groups.sort();
    for group in groups {
        tx.execute(INSERT, params![group, deadline, request]).await?;
    }
    Ok(())
}

pub(crate) async fn clear(tx: &mut Tx<'_>, request: RequestId) -> Result<(), Failure> {
    tx.execute(CLEAR, params![request]).await?;
    Ok(())
}

fn read(row: Row) -> Result<InboxCursor, StoreError> {
    let mut columns = row.columns("inbox");
    Ok(InboxCursor { deadline: columns.micros()?, request: columns.parsed()? })
}
