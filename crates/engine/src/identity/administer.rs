//! Administration is no bypass: a change is asked for, confirmed, countersigned from the second administrator on, and applied in the granting transaction.

use std::sync::Arc;

use countersign_core::canonical::Value;
use countersign_core::changes::{Timer, TimerKind, Write};
use countersign_core::decide::{self, Ctx, Step};
use countersign_core::digest::Digest;
use countersign_core::entry::EntryKind;
use countersign_core::ids::ReleaseId;
use countersign_core::operation::Operation;
use countersign_core::principal::Principal;
use countersign_store::{AccountByName, seal};
use secrecy::{ExposeSecret, SecretSlice, SecretString};

use super::Change;
use super::apply::Circumstances;
use crate::flow::{Ask, Asked, Idempotency};
use crate::{Engine, EngineError};

const PASSWORD_MIN: usize = 12;

impl Engine {
    /// Asks for a change. A password is hashed now and sealed with the request; nobody who approves sees it.
    pub async fn administer(
        &self,
        principal: &Principal,
        change: Change,
        secret: Option<SecretString>,
        reason: Option<String>,
        idempotency: Option<Idempotency>,
    ) -> Result<Asked, EngineError> {
        // Said now, while there is somebody to say it to, and again when it is applied.
        self.require_administrator(principal).await?;
        self.propose(principal, change, secret, reason, idempotency).await
    }

    /// Proposes a policy text in the server's own name: somebody changed the file, and nobody can say who.
    pub async fn propose_policy(&self, text: &str) -> Result<Asked, EngineError> {
        let name = "local:server".parse().map_err(EngineError::internal)?;
        let row = self.inner.store.load(AccountByName(name)).await?.ok_or(EngineError::NotFound("account"))?;
        let principal = countersign_factors::server(row.account.id, row.account.name);
        let reason = Some("the policy file differs from the policy in force".to_owned());
        self.propose(&principal, Change::PolicyApply { text: text.to_owned() }, None, reason, None).await
    }

    async fn propose(
        &self,
        principal: &Principal,
        change: Change,
        secret: Option<SecretString>,
        reason: Option<String>,
        idempotency: Option<Idempotency>,
    ) -> Result<Asked, EngineError> {
        let secret = self.prepare_secret(&change, secret).await?;
        let mut ctx = self.ctx()?;
        let circumstances = Circumstances { countersigned: false, secret: secret.as_ref() };
        // A rehearsal: what can't be applied is refused before anybody is asked to approve it.
        drop(self.plan(principal.person.as_ref(), &change, &circumstances, &mut ctx).await?);
        let operation = Operation {
            door: "api".to_owned(),
            action: change.action()?,
            target: change.target(),
            parameters: change.to_parameters()?,
            context: Value::object::<&str, Value>([]),
        };
        self.ask_for(principal, &Ask { operation, reason, deadline: None, idempotency, secret }).await
    }

    async fn prepare_secret(
        &self,
        change: &Change,
        secret: Option<SecretString>,
    ) -> Result<Option<SecretSlice<u8>>, EngineError> {
        match (change.takes_password(), secret) {
            (true, Some(password)) => {
                if password.expose_secret().chars().count() < PASSWORD_MIN {
                    return Err(EngineError::Invalid(format!("a password has at least {PASSWORD_MIN} characters")));
                }
                let random = Arc::clone(&self.inner.random);
                let hash = self.inner.passwords.hash(random, password).await.map_err(|error| match error {
                    countersign_factors::PoolError::Busy => EngineError::Busy,
                    other => EngineError::Invalid(other.to_string()),
                })?;
                Ok(Some(SecretSlice::from(hash.expose_secret().as_bytes().to_vec())))
            }
            (true, None) => Err(EngineError::Invalid("this change needs a password".into())),
            (false, Some(_)) => Err(EngineError::Invalid("this change takes no password".into())),
            (false, None) => Ok(None),
        }
    }

    /// The last answer granted an administrative request: its change joins the very same commit.
    pub(crate) async fn apply_granted(&self, step: Step, ctx: &mut Ctx) -> Result<Step, EngineError> {
        let request = &step.request;
        let change = Change::from_parameters(&request.operation.parameters)?;
        // What policy judged and people approved must be what is done.
        if change.action()? != request.operation.action || change.target() != request.operation.target {
            return Err(EngineError::internal("an administrative request does not say what it does"));
        }
        let secret = match &request.sealed {
            Some(sealed) => Some(
                self.keys()
                    .open_sealed(seal::REQUEST_SEALED, &request.id.to_string(), sealed)
                    .map_err(EngineError::internal)?,
            ),
            None => None,
        };
        let countersigned = request.approvals().iter().any(|approval| !approval.own);
        let by = request.person.clone().or_else(|| request.approvals().first().map(|a| a.evidence.person.clone()));
        let circumstances = Circumstances { countersigned, secret: secret.as_ref() };
        let changes = self.plan(by.as_ref(), &change, &circumstances, ctx).await?;
        let fingerprint = Digest::sha256(&request.operation.parameters.canonical());
        let mut step = step;
        step.extend(changes);
        let fields = vec![ctx.field("change", step.request.operation.action.as_str())];
        step.entry(ctx, EntryKind::AdminApplied, vec![("countersigned", Value::from(countersigned))], fields);
        let id = ReleaseId::new(ctx.now, ctx.tail());
        let (mut step, _) = decide::within_grant(step, id, fingerprint, "applied".to_owned(), ctx)?;
        if matches!(change, Change::PersonErase { .. }) {
            step.write(Write::SetTimer(Timer::request(TimerKind::Erasure, step.request.id, ctx.now)));
        }
        Ok(step)
    }
}
