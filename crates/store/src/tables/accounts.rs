//! `accounts`.

use countersign_core::identity::{Account, AccountKind, Person};
use countersign_core::ids::{AccountId, PersonId};
use countersign_core::names::AccountName;

use super::persons::{self, person_columns};
use super::{load, statements};
use crate::error::{Expectation, Failure, StoreError};
use crate::reader::Tx;
use crate::seal::SealedColumn;
use crate::sql::{Columns, Row, params};

/// `row` is the account's id.
pub const ACCOUNT_PASSWORD: SealedColumn = SealedColumn { table: "accounts", column: "password" };

macro_rules! account_columns {
    () => {
        "a.id, a.realm, a.name, a.kind, a.person, a.active, a.password, a.created_at, a.version"
    };
}
pub(super) use account_columns;

macro_rules! with_person {
    () => {
        concat!(
            "SELECT ",
            account_columns!(),
            ", ",
            person_columns!(),
            " FROM accounts a LEFT JOIN persons p ON p.id = a.person"
        )
    };
}

statements! {
    INSERT = "INSERT INTO accounts (id, realm, name, kind, person, active, password, created_at, version) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";
    UPDATE = "UPDATE accounts SET realm = $2, name = $3, kind = $4, person = $5, active = $6, password = $7, version = $8 \
        WHERE id = $1 AND version = CAST($8 AS BIGINT) - 1";
    BY_ID = concat!(with_person!(), " WHERE a.id = $1");
    BY_NAME = concat!(with_person!(), " WHERE a.realm = $1 AND a.name = $2");
    OF_PERSON = concat!("SELECT ", account_columns!(), " FROM accounts a WHERE a.person = $1 ORDER BY a.realm, a.name");
}

/// An account and whom it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRow {
    pub account: Account,
    pub person: Option<Person>,
}

#[derive(Clone, Debug)]
pub struct AccountByName(pub AccountName);

#[derive(Clone, Copy, Debug)]
pub struct AccountById(pub AccountId);

#[derive(Clone, Copy, Debug)]
pub struct AccountsOf(pub PersonId);

load!(AccountById => Option<AccountRow>, |Self(id), reader| reader.first(BY_ID, params![id], read_row).await);
load!(AccountByName => Option<AccountRow>, |Self(name), reader| {
    reader.first(BY_NAME, params![name.realm(), name.name()], read_row).await
});
load!(AccountsOf => Vec<Account>, |Self(person), reader| reader.all(OF_PERSON, params![person], read).await);

pub(crate) async fn insert(tx: &mut Tx<'_>, account: &Account) -> Result<(), Failure> {
    let Account { id, name, kind, person, active, password, created_at, version } = account;
    let row = params![
        id,
        name.realm(),
        name.name(),
        kind.as_str(),
        *person,
        *active,
        password.as_ref(),
        *created_at,
        *version
    ];
    tx.one(INSERT, row, || Expectation::Exists { what: "account", key: name.to_string() }).await
}

pub(crate) async fn update(tx: &mut Tx<'_>, account: &Account) -> Result<(), Failure> {
    let Account { id, name, kind, person, active, password, created_at: _, version } = account;
    let row = params![id, name.realm(), name.name(), kind.as_str(), *person, *active, password.as_ref(), *version];
    tx.one(UPDATE, row, || Expectation::AccountVersion { id: *id }).await
}

fn read(row: Row) -> Result<Account, StoreError> {
    account(&mut row.columns("accounts"))
}

fn read_row(row: Row) -> Result<AccountRow, StoreError> {
    let mut columns = row.columns("accounts");
    Ok(AccountRow { account: account(&mut columns)?, person: persons::optional(&mut columns)? })
}

pub(super) fn account(columns: &mut Columns) -> Result<Account, StoreError> {
    let id = columns.parsed()?;
    let (realm, name) = (columns.text()?, columns.text()?);
    Ok(Account {
        id,
        name: AccountName::new(&realm, &name).map_err(|_| columns.corrupt("an account's name"))?,
        kind: columns.one_of(AccountKind::from_str_exact)?,
        person: columns.opt_parsed()?,
        active: columns.flag()?,
        password: columns.opt_bytes()?.map(countersign_core::sealed::Sealed::from_bytes),
        created_at: columns.micros()?,
        version: columns.int()?,
    })
}
