//! Each sink gets the whole log: a position says which leaf it gets next, and one node at a time moves it on.

use std::time::Duration;

use countersign_store::{
    Commit, CommitError, EntriesAhead, EntriesLeftBehind, Expectation, Fence, LogPosition, LogState, SinkPosition,
    StoredEntry, SystemWrite,
};
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::{Kept, Mode, Record};
use crate::{Engine, EngineError};

/// Longer than the most patient delivery; the position's expectation holds whatever happens after.
const LEASE: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(10);
/// At the end of the service nobody waits for a sink that hangs.
const LAST_PATIENCE: Duration = Duration::from_millis(1_500);
const BATCH: u32 = 64;
/// Batches between two looks at whether to stop.
const ROUNDS: u32 = 64;
const LOOK_AGAIN: Duration = Duration::from_millis(500);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Releases wait for a required sink to come back, so it is asked more often.
const LONGEST_PAUSE_REQUIRED: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Where every log begins.
const BEGINNING: LogPosition = LogPosition { epoch: 1, leaf: 0 };

/// How a sink fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkStatus {
    pub name: String,
    pub mode: Mode,
    /// Whether it refused or did not answer when this process last asked it.
    pub failing: bool,
    /// Entries that have their place in the log and that it has not got yet.
    pub behind: u64,
}

/// What one step of the way brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Moved,
    /// Nothing is left, or another node delivers.
    Rest,
}

impl Engine {
    /// Brings every sink what the log gets, until told to stop; what has its place in the log by then is brought first, if the sink takes it.
    pub async fn run_sinks(&self, stop: CancellationToken) {
        join_all(self.inner.sinks.0.iter().map(|kept| self.follow_log(kept, &stop))).await;
    }

    /// Brings a sink everything that it has not got, for as long as it takes it.
    pub async fn deliver_to(&self, sink: &str) -> Result<(), EngineError> {
        let kept = self.inner.sinks.0.iter().find(|kept| kept.name() == sink).ok_or(EngineError::NotFound("sink"))?;
        while self.deliver(kept, PATIENCE).await? == Step::Moved {}
        Ok(())
    }

    /// How far each sink is behind the log, in the order of the configuration.
    pub async fn sink_status(&self) -> Result<Vec<SinkStatus>, EngineError> {
        let mut all = Vec::with_capacity(self.inner.sinks.0.len());
        for kept in &self.inner.sinks.0 {
            let at = self.position(kept).await?.unwrap_or(BEGINNING);
            let mut behind = 0_u64;
            for epoch in at.epoch..=self.keys().epoch() {
                let size = self.inner.store.load(LogState(epoch)).await?.map_or(0, |head| head.size);
                let done = if epoch == at.epoch { at.leaf } else { 0 };
                behind = behind.saturating_add(size.saturating_sub(done));
            }
            let (name, failing) = (kept.name().to_owned(), kept.failed_at().is_some());
            all.push(SinkStatus { name, mode: kept.mode, failing, behind });
        }
        Ok(all)
    }

