//! `groups` and `memberships`.

use countersign_core::identity::{Membership, Person};
use countersign_core::ids::PersonId;
use countersign_core::names::GroupName;
use countersign_core::time::Micros;

use super::persons::{self, person_columns};
use super::{load, statements};
use crate::error::{Expectation, Failure, StoreError};
use crate::reader::{Reader, Tx};
use crate::sql::{Columns, Row, params};

macro_rules! membership_columns {
    () => {
        "m.group_name, m.person, m.since, m.countersigned"
    };
}
pub(super) use membership_columns;

statements! {
    INSERT = "INSERT INTO groups (name, created_at) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    DELETE = "DELETE FROM groups WHERE name = $1";
    LIST = "SELECT name, created_at FROM groups ORDER BY name";
    PUT = "INSERT INTO memberships (group_name, person, since, countersigned) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (group_name, person) DO UPDATE SET since = excluded.since, countersigned = excluded.countersigned";
    TAKE = "DELETE FROM memberships WHERE group_name = $1 AND person = $2";
    OF_PERSON = concat!("SELECT ", membership_columns!(), " FROM memberships m WHERE m.person = $1 ORDER BY m.group_name");
    MEMBERS = concat!(
        "SELECT ", person_columns!(), ", ", membership_columns!(),
        " FROM memberships m JOIN persons p ON p.id = m.person WHERE m.group_name = $1 ORDER BY p.name"
    );
    COUNT_ACTIVE = "SELECT COUNT(*) FROM memberships m JOIN persons p ON p.id = m.person \
        WHERE m.group_name = $1 AND p.active = 1";
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRow {
    pub group: GroupName,
    pub created_at: Micros,
}

/// All groups, by name.
#[derive(Clone, Copy, Debug)]
pub struct ListGroups;

/// The people of a group, by name.
#[derive(Clone, Debug)]
pub struct MembersOf(pub GroupName);

/// How many active people administer.
#[derive(Clone, Copy, Debug)]
pub struct Administrators;

load!(heavy ListGroups => Vec<GroupRow>, |Self, reader| reader.all(LIST, params![], read_group).await);
load!(MembersOf => Vec<(Person, Membership)>, |Self(group), reader| members(reader, &group).await);
load!(Administrators => usize, |Self, reader| administrators(reader).await);

pub(crate) async fn members(
    reader: &mut Reader<'_>,
    group: &GroupName,
) -> Result<Vec<(Person, Membership)>, StoreError> {
    reader.all(MEMBERS, params![group], read_member).await
}

pub(crate) async fn memberships_of(reader: &mut Reader<'_>, person: PersonId) -> Result<Vec<Membership>, StoreError> {
    reader.all(OF_PERSON, params![person], read).await
}

pub(crate) async fn administrators(reader: &mut Reader<'_>) -> Result<usize, StoreError> {
    let group = GroupName::administrators();
    Ok(reader.first(COUNT_ACTIVE, params![&group], read_count).await?.unwrap_or(0))
}

pub(crate) async fn insert(tx: &mut Tx<'_>, group: &GroupName, created_at: Micros) -> Result<(), Failure> {
    tx.one(INSERT, params![group, created_at], || Expectation::Exists { what: "group", key: group.to_string() }).await
}

pub(crate) async fn delete(tx: &mut Tx<'_>, group: &GroupName) -> Result<(), Failure> {
    tx.one(DELETE, params![group], || Expectation::Missing { what: "group", key: group.to_string() }).await
}

pub(crate) async fn put(tx: &mut Tx<'_>, membership: &Membership) -> Result<(), Failure> {
    let Membership { group, person, since, countersigned } = membership;
    tx.one(PUT, params![group, person, *since, *countersigned], || Expectation::Missing {
        what: "group",
        key: group.to_string(),
    })
    .await
}

pub(crate) async fn take(tx: &mut Tx<'_>, group: &GroupName, person: PersonId) -> Result<(), Failure> {
    tx.one(TAKE, params![group, person], || Expectation::Missing {
        what: "membership",
        key: format!("{person} in {group}"),
    })
    .await
}

fn read(row: Row) -> Result<Membership, StoreError> {
    membership(&mut row.columns("memberships"))
}

pub(super) fn membership(columns: &mut Columns) -> Result<Membership, StoreError> {
    Ok(Membership {
        group: columns.parsed()?,
        person: columns.parsed()?,
        since: columns.micros()?,
        countersigned: columns.flag()?,
    })
}

fn read_member(row: Row) -> Result<(Person, Membership), StoreError> {
    let mut columns = row.columns("memberships");
    Ok((persons::person(&mut columns)?, membership(&mut columns)?))
}

pub(super) fn read_group(row: Row) -> Result<GroupRow, StoreError> {
    let mut columns = row.columns("groups");
    Ok(GroupRow { group: columns.parsed()?, created_at: columns.micros()? })
}

fn read_count(row: Row) -> Result<usize, StoreError> {
    let mut columns = row.columns("memberships");
    let count = columns.int()?;
    usize::try_from(count).map_err(|_| columns.corrupt("a count"))
}
