//! What `cargo xtask bench` cannot do through the service's own clients: data folders that would take days to fill through them, and approvals by the
//! thousand.

mod approvers;
mod folder;
mod footprint;
mod http;
mod load;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about = "Data and load for Countersign's benchmarks")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a data folder with this many approvers, each logged in
    SeedApprovers {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        approvers: usize,
    },
    /// Make a data folder with this many live tokens, and at least this many entries in the signed log
    SeedFootprint(footprint::Args),
    /// Ask for operations and approve them all, as standard input orders: `CLIENTS COUNT`, then `go`
    Approve {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        server: String,
    },
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::SeedApprovers { dir, approvers } => approvers::seed(&dir, approvers),
        Command::SeedFootprint(args) => footprint::seed(&args),
        Command::Approve { dir, server } => load::serve(&dir, &server),
    }
}
