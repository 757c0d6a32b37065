//! A database cannot know that it is old; whoever saw it newer can. This process remembers the newest tree that it saw, clients remember the newest
//! checkpoint that they were given and send it, and the database is held against both. If it has less than one of them, or something else, the log takes no
//! more entries and everything stops: a log that went on would sign a fork of itself, and codes, grants and tokens that are spent elsewhere would be good
//! again. `countersign restore accept` begins the next epoch.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use countersign_core::digest::Digest;
use countersign_ledger::{
    Checkpoint, SignedCheckpoint, TileMap, TreeHead, consistency_tiles, prove_consistency, verify_consistency,
};
use countersign_store::{
    Change, ChangeKind, Commit, CommitError, Expectation, LogStanding, MetaExpectation, Standing, Store, SystemWrite,
    Tiles,
};
use tokio::time::Instant;

use crate::restore::{META_STOPPED, Stopped};
use crate::{Engine, EngineError};

/// No checkpoint of ours is longer, signature included.
pub const CHECKPOINT_LIMIT: usize = 1_024;
/// So many signatures of strangers are looked at in a second; what comes on top is passed over.
const LOOKS: u32 = 500;
const SECOND: Duration = Duration::from_secs(1);
/// Checkpoints that are known to be the log's own.
const KNOWN: usize = 4_096;

/// What this process remembers.
#[derive(Debug, Default)]
pub(crate) struct LogWatch {
    stopped: AtomicBool,
    seen: Mutex<Seen>,
    budget: Mutex<Option<(Instant, u32)>>,
    passed_over: AtomicU64,
    /// One question to the database at a time, however many callers hold something newer.
    asking: tokio::sync::Mutex<()>,
}

/// Of one epoch, the newest that this process heard of.
#[derive(Clone, Debug, Default)]
struct Seen {
    epoch: u64,
    head: Option<TreeHead>,
    signed: Option<Arc<SignedCheckpoint>>,
    known: BTreeMap<u64, Digest>,
}

impl LogWatch {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a later look at the log of this epoch may not fall short of.
    fn remembered(&self, epoch: u64) -> (Option<TreeHead>, Option<Arc<SignedCheckpoint>>) {
        let seen = self.seen();
        if seen.epoch == epoch { (seen.head, seen.signed.clone()) } else { (None, None) }
    }

    /// The tree has grown to this.
    pub(super) fn grew(&self, epoch: u64, head: TreeHead) {
        let mut seen = self.seen();
        if seen.is_of(epoch) && seen.head.is_none_or(|old| old.size < head.size) {
            seen.head = Some(head);
        }
    }

    pub(super) fn signed(&self, epoch: u64, checkpoint: SignedCheckpoint) {
        let mut seen = self.seen();
        if !seen.is_of(epoch) {
            return;
        }
        seen.know(*checkpoint.head());
        if seen.signed.as_ref().is_none_or(|old| old.head().size < checkpoint.head().size) {
            seen.signed = Some(Arc::new(checkpoint));
        }
    }

    fn know(&self, epoch: u64, head: TreeHead) {
        let mut seen = self.seen();
        if seen.is_of(epoch) {
            seen.know(head);
        }
    }

    fn is_known(&self, epoch: u64, head: &TreeHead) -> bool {
        let seen = self.seen();
        seen.epoch == epoch && seen.known.get(&head.size) == Some(&head.root)
    }

    fn may_look(&self) -> bool {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let (since, used) = budget.filter(|(since, _)| now.duration_since(*since) < SECOND).unwrap_or((now, 0));
        let may = used < LOOKS;
        *budget = Some((since, used.saturating_add(1)));
        may
    }

    fn pass_over(&self) {
        self.passed_over.fetch_add(1, Ordering::Relaxed);
    }
}

impl Seen {
    /// Whether something of this epoch is to be remembered; that of an earlier one is forgotten then.
    fn is_of(&mut self, epoch: u64) -> bool {
        if self.epoch < epoch {
            *self = Self { epoch, ..Self::default() };
        }
        self.epoch == epoch
    }

