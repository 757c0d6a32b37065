//! `release`: a grant is used, and the use is followed to its end.

use std::time::Duration;

use countersign_core::decide::{self, BeginInput, Handling, ReleaseRefused};
use countersign_core::ids::{ReleaseId, RequestId};
use countersign_core::principal::Principal;
use countersign_core::release::{ReleaseResult, ReportedBy};
use countersign_core::time::Micros;
use countersign_release::CommandGrant;
use countersign_store::{OldestUnsequenced, ReleaseWithRequest, RequestWithPeople};
use secrecy::SecretString;

use super::View;
use super::view::visible;
use crate::commit::decide_again;
use crate::sinks::Record;
use crate::{Engine, EngineError};

/// How long a client's lease lasts, and how often it renews it.
pub const LEASE: Duration = Duration::from_secs(30);
pub const RENEW_EVERY: Duration = Duration::from_secs(5);
/// Releases stop when the oldest entry has waited this long for its place in the tree.
const LEDGER_LAG: Duration = Duration::from_secs(5);
/// The action whose result the client reports.
const COMMAND: &str = "command.run";
const OUTCOME_LIMIT: usize = 200;

/// What is let go.
#[derive(Debug)]
pub struct Released {
    pub release: ReleaseId,
    /// The signed grant.
    pub grant: SecretString,
    /// Until when the client must renew or report; absent when there is nothing to report.
    pub lease_until: Option<Micros>,
}

impl Engine {
    /// Uses a grant once. The intent is durable, and every required sink has taken it, before this returns; nothing is let go otherwise.
    pub async fn release(&self, principal: &Principal, request: RequestId) -> Result<Released, EngineError> {
        self.certain_clock().await?;
        let (released, intent) = decide_again!(self, self.try_release(principal, request))?;
        if let Err(refused) = self.witness(&intent).await {
            self.take_back(principal, released.release, &refused).await;
            return Err(refused);
        }
        Ok(released)
    }

    /// What may be let go once the sinks have taken these records.
    async fn try_release(&self, principal: &Principal, id: RequestId) -> Result<(Released, Vec<Record>), EngineError> {
        let also = principal.person.iter().map(|person| person.id).collect();
        let rows = self.inner.store.load(RequestWithPeople { request: id, also, members: false }).await?;
        let rows = rows.ok_or(EngineError::NotFound("request"))?;
        if !visible(principal, &rows.request, &rows.people) {
            return Err(EngineError::NotFound("request"));
        }
        let request = rows.request;
        if !principal.covers(request.operation.action.as_str()) {
            return Err(EngineError::NotPermitted(format!(
                "this token's scopes do not cover {}",
                request.operation.action
            )));
        }
        let Some(grant) = request.grant().cloned() else {
            return Err(countersign_core::request::TransitionError::Over(request.stage.name()).into());
        };
        let (people, _) = self.judge(&rows.people);
        let denied_today = self.denied_today(principal, &request.operation, request.reason.as_deref()).await?;
        let mut ctx = self.ctx()?;
        let release = ReleaseId::new(ctx.now, ctx.tail());
        let signed = CommandGrant::sign(
            self.keys().grant_signer(),
            self.keys().name(),
            &request,
            release,
            grant.not_before,
            grant.expires_at,
            ctx.now,
        )
        .map_err(EngineError::internal)?;
        let lease_until = (request.operation.action.as_str() == COMMAND).then(|| ctx.now.plus(LEASE));
        let handling = match lease_until {
            Some(until) => Handling::Leased { owner: owner(principal), until },
            None => Handling::AtOnce { outcome: "signed grant let go".to_owned() },
        };
        let trace = request.clone();
        let input = BeginInput {
            request,
            principal,
            denied_today,
            people: &people,
            id: release,
            fingerprint: signed.fingerprint,
            handling,
        };
        match decide::begin(input, &mut ctx) {
            Ok((step, _)) => {
                self.sinks_are_open()?;
                self.ledger_keeps_up().await?;
                let (_, changes) = step.finish();
                let mut records = self.records(&changes.entries)?;
                if lease_until.is_none() {
                    // Complete when it is let go, so there is no intent that could be taken back: the sinks come first.
                    if let Err(refused) = self.witness(&std::mem::take(&mut records)).await {
                        return Err(self.not_recorded(trace, principal, refused).await);
                    }
                }
                self.commit(changes).await?;
                Ok((Released { release, grant: signed.token, lease_until }, records))
            }
            Err(why) => {
                // A refusal that says something about people or policy leaves a trace; an over-eager client does not.
                if matches!(
                    why,
                    ReleaseRefused::DeniedToday(_) | ReleaseRefused::NoLongerEligible | ReleaseRefused::Altered
                ) {
                    self.commit(decide::refuse(trace, principal, &why, &mut ctx).finish().1).await?;
                }
                Err(why.into())
            }
        }
    }

