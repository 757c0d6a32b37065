//! Faults on purpose, for tests of whoever uses the store: at the n-th call the process is as good as dead.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::StoreError;
use crate::store::{Store, StoreConfig};

/// On which side of its effect a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Nothing was written.
    Before,
    /// It was written, and nobody heard of it.
    After,
}

/// From one call on every call fails, as if the process had died there; the data stays, for a store that is opened anew.
#[derive(Debug)]
pub struct FaultPlan {
    call: u64,
    when: When,
    calls: AtomicU64,
}

impl FaultPlan {
    /// Dies at the call of this number, counted from 0 over loads, commits, claims and leases.
    pub const fn new(call: u64, when: When) -> Self {
        Self { call, when, calls: AtomicU64::new(0) }
    }

    /// How many calls were made, those that failed included.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Whether the planned call was made.
    pub fn hit(&self) -> bool {
        self.calls() > self.call
    }

    pub(crate) fn next(&self) -> Fault {
        match self.calls.fetch_add(1, Ordering::SeqCst).cmp(&self.call) {
            std::cmp::Ordering::Less => Fault::None,
            std::cmp::Ordering::Equal if self.when == When::After => Fault::After,
            std::cmp::Ordering::Equal | std::cmp::Ordering::Greater => Fault::Before,
        }
    }
}

/// What a call is to suffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    Before,
    After,
}

/// Opens a store that dies as planned.
pub async fn open(config: &StoreConfig, faults: Arc<FaultPlan>) -> Result<Store, StoreError> {
    Store::open_with(config, Some(faults)).await
}