    fn know(&mut self, head: TreeHead) {
        self.known.insert(head.size, head.root);
        while self.known.len() > KNOWN {
            // The oldest are asked for the least.
            self.known.pop_first();
        }
    }
}

impl Engine {
    /// Whether everything stands still until `countersign restore accept`.
    pub fn is_stopped(&self) -> bool {
        self.inner.log.stopped.load(Ordering::SeqCst)
    }

    /// Refuses everybody while it does.
    pub(crate) fn require_current(&self) -> Result<(), EngineError> {
        if self.is_stopped() { Err(EngineError::Restored) } else { Ok(()) }
    }

    /// The newest checkpoint that this process knows. From memory.
    pub fn newest_checkpoint(&self) -> Option<Arc<SignedCheckpoint>> {
        self.inner.log.seen().signed.clone()
    }

    /// How many presented checkpoints were not worth an answer: not ours, damaged, or too many at once.
    pub fn checkpoints_passed_over(&self) -> u64 {
        self.inner.log.passed_over.load(Ordering::Relaxed)
    }

    /// Somebody shows the newest checkpoint that he was given. Whoever is shown one that is newer than the database stops. Anything else changes nothing, and
    /// costs nothing but, at most, the look at one signature.
    pub async fn present(&self, note: &str) {
        let log = &self.inner.log;
        if note.len() > CHECKPOINT_LIMIT {
            return log.pass_over();
        }
        let Ok(claimed) = Checkpoint::claimed(note) else { return log.pass_over() };
        let keys = self.keys();
        // Checkpoints of earlier epochs are what an accepted restore leaves behind.
        if self.is_stopped() || claimed.origin != keys.log_key().name() || claimed.head.size == 0 {
            return;
        }
        if log.is_known(keys.epoch(), &claimed.head) {
            return;
        }
        if !log.may_look() {
            return log.pass_over();
        }
        let Ok(signed) = SignedCheckpoint::open(note, keys.log_key()) else { return log.pass_over() };
        if let Err(error) = self.compare(keys.epoch(), &signed).await {
            tracing::warn!(%error, "a presented checkpoint could not be compared with the database");
        }
    }

    /// Holds a checkpoint under our own signature against the database.
    async fn compare(&self, epoch: u64, signed: &SignedCheckpoint) -> Result<(), EngineError> {
        let _turn = self.inner.log.asking.lock().await;
        if self.inner.log.is_known(epoch, signed.head()) {
            return Ok(());
        }
        let Some(head) = self.look().await? else { return Ok(()) };
        if self.keys().epoch() != epoch {
            return Ok(());
        }
        if contradict(&self.inner.store, epoch, signed.head(), &head).await? {
            self.stop("a client holds a checkpoint of ours that the database does not continue", Some(signed.text()))
                .await;
        } else {
            self.inner.log.know(epoch, *signed.head());
        }
        Ok(())
    }

    /// Looks at the log in the database, and takes up a new epoch. `None` while nothing may be added to it.
    pub(crate) async fn look(&self) -> Result<Option<TreeHead>, EngineError> {
        let store = &self.inner.store;
        // Before the question: what it finds may not fall short of that, whatever other looks find meanwhile.
        let keys = self.keys();
        let (mut head, mut signed) = self.inner.log.remembered(keys.epoch());
        let standing = store.load(LogStanding).await?;
        let Standing { log, checkpoint } =
            standing.ok_or_else(|| EngineError::internal("the log was never opened; the database was emptied"))?;
        if log.epoch < keys.epoch() {
            self.stop("the database is of an earlier epoch than this process", signed_text(signed.as_ref())).await;
            return Ok(None);
        }
        let keys = if log.epoch > keys.epoch() {
            (head, signed) = (None, None);
            self.take_up(log.epoch).await?
        } else {
            keys
        };
        if log.closed {
            self.inner.log.stopped.store(true, Ordering::SeqCst);
            return Ok(None);
        }
        if self.is_stopped() {
            // It could not be written when it was found out.
            self.write_stop(signed_text(signed.as_ref())).await?;
            return Ok(None);
        }
        let newer = checkpoint.filter(|row| signed.as_ref().is_none_or(|signed| signed.head().size < row.size));
        let newer = newer.map(|row| SignedCheckpoint::open(&row.note, keys.log_key())).transpose();
        let newer = newer.map_err(|error| {
            EngineError::internal(format!("the newest checkpoint in the database is not this log's: {error}"))
        })?;
        for known in [head, newer.as_ref().map(|newer| *newer.head())].into_iter().flatten() {
            if contradict(store, log.epoch, &known, &log.head).await? {
                let newest = newer.map(Arc::new).or(signed);
                self.stop(
                    "the tree in the database does not continue the one that was there",
                    signed_text(newest.as_ref()),
                )
                .await;
                return Ok(None);
            }
        }
        self.inner.log.grew(log.epoch, log.head);
        if let Some(newer) = newer {
            self.inner.log.signed(log.epoch, newer);
        }
        Ok(Some(log.head))
    }

