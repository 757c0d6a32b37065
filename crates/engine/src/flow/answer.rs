//! `answer`.

use countersign_core::decide::{self, AnswerInput, Rejection, Role};
use countersign_core::digest::Digest;
use countersign_core::identity::{Authenticator, PersonRef};
use countersign_core::ids::{ChallengeId, RequestId};
use countersign_core::principal::Principal;
use countersign_core::throttle::{Admission, Throttle};
use countersign_factors::{Claim, check_totp};
use countersign_keys::totp::TotpSecret;
use countersign_store::{AnswerRows, RequestForAnswer, seal};
use secrecy::{ExposeSecret, SecretString};

use super::View;
use super::view::visible;
use crate::commit::decide_again;
use crate::{Engine, EngineError};

/// A proof, the challenge that it answers, and the digest of what its giver saw.
#[derive(Debug)]
pub struct Proof {
    pub challenge: ChallengeId,
    pub code: SecretString,
    pub digest: Digest,
}

impl Engine {
    /// Somebody answers a request with a fresh factor: the requester confirms, somebody else approves. The last answer that is needed grants.
    pub async fn answer(&self, principal: &Principal, request: RequestId, proof: &Proof) -> Result<View, EngineError> {
        self.certain_clock().await?;
        let outcome = decide_again!(self, self.try_answer(principal, request, proof));
        self.inner.metrics.answered(&outcome);
        match outcome? {
            Ok(Some(view)) => Ok(view),
            Ok(None) => self.show_done(principal, request).await,
            Err(why) => {
                let view = Box::new(self.show_done(principal, request).await?);
                Err(EngineError::AnswerRejected { why, view })
            }
        }
    }

    /// What is counted and what is rejected commits both; only what never got as far as a proof leaves no trace. An answer that grants is seen as it was
    /// decided; what still waits must be looked up, because those who could answer next took no part in this.
    async fn try_answer(
        &self,
        principal: &Principal,
        id: RequestId,
        proof: &Proof,
    ) -> Result<Result<Option<View>, Rejection>, EngineError> {
        let person = answering(principal)?;
        let source = principal.source.clone();
        let rows = self.inner.store.load(RequestForAnswer { request: id, person: person.id, source }).await?;
        let AnswerRows { request, people: rows, authenticators, throttles } =
            rows.ok_or(EngineError::NotFound("request"))?;
        if !visible(principal, &request, &rows) {
            return Err(EngineError::NotFound("request"));
        }
        let (people, cooling) = self.judge(&rows);
        if !request.digest_holds() {
            return Err(EngineError::Internal(format!("request {id} is not what was digested: its row was edited")));
        }
        // Judged before anything is verified, so that no code is burnt for nothing.
        let now = self.now();
        let role = match decide::may_answer(&request, person, &people, now) {
            Ok(role) => role,
            Err(why) => return Ok(Err(why)),
        };
        // An account that was linked only after it asked is still the one that asked.
        if role == Role::Approve && request.account == principal.account {
            return Ok(Err(Rejection::OwnRequest));
        }
        if request.challenge_for(role) != Some(proof.challenge) || proof.digest != request.digest {
            return Ok(Err(Rejection::OtherRequest));
        }
        let (authenticator, throttle) = admitted(authenticators, throttles, now)?;
        let secret = self.open_totp(&authenticator)?;
        let claim = Claim { person, digest: proof.digest, relayed_by: None };
        let checked = check_totp(&claim, &[(authenticator, secret)], &proof.code, now, self.inner.config.strict_totp);
        let mut ctx = self.ctx()?;
        let input = AnswerInput { request, person, checked, throttle, people: &people, cooling };
        let (step, outcome) = decide::answer(input, &mut ctx)?;
        let administration = step.request.operation.action.is_administration() && step.request.grant().is_some();
        let step = if administration { self.apply_granted(step, &mut ctx).await? } else { step };
        let (request, changes) = step.finish();
        // A change is let go by this very commit, so the sinks come before it. What they then hold and the log does not was never done.
        if administration {
            self.witness(&self.records(&changes.entries)?).await?;
        }
        self.commit(changes).await?;
        if administration {
            return Ok(outcome.map(|()| None));
        }
        let granted = !request.is_pending();
        Ok(outcome.map(|()| granted.then(|| self.view(principal, request, &people, Vec::new()))))
    }

    pub(crate) fn open_totp(&self, row: &Authenticator) -> Result<TotpSecret, EngineError> {
        let payload = self
            .keys()
            .open_sealed(seal::AUTHENTICATOR_SECRET, &row.id.to_string(), &row.secret)
            .map_err(EngineError::internal)?;
        TotpSecret::from_payload(payload.expose_secret()).map_err(EngineError::internal)
    }
}

/// The human being in person: a token or a service never answers.
pub(crate) fn answering(principal: &Principal) -> Result<&PersonRef, EngineError> {
    principal.answers_in_person().ok_or_else(|| {
        EngineError::NotPermitted("a program can't answer for a person; log in yourself and answer there".into())
    })
}

/// The authenticator that a guess may be tried on now, with its counter.
pub(crate) fn admitted(
    authenticators: Vec<Authenticator>,
    throttles: Vec<Throttle>,
    now: countersign_core::time::Micros,
) -> Result<(Authenticator, Throttle), EngineError> {
    let (authenticator, throttle) = authenticators.into_iter().zip(throttles).next().ok_or_else(|| {
        EngineError::NotPermitted("you have no second factor yet; enroll one with `countersign enroll`".into())
    })?;
    match throttle.admit(now) {
        Admission::Admitted => Ok((authenticator, throttle)),
        Admission::Wait { until } => Err(EngineError::TooManyAttempts { retry_at: until }),
        Admission::Closed => Err(EngineError::Closed),
    }
}
