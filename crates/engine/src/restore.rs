//! A database that is old goes on in a new epoch. What may have ended since it was current ends now, all of it in one commit: a crash leaves either the
//! stopped database or the one that serves again.

use std::collections::BTreeMap;
use std::time::Duration;

use countersign_core::canonical::Value;
use countersign_core::changes::Changes;
use countersign_core::decide::{self, Ctx};
use countersign_core::digest::Digest;
use countersign_core::entry::{EntryDraft, EntryKind};
use countersign_core::ids::RequestId;
use countersign_core::names::{AccountName, LOCAL_REALM};
use countersign_core::release::Release;
use countersign_core::time::Micros;
use countersign_keys::master::MasterKey;
use countersign_keys::signing::SigningKey;
use countersign_keys::totp::STEP_SECS;
use countersign_keys::{Random, random};
use countersign_ledger::{Checkpoint, EpochLink, Frontier, SignedCheckpoint, TreeHead, leaf_hash};
use countersign_store::{
    Change, ChangeKind, CheckpointRow, Commit, CommitError, CountSessions, CountTokens, Expectation, Integration,
    IntendedReleases, LogStanding, MetaExpectation, MetaGet, OpenRequests, RequestById, SigningKey as SigningKeyRow,
    SigningKeys, Standing, Store, SystemWrite, UnsequencedEntries, seal,
};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use crate::bootstrap::META_KEY_ENTRIES;
use crate::keyring::{ED25519, LogKey, PURPOSE_GRANT, PURPOSE_LOG, encode};
use crate::log::{close, contradict};
use crate::{EngineError, Keyring};

pub(crate) const META_STOPPED: &str = "stopped";
/// In whose name requests are cancelled.
const SERVER: &str = "server";
const PAGE: u32 = 256;
/// A code may have been used on a node whose clock was ahead by as much as is tolerated.
const CLOCKS_APART: Duration = Duration::from_secs(5);
const TRIES: u32 = 8;

/// What was known of the log when it was closed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stopped {
    /// The epoch of whoever closed it: later than the database's own, if that one is from before an earlier restore.
    pub(crate) epoch: u64,
    /// The newest checkpoint that was known.
    pub(crate) checkpoint: Option<String>,
}

impl Stopped {
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, EngineError> {
        serde_json::to_vec(self).map_err(EngineError::internal)
    }
}

/// What an accepted restore did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Accepted {
    pub epoch: u64,
    /// The origin of the new log, and the key that signs it: what clients pin from now on.
    pub origin: String,
    pub vkey: String,
    /// The log that the database holds of the epoch before.
    pub previous: String,
    pub held: u64,
    /// The size of the newest checkpoint of it that is known; what lies between the two is lost to this database.
    pub known: u64,
    /// Entries that never got a place in the log before.
    pub stranded: u64,
    /// When the newest checkpoint that the database holds was signed.
    pub as_of: Option<Micros>,
    pub requests_cancelled: u64,
    pub grants_ended: u64,
    pub releases_in_doubt: u64,
    pub sessions_ended: u64,
    pub tokens_revoked: u64,
}

/// Marks a database as one that was restored: it serves nobody until [`accept_restored`].
pub async fn mark_restored(store: &Store) -> Result<(), EngineError> {
    let Standing { log, checkpoint } = standing(store).await?;
    if log.closed {
        return Ok(());
    }
    let known = Stopped { epoch: log.epoch, checkpoint: checkpoint.map(|row| row.note) };
    Ok(store.commit(Commit::from(close(log.epoch, &known)?)).await?)
}

/// Begins the next epoch on a database that is marked as restored. `shown` is a checkpoint that somebody kept and that this database does not continue; it
/// marks the database, too.
pub async fn accept_restored(
    store: &Store,
    master: &MasterKey,
    random: &dyn Random,
    now: Micros,
    shown: Option<&str>,
) -> Result<Accepted, EngineError> {
    for _ in 0..TRIES {
        let outcome = try_accept(store, master, random, now, shown).await;
        match outcome {
            // Another one accepts at the same time, or a process that did not know of the stop yet moved a row.
            Err(EngineError::Moved | EngineError::Exists { .. }) => {}
            other => return other,
        }
    }
    Err(EngineError::Busy)
}

