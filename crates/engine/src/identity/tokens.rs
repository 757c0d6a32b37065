//! Credentials for programs: they act for their owner within their scopes, and never fill a slot.

use std::time::Duration;

use countersign_core::changes::{Changes, Write};
use countersign_core::digest::Digest;
use countersign_core::entry::EntryKind;
use countersign_core::identity::Token;
use countersign_core::ids::TokenId;
use countersign_core::names::{Action, check_name};
use countersign_core::principal::Principal;
use countersign_core::time::Micros;
use countersign_keys::opaque::OpaqueToken;
use countersign_store::{TokenById, TokensPage};
use secrecy::SecretString;

use super::authenticate::TOKEN_KIND;
use crate::page::{bad_cursor, bounded, one_more};
use crate::{Engine, EngineError, Page};

const LONGEST: Duration = Duration::from_hours(24 * 366);
const SCOPES_LIMIT: usize = 64;

/// A token that was made; its bearer value is shown once.
#[derive(Debug)]
pub struct NewToken {
    pub id: TokenId,
    pub token: SecretString,
    pub expires_at: Micros,
}

impl Engine {
    /// Makes a token that acts for the caller.
    pub async fn create_token(
        &self,
        principal: &Principal,
        name: &str,
        scopes: Vec<String>,
        ttl: Duration,
    ) -> Result<NewToken, EngineError> {
        self.require_fresh(principal).await?;
        check_token(name, &scopes, ttl)?;
        let token = OpaqueToken::generate(self.inner.random.as_ref(), TOKEN_KIND).map_err(EngineError::internal)?;
        let mut ctx = self.ctx()?;
        let row = Token {
            id: TokenId::new(ctx.now, ctx.tail()),
            hash: Digest::from_bytes(token.hash()),
            name: name.to_owned(),
            owner: principal.account,
            scopes,
            created_at: ctx.now,
            expires_at: ctx.now.plus(ttl),
            revoked_at: None,
        };
        let fields = vec![ctx.field("account", principal.name.to_string()), ctx.field("token", row.id.to_string())];
        let who = principal.person.as_ref().map(|person| person.id);
        let entry = ctx.entry(EntryKind::TokenCreated, None, Vec::new(), fields).about(who);
        let made = NewToken { id: row.id, token: token.text().clone(), expires_at: row.expires_at };
        // Whoever has the value needs no further leave, so it goes out only with its evidence. A session is different: it lets nothing go by itself, and it
        // takes one to deny and to revoke while a sink is away.
        self.witness(&self.records(std::slice::from_ref(&entry))?).await?;
        self.commit(Changes { writes: vec![Write::InsertToken(row)], entries: vec![entry] }).await?;
        Ok(made)
    }

    /// The caller's own tokens, oldest first; an administrator sees all.
    pub async fn tokens(
        &self,
        principal: &Principal,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<Token>, EngineError> {
        let owner = if self.is_administrator(principal).await? { None } else { Some(principal.account) };
        let after = cursor.map(|text| text.parse().map_err(|_| bad_cursor())).transpose()?;
        let limit = bounded(limit);
        let rows = self.inner.store.load(TokensPage { owner, after, limit: one_more(limit) }).await?;
        Ok(Page::cut(rows, limit, |token| token.id.to_string()))
    }

    /// Ends a token at once: the owner's own, or anybody's for an administrator. Taking a right away needs no second person.
    pub async fn revoke_token(&self, principal: &Principal, id: TokenId) -> Result<(), EngineError> {
        let row = self.inner.store.load(TokenById(id)).await?.ok_or(EngineError::NotFound("token"))?;
        if row.token.owner != principal.account && !self.is_administrator(principal).await? {
            return Err(EngineError::NotFound("token"));
        }
        if row.token.revoked_at.is_some() {
            return Ok(());
        }
        let mut ctx = self.ctx()?;
        let fields = vec![ctx.field("by", principal.name.to_string()), ctx.field("token", id.to_string())];
        let who = principal.person.as_ref().map(|person| person.id);
        let entry = ctx.entry(EntryKind::TokenRevoked, None, Vec::new(), fields).about(who);
        let writes = vec![Write::RevokeToken { id, at: ctx.now }];
        match self.commit(Changes { writes, entries: vec![entry] }).await {
            // Somebody else revoked it at the same moment.
            Err(EngineError::Moved) => Ok(()),
            other => other,
        }
    }
}

/// What a token may look like, whoever it is for.
pub(super) fn check_token(name: &str, scopes: &[String], ttl: Duration) -> Result<(), EngineError> {
    check_name(name).map_err(|error| EngineError::Invalid(format!("the token's name: {error}")))?;
    if scopes.is_empty() || scopes.len() > SCOPES_LIMIT {
        return Err(EngineError::Invalid(format!("a token has 1 to {SCOPES_LIMIT} scopes, for example command.run")));
    }
    for scope in scopes {
        let exact = scope.strip_suffix(".*").unwrap_or(scope);
        if scope != "*" && exact.parse::<Action>().is_err() {
            return Err(EngineError::Invalid("a scope is an action, `prefix.*` or `*`".into()));
        }
    }
    if ttl < Duration::from_secs(1) || ttl > LONGEST {
        return Err(EngineError::Invalid("a token lives from a second to a year".into()));
    }
    Ok(())
}
