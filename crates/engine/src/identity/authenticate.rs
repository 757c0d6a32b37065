//! A bearer value becomes a principal.

use std::time::Duration;

use countersign_core::changes::{Changes, Write};
use countersign_core::digest::Digest;
use countersign_core::principal::Principal;
use countersign_factors::{by_session, by_token};
use countersign_keys::opaque::OpaqueToken;
use countersign_store::{SessionByHash, TokenByHash};
use secrecy::{ExposeSecret, SecretString};

use crate::{Engine, EngineError};

pub(crate) const SESSION_KIND: &str = "session";
pub(crate) const TOKEN_KIND: &str = "token";
/// Use of a session is written down at most this often, or reading would cost as much as writing.
const TOUCH_EVERY: Duration = Duration::from_mins(5);

impl Engine {
    /// Who presents this bearer value. Rows are read anew each time, so that disabling somebody acts at once.
    pub async fn authenticate(&self, bearer: &SecretString, source: &str) -> Result<Principal, EngineError> {
        let token = OpaqueToken::parse(bearer.expose_secret()).map_err(|_| EngineError::Unauthenticated)?;
        let hash = Digest::from_bytes(token.hash());
        match token.kind() {
            SESSION_KIND => self.by_session(hash, source).await,
            TOKEN_KIND => {
                let row = self.inner.store.load(TokenByHash(hash)).await?.ok_or(EngineError::Unauthenticated)?;
                by_token(&row.token, &row.account, row.person.as_ref(), source, self.now())
                    .map_err(|why| unauthenticated(why, source))
            }
            _ => Err(EngineError::Unauthenticated),
        }
    }

    async fn by_session(&self, hash: Digest, source: &str) -> Result<Principal, EngineError> {
        let row = self.inner.store.load(SessionByHash(hash)).await?.ok_or(EngineError::Unauthenticated)?;
        let now = self.now();
        let principal = by_session(&row.session, &row.account, row.person.as_ref(), source, now)
            .map_err(|why| unauthenticated(why, source))?;
        if now.since(row.session.last_used_at) >= TOUCH_EVERY {
            let write = Write::TouchSession { id: row.session.id, at: now };
            // The session is good whether or not its use could be noted; without the note it only ends sooner.
            if let Err(error) = self.commit(Changes { writes: vec![write], entries: Vec::new() }).await {
                tracing::warn!(%error, "the use of a session could not be noted");
            }
        }
        Ok(principal)
    }
}

fn unauthenticated(why: countersign_factors::Refused, source: &str) -> EngineError {
    tracing::info!(%why, source, "a credential was refused");
    EngineError::Unauthenticated
}
