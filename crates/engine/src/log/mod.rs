//! The transparency log of a running service: entries get their place in the tree, checkpoints are signed, tiles and receipts are served.

mod receipt;
mod sequencer;
mod serve;
mod watch;

pub use serve::{LogInfo, Resource};
pub use watch::CHECKPOINT_LIMIT;
pub(crate) use watch::{LogWatch, close, contradict};
