//! `release`: a grant is used. The intent is durable before anything is let go.

use super::{Ctx, Step, progress};
use crate::canonical::Value;
use crate::changes::{Changes, Timer, TimerKind, Write};
use crate::digest::Digest;
use crate::entry::{CommittedField, EntryKind};
use crate::identity::PersonRef;
use crate::ids::{PersonId, ReleaseId};
use crate::people::People;
use crate::principal::Principal;
use crate::release::{Release, ReleaseError, ReleaseResult, ReleaseState, ReportedBy};
use crate::request::{Request, TransitionError};
use crate::time::Micros;

/// Everything that a release decides from.
#[derive(Debug)]
pub struct BeginInput<'a> {
    pub request: Request,
    pub principal: &'a Principal,
    /// What today's policy denies, if it does: demands are the old ones, denies are today's.
    pub denied_today: Option<String>,
    pub people: &'a People,
    pub id: ReleaseId,
    /// SHA-256 of what is about to be let go.
    pub fingerprint: Digest,
    pub handling: Handling,
}

/// What becomes of a release after it has begun.
#[derive(Clone, Debug)]
pub enum Handling {
    /// Somebody acts on it and reports: an intent with a lease.
    Leased { owner: String, until: Micros },
    /// The thing is signed and complete when it is let go; nobody reports anything.
    AtOnce { outcome: String },
}

/// Why nothing is let go.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseRefused {
    #[error("only the one who asked can use this grant")]
    NotRequester,
    #[error("policy now denies this: {0}")]
    DeniedToday(String),
    #[error("an approval no longer counts, because its giver was disabled or left the group; ask again")]
    NoLongerEligible,
    #[error("the stored request is not what was signed; tell your administrator")]
    Altered,
    #[error("the sink {sink} did not take the record of it; try again, and tell your administrator")]
    NotRecorded { sink: String },
    #[error(transparent)]
    Transition(#[from] TransitionError),
}

/// Takes one use and writes the intent.
pub fn begin(input: BeginInput<'_>, ctx: &mut Ctx) -> Result<(Step, Release), ReleaseRefused> {
    let BeginInput { request, principal, denied_today, people, id, fingerprint, handling } = input;
    let own = request.account == principal.account
        || matches!((&request.person, &principal.person), (Some(asked), Some(uses)) if asked.id == uses.id);
    if !own {
        return Err(ReleaseRefused::NotRequester);
    }
    if !request.digest_holds() {
        return Err(ReleaseRefused::Altered);
    }
    // The stage speaks first: whoever comes after a revocation learns of that, not of a membership.
    let live = request.grant().ok_or(TransitionError::NotGranted)?.clone();
    live.use_once(ctx.now).map_err(TransitionError::from)?;
    if let Some(reason) = denied_today {
        return Err(ReleaseRefused::DeniedToday(reason));
    }
    if request.person.as_ref().is_some_and(|person| !people.is_active(person.id))
        || !progress(&request, people).is_met()
    {
        return Err(ReleaseRefused::NoLongerEligible);
    }
    let step = Step::of(request);
    let (owner, until) = match handling {
        Handling::AtOnce { outcome } => return Ok(within_grant(step, id, fingerprint, outcome, ctx)?),
        Handling::Leased { owner, until } => (owner, until),
    };
    let mut step = step.transition(|request| request.with_grant(|grant| grant.use_once(ctx.now)))?;
    let state = ReleaseState::Intended { owner, lease_until: until };
    let release = Release { id, request: step.request.id, version: 1, begun_at: ctx.now, fingerprint, state };
    let fields = vec![ctx.field("release", id.to_string()), ctx.field("by", principal.name.to_string())];
    let clear = vec![("fingerprint", Value::from(fingerprint.to_string()))];
    step.entry_about(person_of(principal), ctx, EntryKind::ReleaseIntended, clear, fields);
    step.write(Write::InsertRelease(Box::new(release.clone())));
    step.write(Write::SetTimer(Timer::lease(id, until)));
    Ok((step, release))
}

/// Records that a use was refused, so that an attempt leaves a trace.
pub fn refuse(request: Request, by: &Principal, why: &ReleaseRefused, ctx: &mut Ctx) -> Step {
    let fields = vec![ctx.field("by", by.name.to_string()), ctx.field("why", why.to_string())];
    let mut step = Step::of(request);
    step.entry_about(person_of(by), ctx, EntryKind::ReleaseRefused, Vec::new(), fields);
    step.touch()
}

