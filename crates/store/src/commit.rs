//! A commit: what is written together or not at all.

use std::collections::BTreeSet;

use countersign_core::changes::Write;
use countersign_core::ids::OutboxId;
use countersign_core::time::Micros;

use crate::error::Failure;
use crate::reader::Tx;
use crate::tables::changes::Change;
use crate::tables::entries::EntryRow;
use crate::tables::erasures::Erase;
use crate::tables::idempotency::IdempotencyRow;
use crate::tables::keys::{DataKey, SigningKey};
use crate::tables::leases::Fence;
use crate::tables::log::{CheckpointRow, Integration};
use crate::tables::meta::MetaExpectation;
use crate::tables::sinks::LogPosition;
use crate::tables::{
    Table, accounts, authenticators, changes, entries, evidence, groups, idempotency, inbox, keys, leases, log, meta,
    outbox, persons, policies, releases, requests, sessions, sinks, throttles, timers, tokens,
};

/// How long a source that never succeeded is remembered after its delay ended.
const STRANGERS_KEPT: std::time::Duration = std::time::Duration::from_hours(7 * 24);

/// What is written together. Rows are written in the order of tables and keys, so the order here means nothing but for two writes to one row.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Commit {
    pub writes: Vec<Write>,
    pub entries: Vec<EntryRow>,
    pub system: Vec<SystemWrite>,
}

/// What the service writes for itself, beside what decisions want written.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SystemWrite {
    /// Expects that the kid is new.
    InsertSigningKey(SigningKey),
    /// Expects that it is not retired.
    RetireSigningKey {
        kid: String,
        at: Micros,
    },
    /// Expects that the id is new.
    InsertDataKey(DataKey),
    PutMeta {
        key: String,
        value: Vec<u8>,
        expect: MetaExpectation,
    },
    /// Begins a log of size 0. Expects that the epoch is new.
    OpenEpoch {
        epoch: u64,
    },
    /// Adds nothing to a log any more, for ever. Expects that it is open.
    CloseEpoch {
        epoch: u64,
    },
    /// What may have ended since this database was current ends now: sessions, tokens, codes up to `step`, messages, leases, and what other
    /// processes keep in memory.
    EndThePast {
        at: Micros,
        step: i64,
    },
    /// Expects that the tree still has the size `from`, and that none of the entries has a place.
    Integrate(Integration),
    /// The same size again is no conflict; what is published stays.
    PutCheckpoint(CheckpointRow),
    /// Writes nothing. Expects that the lease is still this holder's.
    HoldLease {
        name: String,
        owner: String,
        fence: Fence,
    },
    ReleaseLease {
        name: String,
        owner: String,
    },
    /// The message was delivered. Expects that the claim is still this owner's.
    FinishOutbox {
        id: OutboxId,
        owner: String,
    },
    /// It could not be delivered; try again then. Expects that the claim is still this owner's.
    DeferOutbox {
        id: OutboxId,
        owner: String,
        due_at: Micros,
    },
    /// A sink took everything before `to`. Expects that it still stood at `from`; `None`: that it never got anything.
    AdvanceSink {
        sink: String,
        from: Option<LogPosition>,
        to: LogPosition,
    },
    /// Tells all processes of a change that no other write stands for.
    Announce(Change),
    /// A part of a person's erasure.
    Erase(Erase),
    /// Removes what has expired: idempotency keys, sessions, counters of strangers.
    PurgeExpired {
        now: Micros,
    },
}

impl Commit {
    pub const fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.entries.is_empty() && self.system.is_empty()
    }

    /// What this process and others may hold an old copy of once this is written.
    pub fn changes(&self) -> impl Iterator<Item = Change> {
        let system = self.system.iter().filter_map(|write| match write {
            SystemWrite::Announce(change) => Some(change.clone()),
            _ => None,
        });
        self.writes.iter().filter_map(Change::of).chain(system)
    }

    /// Puts the rows into the order in which they are written, so that two commits that touch the same rows never wait for each other in a circle.
    pub(crate) fn ordered(self) -> Vec<Item> {
        let changes: BTreeSet<Change> = self.changes().collect();
        let mut items: Vec<Item> = self.writes.into_iter().map(Item::Write).collect();
        items.extend(changes.into_iter().map(Item::Change));
        items.extend(self.entries.into_iter().map(Item::Entry));
        items.extend(self.system.into_iter().map(Item::System));
        items.sort_by_cached_key(Item::place);
        items
    }
}

