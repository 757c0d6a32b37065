//! Arguments of the commands that manage people, groups, tokens and rules. What changes something is an operation itself: it takes a fresh code of
//! the administrator, and a second administrator where there is one.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ask::duration_secs;
use super::everyday::ListArgs;

/// What every change takes.
#[derive(Debug, Args)]
pub(crate) struct AdminArgs {
    /// Why, for the other administrators and the ledger
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Read the one-time code as one line from standard input (after a password)
    #[arg(long)]
    pub(crate) code_stdin: bool,
    /// Wait until another administrator has countersigned
    #[arg(long)]
    pub(crate) wait: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add a person with a password
    Add {
        name: String,
        /// A group to be in, like local:security; may be given often
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        /// Read the password as one line from standard input
        #[arg(long)]
        password_stdin: bool,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// List people, their groups and factors
    List(ListArgs),
    /// End all sessions and tokens of a person, and let nothing in
    Disable {
        name: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Let a disabled person in again
    Enable {
        name: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Remove a person for good
    Remove {
        name: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Remove a person, and every clear text that tells of him; nothing brings it back
    Erase {
        name: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Set a person's password
    Passwd {
        name: String,
        /// Read the password as one line from standard input
        #[arg(long)]
        password_stdin: bool,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Remove a person's factors, so that new ones can be enrolled
    ResetFactor {
        name: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Lift the delay after wrong codes
    Unlock {
        name: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// Add a group, like local:security
    Add {
        group: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Remove a group
    Remove {
        group: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// List groups and their members
    List(ListArgs),
    /// Put a person into a group
    AddMember {
        group: String,
        person: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Take a person out of a group
    RemoveMember {
        group: String,
        person: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token of yours for a program; it is shown once
    Create {
        name: String,
        /// An action that it may ask for, like command.*; may be given often
        #[arg(long = "scope", value_name = "ACTION", required = true)]
        scopes: Vec<String>,
        /// How long it lives, like 30d
        #[arg(long, value_name = "TIME", default_value = "30d", value_parser = ttl_secs)]
        ttl: u64,
        /// Read a one-time code as one line from standard input, if one is needed
        #[arg(long)]
        code_stdin: bool,
    },
    /// List your tokens
    List(ListArgs),
    /// End a token
    Revoke { id: String },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Add an account of a program; it may ask, and never approves
    Add {
        name: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct LinkArgs {
    /// The account, like ldap:alice
    pub(crate) account: String,
    /// The person that it belongs to
    pub(crate) person: String,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check a file here, without a server
    Check { file: PathBuf },
    /// Ask for a file to become the policy
    Apply {
        file: PathBuf,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Show the policy in force
    Show,
    /// Say what the policy in force would want of somebody
    Explain {
        /// Who would ask
        #[arg(long = "for", value_name = "NAME")]
        person: String,
        /// What to do, like command.run
        action: String,
        /// What to do it to
        target: String,
        /// A parameter, as text; may be given often
        #[arg(long = "param", value_name = "KEY=VALUE", conflicts_with = "params_json")]
        params: Vec<String>,
        /// All parameters, as a JSON object in a file; - reads standard input
        #[arg(long, value_name = "FILE")]
        params_json: Option<PathBuf>,
        /// The reason that would be given
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReleaseCommand {
    /// Say how a release ended that is in doubt
    Close {
        /// The release, as `show` lists it
        id: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

/// Days too, which a duration proper does not have.
fn ttl_secs(text: &str) -> Result<u64, String> {
    match text.strip_suffix('d').map(str::parse::<u64>) {
        Some(Ok(days)) if days > 0 => days.checked_mul(86_400).ok_or_else(|| "too long".to_owned()),
        _ => duration_secs(text).map_err(|_| "write it like 30d or 12h".to_owned()),
    }
}
