//! The command line.

mod ask;
mod everyday;
mod help;
mod manage;
mod server;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use ask::{AskArgs, RunArgs};
pub(crate) use everyday::{
    ApproveArgs, CancelArgs, DenyArgs, EnrollArgs, InboxArgs, ListArgs, LoginArgs, RevokeArgs, ShowArgs, VerifyArgs,
    WaitArgs,
};
pub(crate) use help::{HelpArgs, help};
pub(crate) use manage::{
    AdminArgs, GroupCommand, LinkArgs, PolicyCommand, ReleaseCommand, ServiceCommand, TokenCommand, UserCommand,
};
pub(crate) use server::{
    BackupArgs, ConfigArgs, ConfigCommand, DEMO_DIR, DemoArgs, DemoCli, DemoCodeArgs, DemoCommand, InitArgs,
    LedgerCommand, LedgerVerifyArgs, RestoreCli, RestoreCommand, ServeArgs, WhereArgs,
};

/// A second factor, or a second person, in front of dangerous operations
#[derive(Debug, Parser)]
#[command(
    name = "countersign",
    version,
    disable_help_subcommand = true,
    after_help = "More: serve init demo config backup restore user group token policy ledger\n\
        (`help --all`)\n\
        Exit codes of ours: 121 denied, 122 expired, 123 cancelled, 124 refused by\n\
        policy, 125 unreachable; `run` gives the command's own"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Globals {
    /// Server to speak to, like https://countersign.example.org
    #[arg(long, global = true, value_name = "URL", env = "COUNTERSIGN_SERVER", hide_env_values = true)]
    pub(crate) server: Option<String>,
    /// Folder for session and log keys
    #[arg(long, global = true, value_name = "DIR", env = "COUNTERSIGN_HOME", hide_env_values = true)]
    pub(crate) home: Option<PathBuf>,
    /// Act as one of the people of a demo
    #[arg(long = "as", global = true, value_name = "NAME")]
    pub(crate) as_person: Option<String>,
    /// Folder of the demo that --as means [default: countersign-data]
    #[arg(long = "dir", id = "demo_dir", value_name = "DIR", env = "COUNTERSIGN_DEMO", hide = true)]
    pub(crate) demo_dir: Option<PathBuf>,
    /// Print one JSON document on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Speak http:// to another machine: passwords and codes travel in clear
    #[arg(long, global = true, hide = true)]
    pub(crate) insecure_http: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Log in, and pin the key of the server's ledger
    Login(LoginArgs),
    /// Show who you are to the server
    Whoami,
    /// End the session
    Logout,
    /// Run a command here once it is granted
    Run(RunArgs),
    /// Ask for any operation
    Ask(AskArgs),
    /// List what waits for your answer
    Inbox(InboxArgs),
    /// Show a request, or keep its receipt
    Show(ShowArgs),
    /// See exactly what is asked, and countersign it with a code
    Approve(ApproveArgs),
    /// Say no: final, and needs no code
    Deny(DenyArgs),
    /// Take back a request of yours
    Cancel(CancelArgs),
    /// Wait until a request is decided
    Wait(WaitArgs),
    /// Take back a grant
    Revoke(RevokeArgs),
    /// Set up an authenticator app
    Enroll(EnrollArgs),
    /// Check a receipt, without server and network
    Verify(VerifyArgs),
    /// Help for a command; `help --all` shows every command
    Help(HelpArgs),

    /// Run the server
    #[command(hide = true)]
    Serve(ServeArgs),
    /// Start a server with sample people to try things out
    #[command(hide = true)]
    Demo(DemoCli),
    /// Make a new server's data and its first administrator
    #[command(hide = true)]
    Init(InitArgs),
    /// Check or show a server's configuration
    #[command(hide = true)]
    Config(ConfigArgs),
    /// Copy a server's database into a file, while it runs
    #[command(hide = true)]
    Backup(BackupArgs),
    /// Put a backup where a server's database is to be
    #[command(hide = true)]
    Restore(RestoreCli),
    /// People who may log in
    #[command(hide = true, subcommand)]
    User(UserCommand),
    /// Groups that policy names
    #[command(hide = true, subcommand)]
    Group(GroupCommand),
    /// Tokens for programs
    #[command(hide = true, subcommand)]
    Token(TokenCommand),
    /// Accounts of programs that are nobody's
    #[command(hide = true, subcommand)]
    Service(ServiceCommand),
    /// Say that an account belongs to a person
    #[command(hide = true)]
    Link(LinkArgs),
    /// The rules: who needs whom for what
    #[command(hide = true, subcommand)]
    Policy(PolicyCommand),
    /// Releases whose end nobody knows
    #[command(hide = true, subcommand)]
    Release(ReleaseCommand),
    /// The log of everything that happened
    #[command(hide = true, subcommand)]
    Ledger(LedgerCommand),
}

#[cfg(test)]
mod tests;
