//! The server's side of the program: configuration, the first start, the service, the demo, and the walk over a ledger that is not served.

mod clock;
mod config;
mod demo;
mod files;
mod init;
mod ledger;
mod logging;
mod master_key;
mod proposal;
mod routes;
mod serve;
mod wiring;

pub(crate) use config::config;
pub(crate) use demo::{demo, demo_code};
pub(crate) use init::init;
pub(crate) use ledger::ledger_verify;
pub(crate) use serve::serve;