    async fn follow_log(&self, kept: &Kept, stop: &CancellationToken) {
        let mut pause = FIRST_PAUSE;
        loop {
            let last = stop.is_cancelled();
            let patience = if last { LAST_PATIENCE } else { PATIENCE };
            let outcome = self.deliver_some(kept, patience).await;
            if last {
                break;
            }
            match outcome {
                Ok(Step::Moved) => {}
                Ok(Step::Rest) => {
                    pause = FIRST_PAUSE;
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = self.inner.checkpointed.notified() => {}
                        () = tokio::time::sleep(LOOK_AGAIN) => {}
                    }
                }
                Err(error) => {
                    // What the sink said is told where it was asked.
                    if !matches!(error, EngineError::SinkRefused { .. }) {
                        tracing::error!(%error, sink = kept.name(), "a sink could not be served; trying again");
                    }
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(match kept.mode {
                        Mode::Required => LONGEST_PAUSE_REQUIRED,
                        Mode::BestEffort => LONGEST_PAUSE,
                    });
                }
            }
        }
        let end = SystemWrite::ReleaseLease { name: lease_name(kept), owner: self.inner.config.node.clone() };
        if let Err(error) = self.inner.store.commit(Commit::from(vec![end])).await {
            tracing::info!(%error, sink = kept.name(), "the lease of a sink ends by itself");
        }
    }

    /// Many batches, but not so many that nobody could stop it.
    async fn deliver_some(&self, kept: &Kept, patience: Duration) -> Result<Step, EngineError> {
        for _ in 0..ROUNDS {
            if self.deliver(kept, patience).await? == Step::Rest {
                return Ok(Step::Rest);
            }
        }
        Ok(Step::Moved)
    }

    /// The next batch. A sink may get it twice, and gets it before the position says so.
    async fn deliver(&self, kept: &Kept, patience: Duration) -> Result<Step, EngineError> {
        let from = self.position(kept).await?;
        let at = from.unwrap_or(BEGINNING);
        let rows = self.inner.store.load(EntriesAhead { from: at, limit: BATCH }).await?;
        let over = at.epoch < self.keys().epoch();
        let to = match rows.last() {
            Some(last) => LogPosition { leaf: last.leaf_index.unwrap_or(at.leaf).saturating_add(1), ..at },
            None if over => LogPosition { epoch: at.epoch.saturating_add(1), leaf: 0 },
            None => return Ok(Step::Rest),
        };
        let now = self.now();
        let (name, owner) = (lease_name(kept), self.inner.config.node.clone());
        let Some(fence) = self.inner.store.acquire_lease(&name, &owner, now, now.plus(LEASE)).await? else {
            return Ok(Step::Rest);
        };
        if rows.is_empty() {
            self.deliver_left_behind(kept, at.epoch, patience).await?;
        } else {
            self.hand_over(kept, &rows, patience).await?;
        }
        self.advance(kept, from, to, (name, owner, fence)).await
    }

    /// What was committed in an epoch that ended before it got its place.
    async fn deliver_left_behind(&self, kept: &Kept, epoch: u64, patience: Duration) -> Result<(), EngineError> {
        let mut after = None;
        loop {
            let rows = self.inner.store.load(EntriesLeftBehind { epoch, after, limit: BATCH }).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some((last.at, last.id));
            self.hand_over(kept, &rows, patience).await?;
        }
    }

    async fn hand_over(&self, kept: &Kept, rows: &[StoredEntry], patience: Duration) -> Result<(), EngineError> {
        let keys = self.keys();
        let log = keys.name();
        let records: Vec<Record> = rows.iter().map(|row| Record::of_row(log, row)).collect();
        let refused = |_| EngineError::SinkRefused { sink: kept.name().to_owned() };
        kept.offer(&records, patience).await.map_err(refused)
    }

    async fn advance(
        &self,
        kept: &Kept,
        from: Option<LogPosition>,
        to: LogPosition,
        (name, owner, fence): (String, String, Fence),
    ) -> Result<Step, EngineError> {
        let sink = kept.name().to_owned();
        let system = vec![SystemWrite::HoldLease { name, owner, fence }, SystemWrite::AdvanceSink { sink, from, to }];
        match self.inner.store.commit(Commit::from(system)).await {
            Ok(()) => Ok(Step::Moved),
            // Another node took over in between; it brings what comes next.
            Err(CommitError::Conflict(Expectation::LeaseLost { .. })) => Ok(Step::Rest),
            Err(error) => Err(error.into()),
        }
    }

    async fn position(&self, kept: &Kept) -> Result<Option<LogPosition>, EngineError> {
        Ok(self.inner.store.load(SinkPosition(kept.name().to_owned())).await?)
    }
}

fn lease_name(kept: &Kept) -> String {
    format!("sink/{}", kept.name())
}
