//! Measurements, each beside a yardstick of the same minute.
//!
//! A benchmark interleaves: yardstick, service, yardstick, service; takes the ratio within each round and then the median of the ratios, so that a
//! machine that grows slower over the run hurts both alike. A new benchmark is a module with its own `Args` that calls [`compare::interleave`],
//! and a line in [`Command`].

mod approvals;
pub(crate) mod compare;
pub(crate) mod floor;
mod footprint;
mod load;
mod postgres;
mod seeded;
mod server;
mod yardsticks;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Subcommand;

use self::floor::Floor;
use crate::{Verdict, run, tools};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print what this machine can do at best, and how far two equal runs differ on it
    Floor(yardsticks::Args),
    /// Approvals over HTTP, beside a bare append + fdatasync and beside PostgreSQL, and the syncs that they cost
    Approvals(approvals::Args),
    /// Memory, time to start and size with 100,000 live tokens and 1,000,000 ledger entries, beside a bare HTTP server
    Footprint(footprint::Args),
}

pub(crate) fn run(command: &Command) -> Result<Verdict> {
    match command {
        Command::Floor(args) => yardsticks::run(args),
        Command::Approvals(args) => approvals::run(args),
        Command::Footprint(args) => footprint::run(args),
    }
}

/// What the benchmarks of the built service have in common.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// Folder on the file system to measure
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Measure the programs that lie in target/release already
    #[arg(long)]
    no_build: bool,
}

/// The programs to measure, and a folder to do it in that ends with this value.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) floor: Floor,
    pub(crate) service: PathBuf,
    /// `bench/load`.
    pub(crate) load: PathBuf,
    pub(crate) dir: tempfile::TempDir,
}

impl Common {
    pub(crate) fn prepare(&self) -> Result<Ground> {
        tools::install(tools::BENCH)?;
        let [service, load] = ["countersign", "countersign-bench-load"];
        let floor = if self.no_build { Floor::built() } else { Floor::build()? };
        if !self.no_build {
            run::check(&mut run::command("cargo", &["build", "--release", "--package", service, "--package", load]))?;
        }
        let release = run::target().join("release");
        let parent = self.dir.clone().unwrap_or_else(run::target);
        let dir = tempfile::tempdir_in(&parent)
            .with_context(|| format!("could not make a folder in {}", parent.display()))?;
        Ok(Ground { floor, service: release.join(service), load: release.join(load), dir })
    }
}