async fn try_accept(
    store: &Store,
    master: &MasterKey,
    random: &dyn Random,
    now: Micros,
    shown: Option<&str>,
) -> Result<Accepted, EngineError> {
    let keys = Keyring::open(store, master).await?;
    let shown = shown.map(|note| Shown::read(note, &keys)).transpose()?;
    close_if_shown(store, &keys, shown.as_ref()).await?;
    let past = Past::load(store, &keys, shown).await?;
    let seed = random::bytes::<32>(random).map_err(EngineError::internal)?;
    let next = Next::begin(&keys, past.next_epoch(), random, Ctx::new(now, seed))?;
    next.finish(store, &keys, &past).await
}

async fn standing(store: &Store) -> Result<Standing, EngineError> {
    let standing = store.load(LogStanding).await?;
    standing.ok_or_else(|| EngineError::Invalid("this database is empty; run `countersign restore FILE` first".into()))
}

/// A checkpoint from outside.
struct Shown {
    epoch: u64,
    /// With its signature looked at, if it is of the epoch that the database holds.
    signed: Option<SignedCheckpoint>,
    note: String,
}

impl Shown {
    /// One of a later epoch than the database's can't be checked, because its key is not here. It says nothing but that its epoch was begun.
    fn read(note: &str, keys: &Keyring) -> Result<Self, EngineError> {
        let foreign = || EngineError::Invalid(format!("that is not a checkpoint of the log {}", keys.name()));
        let claimed = Checkpoint::claimed(note).map_err(|_| foreign())?;
        let epoch = epoch_of(&claimed.origin, keys.name()).ok_or_else(foreign)?;
        let signed = if epoch == keys.epoch() {
            Some(
                SignedCheckpoint::open(note, keys.log_key())
                    .map_err(|error| EngineError::Invalid(error.to_string()))?,
            )
        } else {
            None
        };
        Ok(Self { epoch, signed, note: note.to_owned() })
    }
}

fn epoch_of(origin: &str, name: &str) -> Option<u64> {
    origin.strip_prefix(name)?.strip_prefix('/')?.parse().ok()
}

async fn close_if_shown(store: &Store, keys: &Keyring, shown: Option<&Shown>) -> Result<(), EngineError> {
    let Standing { log, .. } = standing(store).await?;
    if log.closed {
        return Ok(());
    }
    let newer = match shown {
        Some(Shown { signed: Some(signed), .. }) => contradict(store, log.epoch, signed.head(), &log.head).await?,
        Some(Shown { epoch, signed: None, .. }) => *epoch > log.epoch,
        None => false,
    };
    if !newer {
        return Err(EngineError::Invalid(
            "nothing says that this database was restored: there is nothing to accept; if you know that it is old, give a newer checkpoint with --checkpoint FILE"
                .into(),
        ));
    }
    let known = Stopped { epoch: keys.epoch(), checkpoint: shown.map(|shown| shown.note.clone()) };
    Ok(store.commit(Commit::from(close(log.epoch, &known)?)).await?)
}

/// The epoch that ended.
struct Past {
    epoch: u64,
    head: TreeHead,
    /// The newest checkpoint that is known to be of this log.
    checkpoint: Option<SignedCheckpoint>,
    as_of: Option<Micros>,
    /// The latest epoch that is known to have been begun.
    begun: u64,
    stranded: u64,
}

impl Past {
    async fn load(store: &Store, keys: &Keyring, shown: Option<Shown>) -> Result<Self, EngineError> {
        let Standing { log, checkpoint } = standing(store).await?;
        let mut begun = log.epoch;
        let as_of = checkpoint.as_ref().map(|row| row.at);
        let mut known = Vec::new();
        if let Some(row) = checkpoint {
            known.push(SignedCheckpoint::open(&row.note, keys.log_key()).map_err(EngineError::internal)?);
        }
        if let Some(bytes) = store.load(MetaGet(META_STOPPED.to_owned())).await? {
            let stopped: Stopped = serde_json::from_slice(&bytes).map_err(EngineError::internal)?;
            begun = begun.max(stopped.epoch);
            if let Some(note) = stopped.checkpoint
                && let Ok(shown) = Shown::read(&note, keys)
            {
                begun = begun.max(shown.epoch);
                known.extend(shown.signed);
            }
        }
        if let Some(shown) = shown {
            begun = begun.max(shown.epoch);
            known.extend(shown.signed);
        }
        let waiting = store.load(UnsequencedEntries { epoch: log.epoch, limit: u32::MAX }).await?;
        Ok(Self {
            epoch: log.epoch,
            head: log.head,
            checkpoint: known.into_iter().max_by_key(|signed| signed.head().size),
            as_of,
            begun,
            stranded: u64::try_from(waiting.len()).unwrap_or(u64::MAX),
        })
    }

