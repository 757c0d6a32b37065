//! What the process finds around it. The client is where clock and environment come in; everything else takes them as arguments.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context as _;

/// The clock of this machine; for words and for when to ask again, never for what is allowed.
#[expect(clippy::disallowed_methods, reason = "the client's one clock")]
pub(crate) fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// `14:02` where the user is; with the day if that is not today.
pub(crate) fn clock(at: jiff::Timestamp) -> String {
    let zone = jiff::tz::TimeZone::system();
    let (at, today) = (at.to_zoned(zone.clone()), now().to_zoned(zone));
    let pattern = if at.date() == today.date() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    at.strftime(pattern).to_string()
}

/// `$XDG_CONFIG_HOME/countersign`, or `~/.config/countersign`.
pub(crate) fn default_home() -> anyhow::Result<PathBuf> {
    let configuration = variable("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let configuration = configuration.or_else(|| std::env::home_dir().map(|home| home.join(".config")));
    Ok(configuration.context("there is no home directory: give --home")?.join("countersign"))
}

/// The folders to look for a command in.
pub(crate) fn search_path() -> Vec<PathBuf> {
    let path = variable("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    std::env::split_paths(&path).collect()
}

/// The name of this host as it knows itself.
pub(crate) fn host() -> anyhow::Result<String> {
    let name = nix::unistd::gethostname().context("this machine has no host name")?;
    name.into_string().map_err(|_| anyhow::anyhow!("the host name is not UTF-8: give --target"))
}

/// The name of the user that runs this, from the system's user database; his number if he has no name.
pub(crate) fn user() -> String {
    let uid = nix::unistd::geteuid();
    nix::unistd::User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the client's one look at the environment; the rest goes through the arguments"
)]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}
