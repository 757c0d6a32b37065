//! Arguments of the commands of every day, except those that ask.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// Who logs in; asked for if it is left out
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// Read the password as one line from standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// Send a one-time code too, read as one line from standard input (after the password)
    #[arg(long)]
    pub(crate) code_stdin: bool,
    /// Trust this new log key of the server, after its operator has confirmed it to you
    #[arg(long, value_name = "VKEY")]
    pub(crate) accept_log_key: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct InboxArgs {
    /// List your own requests instead, newest first
    #[arg(long)]
    pub(crate) mine: bool,
    #[command(flatten)]
    pub(crate) list: ListArgs,
}

/// What every list takes.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// List at most this many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The request
    pub(crate) id: String,
    /// Write its receipt to this file, once the ledger has signed for it
    #[arg(long, value_name = "FILE")]
    pub(crate) receipt: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    /// The request
    pub(crate) id: String,
    /// Read the one-time code as one line from standard input
    #[arg(long)]
    pub(crate) code_stdin: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DenyArgs {
    /// The request
    pub(crate) id: String,
    /// Why, for the requester and the ledger
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// The request
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// The request whose grant ends
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// The request
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct EnrollArgs {
    /// Read the two codes as lines from standard input; a fresh code of an authenticator that is there already comes before them
    #[arg(long)]
    pub(crate) code_stdin: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The receipt
    pub(crate) file: PathBuf,
    /// The key that the log must be signed with, in place of the one pinned at login
    #[arg(long, value_name = "VKEY")]
    pub(crate) log_key: Option<String>,
    /// The request that the receipt must be about
    #[arg(long, value_name = "ID")]
    pub(crate) request: Option<String>,
    /// Fail if no key of the log is known
    #[arg(long)]
    pub(crate) require_pinned: bool,
}
