//! A bearer value becomes a principal.

use std::time::Duration;

use countersign_core::changes::{Changes, Write};
use countersign_core::digest::Digest;
use countersign_core::ids::SessionId;
use countersign_core::principal::Principal;
use countersign_factors::{by_session, by_token};
use countersign_keys::opaque::OpaqueToken;
use countersign_store::{SessionByHash, TokenByHash};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::SemaphorePermit;
use tokio::time::timeout;

use super::live::Subject;
use crate::{Engine, EngineError};

pub(crate) const SESSION_KIND: &str = "session";
pub(crate) const TOKEN_KIND: &str = "token";
/// Use of a session is written down at most this often, or reading would cost as much as writing.
const TOUCH_EVERY: Duration = Duration::from_mins(5);
/// So many credentials that memory does not know are looked up at once: a flood of invented ones leaves connections for everybody else.
pub(crate) const LOOKUPS: usize = 3;
/// How long one waits for its turn.
const LOOKUP_WAIT: Duration = Duration::from_secs(2);

impl Engine {
    /// Who presents this bearer value. What memory knows for certain costs no question to the database; everything else is looked up, each time anew. Ended,
    /// revoked and disabled act at once in this process, and in another one within the time that [`Engine::run_follower`] keeps to.
    pub async fn authenticate(&self, bearer: &SecretString, source: &str) -> Result<Principal, EngineError> {
        let token = OpaqueToken::parse(bearer.expose_secret()).map_err(|_| EngineError::Unauthenticated)?;
        self.require_current()?;
        let hash = Digest::from_bytes(token.hash());
        let is_session = match token.kind() {
            SESSION_KIND => true,
            TOKEN_KIND => false,
            _ => return Err(EngineError::Unauthenticated),
        };
        if self.follows()
            && let Some(known) = self.inner.live.known(&hash, source, self.latest_now(), TOUCH_EVERY)
        {
            if let Some(session) = known.touch
                && !self.touch(session).await
            {
                self.inner.live.mark(Subject::Session(session));
            }
            return Ok(known.principal);
        }
        self.require_database()?;
        let _turn = self.turn_to_look_up().await?;
        if is_session { self.by_session(hash, source).await } else { self.by_token(hash, source).await }
    }

    async fn by_session(&self, hash: Digest, source: &str) -> Result<Principal, EngineError> {
        let heard = self.inner.live.heard();
        let mut row = self.inner.store.load(SessionByHash(hash)).await?.ok_or(EngineError::Unauthenticated)?;
        let now = self.latest_now();
        let principal = by_session(&row.session, &row.account, row.person.as_ref(), source, now)
            .map_err(|why| unauthenticated(why, source))?;
        if now.since(row.session.last_used_at) >= TOUCH_EVERY && self.touch(row.session.id).await {
            row.session.last_used_at = now;
        }
        self.inner.live.put_session(row, heard);
        Ok(principal)
    }

    async fn by_token(&self, hash: Digest, source: &str) -> Result<Principal, EngineError> {
        let heard = self.inner.live.heard();
        let row = self.inner.store.load(TokenByHash(hash)).await?.ok_or(EngineError::Unauthenticated)?;
        let principal = by_token(&row.token, &row.account, row.person.as_ref(), source, self.latest_now())
            .map_err(|why| unauthenticated(why, source))?;
        self.inner.live.put_token(row, heard);
        Ok(principal)
    }

    /// Notes the use of a session. It is good whether or not that could be noted; without the note it only ends sooner.
    async fn touch(&self, id: SessionId) -> bool {
        let write = Write::TouchSession { id, at: self.now() };
        let noted = self.commit(Changes { writes: vec![write], entries: Vec::new() }).await;
        if let Err(error) = &noted {
            tracing::warn!(%error, "the use of a session could not be noted");
        }
        noted.is_ok()
    }

    async fn turn_to_look_up(&self) -> Result<SemaphorePermit<'_>, EngineError> {
        match timeout(LOOKUP_WAIT, self.inner.lookups.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            // Nobody gets on: the database hangs.
            Ok(Err(_)) | Err(_) if !self.follows() => Err(EngineError::DatabaseAway),
            Ok(Err(_)) | Err(_) => Err(EngineError::Busy),
        }
    }
}

fn unauthenticated(why: countersign_factors::Refused, source: &str) -> EngineError {
    tracing::info!(%why, source, "a credential was refused");
    EngineError::Unauthenticated
}
