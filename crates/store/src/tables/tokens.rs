//! `tokens`.

use countersign_core::digest::Digest;
use countersign_core::identity::{Account, Person, Token};
use countersign_core::ids::{AccountId, TokenId};
use countersign_core::time::Micros;

use super::accounts::{self, account_columns};
use super::persons::{self, person_columns};
use super::{load, statements};
use crate::error::{Expectation, Failure, StoreError};
use crate::reader::Tx;
use crate::sql::{Columns, Row, params};

macro_rules! token_columns {
    () => {
        "t.id, t.hash, t.name, t.owner, t.scopes, t.created_at, t.expires_at, t.revoked_at"
    };
}

macro_rules! with_owner {
    () => {
        concat!(
            "SELECT ",
            token_columns!(),
            ", ",
            account_columns!(),
            ", ",
            person_columns!(),
            " FROM tokens t JOIN accounts a ON a.id = t.owner LEFT JOIN persons p ON p.id = a.person"
        )
    };
}

statements! {
    INSERT = "INSERT INTO tokens (id, hash, name, owner, scopes, created_at, expires_at, revoked_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";
    REVOKE = "UPDATE tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
    REVOKE_OF = "UPDATE tokens SET revoked_at = $2 WHERE owner = $1 AND revoked_at IS NULL";
    // In parts, so that no statement takes long.
    REVOKE_SOME = "UPDATE tokens SET revoked_at = $1 WHERE id IN \
        (SELECT id FROM tokens WHERE revoked_at IS NULL ORDER BY expires_at, id LIMIT 4096)";
    COUNT = "SELECT COUNT(*) FROM tokens WHERE revoked_at IS NULL AND expires_at > $1";
    BY_HASH = concat!(with_owner!(), " WHERE t.hash = $1");
    BY_ID = concat!(with_owner!(), " WHERE t.id = $1");
    PAGE = concat!("SELECT ", token_columns!(), " FROM tokens t WHERE t.id > $1 ORDER BY t.id LIMIT $2");
    PAGE_OWNER = concat!(
        "SELECT ", token_columns!(), " FROM tokens t WHERE t.owner = $3 AND t.id > $1 ORDER BY t.id LIMIT $2"
    );
    LIVE = concat!(
        with_owner!(),
        " WHERE (t.expires_at, t.id) > ($1, $2) AND t.revoked_at IS NULL ORDER BY t.expires_at, t.id LIMIT $3"
    );
}

/// A token and whom it acts for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    pub token: Token,
    pub account: Account,
    pub person: Option<Person>,
}

/// How many tokens open a door at this time.
#[derive(Clone, Copy, Debug)]
pub struct CountTokens(pub Micros);

load!(heavy CountTokens => u64, |Self(now), reader| {
    let count = |row: Row| row.columns("tokens").unsigned();
    Ok(reader.first(COUNT, params![now], count).await?.unwrap_or(0))
});

#[derive(Clone, Copy, Debug)]
pub struct TokenByHash(pub Digest);

#[derive(Clone, Copy, Debug)]
pub struct TokenById(pub TokenId);

/// A page of an account's tokens or of all, oldest first, revoked ones too.
#[derive(Clone, Copy, Debug)]
pub struct TokensPage {
    /// `None`: everybody's.
    pub owner: Option<AccountId>,
    /// The last one of the page before.
    pub after: Option<TokenId>,
    pub limit: u32,
}

/// A page of the tokens that are neither expired nor revoked, by expiry and id.
#[derive(Clone, Copy, Debug)]
pub struct LiveTokens {
    pub now: Micros,
    /// When the last one of the page before expires, and its id.
    pub after: Option<(Micros, TokenId)>,
    pub limit: u32,
}

load!(TokenByHash => Option<TokenRow>, |Self(hash), reader| reader.first(BY_HASH, params![&hash], read_row).await);
load!(TokenById => Option<TokenRow>, |Self(id), reader| reader.first(BY_ID, params![id], read_row).await);
load!(TokensPage => Vec<Token>, |Self { owner, after, limit }, reader| {
    let after = after.map_or_else(String::new, |id| id.to_string());
    match owner {
        Some(owner) => reader.all(PAGE_OWNER, params![after, limit, owner], read).await,
        None => reader.all(PAGE, params![after, limit], read).await,
    }
});
load!(heavy LiveTokens => Vec<TokenRow>, |Self { now, after, limit }, reader| {
    // Later than every id of that moment: ids are hexadecimal.
    let (expiry, id) = after.map_or_else(|| (now, "~".to_owned()), |(expiry, id)| (expiry, id.to_string()));
    reader.all(LIVE, params![expiry, id, limit], read_row).await
});

pub(crate) async fn insert(tx: &mut Tx<'_>, token: &Token) -> Result<(), Failure> {
    let Token { id, hash, name, owner, scopes, created_at, expires_at, revoked_at } = token;
    let scopes = serde_json::to_string(scopes).map_err(|error| Failure::Refused(error.to_string()))?;
    let row = params![id, hash, name, owner, scopes, *created_at, *expires_at, *revoked_at];
    tx.one(INSERT, row, || Expectation::Exists { what: "token", key: id.to_string() }).await
}

pub(crate) async fn revoke(tx: &mut Tx<'_>, id: TokenId, at: Micros) -> Result<(), Failure> {
    tx.one(REVOKE, params![id, at], || Expectation::TokenRevoked { id }).await
}

pub(crate) async fn revoke_of(tx: &mut Tx<'_>, owner: AccountId, at: Micros) -> Result<(), Failure> {
    tx.execute(REVOKE_OF, params![owner, at]).await?;
    Ok(())
}

pub(crate) async fn revoke_all(tx: &mut Tx<'_>, at: Micros) -> Result<(), Failure> {
    while tx.execute(REVOKE_SOME, params![at]).await? > 0 {}
    Ok(())
}

fn read(row: Row) -> Result<Token, StoreError> {
    token(&mut row.columns("tokens"))
}

fn read_row(row: Row) -> Result<TokenRow, StoreError> {
    let mut columns = row.columns("tokens");
    Ok(TokenRow {
        token: token(&mut columns)?,
        account: accounts::account(&mut columns)?,
        person: persons::optional(&mut columns)?,
    })
}

fn token(columns: &mut Columns) -> Result<Token, StoreError> {
    Ok(Token {
        id: columns.parsed()?,
        hash: columns.digest()?,
        name: columns.text()?,
        owner: columns.parsed()?,
        scopes: columns.json()?,
        created_at: columns.micros()?,
        expires_at: columns.micros()?,
        revoked_at: columns.opt_micros()?,
    })
}
