//! `ask`: an operation meets policy.

use std::time::Duration;

use super::{Ctx, Step, progress};
use crate::canonical::Value;
use crate::changes::{Changes, Timer, TimerKind, Write};
use crate::decision::{Decision, Requirements, Verdict};
use crate::demand::{self, Bounds, Demand};
use crate::digest::Digest;
use crate::entry::{CommittedField, EntryKind};
use crate::grant::{Grant, GrantState};
use crate::identity::PersonRef;
use crate::ids::{ChallengeId, GrantId, RequestId};
use crate::names::AccountName;
use crate::operation::{OPERATION_FIELD, Operation};
use crate::people::{Cooling, People};
use crate::principal::Principal;
use crate::quorum;
use crate::request::{Challenge, PutTo, Request, Stage, TransitionError};
use crate::sealed::Sealed;

/// Everything that `ask` decides from.
#[derive(Debug)]
pub struct AskInput<'a> {
    pub operation: Operation,
    pub sealed: Option<Sealed>,
    pub principal: &'a Principal,
    pub reason: Option<String>,
    pub fingerprint: Digest,
    pub decision: Decision,
    /// The members of all groups that the demands name, as they stand now.
    pub people: &'a People,
    pub cooling: Cooling,
    /// A shorter time to answer than policy gives, if the requester wants one.
    pub deadline: Option<Duration>,
}

/// Nothing was made of it. `changes` holds the ledger entry that says so.
#[derive(Debug)]
pub struct AskRefused {
    pub why: String,
    pub changes: Changes,
}

impl From<TransitionError> for AskRefused {
    fn from(error: TransitionError) -> Self {
        Self { why: error.to_string(), changes: Changes::default() }
    }
}

/// Makes a request of it, or says why not.
pub fn ask(input: AskInput<'_>, ctx: &mut Ctx) -> Result<Step, AskRefused> {
    let id = RequestId::new(ctx.now, ctx.tail());
    let policy = input.decision.policy;
    let requirements = match input.decision.verdict.clone() {
        Verdict::Deny { reason } => return Err(refused(&input, id, reason, ctx)),
        Verdict::Allow { bounds } => {
            Requirements { demands: Vec::new(), bounds, deadline: Duration::ZERO, relayed: false }
        }
        Verdict::Require(requirements) => requirements,
    };
    if let Some(why) = unmeetable(&requirements.demands, &input) {
        return Err(refused(&input, id, why, ctx));
    }
    let limit = input.deadline.map_or(requirements.deadline, |wish| wish.min(requirements.deadline));
    let AskInput { operation, sealed, principal, reason, fingerprint, .. } = input;
    let salt = ctx.salt();
    let mut request = Request {
        id,
        version: 0,
        operation,
        sealed,
        account: principal.account,
        account_name: principal.name.clone(),
        person: principal.person.clone(),
        reason,
        asked_at: ctx.now,
        deadline: ctx.now.plus(limit),
        salt,
        digest: Digest::from_bytes([0; 32]),
        fingerprint,
        policy,
        demands: requirements.demands,
        bounds: requirements.bounds,
        relayed: requirements.relayed,
        last_entry_at: ctx.now,
        entries: 0,
        erased: false,
        stage: Stage::Asked,
    };
    request.digest = request.signed_digest();
    let mut step = Step::of(request);
    let mut fields = described(
        &step.request.operation,
        &step.request.account_name,
        step.request.person.as_ref(),
        step.request.reason.as_deref(),
        ctx,
    );
    fields.push(CommittedField { field: OPERATION_FIELD, salt, value: step.request.signed_form() });
    fields.push(ctx.field("demands", demand::to_value(&step.request.demands)));
    let who = step.request.person.as_ref().map(|person| person.id);
    let clear = vec![("digest", Value::from(step.request.digest.to_string()))];
    step.entry_about(who, ctx, EntryKind::RequestAsked, clear, fields);
    for demand in step.request.demands.clone() {
        if let Demand::Notify { whom } = demand {
            let payload = notice(&step.request, &whom);
            let write = ctx.outbox("notice.asked", &payload);
            step.write(write);
        }
    }
    // Nothing needs an answer: the request is met as soon as it is asked.
    if progress(&step.request, input.people).is_met() {
        return grant(step, input.cooling, ctx).map_err(AskRefused::from);
    }
    challenge(step, ctx).map_err(AskRefused::from)
}

