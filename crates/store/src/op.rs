//! What the store writes: commits, claims and leases, each in one transaction.

use countersign_core::changes::Timer;
use countersign_core::time::Micros;

use crate::commit::Item;
use crate::error::Failure;
use crate::reader::Tx;
use crate::tables::leases::{self, Fence};
use crate::tables::outbox::{self, Claimed};
use crate::tables::timers;

#[derive(Debug)]
pub(crate) enum Op {
    Commit(Vec<Item>),
    ClaimOutbox { owner: String, now: Micros, until: Micros, limit: u32 },
    ClaimTimers { now: Micros, until: Micros, limit: u32 },
    AcquireLease { name: String, owner: String, now: Micros, until: Micros },
}

#[derive(Debug)]
pub(crate) enum Reply {
    Done,
    Claimed(Vec<Claimed>),
    Timers(Vec<Timer>),
    Lease(Option<Fence>),
}

impl Op {
    /// Whether other processes hold an old copy of something once this is written.
    pub(crate) fn announces(&self) -> bool {
        matches!(self, Self::Commit(items) if items.iter().any(|item| matches!(item, Item::Change(_))))
    }

    pub(crate) async fn apply(&self, tx: &mut Tx<'_>) -> Result<Reply, Failure> {
        match self {
            Self::Commit(items) => {
                for item in items {
                    item.apply(tx).await?;
                }
                Ok(Reply::Done)
            }
            Self::ClaimOutbox { owner, now, until, limit } => {
                outbox::claim(tx, owner, *now, *until, *limit).await.map(Reply::Claimed)
            }
            Self::ClaimTimers { now, until, limit } => timers::claim(tx, *now, *until, *limit).await.map(Reply::Timers),
            Self::AcquireLease { name, owner, now, until } => {
                leases::acquire(tx, name, owner, *now, *until).await.map(Reply::Lease)
            }
        }
    }
}
