//! Arguments of `run` and `ask`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

/// Ask to run exactly this command, in this folder, as this user, on this host; wait; run it once when it is granted.
///
/// Its input, output, signals and exit code are its own. Before it runs these end the wait: 121 denied or revoked, 122 expired, 123 cancelled,
/// 124 refused by policy, 125 server unreachable, 126 not executable, 127 not found. Ctrl-C while waiting leaves the request pending: run the same
/// command again, and it goes on where it was. With --json one document stands on standard output if the command did not run, and on standard
/// error if it did.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct RunArgs {
    /// Why, for those who approve
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// The host as policy names it [default: this machine's name]
    #[arg(long, value_name = "HOST")]
    pub(crate) target: Option<String>,
    /// How long to wait for answers, like 30m; policy may say less
    #[arg(long, value_name = "TIME", value_parser = duration_secs)]
    pub(crate) deadline: Option<u64>,
    /// Say what policy would want, and ask nothing
    #[arg(long)]
    pub(crate) explain: bool,
    /// If your own code is needed, read it as one line from standard input; the rest is the command's
    #[arg(long)]
    pub(crate) code_stdin: bool,
    /// The command
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct AskArgs {
    /// What to do, like command.run
    pub(crate) action: String,
    /// What to do it to
    pub(crate) target: String,
    /// A parameter, as text; may be given often
    #[arg(long = "param", value_name = "KEY=VALUE", conflicts_with = "params_json")]
    pub(crate) params: Vec<String>,
    /// All parameters, as a JSON object in a file; - reads standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) params_json: Option<PathBuf>,
    /// Why, for those who approve
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// How long to wait for answers, like 30m; policy may say less
    #[arg(long, value_name = "TIME", value_parser = duration_secs)]
    pub(crate) deadline: Option<u64>,
    /// Say what policy would want, and ask nothing
    #[arg(long)]
    pub(crate) explain: bool,
    /// Wait until it is decided
    #[arg(long)]
    pub(crate) wait: bool,
    /// If your own code is needed, read it as one line from standard input
    #[arg(long)]
    pub(crate) code_stdin: bool,
    /// The same key asks the same request, however often it is sent
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
}

/// A length of time like `90s`, `30m` or `1h 30m`, in whole seconds.
pub(crate) fn duration_secs(text: &str) -> Result<u64, String> {
    let wrong = || "write it like 90s, 30m or 12h".to_owned();
    let span: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    u64::try_from(span.as_secs()).ok().filter(|secs| *secs > 0).ok_or_else(wrong)
}
