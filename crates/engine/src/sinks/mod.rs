//! Where the ledger's entries and messages go, besides the database.
//!
//! A [`Sink`] is told every entry. A *required* one must have taken the record of a release before anything is let go; whatever else happens reaches it, as
//! it does a *best effort* one, by a position that follows the log: at least once, in the order of the log, without a row for each entry. How the records
//! get where they go is the environment's: the binary opens sinks and hands them over.

mod follow;
mod outbox;
mod record;
mod witness;

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

pub use follow::SinkStatus;
pub use record::Record;

/// The answer of a sink.
pub type Accepting<'a> = Pin<Box<dyn Future<Output = Result<(), SinkError>> + Send + 'a>>;

/// Somewhere that keeps records.
pub trait Sink: Debug + Send + Sync {
    /// What the operator calls it. It names the sink's position in the log.
    fn name(&self) -> &str;

    /// Takes all of these records: they are durable there when this returns `Ok`. After an error some may be there all the same, so they can come again.
    ///
    /// It may take as long as it likes; whoever asks waits for a bounded time and drops the future then. It must not hold up the runtime, nor keep what it
    /// can't get rid of: what exceeds its bounds it refuses.
    fn accept<'a>(&'a self, records: &'a [Record]) -> Accepting<'a>;
}

/// Why records were not taken. For the operator: it may name paths and hosts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    #[error("{0}")]
    Refused(String),
    #[error("more waits for it than it may hold in memory")]
    Full,
    #[error("it did not answer in time")]
    TooSlow,
}

/// What a sink's refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is let go that it has not taken the record of.
    Required,
    /// It gets everything in time, and holds up nobody.
    BestEffort,
}

impl Mode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::BestEffort => "best_effort",
        }
    }
}

/// A sink of this service.
#[derive(Clone, Debug)]
pub struct Attached {
    pub sink: Arc<dyn Sink>,
    pub mode: Mode,
}

/// After a failure a sink is left alone for this long, so that callers who come meanwhile are answered at once and write nothing to the ledger.
const SHUT: Duration = Duration::from_secs(1);

/// All sinks of an engine.
#[derive(Debug)]
pub(crate) struct Sinks(Vec<Kept>);

/// A sink, and how it fared last.
#[derive(Debug)]
pub(crate) struct Kept {
    sink: Arc<dyn Sink>,
    mode: Mode,
    failed: Mutex<Option<Instant>>,
}

impl Sinks {
    pub(crate) fn new(attached: Vec<Attached>) -> Self {
        let kept = |Attached { sink, mode }| Kept { sink, mode, failed: Mutex::new(None) };
        Self(attached.into_iter().map(kept).collect())
    }

    fn required(&self) -> impl Iterator<Item = &Kept> {
        self.0.iter().filter(|kept| kept.mode == Mode::Required)
    }
}

impl Kept {
    fn name(&self) -> &str {
        self.sink.name()
    }

    /// Hands records over and waits for at most `patience`.
    async fn offer(&self, records: &[Record], patience: Duration) -> Result<(), SinkError> {
        let outcome = timeout(patience, self.sink.accept(records)).await.unwrap_or(Err(SinkError::TooSlow));
        let now = outcome.is_err().then(Instant::now);
        let before = std::mem::replace(&mut *self.failed.lock().unwrap_or_else(PoisonError::into_inner), now);
        // Told when it changes, or an outage would fill the service's own log.
        match (&outcome, before) {
            (Err(error), None) => {
                tracing::error!(%error, sink = self.name(), mode = self.mode.as_str(), "a sink takes no records; trying again");
            }
            (Ok(()), Some(_)) => tracing::info!(sink = self.name(), "the sink takes records again"),
            _ => {}
        }
        outcome
    }

    /// Whether it failed just now.
    fn is_shut(&self) -> bool {
        self.failed_at().is_some_and(|failed| failed.elapsed() < SHUT)
    }

    fn failed_at(&self) -> Option<Instant> {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
