//! Approvals for `cargo xtask bench approvals`: sets up a database with many approvers, then lets them approve over HTTP and says how long each took.
//!
//! Each approval needs a code that was never used, so a person approves once in 30 seconds: many approvals in a second need many approvers.

mod http;
mod load;
mod seed;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a data folder with this many approvers, each logged in
    Seed {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        listen: String,
        #[arg(long)]
        approvers: usize,
    },
    /// Ask for operations and approve them all, as standard input orders: `CLIENTS COUNT`, then `go`
    Load {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        server: String,
    },
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Seed { dir, listen, approvers } => seed::seed(&dir, &listen, approvers),
        Command::Load { dir, server } => load::serve(&dir, &server),
    }
}