impl From<Vec<Write>> for Commit {
    fn from(writes: Vec<Write>) -> Self {
        Self { writes, ..Self::default() }
    }
}

impl From<Vec<SystemWrite>> for Commit {
    fn from(system: Vec<SystemWrite>) -> Self {
        Self { system, ..Self::default() }
    }
}

/// One thing to write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Item {
    Write(Write),
    Entry(EntryRow),
    System(SystemWrite),
    Change(Change),
}

/// What clears many rows goes before what writes one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Many,
    One,
}

impl Item {
    fn place(&self) -> (Table, Phase, String) {
        match self {
            Self::Write(write) => place_of_write(write),
            Self::Entry(entry) => (Table::Entries, Phase::One, entry.id.to_string()),
            Self::System(write) => place_of_system(write),
            Self::Change(change) => (Table::Changes, Phase::One, format!("{:?} {}", change.kind, change.subject)),
        }
    }

    pub(crate) async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        match self {
            Self::Write(write) => apply_write(write, tx).await,
            Self::Entry(entry) => entries::insert(tx, entry).await,
            Self::System(write) => apply_system(write, tx).await,
            Self::Change(change) => changes::insert(tx, change).await,
        }
    }
}

fn place_of_write(write: &Write) -> (Table, Phase, String) {
    use Phase::{Many, One};
    match write {
        Write::InsertRequest(request) | Write::UpdateRequest { request, from: _ } => {
            (Table::Requests, One, request.id.to_string())
        }
        Write::InsertInbox { request, .. } | Write::ClearInbox { request } => (Table::Inbox, One, request.to_string()),
        Write::InsertEvidence { request, evidence } => {
            (Table::Evidence, One, format!("{request} {}", evidence.person.id))
        }
        Write::ConsumeStep { authenticator, .. } => (Table::Authenticators, One, authenticator.to_string()),
        Write::ActivateAuthenticator { id, .. } => (Table::Authenticators, One, id.to_string()),
        Write::InsertAuthenticator(authenticator) => (Table::Authenticators, One, authenticator.id.to_string()),
        Write::RemoveAuthenticators { person, .. } => (Table::Authenticators, Many, person.to_string()),
        Write::Throttle(throttle) => {
            (Table::Throttles, One, format!("{} {}", throttle.key.subject, throttle.key.source))
        }
        Write::ClearThrottles { subject } => (Table::Throttles, Many, subject.clone()),
        Write::InsertRelease(release) | Write::UpdateRelease(release) => (Table::Releases, One, release.id.to_string()),
        Write::SetTimer(timer) => (Table::Timers, One, format!("{} {}", timer.kind.as_str(), timer.subject)),
        Write::ClearTimer { kind, subject } => (Table::Timers, One, format!("{} {subject}", kind.as_str())),
        Write::InsertOutbox(message) => (Table::Outbox, One, message.id.to_string()),
        Write::InsertIdempotency { account, key, .. } => (Table::Idempotency, One, format!("{account} {key}")),
        Write::InsertPerson(person) | Write::UpdatePerson(person) => (Table::Persons, One, person.id.to_string()),
        Write::InsertAccount(account) | Write::UpdateAccount(account) => (Table::Accounts, One, account.id.to_string()),
        Write::InsertGroup { group, .. } | Write::DeleteGroup { group } => (Table::Groups, One, group.to_string()),
        Write::PutMembership(membership) => {
            (Table::Memberships, One, format!("{} {}", membership.group, membership.person))
        }
        Write::DeleteMembership { group, person } => (Table::Memberships, One, format!("{group} {person}")),
        Write::InsertSession(session) => (Table::Sessions, One, session.id.to_string()),
        Write::TouchSession { id, .. } | Write::FreshenSession { id, .. } | Write::EndSession { id } => {
            (Table::Sessions, One, id.to_string())
        }
        Write::EndSessionsOf { account } => (Table::Sessions, Many, account.to_string()),
        Write::InsertToken(token) => (Table::Tokens, One, token.id.to_string()),
        Write::RevokeToken { id, .. } => (Table::Tokens, One, id.to_string()),
        Write::RevokeTokensOf { owner, .. } => (Table::Tokens, Many, owner.to_string()),
        // A text is kept before it is made the active one.
        Write::InsertPolicy { digest, .. } => (Table::Policies, Many, digest.to_string()),
        Write::ActivatePolicy { digest, .. } => (Table::Policies, One, digest.to_string()),
    }
}