/// The server does it itself, in the transaction that grants: no intent, because there is no moment in between.
pub fn within_grant(
    step: Step,
    id: ReleaseId,
    fingerprint: Digest,
    outcome: String,
    ctx: &mut Ctx,
) -> Result<(Step, Release), TransitionError> {
    let subject = step.request.id;
    let result = ReleaseResult { outcome: outcome.clone(), reported_by: ReportedBy::Server };
    let state = ReleaseState::Done { at: ctx.now, result };
    let release = Release { id, request: subject, version: 1, begun_at: ctx.now, fingerprint, state };
    let mut step = step.transition(|request| request.with_grant(|grant| grant.use_once(ctx.now)))?;
    let fields = vec![ctx.field("release", id.to_string()), ctx.field("outcome", outcome)];
    let clear = vec![
        ("fingerprint", Value::from(fingerprint.to_string())),
        ("reported_by", Value::from(ReportedBy::Server.as_str())),
    ];
    step.entry(ctx, EntryKind::ReleaseDone, clear, fields);
    step.write(Write::InsertRelease(Box::new(release.clone())));
    Ok((step, release))
}

/// The owner is still at it. No entry: only outward effects have them.
pub fn renew(release: Release, owner: &str, until: Micros, ctx: &Ctx) -> Result<(Release, Changes), ReleaseError> {
    let release = release.renew(owner, ctx.now, until)?;
    let writes =
        vec![Write::UpdateRelease(Box::new(release.clone())), Write::SetTimer(Timer::lease(release.id, until))];
    Ok((release, Changes { writes, entries: Vec::new() }))
}

/// The owner says how it ended.
pub fn finish(
    request: Request,
    release: Release,
    owner: &str,
    result: ReleaseResult,
    ctx: &mut Ctx,
) -> Result<(Step, Release), ReleaseError> {
    let fields = vec![ctx.field("release", release.id.to_string()), ctx.field("outcome", result.outcome.as_str())];
    let clear = vec![
        ("fingerprint", Value::from(release.fingerprint.to_string())),
        ("reported_by", Value::from(result.reported_by.as_str())),
    ];
    let release = release.finish(owner, ctx.now, result)?;
    Ok((ended(request, &release, None, (EntryKind::ReleaseDone, clear, fields), ctx), release))
}

/// The owner knows that nothing was let go: the use is given back.
pub fn fail(
    request: Request,
    release: Release,
    owner: &str,
    why: String,
    ctx: &mut Ctx,
) -> Result<(Step, Release), ReleaseError> {
    let fields = vec![ctx.field("release", release.id.to_string()), ctx.field("why", why.as_str())];
    let clear = vec![("fingerprint", Value::from(release.fingerprint.to_string()))];
    let release = release.fail(owner, ctx.now, why)?;
    let mut step = Step::of(request);
    step.request = step.request.give_back();
    step.entry(ctx, EntryKind::ReleaseFailed, clear, fields);
    step.write(Write::UpdateRelease(Box::new(release.clone())));
    step.write(Write::ClearTimer { kind: TimerKind::ReleaseLease, subject: release.id.to_string() });
    // Its timer may have come while the grant was spent; what lives again must end again.
    if let Some(grant) = step.request.grant().filter(|grant| grant.is_live()) {
        let timer = Timer::request(TimerKind::GrantEnd, step.request.id, grant.expires_at);
        step.write(Write::SetTimer(timer));
    }
    Ok((step, release))
}

/// The lease ended and nobody knows.
pub fn doubt(request: Request, release: Release, ctx: &mut Ctx) -> Result<(Step, Release), ReleaseError> {
    let release = release.doubt(ctx.now)?;
    let fields = vec![ctx.field("release", release.id.to_string())];
    let mut step = ended(request, &release, None, (EntryKind::ReleaseInDoubt, Vec::new(), fields), ctx);
    let payload = Value::object([("request", step.request.id.to_string()), ("release", release.id.to_string())]);
    let write = ctx.outbox("notice.in_doubt", &payload);
    step.write(write);
    Ok((step, release))
}

/// An administrator closes what stayed in doubt.
pub fn close_in_doubt(
    request: Request,
    release: Release,
    by: &PersonRef,
    reason: String,
    ctx: &mut Ctx,
) -> Result<(Step, Release), ReleaseError> {
    let fields = vec![
        ctx.field("release", release.id.to_string()),
        ctx.field("person", by.name.as_str()),
        ctx.field("why", reason.as_str()),
    ];
    let release = release.close(by.clone(), ctx.now, reason)?;
    Ok((ended(request, &release, Some(by.id), (EntryKind::ReleaseClosed, Vec::new(), fields), ctx), release))
}

fn ended(
    request: Request,
    release: &Release,
    who: Option<PersonId>,
    (kind, clear, fields): (EntryKind, Vec<(&'static str, Value)>, Vec<CommittedField>),
    ctx: &mut Ctx,
) -> Step {
    let mut step = Step::of(request);
    step.entry_about(who, ctx, kind, clear, fields);
    step.write(Write::UpdateRelease(Box::new(release.clone())));
    step.write(Write::ClearTimer { kind: TimerKind::ReleaseLease, subject: release.id.to_string() });
    step.touch()
}

fn person_of(principal: &Principal) -> Option<PersonId> {
    principal.person.as_ref().map(|person| person.id)
}
