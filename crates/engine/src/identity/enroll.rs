//! A person enrolls a second factor.

use countersign_core::changes::{Changes, Write};
use countersign_core::entry::EntryKind;
use countersign_core::identity::{Authenticator, AuthenticatorState};
use countersign_core::ids::AuthenticatorId;
use countersign_core::names::Factor;
use countersign_core::principal::Principal;
use countersign_core::throttle::ThrottleKey;
use countersign_factors::match_totp;
use countersign_keys::totp::TotpSecret;
use countersign_store::{AuthenticatorById, ThrottleFor, seal};
use secrecy::{ExposeSecret, SecretString};

use crate::commit::decide_again;
use crate::flow::{admitted, answering};
use crate::{Engine, EngineError};

/// A secret that was made and proves nothing yet. Shown once.
#[derive(Debug)]
pub struct Enrolment {
    pub authenticator: AuthenticatorId,
    pub otpauth: SecretString,
    pub secret: SecretString,
}

impl Engine {
    /// Makes a TOTP secret for the caller. It counts only after two different codes of it were shown.
    pub async fn begin_enrolment(&self, principal: &Principal) -> Result<Enrolment, EngineError> {
        let person = answering(principal)?;
        self.require_fresh(principal).await?;
        let secret = TotpSecret::generate(self.inner.random.as_ref()).map_err(EngineError::internal)?;
        let mut ctx = self.ctx()?;
        let id = AuthenticatorId::new(ctx.now, ctx.tail());
        let payload = secret.to_payload();
        let sealed = self
            .keys()
            .seal(self.inner.random.as_ref(), seal::AUTHENTICATOR_SECRET, &id.to_string(), payload.expose_secret())
            .map_err(EngineError::internal)?;
        let row = Authenticator {
            id,
            person: person.id,
            factor: Factor::Totp,
            secret: sealed,
            state: AuthenticatorState::Pending,
            last_step: 0,
            enrolled_at: ctx.now,
            countersigned: false,
        };
        let otpauth = secret.otpauth_url(self.keys().name(), &person.name).map_err(EngineError::internal)?;
        self.commit(Changes { writes: vec![Write::InsertAuthenticator(row)], entries: Vec::new() }).await?;
        Ok(Enrolment { authenticator: id, otpauth, secret: secret.to_base32() })
    }

    /// Two different codes show that the secret arrived and that the clocks agree. From then on it replaces what was enrolled before.
    pub async fn finish_enrolment(
        &self,
        principal: &Principal,
        id: AuthenticatorId,
        codes: &[SecretString; 2],
    ) -> Result<(), EngineError> {
        self.require_fresh(principal).await?;
        decide_again!(self, self.try_finish_enrolment(principal, id, codes))
    }

    async fn try_finish_enrolment(
        &self,
        principal: &Principal,
        id: AuthenticatorId,
        codes: &[SecretString; 2],
    ) -> Result<(), EngineError> {
        let person = answering(principal)?;
        let row = self.inner.store.load(AuthenticatorById(id)).await?;
        let row = row
            .filter(|row| row.person == person.id && row.state == AuthenticatorState::Pending)
            .ok_or(EngineError::NotFound("pending enrolment"))?;
        let key = ThrottleKey { subject: format!("totp:{id}"), source: principal.source.clone() };
        let throttle = self.inner.store.load(ThrottleFor(key)).await?;
        let now = self.now();
        let (row, throttle) = admitted(vec![row], vec![throttle], now)?;
        let secret = self.open_totp(&row)?;
        let [first, second] = codes;
        let steps = match_totp(&secret, first, now, false).zip(match_totp(&secret, second, now, false));
        let Some((first, second)) = steps.filter(|(first, second)| first != second) else {
            let writes = vec![Write::Throttle(throttle.failed(now))];
            self.commit(Changes { writes, entries: Vec::new() }).await?;
            return Err(EngineError::Invalid(
                "these are not two different current codes; type the one that is shown, wait for the next, and type that".into(),
            ));
        };
        let mut ctx = self.ctx()?;
        let fields = vec![ctx.field("person", person.name.as_str()), ctx.field("factor", Factor::Totp.as_str())];
        let entry = ctx.entry(EntryKind::FactorEnrolled, None, Vec::new(), fields).about(Some(person.id));
        let writes = vec![
            Write::RemoveAuthenticators { person: person.id, except: Some(id) },
            Write::ActivateAuthenticator { id, step: first.max(second), enrolled_at: now, countersigned: false },
            Write::Throttle(throttle.passed(now)),
        ];
        self.commit(Changes { writes, entries: vec![entry] }).await
    }
}
