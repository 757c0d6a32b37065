//! Breaks a running service again and again, and looks for damage each time.

mod crash;
mod race;
mod server;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Subcommand, ValueEnum};

use crate::{Verdict, run, tools};
use server::Engine;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Kill it, at random and at each step of a commit, and break its disk or its database; nothing that was acknowledged may be gone
    Crash(crash::Args),
    /// Let sixty-four connections race for what only one may have; each race must have exactly one winner
    Race(race::Args),
}

/// What every soak takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// Only this engine
    #[arg(long, value_enum)]
    engine: Option<Which>,
    /// A built `countersign`, in place of one that is built for release now
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    Sqlite,
    Postgres,
}

impl Common {
    fn engines(&self) -> Vec<Engine> {
        match self.engine {
            Some(Which::Sqlite) => vec![Engine::Sqlite],
            Some(Which::Postgres) => vec![Engine::Postgres],
            None => vec![Engine::Sqlite, Engine::Postgres],
        }
    }

    /// The program to break, with all that is needed for it.
    fn prepare(&self) -> Result<PathBuf> {
        tools::install(tools::TESTS)?;
        if let Some(binary) = &self.binary {
            return Ok(std::path::absolute(binary)?);
        }
        run::check(&mut run::command("cargo", &["build", "--release", "--package", "countersign"]))?;
        Ok(run::target().join("release").join("countersign"))
    }
}

pub(crate) fn run(command: &Command) -> Result<Verdict> {
    match command {
        Command::Crash(args) => crash::run(args),
        Command::Race(args) => race::run(args),
    }
}