    /// No number twice: a log that bears the name of one that was lost would be taken for a fork of it.
    fn next_epoch(&self) -> u64 {
        self.begun.saturating_add(1)
    }
}

/// The epoch that begins.
struct Next {
    epoch: u64,
    key: LogKey,
    row: SigningKeyRow,
    ctx: Ctx,
    drafts: Vec<EntryDraft>,
    changes: Changes,
}

impl Next {
    fn begin(keys: &Keyring, epoch: u64, random: &dyn Random, ctx: Ctx) -> Result<Self, EngineError> {
        let key = SigningKey::generate(random).map_err(EngineError::internal)?;
        let private = key.to_pkcs8().map_err(EngineError::internal)?;
        let kid = key.kid().to_owned();
        let private = keys
            .seal(random, seal::SIGNING_KEY_PRIVATE, &kid, private.expose_secret())
            .map_err(EngineError::internal)?;
        let row = SigningKeyRow {
            kid,
            purpose: PURPOSE_LOG.to_owned(),
            epoch,
            algorithm: ED25519.to_owned(),
            public: key.verifying_key().as_bytes().to_vec(),
            private,
            created_at: ctx.now,
            retired_at: None,
        };
        let key = LogKey::new(keys.name(), epoch, key)?;
        Ok(Self { epoch, key, row, ctx, drafts: Vec::new(), changes: Changes::default() })
    }

    async fn finish(mut self, store: &Store, keys: &Keyring, past: &Past) -> Result<Accepted, EngineError> {
        let now = self.ctx.now;
        self.link(keys, past);
        let rows = store.load(SigningKeys).await?;
        let old =
            rows.iter().find(|row| row.purpose == PURPOSE_LOG && row.epoch == past.epoch).map(|row| row.kid.clone());
        let own = self.row.clone();
        self.publish(&own)?;
        for row in rows.iter().filter(|row| row.purpose == PURPOSE_GRANT && row.retired_at.is_none()) {
            self.publish(row)?;
        }
        let published: Vec<_> = self.drafts.iter().skip(1).map(|draft| draft.id.to_string()).collect();
        let sessions_ended = store.load(CountSessions(now)).await?;
        let tokens_revoked = store.load(CountTokens(now)).await?;
        let withdrawn = self.withdraw(store).await?;

        let Changes { writes, entries } = std::mem::take(&mut self.changes);
        self.drafts.extend(entries);
        let kid = self.key.kid();
        let entries = self.drafts.iter().map(|draft| encode(draft, self.epoch, kid)).collect::<Result<Vec<_>, _>>()?;
        // They get their places at once, so that nothing ever comes before the entry that says what this log continues.
        let mut tree = Frontier::new();
        let tiles =
            tree.extend(entries.iter().map(|entry| leaf_hash(&entry.encoded.bytes))).map_err(EngineError::internal)?;
        let head = tree.head();
        let leaves = entries.iter().map(|entry| entry.id).collect();
        let key_entries = store.load(MetaGet(META_KEY_ENTRIES.to_owned())).await?.unwrap_or_default();
        let mut all_keys = key_entries.clone();
        all_keys.extend(published.iter().flat_map(|id| format!(" {id}").into_bytes()));
        let step = now.plus(CLOCKS_APART).as_secs().div_euclid(i64::try_from(STEP_SECS).unwrap_or(30));
        let mut system = vec![
            SystemWrite::EndThePast { at: now, step },
            SystemWrite::OpenEpoch { epoch: self.epoch },
            SystemWrite::InsertSigningKey(self.row),
            SystemWrite::PutMeta {
                key: META_KEY_ENTRIES.to_owned(),
                value: all_keys,
                expect: MetaExpectation::Is(key_entries),
            },
            SystemWrite::Integrate(Integration { epoch: self.epoch, from: 0, head, entries: leaves, tiles }),
            SystemWrite::Announce(Change { kind: ChangeKind::Log, subject: self.epoch.to_string() }),
        ];
        system.extend(old.map(|kid| SystemWrite::RetireSigningKey { kid, at: now }));
        store.commit(Commit { writes, entries, system }).await?;

        let origin = self.key.verifier().name().to_owned();
        let signed = Checkpoint { origin: origin.clone(), head }.sign(&self.key).map_err(EngineError::internal)?;
        let row = CheckpointRow { epoch: self.epoch, size: head.size, note: signed.text().to_owned(), at: now };
        // A service that runs may have signed it, and does when it starts.
        match store.commit(Commit::from(vec![SystemWrite::PutCheckpoint(row)])).await {
            Ok(()) | Err(CommitError::Conflict(Expectation::LogClosed { .. })) => {}
            Err(error) => tracing::warn!(%error, "the first checkpoint of the new epoch is left to the service"),
        }
        Ok(Accepted {
            epoch: self.epoch,
            origin,
            vkey: self.key.verifier().to_string(),
            previous: keys.log_key().name().to_owned(),
            held: past.head.size,
            known: past.checkpoint.as_ref().map_or(0, |signed| signed.head().size).max(past.head.size),
            stranded: past.stranded,
            as_of: past.as_of,
            sessions_ended,
            tokens_revoked,
            ..withdrawn
        })
    }

