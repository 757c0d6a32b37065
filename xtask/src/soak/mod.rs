//! Breaks a running program again and again, and looks for damage each time.
//!
//! What is broken is a [`crash::Victim`]; a new one is a module with that trait and a line in [`Which`].

mod append;
mod crash;
mod server;
mod service;

use anyhow::Result;
use clap::{Subcommand, ValueEnum};

use crate::Verdict;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Kill with SIGKILL at random moments; nothing that was acknowledged may be gone
    Crash(Args),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long, default_value_t = 100)]
    rounds: u32,
    /// Repeats the moments of an earlier run
    #[arg(long)]
    seed: Option<u64>,
    #[arg(long, value_enum, default_value_t = Which::Server)]
    victim: Which,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Which {
    /// The bare append loop, which proves that the harness itself is sound
    Append,
    /// A demo that eight clients ask, approve, deny, cancel and release on
    Server,
}

pub(crate) fn run(command: &Command) -> Result<Verdict> {
    let Command::Crash(args) = command;
    match args.victim {
        Which::Append => crash::run(&mut append::AppendLoop::new()?, args.rounds, args.seed),
        Which::Server => crash::run(&mut service::Service::new(args.rounds)?, args.rounds, args.seed),
    }
}
