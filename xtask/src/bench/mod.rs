//! Measurements, each beside a yardstick of the same minute.
//!
//! A benchmark interleaves: yardstick, service, yardstick, service; takes the ratio within each round and then the median of the ratios, so that a
//! machine that grows slower over the run hurts both alike. A new benchmark is a module with its own `Args` that calls [`compare::interleave`],
//! and a line in [`Command`].

mod approvals;
pub(crate) mod compare;
pub(crate) mod floor;
mod load;
mod postgres;
mod yardsticks;

use anyhow::Result;
use clap::Subcommand;

use crate::Verdict;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print what this machine can do at best, and how far two equal runs differ on it
    Floor(yardsticks::Args),
    /// Approvals over HTTP, beside a bare append + fdatasync and beside PostgreSQL, and the syncs that they cost
    Approvals(approvals::Args),
}

pub(crate) fn run(command: &Command) -> Result<Verdict> {
    match command {
        Command::Floor(args) => yardsticks::run(args),
        Command::Approvals(args) => approvals::run(args),
    }
}
