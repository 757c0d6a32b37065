//! `answer`: somebody proves something about a request.

use std::fmt;

use super::ask::grant;
use super::{Ctx, Progress, Step, progress};
use crate::canonical::Value;
use crate::changes::Write;
use crate::demand::Demand;
use crate::entry::EntryKind;
use crate::evidence::Evidence;
use crate::identity::PersonRef;
use crate::names::Factor;
use crate::people::{Cooling, People};
use crate::quorum::{self, Candidate};
use crate::request::{Approval, Request, Stage, TransitionError};
use crate::throttle::Throttle;
use crate::time::Micros;

/// As what somebody answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The requester's own fresh factor.
    Confirm,
    /// One of the others.
    Approve,
}

/// What verification made of the proof.
#[derive(Debug)]
pub enum Checked {
    Proved(Evidence),
    /// It was right, and it was used before: recorded, no failed try.
    Used,
    Wrong,
}

/// Why an answer did not count. The public text for a failed factor is one and the same; the true reason goes to the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The request is no longer waiting; with its stage.
    Over(&'static str),
    /// The requester answers his own request's quorum.
    OwnRequest,
    /// Not among those who may answer.
    NotEligible,
    /// This person has answered already.
    AlreadyAnswered,
    /// Every place that this person could fill is filled.
    NotNeeded,
    /// The answer is about another digest than this request's.
    OtherRequest,
    WrongFactor,
    UsedCode,
    /// The factor is new and nobody countersigned it: it fills no slot yet.
    Cooling,
    /// Somebody else carried the proof, and no rule allows that.
    Relayed,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Over(stage) => write!(f, "the request is already {stage}"),
            Self::OwnRequest => f.write_str("nobody approves what he asked for himself; somebody else must"),
            Self::NotEligible => f.write_str("you are not among those who can answer this request"),
            Self::AlreadyAnswered => f.write_str("you have answered this request already"),
            Self::NotNeeded => f.write_str("every place that you could fill is filled already"),
            Self::OtherRequest => f.write_str(
                "this answer is about another request, or about an older version of this one; look at it again",
            ),
            Self::WrongFactor => f.write_str("that did not prove it; try again with a new code"),
            Self::UsedCode => f.write_str("this code was used before; wait for the next one"),
            Self::Cooling => {
                f.write_str("your factor is new and no second administrator agreed to it, so it does not count yet")
            }
            Self::Relayed => f.write_str("the rule wants its approvers to answer themselves"),
        }
    }
}

/// Everything that `answer` decides from.
#[derive(Debug)]
pub struct AnswerInput<'a> {
    pub request: Request,
    pub person: &'a PersonRef,
    pub checked: Checked,
    /// The counter as it was when the proof was admitted.
    pub throttle: Throttle,
    pub people: &'a People,
    pub cooling: Cooling,
}

/// Whether, and as what, this person may answer now. Asked before anything is verified, so that no code is burnt for nothing.
pub fn may_answer(request: &Request, person: &PersonRef, people: &People, now: Micros) -> Result<Role, Rejection> {
    // The deadline counts from its moment on, whether or not its timer has fired yet.
    if request.is_pending() && now >= request.deadline {
        return Err(Rejection::Over("expired"));
    }
    if !matches!(request.stage, Stage::Challenged { .. }) {
        return Err(Rejection::Over(request.stage.name()));
    }
    if !people.is_active(person.id) {
        return Err(Rejection::NotEligible);
    }
    let so_far = progress(request, people);
    if request.person.as_ref().is_some_and(|requester| requester.id == person.id) {
        return match so_far.confirm {
            Some(false) => Ok(Role::Confirm),
            Some(true) => Err(Rejection::AlreadyAnswered),
            None => Err(Rejection::OwnRequest),
        };
    }
    if request.approvals().iter().any(|approval| approval.evidence.person.id == person.id) {
        return Err(Rejection::AlreadyAnswered);
    }
    let eligible = so_far.slots.iter().any(|slot| people.may_fill(person.id, &slot.group));
    if !eligible {
        return Err(Rejection::NotEligible);
    }
    if would_fill(request, person, people, None) { Ok(Role::Approve) } else { Err(Rejection::NotNeeded) }
}

