//! Arguments of the commands that run on the server's machine, and of `ledger`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Where a demo lies if nobody says otherwise.
pub(crate) const DEMO_DIR: &str = "./countersign-data";

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Folder of the database and the master key
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Address to listen on
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
}

/// Whose database it is about.
#[derive(Debug, Args)]
pub(crate) struct WhereArgs {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Folder of the database and the master key
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Taken over from the global option.
    #[arg(skip)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The file to make
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) place: WhereArgs,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct RestoreCli {
    #[command(subcommand)]
    pub(crate) command: Option<RestoreCommand>,
    /// A file that `backup` made
    #[arg(required = true)]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) place: WhereArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RestoreCommand {
    /// Let the service go on with a restored database, in a new epoch of its log
    Accept {
        /// The newest checkpoint that somebody kept
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
        #[command(flatten)]
        place: WhereArgs,
    },
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = false)]
pub(crate) struct DemoCli {
    #[command(flatten)]
    pub(crate) demo: DemoArgs,
    #[command(subcommand)]
    pub(crate) command: Option<DemoCommand>,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Folder of the demo
    #[arg(long, global = true, value_name = "DIR", env = "COUNTERSIGN_DEMO", default_value = DEMO_DIR)]
    pub(crate) dir: PathBuf,
    /// Address to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8220")]
    pub(crate) listen: SocketAddr,
    /// Taken over from the global option.
    #[arg(skip)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DemoCommand {
    /// Print the code that somebody's authenticator app would show now
    Code {
        /// One of the demo's people
        name: String,
    },
}

/// `demo code NAME`, with what it takes over from `demo`.
#[derive(Debug)]
pub(crate) struct DemoCodeArgs {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Folder of the database and the master key
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Name of the first administrator
    #[arg(long, value_name = "NAME")]
    pub(crate) admin: String,
    /// Read the administrator's password as one line from standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// Taken over from the global option.
    #[arg(skip)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
    /// Taken over from the global option.
    #[arg(skip)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check a configuration file without starting anything
    Check { file: PathBuf },
    /// Show every setting with its default
    Show,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// Walk the whole log and name the first break
    Verify {
        /// Read the database of a server in this folder, instead of asking a running server
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// A checkpoint that somebody kept, which the log must continue; may be given often
        #[arg(long = "checkpoint", value_name = "FILE")]
        checkpoints: Vec<PathBuf>,
        /// The key that the log must be signed with, in place of the one pinned at login
        #[arg(long, value_name = "VKEY")]
        log_key: Option<String>,
    },
    /// Print the current checkpoint, to be kept somewhere else
    Checkpoint,
}

/// `ledger verify --dir`: the walk over a database.
#[derive(Debug)]
pub(crate) struct LedgerVerifyArgs {
    pub(crate) dir: PathBuf,
    pub(crate) checkpoints: Vec<PathBuf>,
    /// The key that the log must be signed with; without it the database's own word counts.
    pub(crate) log_key: Option<String>,
    pub(crate) json: bool,
}