    /// The first entry: which log this one continues, from where, and under which key.
    fn link(&mut self, keys: &Keyring, past: &Past) {
        let link = EpochLink {
            previous: keys.log_key().clone(),
            held: past.head,
            stranded: past.stranded,
            checkpoint: past.checkpoint.as_ref().map(|signed| signed.text().to_owned()),
        };
        let entry = self.ctx.entry(EntryKind::Epoch, None, link.clear(), Vec::new());
        self.drafts.push(entry);
    }

    fn publish(&mut self, row: &SigningKeyRow) -> Result<(), EngineError> {
        let public = <[u8; 32]>::try_from(row.public.as_slice()).map_err(EngineError::internal)?;
        let clear = vec![
            ("purpose", Value::from(row.purpose.as_str())),
            ("algorithm", Value::from(row.algorithm.as_str())),
            ("key", Value::from(row.kid.as_str())),
            ("public", Value::from(Digest::from_bytes(public).to_string())),
        ];
        self.ctx.now = self.ctx.now.next();
        let entry = self.ctx.entry(EntryKind::Key, None, clear, Vec::new());
        self.drafts.push(entry);
        Ok(())
    }

    /// Ends what is open, and counts it.
    async fn withdraw(&mut self, store: &Store) -> Result<Accepted, EngineError> {
        let by = AccountName::new(LOCAL_REALM, SERVER).map_err(EngineError::internal)?;
        let mut done = Accepted::default();
        let mut begun: BTreeMap<RequestId, Vec<Release>> = BTreeMap::new();
        let mut after = None;
        loop {
            let page = store.load(IntendedReleases { after, limit: PAGE }).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for release in page {
                begun.entry(release.request).or_default().push(release);
            }
        }
        self.ctx.now = self.ctx.now.next();
        let mut after = None;
        loop {
            let page = store.load(OpenRequests { after, limit: PAGE }).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for request in page {
                let begun = begun.remove(&request.id).unwrap_or_default();
                self.withdraw_one(request, begun, &by, &mut done);
            }
        }
        for (id, begun) in begun {
            if let Some(request) = store.load(RequestById(id)).await? {
                self.withdraw_one(request, begun, &by, &mut done);
            }
        }
        Ok(done)
    }

    fn withdraw_one(
        &mut self,
        request: countersign_core::request::Request,
        begun: Vec<Release>,
        by: &AccountName,
        done: &mut Accepted,
    ) {
        let pending = request.is_pending();
        let live = request.grant().is_some_and(countersign_core::grant::Grant::is_live);
        let releases = u64::try_from(begun.len()).unwrap_or(u64::MAX);
        if let Some(step) = decide::withdraw(request, begun, by, &mut self.ctx) {
            done.requests_cancelled += u64::from(pending);
            done.grants_ended += u64::from(live);
            done.releases_in_doubt += releases;
            self.changes.extend(step.finish().1);
        }
    }
}
