//! `ask`.

use std::time::Duration;

use countersign_core::changes::{Changes, Write};
use countersign_core::decide::{self, AskInput};
use countersign_core::decision::Verdict;
use countersign_core::demand::Demand;
use countersign_core::digest::Digest;
use countersign_core::operation::Operation;
use countersign_core::principal::Principal;
use countersign_core::request::Request;
use countersign_store::{IdempotencyFor, PeopleOf, RequestsByFingerprint, seal};
use secrecy::{ExposeSecret, SecretSlice};

use super::View;
use crate::commit::decide_again;
use crate::{Engine, EngineError};

/// How long a key protects a retry.
const IDEMPOTENCY_TTL: Duration = Duration::from_hours(24);
const REASON_LIMIT: usize = 1_000;
const TARGET_LIMIT: usize = 1_000;

/// What somebody asks for.
#[derive(Debug)]
pub struct Ask {
    pub operation: Operation,
    pub reason: Option<String>,
    /// A shorter time to answer than policy gives.
    pub deadline: Option<Duration>,
    pub idempotency: Option<Idempotency>,
    /// What approvers must not see; sealed with the request.
    pub secret: Option<SecretSlice<u8>>,
}

/// A caller's own key for a call that may be sent twice, and the digest of what it sends.
#[derive(Clone, Debug)]
pub struct Idempotency {
    pub key: String,
    pub body: Digest,
}

/// Whether a request was made or found.
#[derive(Debug)]
pub enum Asked {
    New(View),
    /// The same operation was asked before and still waits, or its grant still lives.
    Again(View),
}

impl Asked {
    pub fn into_view(self) -> View {
        match self {
            Self::New(view) | Self::Again(view) => view,
        }
    }
}

impl Engine {
    /// Somebody asks for an operation. Policy decides what it takes; a live grant or a pending request for exactly the same is found again.
    ///
    /// Countersign's own actions are not asked for here: an administrative change that came in as free parameters could say one thing to policy and do
    /// another.
    pub async fn ask(&self, principal: &Principal, ask: &Ask) -> Result<Asked, EngineError> {
        if ask.operation.action.is_reserved() {
            let action = &ask.operation.action;
            return Err(EngineError::NotPermitted(format!(
                "{action} is not asked for like this; use the commands that administer"
            )));
        }
        self.ask_for(principal, ask).await
    }

    /// As [`Self::ask`], for what Countersign itself asks.
    pub(crate) async fn ask_for(&self, principal: &Principal, ask: &Ask) -> Result<Asked, EngineError> {
        check(principal, ask)?;
        self.certain_clock().await?;
        decide_again!(self, self.try_ask(principal, ask))
    }

    async fn try_ask(&self, principal: &Principal, ask: &Ask) -> Result<Asked, EngineError> {
        if let Some(idempotency) = &ask.idempotency {
            let query = IdempotencyFor { account: principal.account, key: idempotency.key.clone() };
            if let Some(row) = self.inner.store.load(query).await? {
                if row.body != idempotency.body {
                    return Err(EngineError::IdempotencyMismatch);
                }
                return Ok(Asked::Again(self.show(principal, row.request).await?));
            }
        }
        let fingerprint = self.keys().fingerprint(&ask.operation.match_form(principal.account));
        // An administrative change carries secrets that a fingerprint does not see, so it is never taken for another one.
        if ask.secret.is_none()
            && let Some(found) = self.find(principal, ask, fingerprint).await?
        {
            return Ok(Asked::Again(self.show(principal, found.id).await?));
        }
        let decision = self.decide(principal, &ask.operation, ask.reason.as_deref()).await?;
        let groups = match &decision.verdict {
            Verdict::Require(requirements) => quorum_groups(&requirements.demands),
            Verdict::Allow { .. } | Verdict::Deny { .. } => Vec::new(),
        };
        let persons = principal.person.iter().map(|person| person.id).collect();
        let rows = self.inner.store.load(PeopleOf { persons, groups }).await?;
        let (people, cooling) = self.judge(&rows);
        let mut ctx = self.ctx()?;
        let input = AskInput {
            operation: ask.operation.clone(),
            sealed: None,
            principal,
            reason: ask.reason.clone(),
            fingerprint,
            decision,
            people: &people,
            cooling,
            deadline: ask.deadline,
        };
        let mut step = match decide::ask(input, &mut ctx) {
            Ok(step) => step,
            Err(refused) => {
                self.commit(refused.changes).await?;
                return Err(EngineError::RefusedByPolicy { why: refused.why });
            }
        };
        if let Some(secret) = &ask.secret {
            let row = step.request.id.to_string();
            let sealed = self
                .keys()
                .seal(self.inner.random.as_ref(), seal::REQUEST_SEALED, &row, secret.expose_secret())
                .map_err(EngineError::internal)?;
            step.request.sealed = Some(sealed);
        }
        if let Some(Idempotency { key, body }) = &ask.idempotency {
            step.write(Write::InsertIdempotency {
                account: principal.account,
                key: key.clone(),
                body: *body,
                request: step.request.id,
                expires_at: ctx.now.plus(IDEMPOTENCY_TTL),
            });
        }
        let (request, changes): (Request, Changes) = step.finish();
        self.commit(changes).await?;
        Ok(Asked::New(self.show(principal, request.id).await?))
    }

    /// A live grant of the account for exactly this, or else its pending request with the same reason.
    async fn find(
        &self,
        principal: &Principal,
        ask: &Ask,
        fingerprint: Digest,
    ) -> Result<Option<Request>, EngineError> {
        let now = self.now();
        let found = self.inner.store.load(RequestsByFingerprint { account: principal.account, fingerprint }).await?;
        let usable = |request: &Request| match request.grant() {
            Some(grant) => grant.is_live() && now < grant.expires_at,
            None => {
                request.is_pending() && now < request.deadline && (ask.reason.is_none() || ask.reason == request.reason)
            }
        };
        // A live grant goes before a request that still waits.
        let (granted, pending): (Vec<_>, Vec<_>) =
            found.into_iter().filter(usable).partition(|request| request.grant().is_some());
        Ok(granted.into_iter().chain(pending).next())
    }
}

fn check(principal: &Principal, ask: &Ask) -> Result<(), EngineError> {
    if !principal.covers(ask.operation.action.as_str()) {
        return Err(EngineError::NotPermitted(format!("this token's scopes do not cover {}", ask.operation.action)));
    }
    if ask.operation.target.is_empty() || ask.operation.target.len() > TARGET_LIMIT {
        return Err(EngineError::Invalid(format!("a target has 1 to {TARGET_LIMIT} bytes")));
    }
    if ask.reason.as_ref().is_some_and(|reason| reason.trim().is_empty() || reason.chars().count() > REASON_LIMIT) {
        return Err(EngineError::Invalid(format!("a reason has 1 to {REASON_LIMIT} characters")));
    }
    Ok(())
}

fn quorum_groups(demands: &[Demand]) -> Vec<countersign_core::names::GroupName> {
    demands
        .iter()
        .filter_map(|demand| match demand {
            Demand::Quorum { of, .. } => Some(of.clone()),
            _ => None,
        })
        .collect()
}
