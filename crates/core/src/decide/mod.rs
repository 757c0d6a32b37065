//! The one flow as pure functions: state and event in, next state and [`Changes`] out. Nothing here can be retried into a different answer:
//! the same arguments give the same changes.

mod answer;
mod ask;
mod close;
mod release;
mod withdraw;

pub use answer::{AnswerInput, Checked, Rejection, Role, answer, may_answer};
pub use ask::{AskInput, AskRefused, ask};
pub use close::{CloseError, cancel, deny, end_grant, expire, revoke};
pub use release::{
    BeginInput, Handling, ReleaseRefused, begin, close_in_doubt, doubt, fail, finish, refuse, renew, within_grant,
};
pub use withdraw::withdraw;

use sha2::{Digest as _, Sha256};

use crate::canonical::Value;
use crate::changes::{Changes, OutboxMessage, Write};
use crate::digest::{Digest, Salt};
use crate::entry::{CommittedField, EntryDraft, EntryKind};
use crate::ids::{EntryId, OutboxId, PersonId};
use crate::people::People;
use crate::quorum::{self, Candidate, Slot};
use crate::request::Request;
use crate::time::Micros;

/// What a decision may know of the world: the time, and random bytes drawn before it began.
#[derive(Debug)]
pub struct Ctx {
    pub now: Micros,
    seed: Seed,
    drawn: u64,
}

/// 256 random bits. Ids and salts are drawn from it by SHA-256 over a counter, so a decision is a function of its arguments.
pub struct Seed(pub [u8; 32]);

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed(..)")
    }
}

impl Ctx {
    pub const fn new(now: Micros, seed: [u8; 32]) -> Self {
        Self { now, seed: Seed(seed), drawn: 0 }
    }

    pub fn salt(&mut self) -> Salt {
        Salt::from_bytes(self.draw())
    }

    /// Ten bytes for an id.
    pub fn tail(&mut self) -> [u8; 10] {
        self.draw()
    }

    /// A committed field with a salt of its own.
    pub fn field(&mut self, field: &'static str, value: impl Into<Value>) -> CommittedField {
        CommittedField { field, salt: self.salt(), value: value.into() }
    }

    /// A message that waits for nobody.
    pub fn outbox(&mut self, topic: &str, payload: &Value) -> Write {
        let id = OutboxId::new(self.now, self.tail());
        Write::InsertOutbox(OutboxMessage {
            id,
            topic: topic.to_owned(),
            payload: payload.to_canonical_string(),
            due_at: self.now,
        })
    }

    /// An entry that belongs to no request.
    pub fn entry(
        &mut self,
        kind: EntryKind,
        policy: Option<Digest>,
        clear: Vec<(&'static str, Value)>,
        committed: Vec<CommittedField>,
    ) -> EntryDraft {
        EntryDraft {
            id: EntryId::new(self.now, self.tail()),
            at: self.now,
            kind,
            request: None,
            person: None,
            policy,
            clear,
            committed,
        }
    }

    fn draw<const N: usize>(&mut self) -> [u8; N] {
        self.drawn += 1;
        let block = Sha256::new().chain_update(self.seed.0).chain_update(self.drawn.to_be_bytes()).finalize();
        let mut out = [0; N];
        for (to, from) in out.iter_mut().zip(block) {
            *to = from;
        }
        out
    }
}

/// A request on its way from one stored version to the next. Several transitions in one commit are one update.
#[derive(Debug)]
#[must_use]
pub struct Step {
    /// The version that must still be stored; 0 when the request is new.
    from: i64,
    pub request: Request,
    changes: Changes,
}

impl Step {
    /// Takes up a request as it was loaded.
    pub fn of(request: Request) -> Self {
        Self { from: request.version, request, changes: Changes::default() }
    }

    /// The new state, and all that is to be written for it.
    pub fn finish(self) -> (Request, Changes) {
        let Self { from, request, mut changes } = self;
        let write = if from == 0 {
            Write::InsertRequest(Box::new(request.clone()))
        } else {
            Write::UpdateRequest { request: Box::new(request.clone()), from }
        };
        changes.writes.push(write);
        (request, changes)
    }

    pub fn write(&mut self, write: Write) {
        self.changes.writes.push(write);
    }

    pub fn extend(&mut self, changes: Changes) {
        self.changes.extend(changes);
    }

    /// An entry of this request, later than all of its earlier ones whatever this node's clock says.
    pub fn entry(
        &mut self,
        ctx: &mut Ctx,
        kind: EntryKind,
        clear: Vec<(&'static str, Value)>,
        committed: Vec<CommittedField>,
    ) {
        self.entry_about(None, ctx, kind, clear, committed);
    }

    /// The same, when it names somebody.
    pub fn entry_about(
        &mut self,
        person: Option<PersonId>,
        ctx: &mut Ctx,
        kind: EntryKind,
        clear: Vec<(&'static str, Value)>,
        committed: Vec<CommittedField>,
    ) {
        let at = ctx.now.max(self.request.last_entry_at.next());
        self.request.last_entry_at = at;
        // Numbered, so that a receipt that leaves one out is told from a whole one.
        self.request.entries += 1;
        let mut clear = clear;
        clear.push(("seq", Value::from(self.request.entries)));
        self.changes.entries.push(EntryDraft {
            id: EntryId::new(at, ctx.tail()),
            at,
            kind,
            request: Some(self.request.id),
            person,
            policy: Some(self.request.policy),
            clear,
            committed,
        });
    }

    fn transition<E>(mut self, change: impl FnOnce(Request) -> Result<Request, E>) -> Result<Self, E> {
        self.request = change(self.request)?;
        Ok(self)
    }

    /// A commit that changes nothing about the stage still raises the version: whoever decided on the old one decides again.
    fn touch(mut self) -> Self {
        self.request.version += 1;
        self
    }
}

/// How far a request has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub slots: Vec<Slot>,
    /// Whether the requester's own factor is demanded, and whether it was proved.
    pub confirm: Option<bool>,
}

impl Progress {
    pub fn is_met(&self) -> bool {
        self.confirm != Some(false) && self.slots.iter().all(|slot| slot.filled_by.is_some())
    }
}

/// Counts a request's answers as people stand now: an approver who was disabled or left the group fills nothing.
pub fn progress(request: &Request, people: &People) -> Progress {
    let approvals = request.approvals();
    let candidates: Vec<Candidate<'_>> = approvals
        .iter()
        .filter(|approval| !approval.own)
        .filter_map(|approval| {
            let standing = people.get(approval.evidence.person.id).filter(|standing| standing.active)?;
            let groups = standing.groups.iter().collect();
            Some(Candidate { person: &approval.evidence.person, factors: vec![approval.evidence.factor], groups })
        })
        .collect();
    let requester = request.person.as_ref().map(|person| person.id);
    Progress {
        slots: quorum::fill(quorum::slots(&request.demands), &candidates, requester),
        confirm: confirmed(request),
    }
}

fn confirmed(request: &Request) -> Option<bool> {
    let mut wanted = request.demands.iter().filter_map(|demand| match demand {
        crate::demand::Demand::Fresh { factors } => Some(factors),
        _ => None,
    });
    let proved = |factors: &Vec<_>| request.approvals().iter().any(|a| a.own && factors.contains(&a.evidence.factor));
    let first = wanted.next()?;
    Some(proved(first) && wanted.all(proved))
}