/// Counts the answer, or records why it does not count. Both commit.
pub fn answer(input: AnswerInput<'_>, ctx: &mut Ctx) -> Result<(Step, Result<(), Rejection>), TransitionError> {
    let AnswerInput { request, person, checked, throttle, people, cooling } = input;
    let role = match may_answer(&request, person, people, ctx.now) {
        Ok(role) => role,
        Err(why) => return Ok((Step::of(request), Err(why))),
    };
    let step = Step::of(request);
    let evidence = match checked {
        Checked::Wrong => {
            return Ok(rejected(step, person, throttle.failed(ctx.now), Rejection::WrongFactor, ctx));
        }
        Checked::Used => {
            return Ok(rejected(step, person, again(throttle), Rejection::UsedCode, ctx));
        }
        Checked::Proved(evidence) => evidence,
    };
    let mut step = step;
    step.write(Write::ConsumeStep { authenticator: evidence.authenticator, step: evidence.step });
    let passed = throttle.passed(ctx.now);
    if let Some(why) = objection(&step.request, person, &evidence, role, people, cooling, ctx) {
        return Ok(rejected(step, person, passed, why, ctx));
    }
    step.write(Write::Throttle(passed));
    let record = evidence.record();
    let fields = vec![
        ctx.field("person", record.person.name.as_str()),
        ctx.field("factor", record.factor.as_str()),
        ctx.field("role", if role == Role::Confirm { "confirm" } else { "approve" }),
        ctx.field("groups", groups_of(&step.request, person, people, role)),
        ctx.field("relayed_by", record.relayed_by.as_ref().map(|relay| relay.name.as_str())),
    ];
    let clear = vec![("digest", Value::from(record.digest.to_string())), ("attested_by", Value::from("server"))];
    let who = Some(record.person.id);
    step.write(Write::InsertEvidence { request: step.request.id, evidence: record.clone() });
    let mut step =
        step.transition(|request| request.approve(Approval { evidence: record, own: role == Role::Confirm }))?;
    step.entry_about(who, ctx, EntryKind::RequestAnswered, clear, fields);
    if progress(&step.request, people).is_met() {
        step = grant(step, cooling, ctx)?;
        let payload = Value::object([("request", step.request.id.to_string())]);
        let write = ctx.outbox("notice.granted", &payload);
        step.write(write);
    }
    Ok((step, Ok(())))
}

/// Why a valid proof does not count after all. Its code is used up all the same.
fn objection(
    request: &Request,
    person: &PersonRef,
    evidence: &Evidence,
    role: Role,
    people: &People,
    cooling: Cooling,
    ctx: &Ctx,
) -> Option<Rejection> {
    if evidence.person.id != person.id {
        return Some(Rejection::NotEligible);
    }
    if evidence.digest != request.digest {
        return Some(Rejection::OtherRequest);
    }
    if evidence.relayed_by.is_some() && !request.relayed {
        return Some(Rejection::Relayed);
    }
    match role {
        Role::Confirm => {
            let fits =
                |demand: &Demand| matches!(demand, Demand::Fresh { factors } if factors.contains(&evidence.factor));
            (!request.demands.iter().any(fits)).then_some(Rejection::WrongFactor)
        }
        Role::Approve if !cooling.counts(evidence.enrolled_at, evidence.countersigned, ctx.now) => {
            Some(Rejection::Cooling)
        }
        Role::Approve if !would_fill(request, person, people, Some(evidence.factor)) => Some(Rejection::NotNeeded),
        Role::Approve => None,
    }
}

/// Whether one more slot would be filled if this person answered too.
fn would_fill(request: &Request, person: &PersonRef, people: &People, factor: Option<Factor>) -> bool {
    let Some(standing) = people.get(person.id).filter(|standing| standing.active) else {
        return false;
    };
    let before = progress(request, people);
    let mut candidates: Vec<Candidate<'_>> = request
        .approvals()
        .iter()
        .filter(|approval| !approval.own)
        .filter_map(|approval| {
            let standing = people.get(approval.evidence.person.id).filter(|standing| standing.active)?;
            Some(Candidate {
                person: &approval.evidence.person,
                factors: vec![approval.evidence.factor],
                groups: standing.groups.iter().collect(),
            })
        })
        .collect();
    let mut candidate = standing.candidate();
    candidate.factors = factor.map_or_else(
        || quorum::slots(&request.demands).into_iter().flat_map(|slot| slot.factors).collect(),
        |factor| vec![factor],
    );
    candidates.push(candidate);
    let requester = request.person.as_ref().map(|person| person.id);
    quorum::filled(&quorum::fill(quorum::slots(&request.demands), &candidates, requester))
        > quorum::filled(&before.slots)
}

fn rejected(
    mut step: Step,
    person: &PersonRef,
    throttle: Throttle,
    why: Rejection,
    ctx: &mut Ctx,
) -> (Step, Result<(), Rejection>) {
    step.write(Write::Throttle(throttle));
    let fields = vec![ctx.field("person", person.name.as_str()), ctx.field("why", why.to_string())];
    step.entry_about(Some(person.id), ctx, EntryKind::RequestRejected, Vec::new(), fields);
    (step.touch(), Err(why))
}

/// An attempt that is neither a failure nor a success still takes its place in the line.
fn again(mut throttle: Throttle) -> Throttle {
    throttle.version += 1;
    throttle
}

fn groups_of(request: &Request, person: &PersonRef, people: &People, role: Role) -> Value {
    if role == Role::Confirm {
        return Value::Null;
    }
    let mut groups: Vec<_> = quorum::slots(&request.demands)
        .into_iter()
        .map(|slot| slot.group)
        .filter(|group| people.may_fill(person.id, group))
        .collect();
    groups.sort();
    groups.dedup();
    Value::array(groups.iter().map(ToString::to_string))
}

impl Progress {
    /// In one line, for the person who waits.
    pub fn summary(&self) -> String {
        let mut parts = Vec::new();
        if let Some(confirmed) = self.confirm {
            parts.push(if confirmed { "you: confirmed".to_owned() } else { "you: waiting for your code".to_owned() });
        }
        for slot in &self.slots {
            let who = slot.filled_by.as_ref().map_or("waiting", |person| person.name.as_str());
            parts.push(format!("{}: {who}", slot.group));
        }
        parts.join(" · ")
    }
}
