//! The one flow: ask, policy, demands, evidence, grant, release, ledger. Every door calls the verbs of [`Engine`]; nothing else in the service appends to
//! the ledger.
//!
//! Each verb loads what it needs, lets a pure function of `core` decide, and commits the result all or nothing. When a row moved in between, it loads and
//! decides again.

mod bootstrap;
mod clock;
mod commit;
mod error;
pub mod flow;
mod follow;
pub mod identity;
mod keyring;
mod log;
mod metrics;
mod page;
mod policies;
mod restore;
pub mod sinks;
pub mod testing;

use std::sync::Arc;
use std::time::Duration;

use countersign_factors::PasswordPool;
use countersign_keys::Random;
use countersign_store::Store;
use tokio::sync::{Notify, Semaphore};

pub use bootstrap::{Bootstrap, Enrolled, NewPerson, is_bootstrapped};
pub use clock::Clock;
pub use countersign_policy::{Explanation, Need};
pub use error::EngineError;
pub use follow::Health;
pub use keyring::Keyring;
pub use log::{CHECKPOINT_LIMIT, LogInfo, Resource};
pub use metrics::{FAMILIES, Family, METRICS_SCOPE, Metrics};
pub use page::{PAGE_LIMIT, Page};
pub use policies::{Explained, PolicyReport};
pub use restore::{Accepted, accept_restored, mark_restored};

use crate::clock::Comparison;
use crate::flow::Wakeups;
use crate::follow::Following;
use crate::identity::{FailedLogins, LOOKUPS, LiveCredentials};
use crate::keyring::Keys;
use crate::log::LogWatch;
use crate::policies::ActivePolicy;
use crate::sinks::{Attached, Sinks};

/// What an operator decides about the flow. Defaults are the safe ones.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// How long a factor or membership that nobody countersigned fills no slot.
    pub cooling: Duration,
    /// Accept a code in its own step only.
    pub strict_totp: bool,
    /// The longest life of a session.
    pub session_ttl: Duration,
    /// Which node this is: the owner of its leases. Different for each process start.
    pub node: String,
    /// How far this clock may be from the database's before nothing is decided any more.
    pub clock_tolerance: Duration,
    /// Metrics for whoever can reach the listener, without a credential.
    pub public_metrics: bool,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            cooling: Duration::from_hours(24),
            strict_totp: false,
            session_ttl: Duration::from_hours(12),
            node: "node".to_owned(),
            clock_tolerance: Duration::from_secs(5),
            public_metrics: false,
        }
    }
}

/// The service without its doors. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    keys: Keys,
    log: LogWatch,
    config: EngineConfig,
    policy: ActivePolicy,
    live: LiveCredentials,
    /// Whoever looks a credential up takes one of these.
    lookups: Semaphore,
    following: Following,
    comparison: Comparison,
    passwords: PasswordPool,
    wakeups: Wakeups,
    metrics: Metrics,
    failed_logins: FailedLogins,
    sinks: Sinks,
    /// Rung after each commit that wrote entries, so that the sequencer need not poll.
    committed: Notify,
    /// Rung after each new checkpoint.
    checkpointed: Notify,
}

/// Everything that an engine is made of.
#[derive(Debug)]
pub struct Parts {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub keys: Keyring,
    pub passwords: PasswordPool,
    pub config: EngineConfig,
    pub sinks: Vec<Attached>,
}

impl Engine {
    /// Takes up a bootstrapped database.
    pub async fn start(parts: Parts) -> Result<Self, EngineError> {
        let Parts { store, clock, random, keys, passwords, config, sinks } = parts;
        let started = clock.now();
        let following = Following::begin(&store, started).await?;
        let policy = ActivePolicy::load(&store).await?;
        let engine = Self {
            inner: Arc::new(Inner {
                store,
                clock,
                random,
                keys: Keys::new(keys),
                log: LogWatch::default(),
                config,
                policy,
                live: LiveCredentials::default(),
                lookups: Semaphore::new(LOOKUPS),
                following,
                comparison: Comparison::default(),
                passwords,
                wakeups: Wakeups::default(),
                metrics: Metrics::new(started),
                failed_logins: FailedLogins::default(),
                sinks: Sinks::new(sinks),
                committed: Notify::new(),
                checkpointed: Notify::new(),
            }),
        };
        // A database that is marked as restored serves nobody.
        engine.look().await?;
        // One that is apart is said in the log, and serves again as soon as it was set right.
        match engine.compare_clocks().await {
            Ok(()) | Err(EngineError::ClockApart { .. }) => Ok(engine),
            Err(error) => Err(error),
        }
    }

    /// The store under it: for the binary, which waits for its fatal errors.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The keys of this moment; a decision takes them once.
    fn keys(&self) -> Arc<Keyring> {
        self.inner.keys.get()
    }

    fn now(&self) -> countersign_core::time::Micros {
        self.inner.clock.now()
    }
}
