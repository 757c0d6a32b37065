//! The server's side of the program: configuration, the first start, the service, the demo, and the walk over a ledger that is not served.

mod backup;
mod clock;
mod config;
mod demo;
mod files;
mod init;
mod ledger;
mod logging;
mod master_key;
mod metrics;
mod proposal;
mod restore;
mod routes;
mod serve;
mod sinks;
mod wiring;

pub(crate) use backup::backup;
pub(crate) use config::config;
pub(crate) use demo::{demo, demo_code};
pub(crate) use init::init;
pub(crate) use ledger::ledger_verify;
pub(crate) use restore::{accept, restore};
pub(crate) use serve::serve;