async fn apply_write(write: &Write, tx: &mut Tx<'_>) -> Result<(), Failure> {
    match write {
        Write::InsertRequest(request) => requests::insert(tx, request).await,
        Write::UpdateRequest { request, from } => requests::update(tx, request, *from).await,
        Write::InsertInbox { request, groups, deadline } => inbox::insert(tx, *request, groups, *deadline).await,
        Write::ClearInbox { request } => inbox::clear(tx, *request).await,
        Write::InsertEvidence { request, evidence } => evidence::insert(tx, *request, evidence).await,
        Write::ConsumeStep { authenticator, step } => authenticators::consume(tx, *authenticator, *step).await,
        Write::Throttle(throttle) => throttles::put(tx, throttle).await,
        Write::ClearThrottles { subject } => throttles::clear(tx, subject).await,
        Write::InsertRelease(release) => releases::insert(tx, release).await,
        Write::UpdateRelease(release) => releases::update(tx, release).await,
        Write::SetTimer(timer) => timers::set(tx, timer).await,
        Write::ClearTimer { kind, subject } => timers::clear(tx, *kind, subject).await,
        Write::InsertOutbox(message) => outbox::insert(tx, message).await,
        Write::InsertIdempotency { account, key, body, request, expires_at } => {
            let row = IdempotencyRow { body: *body, request: *request, expires_at: *expires_at };
            idempotency::insert(tx, *account, key, &row).await
        }
        Write::InsertPerson(person) => persons::insert(tx, person).await,
        Write::UpdatePerson(person) => persons::update(tx, person).await,
        Write::InsertAccount(account) => accounts::insert(tx, account).await,
        Write::UpdateAccount(account) => accounts::update(tx, account).await,
        Write::InsertGroup { group, created_at } => groups::insert(tx, group, *created_at).await,
        Write::DeleteGroup { group } => groups::delete(tx, group).await,
        Write::PutMembership(membership) => groups::put(tx, membership).await,
        Write::DeleteMembership { group, person } => groups::take(tx, group, *person).await,
        Write::InsertAuthenticator(authenticator) => authenticators::insert(tx, authenticator).await,
        Write::ActivateAuthenticator { id, step, enrolled_at, countersigned } => {
            authenticators::activate(tx, *id, *step, *enrolled_at, *countersigned).await
        }
        Write::RemoveAuthenticators { person, except } => authenticators::remove(tx, *person, *except).await,
        Write::InsertSession(session) => sessions::insert(tx, session).await,
        Write::TouchSession { id, at } => sessions::touch(tx, *id, *at).await,
        Write::FreshenSession { id, at, factor } => sessions::freshen(tx, *id, *at, *factor).await,
        Write::EndSession { id } => sessions::end(tx, *id).await,
        Write::EndSessionsOf { account } => sessions::end_of(tx, *account).await,
        Write::InsertToken(token) => tokens::insert(tx, token).await,
        Write::RevokeToken { id, at } => tokens::revoke(tx, *id, *at).await,
        Write::RevokeTokensOf { owner, at } => tokens::revoke_of(tx, *owner, *at).await,
        Write::InsertPolicy { digest, text, at } => policies::insert(tx, digest, text, *at).await,
        Write::ActivatePolicy { digest, from, at } => policies::activate(tx, digest, from.as_ref(), *at).await,
    }
}

