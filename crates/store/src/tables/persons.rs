//! `persons`.

use countersign_core::identity::Person;
use countersign_core::ids::PersonId;

use super::{load, statements};
use crate::error::{Expectation, Failure, StoreError};
use crate::reader::{Reader, Tx};
use crate::sql::{Columns, Row, params};

macro_rules! person_columns {
    () => {
        "p.id, p.name, p.active, p.created_at, p.version"
    };
}
pub(super) use person_columns;

statements! {
    INSERT = "INSERT INTO persons (id, name, active, created_at, version) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
    UPDATE = "UPDATE persons SET name = $2, active = $3, version = $4 WHERE id = $1 AND version = CAST($4 AS BIGINT) - 1";
    BY_ID = concat!("SELECT ", person_columns!(), " FROM persons p WHERE p.id = $1");
    BY_NAME = concat!("SELECT ", person_columns!(), " FROM persons p WHERE p.name = $1");
}

#[derive(Clone, Copy, Debug)]
pub struct PersonById(pub PersonId);

#[derive(Clone, Debug)]
pub struct PersonByName(pub String);

load!(PersonById => Option<Person>, |Self(id), reader| find(reader, id).await);
load!(PersonByName => Option<Person>, |Self(name), reader| reader.first(BY_NAME, params![&name], read).await);

pub(crate) async fn find(reader: &mut Reader<'_>, id: PersonId) -> Result<Option<Person>, StoreError> {
    reader.first(BY_ID, params![id], read).await
}

pub(crate) async fn insert(tx: &mut Tx<'_>, person: &Person) -> Result<(), Failure> {
    let Person { id, name, active, created_at, version } = person;
    tx.one(INSERT, params![id, name, *active, *created_at, *version], || Expectation::Exists {
        what: "person",
        key: name.clone(),
    })
    .await
}

pub(crate) async fn update(tx: &mut Tx<'_>, person: &Person) -> Result<(), Failure> {
    let Person { id, name, active, created_at: _, version } = person;
    tx.one(UPDATE, params![id, name, *active, *version], || Expectation::PersonVersion { id: *id }).await
}

pub(super) fn read(row: Row) -> Result<Person, StoreError> {
    person(&mut row.columns("persons"))
}

pub(super) fn person(columns: &mut Columns) -> Result<Person, StoreError> {
    let id = columns.parsed()?;
    rest(id, columns)
}

/// The person of an outer join.
pub(super) fn optional(columns: &mut Columns) -> Result<Option<Person>, StoreError> {
    columns.opt_parsed()?.map(|id| rest(id, columns)).transpose()
}

fn rest(id: PersonId, columns: &mut Columns) -> Result<Person, StoreError> {
    Ok(Person {
        id,
        name: columns.text()?,
        active: columns.flag()?,
        created_at: columns.micros()?,
        version: columns.int()?,
    })
}
