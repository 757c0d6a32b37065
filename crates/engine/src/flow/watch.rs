//! `watch`: a request followed from version to version until it is over.

use countersign_core::ids::RequestId;
use countersign_core::request::Stage;
use secrecy::SecretString;
use tokio::time::Instant;

use super::View;
use super::wait::{Bell, Held, LOOK_AGAIN};
use crate::{Engine, EngineError};

/// Somebody who follows a request. The credential itself is kept, and judged again at each look: whoever loses it, or sight of the request, learns nothing
/// more, although the call that began this goes on.
#[derive(Debug)]
pub struct Watch {
    engine: Engine,
    credential: SecretString,
    source: String,
    request: RequestId,
    /// The version that was given last.
    known: Option<i64>,
    /// Looked at when this began, and not given yet.
    first: Option<Box<View>>,
    over: bool,
    bell: Bell,
    _held: Held,
}

impl Engine {
    /// Begins to follow a request for the holder of `credential`. `known` is the version that he has seen already.
    pub async fn watch(
        &self,
        credential: SecretString,
        source: &str,
        request: RequestId,
        known: Option<i64>,
    ) -> Result<Watch, EngineError> {
        let principal = self.authenticate(&credential, source).await?;
        let held = self.inner.wakeups.hold(&principal)?;
        let bell = self.inner.wakeups.bell(request);
        let first = Some(Box::new(self.show(&principal, request).await?));
        let source = source.to_owned();
        Ok(Watch { engine: self.clone(), credential, source, request, known, first, over: false, bell, _held: held })
    }
}

impl Watch {
    /// The request as it is, then as soon as it has another version than the one given before; `None` once it is over and that was told. Versions that
    /// come faster than they are taken are skipped: the newest is what counts. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Option<Box<View>>, EngineError> {
        loop {
            if self.over {
                return Ok(None);
            }
            let view = if let Some(view) = self.first.take() {
                view
            } else {
                let known = self.known.unwrap_or(i64::MIN);
                self.bell.past(known, Instant::now() + LOOK_AGAIN).await;
                self.look().await?
            };
            self.over = view.is_over();
            // Not only a later one: after a restore there is an earlier one, which is as new to the caller.
            if self.known.replace(view.request.version) != Some(view.request.version) {
                return Ok(Some(view));
            }
        }
    }

    async fn look(&self) -> Result<Box<View>, EngineError> {
        let principal = self.engine.authenticate(&self.credential, &self.source).await?;
        self.engine.show(&principal, self.request).await.map(Box::new)
    }
}

impl View {
    /// Whether nothing can happen to the request any more: it has ended, or its grant has and each use of it is told.
    pub fn is_over(&self) -> bool {
        let told = |release: &countersign_core::release::Release| {
            use countersign_core::release::ReleaseState::{Closed, Done, Failed, InDoubt, Intended};
            match release.state {
                Done { .. } | Closed { .. } | Failed { .. } => true,
                Intended { .. } | InDoubt { .. } => false,
            }
        };
        match &self.request.stage {
            Stage::Asked | Stage::Challenged { .. } => false,
            // A spent grant can still be revoked, which changes nothing for anybody.
            Stage::Granted { grant, .. } => !grant.is_live() && self.releases.iter().all(told),
            Stage::Refused { .. } | Stage::Expired { .. } | Stage::Cancelled { .. } => true,
        }
    }
}
