//! The ways in which a request or its grant ends without a release.

use super::{Ctx, Step};
use crate::canonical::Value;
use crate::changes::{TimerKind, Write};
use crate::entry::EntryKind;
use crate::grant::GrantError;
use crate::identity::PersonRef;
use crate::ids::PersonId;
use crate::names::GroupName;
use crate::people::People;
use crate::principal::Principal;
use crate::quorum;
use crate::request::{Request, TransitionError};

/// Why it can't be ended so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseError {
    #[error("you are not among those who can answer this request")]
    NotEligible,
    #[error("deny is for the others; take your own request back with cancel")]
    OwnRequest,
    #[error("only the one who asked can cancel; deny it instead")]
    NotRequester,
    #[error(transparent)]
    Transition(#[from] TransitionError),
}

/// Says no. Takes no factor, and is final.
pub fn deny(
    request: Request,
    by: &PersonRef,
    why: Option<String>,
    people: &People,
    ctx: &mut Ctx,
) -> Result<Step, CloseError> {
    if is_requester(&request, by) {
        return Err(CloseError::OwnRequest);
    }
    if !may_decide(&request, by, people) {
        return Err(CloseError::NotEligible);
    }
    still_open(&request, ctx)?;
    let fields = vec![ctx.field("person", by.name.as_str()), ctx.field("why", why.as_deref())];
    let step = Step::of(request).transition(|request| request.refuse(by.clone(), ctx.now, why))?;
    Ok(closed(step, Some(by.id), EntryKind::RequestDenied, fields, ctx))
}

/// The requester takes it back.
pub fn cancel(request: Request, by: &Principal, ctx: &mut Ctx) -> Result<Step, CloseError> {
    let own = request.account == by.account || by.person.as_ref().is_some_and(|person| is_requester(&request, person));
    if !own {
        return Err(CloseError::NotRequester);
    }
    still_open(&request, ctx)?;
    let fields = vec![ctx.field("by", by.name.to_string())];
    let step = Step::of(request).transition(|request| request.cancel(by.name.clone(), ctx.now))?;
    let who = by.person.as_ref().map(|person| person.id);
    Ok(closed(step, who, EntryKind::RequestCancelled, fields, ctx))
}

/// The deadline has passed.
pub fn expire(request: Request, ctx: &mut Ctx) -> Result<Step, TransitionError> {
    let step = Step::of(request).transition(|request| request.expire(ctx.now))?;
    Ok(closed(step, None, EntryKind::RequestExpired, Vec::new(), ctx))
}

/// Takes a grant back: the requester, whoever could have denied, or an administrator.
pub fn revoke(request: Request, by: &PersonRef, people: &People, ctx: &mut Ctx) -> Result<Step, CloseError> {
    let administrator = people.may_fill(by.id, &GroupName::administrators());
    if !(is_requester(&request, by) || administrator || may_decide(&request, by, people)) {
        return Err(CloseError::NotEligible);
    }
    let id = request.id;
    let fields = vec![ctx.field("person", by.name.as_str())];
    let mut step =
        Step::of(request).transition(|request| request.with_grant(|grant| grant.revoke(by.clone(), ctx.now)))?;
    step.entry_about(Some(by.id), ctx, EntryKind::GrantRevoked, Vec::new(), fields);
    step.write(Write::ClearTimer { kind: TimerKind::GrantEnd, subject: id.to_string() });
    Ok(step)
}

/// A grant's natural end. A spent or revoked one has ended already; then only its timer goes.
pub fn end_grant(request: Request, ctx: &mut Ctx) -> Result<Step, TransitionError> {
    let id = request.id;
    let result = Step::of(request.clone()).transition(|request| request.with_grant(|grant| grant.end(ctx.now)));
    let mut step = match result {
        Ok(mut step) => {
            step.entry(ctx, EntryKind::GrantEnded, Vec::new(), Vec::new());
            step
        }
        Err(TransitionError::Grant(GrantError::TooEarly(_))) => {
            return Err(TransitionError::NotDue);
        }
        Err(TransitionError::Grant(GrantError::Spent | GrantError::Revoked | GrantError::Ended)) => {
            Step::of(request).touch()
        }
        Err(error) => return Err(error),
    };
    step.write(Write::ClearTimer { kind: TimerKind::GrantEnd, subject: id.to_string() });
    Ok(step)
}

fn closed(
    mut step: Step,
    who: Option<PersonId>,
    kind: EntryKind,
    fields: Vec<crate::entry::CommittedField>,
    ctx: &mut Ctx,
) -> Step {
    let id = step.request.id;
    step.entry_about(who, ctx, kind, Vec::new(), fields);
    step.write(Write::ClearInbox { request: id });
    step.write(Write::ClearTimer { kind: TimerKind::RequestDeadline, subject: id.to_string() });
    let payload =
        Value::object([("request", Value::from(id.to_string())), ("stage", Value::from(step.request.stage.name()))]);
    let write = ctx.outbox("notice.decided", &payload);
    step.write(write);
    step
}

/// From its deadline on a request can only expire, whether or not its timer has fired yet.
fn still_open(request: &Request, ctx: &Ctx) -> Result<(), TransitionError> {
    if request.is_pending() && ctx.now >= request.deadline { Err(TransitionError::Over("expired")) } else { Ok(()) }
}

fn is_requester(request: &Request, person: &PersonRef) -> bool {
    request.person.as_ref().is_some_and(|requester| requester.id == person.id)
}

/// Whether the person is of one of the groups that the request was put to.
fn may_decide(request: &Request, person: &PersonRef, people: &People) -> bool {
    quorum::slots(&request.demands).iter().any(|slot| people.may_fill(person.id, &slot.group))
}