    /// Nothing of this release left the process: its use is given back. If that can't be written, its lease ends in doubt.
    async fn take_back(&self, principal: &Principal, release: ReleaseId, why: &EngineError) {
        if let Err(error) = decide_again!(self, self.try_take_back(principal, release, why)) {
            tracing::error!(%error, %release, "a release that let nothing go could not be closed; it will be in doubt");
        }
    }

    async fn try_take_back(&self, principal: &Principal, id: ReleaseId, why: &EngineError) -> Result<(), EngineError> {
        let found = self.inner.store.load(ReleaseWithRequest(id)).await?;
        let (release, request) = found.ok_or(EngineError::NotFound("release"))?;
        let why = why.to_string();
        let (step, _) = decide::fail(request, release, &owner(principal), why, &mut self.ctx()?)?;
        self.commit(step.finish().1).await
    }

    /// Nothing was begun; the attempt leaves its trace.
    async fn not_recorded(
        &self,
        request: countersign_core::request::Request,
        principal: &Principal,
        refused: EngineError,
    ) -> EngineError {
        let EngineError::SinkRefused { sink } = &refused else { return refused };
        let why = ReleaseRefused::NotRecorded { sink: sink.clone() };
        let told = match self.ctx() {
            Ok(mut ctx) => self.commit(decide::refuse(request, principal, &why, &mut ctx).finish().1).await,
            Err(error) => Err(error),
        };
        told.map_or_else(|error| error, |()| refused)
    }

    /// The client is still at it.
    pub async fn renew(&self, principal: &Principal, release: ReleaseId) -> Result<Micros, EngineError> {
        self.certain_clock().await?;
        decide_again!(self, self.try_renew(principal, release))
    }

    async fn try_renew(&self, principal: &Principal, id: ReleaseId) -> Result<Micros, EngineError> {
        let (release, _) = self.own_release(principal, id).await?;
        let ctx = self.ctx()?;
        let until = ctx.now.plus(LEASE);
        let (_, changes) = decide::renew(release, &owner(principal), until, &ctx)?;
        self.commit(changes).await?;
        Ok(until)
    }

    /// The client says how it ended. Also late: a report closes what was in doubt.
    pub async fn report(&self, principal: &Principal, release: ReleaseId, outcome: &str) -> Result<View, EngineError> {
        let fits = !outcome.is_empty() && outcome.len() <= OUTCOME_LIMIT && !outcome.chars().any(char::is_control);
        if !fits {
            return Err(EngineError::Invalid(format!(
                "an outcome is 1 to {OUTCOME_LIMIT} printable bytes, for example `exit 0`"
            )));
        }
        let request = decide_again!(self, self.try_report(principal, release, outcome))?;
        self.show_done(principal, request).await
    }

    async fn try_report(&self, principal: &Principal, id: ReleaseId, outcome: &str) -> Result<RequestId, EngineError> {
        let (release, request) = self.own_release(principal, id).await?;
        let subject = request.id;
        let result = ReleaseResult { outcome: outcome.to_owned(), reported_by: ReportedBy::RequestersClient };
        let (step, _) = decide::finish(request, release, &owner(principal), result, &mut self.ctx()?)?;
        self.commit(step.finish().1).await?;
        Ok(subject)
    }

    async fn own_release(
        &self,
        principal: &Principal,
        id: ReleaseId,
    ) -> Result<(countersign_core::release::Release, countersign_core::request::Request), EngineError> {
        let found = self.inner.store.load(ReleaseWithRequest(id)).await?;
        let (release, request) = found.ok_or(EngineError::NotFound("release"))?;
        let own = request.account == principal.account
            || matches!((&request.person, &principal.person), (Some(asked), Some(me)) if asked.id == me.id);
        if !own {
            return Err(EngineError::NotFound("release"));
        }
        Ok((release, request))
    }

    /// A release whose evidence nobody could find in the tree is no release.
    async fn ledger_keeps_up(&self) -> Result<(), EngineError> {
        let oldest = self.inner.store.load(OldestUnsequenced(self.keys().epoch())).await?;
        match oldest {
            Some(oldest) if self.now().since(oldest) > LEDGER_LAG => Err(EngineError::LedgerBehind),
            _ => Ok(()),
        }
    }
}

/// Who holds the lease: the person through whichever account, so that the same client may report after it logged in anew.
fn owner(principal: &Principal) -> String {
    principal
        .person
        .as_ref()
        .map_or_else(|| format!("account:{}", principal.account), |person| format!("person:{}", person.id))
}