    /// Everything stands still from here on, in this process at once, in others as soon as they look.
    async fn stop(&self, why: &str, checkpoint: Option<&str>) {
        if !self.inner.log.stopped.swap(true, Ordering::SeqCst) {
            tracing::error!(
                why,
                checkpoint,
                "this database is older than what is known of it: everything is refused until `countersign restore accept`"
            );
        }
        if let Err(error) = self.write_stop(checkpoint).await {
            tracing::error!(%error, "the stop could not be written; trying again");
        }
    }

    async fn write_stop(&self, checkpoint: Option<&str>) -> Result<(), EngineError> {
        let Some(Standing { log, .. }) = self.inner.store.load(LogStanding).await? else { return Ok(()) };
        if log.closed {
            return Ok(());
        }
        let known = Stopped { epoch: self.keys().epoch(), checkpoint: checkpoint.map(str::to_owned) };
        let system = close(log.epoch, &known)?;
        match self.inner.store.commit(Commit::from(system)).await {
            Ok(()) | Err(CommitError::Conflict(Expectation::LogClosed { .. })) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Another epoch was begun: its key signs, and nothing that was kept in memory is believed any more.
    async fn take_up(&self, epoch: u64) -> Result<Arc<crate::Keyring>, EngineError> {
        let keyring = self.keys().of_epoch(&self.inner.store, epoch).await?;
        self.inner.live.mark_everything();
        self.inner.policy.mark();
        self.inner.keys.replace(keyring);
        self.inner.log.stopped.store(false, Ordering::SeqCst);
        tracing::warn!(epoch, "the log goes on in a new epoch");
        Ok(self.keys())
    }
}

/// What closes a log and tells everybody, and what was known when it did.
pub(crate) fn close(epoch: u64, known: &Stopped) -> Result<Vec<SystemWrite>, EngineError> {
    Ok(vec![
        SystemWrite::CloseEpoch { epoch },
        SystemWrite::PutMeta { key: META_STOPPED.to_owned(), value: known.to_bytes()?, expect: MetaExpectation::Any },
        SystemWrite::Announce(Change { kind: ChangeKind::Log, subject: epoch.to_string() }),
    ])
}

/// Whether `new` is anything else than `old` and what came after it.
pub(crate) async fn contradict(store: &Store, epoch: u64, old: &TreeHead, new: &TreeHead) -> Result<bool, EngineError> {
    if new.size <= old.size {
        return Ok(new != old);
    }
    let tiles = consistency_tiles(new.size, old.size).map_err(EngineError::internal)?;
    let tiles: TileMap = store.load(Tiles { epoch, tiles }).await?.into_iter().collect();
    let proof = prove_consistency(new, old.size, &tiles).map_err(EngineError::internal)?;
    Ok(verify_consistency(&proof, old, new).is_err())
}

fn signed_text(signed: Option<&Arc<SignedCheckpoint>>) -> Option<&str> {
    signed.map(|signed| signed.text())
}
