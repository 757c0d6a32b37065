//! `authenticators`. The used steps live here: one row each, so that a code counts once on every replica.

use countersign_core::identity::{Authenticator, AuthenticatorState};
use countersign_core::ids::{AuthenticatorId, PersonId};
use countersign_core::names::GroupName;
use countersign_core::time::Micros;

use super::{load, statements};
use crate::error::{Expectation, Failure, StoreError};
use crate::reader::{Reader, Tx};
use crate::seal::SealedColumn;
use crate::sql::{Row, params};

/// `row` is the authenticator's id.
pub const AUTHENTICATOR_SECRET: SealedColumn = SealedColumn { table: "authenticators", column: "secret" };

macro_rules! authenticator_columns {
    () => {
        "t.id, t.person, t.factor, t.secret, t.state, t.last_step, t.enrolled_at, t.countersigned"
    };
}

statements! {
    INSERT = "INSERT INTO authenticators (id, person, factor, secret, state, last_step, enrolled_at, countersigned) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";
    CONSUME = "UPDATE authenticators SET last_step = $2 WHERE id = $1 AND last_step < $2 AND state = 'active'";
    ACTIVATE = "UPDATE authenticators SET state = 'active', last_step = $2, enrolled_at = $3, countersigned = $4 \
        WHERE id = $1 AND state = 'pending' AND last_step < $2";
    REMOVE = "UPDATE authenticators SET state = 'removed' WHERE person = $1 AND id <> $2 AND state <> 'removed'";
    // In parts, so that no statement takes long.
    FLOOR_SOME = "UPDATE authenticators SET last_step = CASE WHEN last_step < $1 THEN $1 ELSE last_step END WHERE id IN \
        (SELECT id FROM authenticators WHERE id > $2 ORDER BY id LIMIT 1024) RETURNING id";
    BY_ID = concat!("SELECT ", authenticator_columns!(), " FROM authenticators t WHERE t.id = $1");
    OF_PERSON = concat!("SELECT ", authenticator_columns!(), " FROM authenticators t WHERE t.person = $1 ORDER BY t.id");
    ACTIVE_OF_PERSON = concat!(
        "SELECT ", authenticator_columns!(),
        " FROM authenticators t WHERE t.person = $1 AND t.state = 'active' ORDER BY t.id"
    );
    ACTIVE_OF_GROUP = concat!(
        "SELECT ", authenticator_columns!(),
        " FROM memberships m JOIN authenticators t ON t.person = m.person",
        " WHERE m.group_name = $1 AND t.state = 'active' ORDER BY t.id"
    );
}

#[derive(Clone, Copy, Debug)]
pub struct AuthenticatorById(pub AuthenticatorId);

/// All of a person's authenticators, removed ones too.
#[derive(Clone, Copy, Debug)]
pub struct AuthenticatorsOf(pub PersonId);

load!(AuthenticatorById => Option<Authenticator>, |Self(id), reader| reader.first(BY_ID, params![id], read).await);
load!(AuthenticatorsOf => Vec<Authenticator>, |Self(person), reader| reader.all(OF_PERSON, params![person], read).await);

pub(crate) async fn active_of(reader: &mut Reader<'_>, person: PersonId) -> Result<Vec<Authenticator>, StoreError> {
    reader.all(ACTIVE_OF_PERSON, params![person], read).await
}

pub(crate) async fn active_of_group(
    reader: &mut Reader<'_>,
    group: &GroupName,
) -> Result<Vec<Authenticator>, StoreError> {
    reader.all(ACTIVE_OF_GROUP, params![group], read).await
}

pub(crate) async fn insert(tx: &mut Tx<'_>, authenticator: &Authenticator) -> Result<(), Failure> {
    let Authenticator { id, person, factor, secret, state, last_step, enrolled_at, countersigned } = authenticator;
    let row = params![id, person, factor.as_str(), secret, state.as_str(), *last_step, *enrolled_at, *countersigned];
    tx.one(INSERT, row, || Expectation::Exists { what: "authenticator", key: id.to_string() }).await
}

/// One that was removed in between proves nothing any more, so it loses as a used code does.
pub(crate) async fn consume(tx: &mut Tx<'_>, id: AuthenticatorId, step: i64) -> Result<(), Failure> {
    tx.one(CONSUME, params![id, step], || Expectation::StepUsed { authenticator: id }).await
}

pub(crate) async fn activate(
    tx: &mut Tx<'_>,
    id: AuthenticatorId,
    step: i64,
    enrolled_at: Micros,
    countersigned: bool,
) -> Result<(), Failure> {
    tx.one(ACTIVATE, params![id, step, enrolled_at, countersigned], || Expectation::NotPending { authenticator: id })
        .await
}

pub(crate) async fn remove(tx: &mut Tx<'_>, person: PersonId, except: Option<AuthenticatorId>) -> Result<(), Failure> {
    // No id is empty text.
    let except = except.map_or_else(String::new, |id| id.to_string());
    tx.execute(REMOVE, params![person, except]).await?;
    Ok(())
}

/// No code of a step up to this one counts any more, whoever's it is.
pub(crate) async fn floor(tx: &mut Tx<'_>, step: i64) -> Result<(), Failure> {
    let mut after = String::new();
    loop {
        let rows = tx.query(FLOOR_SOME, params![step, &after]).await?;
        let ids = rows.into_iter().map(|row| row.columns("authenticators").text()).collect::<Result<Vec<_>, _>>()?;
        match ids.into_iter().max() {
            Some(last) => after = last,
            None => return Ok(()),
        }
    }
}

fn read(row: Row) -> Result<Authenticator, StoreError> {
    let mut columns = row.columns("authenticators");
    Ok(Authenticator {
        id: columns.parsed()?,
        person: columns.parsed()?,
        factor: columns.parsed()?,
        secret: columns.sealed()?,
        state: columns.one_of(AuthenticatorState::from_str_exact)?,
        last_step: columns.int()?,
        enrolled_at: columns.micros()?,
        countersigned: columns.flag()?,
    })
}