fn place_of_system(write: &SystemWrite) -> (Table, Phase, String) {
    use Phase::{Many, One};
    match write {
        SystemWrite::InsertSigningKey(key) => (Table::SigningKeys, One, key.kid.clone()),
        SystemWrite::RetireSigningKey { kid, .. } => (Table::SigningKeys, One, kid.clone()),
        SystemWrite::InsertDataKey(key) => (Table::DataKeys, One, format!("{:010}", key.id)),
        SystemWrite::PutMeta { key, .. } => (Table::Meta, One, key.clone()),
        SystemWrite::OpenEpoch { epoch } => (Table::Epochs, One, format!("{epoch:020}")),
        SystemWrite::CloseEpoch { epoch } => (Table::Epochs, Many, format!("{epoch:020}")),
        SystemWrite::Integrate(integration) => {
            (Table::Log, One, format!("{:020} {:020}", integration.epoch, integration.from))
        }
        SystemWrite::PutCheckpoint(checkpoint) => {
            (Table::Checkpoints, One, format!("{:020} {:020}", checkpoint.epoch, checkpoint.size))
        }
        SystemWrite::HoldLease { name, .. } | SystemWrite::ReleaseLease { name, .. } => {
            (Table::Leases, One, name.clone())
        }
        SystemWrite::FinishOutbox { id, .. } | SystemWrite::DeferOutbox { id, .. } => {
            (Table::Outbox, One, id.to_string())
        }
        SystemWrite::AdvanceSink { sink, .. } => (Table::SinkPositions, One, sink.clone()),
        SystemWrite::Erase(erase) => (Table::Erasures, One, erase.key()),
        // The one is written as an item of its own. What the other ends goes before what is written beside it.
        SystemWrite::Announce(_) | SystemWrite::EndThePast { .. } => (Table::Meta, Many, String::new()),
        SystemWrite::PurgeExpired { .. } => (Table::Several, Many, String::new()),
    }
}

async fn apply_system(write: &SystemWrite, tx: &mut Tx<'_>) -> Result<(), Failure> {
    match write {
        SystemWrite::InsertSigningKey(key) => keys::insert_signing(tx, key).await,
        SystemWrite::RetireSigningKey { kid, at } => keys::retire_signing(tx, kid, *at).await,
        SystemWrite::InsertDataKey(key) => keys::insert_data(tx, key).await,
        SystemWrite::PutMeta { key, value, expect } => meta::put(tx, key, value, expect).await,
        SystemWrite::OpenEpoch { epoch } => log::open(tx, *epoch).await,
        SystemWrite::CloseEpoch { epoch } => log::close(tx, *epoch).await,
        SystemWrite::EndThePast { at, step } => {
            tokens::revoke_all(tx, *at).await?;
            sessions::end_all(tx).await?;
            authenticators::floor(tx, *step).await?;
            outbox::forget(tx).await?;
            leases::release_all(tx).await?;
            changes::forget(tx).await
        }
        SystemWrite::Integrate(integration) => log::integrate(tx, integration).await,
        SystemWrite::PutCheckpoint(checkpoint) => log::put_checkpoint(tx, checkpoint).await,
        SystemWrite::HoldLease { name, owner, fence } => leases::hold(tx, name, owner, *fence).await,
        SystemWrite::ReleaseLease { name, owner } => leases::release(tx, name, owner).await,
        SystemWrite::FinishOutbox { id, owner } => outbox::finish(tx, *id, owner).await,
        SystemWrite::DeferOutbox { id, owner, due_at } => outbox::defer(tx, *id, owner, *due_at).await,
        SystemWrite::AdvanceSink { sink, from, to } => sinks::advance(tx, sink, *from, *to).await,
        SystemWrite::Erase(erase) => erase.apply(tx).await,
        SystemWrite::Announce(_) => Ok(()),
        SystemWrite::PurgeExpired { now } => {
            changes::purge(tx).await?;
            throttles::purge(tx, now.minus(STRANGERS_KEPT)).await?;
            sessions::purge(tx, *now).await?;
            idempotency::purge(tx, *now).await
        }
    }
}