/// Puts the demands to the people concerned.
fn challenge(step: Step, ctx: &mut Ctx) -> Result<Step, TransitionError> {
    let deadline = step.request.deadline;
    let mut challenges = Vec::new();
    let mut put = |put_to| {
        challenges.push(Challenge { id: ChallengeId::new(ctx.now, ctx.tail()), put_to, expires_at: deadline });
    };
    if step.request.demands.iter().any(|demand| matches!(demand, Demand::Fresh { .. })) {
        put(PutTo::Requester);
    }
    let mut groups: Vec<_> = quorum::slots(&step.request.demands).into_iter().map(|slot| slot.group).collect();
    groups.sort();
    groups.dedup();
    if !groups.is_empty() {
        put(PutTo::Approvers { groups: groups.clone() });
    }
    let id = step.request.id;
    let mut step = step.transition(|request| request.challenge(challenges))?;
    if !groups.is_empty() {
        let payload = notice(&step.request, "approvers");
        let write = ctx.outbox("notice.review", &payload);
        step.write(write);
        step.write(Write::InsertInbox { request: id, groups, deadline });
    }
    step.write(Write::SetTimer(Timer::request(TimerKind::RequestDeadline, id, deadline)));
    Ok(step)
}

/// All demands are met: the request becomes a right.
pub(super) fn grant(step: Step, cooling: Cooling, ctx: &mut Ctx) -> Result<Step, TransitionError> {
    let Bounds { not_before, ttl, uses } = step.request.bounds;
    let begin = ctx.now.plus(not_before);
    let grant = Grant {
        id: GrantId::new(ctx.now, ctx.tail()),
        granted_at: ctx.now,
        not_before: begin,
        expires_at: begin.plus(ttl),
        uses,
        state: GrantState::Live { uses_left: uses },
    };
    let (id, expires_at) = (step.request.id, grant.expires_at);
    let was_challenged = matches!(step.request.stage, Stage::Challenged { .. });
    // While there is one administrator nothing waits for a countersignature, and each receipt says so.
    let clear =
        vec![("uses", Value::from(i64::from(uses))), ("sole_administrator", Value::from(cooling.administrators <= 1))];
    let fields = vec![
        ctx.field("grant", grant.id.to_string()),
        ctx.field("not_before", begin.to_string()),
        ctx.field("expires_at", expires_at.to_string()),
    ];
    let mut step = step.transition(|request| request.into_granted(grant))?;
    step.entry(ctx, EntryKind::RequestGranted, clear, fields);
    if was_challenged {
        step.write(Write::ClearInbox { request: id });
        step.write(Write::ClearTimer { kind: TimerKind::RequestDeadline, subject: id.to_string() });
    }
    step.write(Write::SetTimer(Timer::request(TimerKind::GrantEnd, id, expires_at)));
    Ok(step)
}

/// What the ledger says of a request, each part a commitment of its own.
fn described(
    operation: &Operation,
    account: &AccountName,
    person: Option<&PersonRef>,
    reason: Option<&str>,
    ctx: &mut Ctx,
) -> Vec<CommittedField> {
    vec![
        ctx.field("account", account.to_string()),
        ctx.field("requester", person.map(|person| person.name.as_str())),
        ctx.field("door", operation.door.as_str()),
        ctx.field("action", operation.action.as_str()),
        ctx.field("target", operation.target.as_str()),
        ctx.field("reason", reason),
    ]
}

fn refused(input: &AskInput<'_>, id: RequestId, why: String, ctx: &mut Ctx) -> AskRefused {
    let principal = input.principal;
    let mut fields =
        described(&input.operation, &principal.name, principal.person.as_ref(), input.reason.as_deref(), ctx);
    fields.push(ctx.field("why", why.as_str()));
    let who = principal.person.as_ref().map(|person| person.id);
    let mut entry = ctx.entry(EntryKind::RequestRefused, Some(input.decision.policy), Vec::new(), fields).about(who);
    entry.request = Some(id);
    AskRefused { why, changes: Changes { writes: Vec::new(), entries: vec![entry] } }
}

/// A reason why these demands could never be met for this requester, if there is one.
fn unmeetable(demands: &[Demand], input: &AskInput<'_>) -> Option<String> {
    let needs_a_person = demands.iter().any(Demand::needs_a_person);
    let principal = input.principal;
    if needs_a_person && principal.person.is_none() && !matches!(principal.via, crate::principal::Via::Server) {
        let account = &principal.name;
        return Some(format!(
            "{account} belongs to no person, so nobody could tell requester from approver; an administrator can link it: link up={account}"
        ));
    }
    let slots = quorum::slots(demands);
    let filled = quorum::fill(slots, &input.people.supply(), principal.person.as_ref().map(|person| person.id));
    let missing = filled.iter().find(|slot| slot.filled_by.is_none())?;
    Some(format!(
        "not enough people can approve this: of {} places, {} can be filled by others than you; {} lacks somebody who is active and enrolled with {}",
        filled.len(),
        quorum::filled(&filled),
        missing.group,
        missing.factors.iter().map(|factor| factor.as_str()).collect::<Vec<_>>().join(" or "),
    ))
}

fn notice(request: &Request, whom: &str) -> Value {
    Value::object([
        ("request", Value::from(request.id.to_string())),
        ("whom", Value::from(whom)),
        ("action", Value::from(request.operation.action.as_str())),
    ])
}
