//! A second factor outside of a request: at login, to freshen a session.

use std::time::Duration;

use countersign_core::changes::{Changes, Write};
use countersign_core::decide::Checked;
use countersign_core::digest::Digest;
use countersign_core::identity::{AuthenticatorState, PersonRef};
use countersign_core::names::Factor;
use countersign_core::principal::{Principal, Via};
use countersign_core::throttle::ThrottleKey;
use countersign_factors::{Claim, check_totp};
use countersign_store::{AuthenticatorsOf, ThrottleFor};
use secrecy::SecretString;

use crate::commit::decide_again;
use crate::flow::{admitted, answering};
use crate::{Engine, EngineError};

/// How old a proof may be for what changes one's own credentials.
const FRESH: Duration = Duration::from_mins(5);

impl Engine {
    /// Proves a factor in this session, so that it counts as fresh for five minutes.
    pub async fn freshen(&self, principal: &Principal, code: &SecretString) -> Result<(), EngineError> {
        let person = answering(principal)?;
        let Via::Session(session) = principal.via else { return Err(EngineError::Unauthenticated) };
        self.certain_clock().await?;
        decide_again!(self, async {
            let mut writes = self.prove(person, code, &principal.source).await?;
            writes.push(Write::FreshenSession { id: session, at: self.now(), factor: Factor::Totp });
            self.commit(Changes { writes, entries: Vec::new() }).await
        })
    }

    /// Refuses what would change credentials on the strength of an old login.
    pub(crate) async fn require_fresh(&self, principal: &Principal) -> Result<(), EngineError> {
        let person = answering(principal)?;
        self.certain_clock().await?;
        let enrolled = self.inner.store.load(AuthenticatorsOf(person.id)).await?;
        let has_factor = enrolled.iter().any(|row| row.state == AuthenticatorState::Active);
        // Who has no second factor yet can prove only the password; that is how the first one is enrolled.
        let fits = |factor: Factor| factor == Factor::Totp || !has_factor;
        match principal.fresh {
            Some((factor, at)) if fits(factor) && self.now().since(at) <= FRESH => Ok(()),
            _ => Err(EngineError::StaleSession),
        }
    }

    /// The writes that use a code up. A wrong code is counted before this returns.
    pub(crate) async fn prove(
        &self,
        person: &PersonRef,
        code: &SecretString,
        source: &str,
    ) -> Result<Vec<Write>, EngineError> {
        let rows = self.inner.store.load(AuthenticatorsOf(person.id)).await?;
        let active = rows.into_iter().filter(|row| row.state == AuthenticatorState::Active).take(1).collect::<Vec<_>>();
        let mut throttles = Vec::new();
        for row in &active {
            let key = ThrottleKey { subject: format!("totp:{}", row.id), source: source.to_owned() };
            throttles.push(self.inner.store.load(ThrottleFor(key)).await?);
        }
        let now = self.now();
        let (row, throttle) = admitted(active, throttles, now)?;
        let secret = self.open_totp(&row)?;
        let claim = Claim { person, digest: Digest::sha256(b"countersign/session/v1"), relayed_by: None };
        match check_totp(&claim, &[(row, secret)], code, now, self.inner.config.strict_totp) {
            Checked::Proved(evidence) => Ok(vec![
                Write::ConsumeStep { authenticator: evidence.authenticator, step: evidence.step },
                Write::Throttle(throttle.passed(now)),
            ]),
            Checked::Used => Err(EngineError::Invalid("this code was used before; wait for the next one".into())),
            Checked::Wrong => {
                let writes = vec![Write::Throttle(throttle.failed(now))];
                self.commit(Changes { writes, entries: Vec::new() }).await?;
                self.inner.failed_logins.count(&person.name, Some(person.id), source, now);
                Err(EngineError::LoginRefused)
            }
        }
    }
}
