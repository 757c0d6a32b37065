//! Where the master key comes from: a file, an environment variable, or a command that fetches it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use countersign_keys::KeysError;
use countersign_keys::master::MasterKey;
use tokio::process::Command;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::exit::Failure;

/// A key service that does not answer must not hold up a restart for ever without a word.
const COMMAND_TIME: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MasterKeySource {
    File(PathBuf),
    Env(String),
    /// Program and arguments; no shell looks at them. Its standard output is the key.
    Command(Vec<String>),
}

impl MasterKeySource {
    pub(super) async fn load(&self) -> anyhow::Result<MasterKey> {
        match self {
            Self::File(path) => MasterKey::read_file(path).map_err(|error| match error {
                KeysError::MasterKeyFormat => Failure::new(format!("{}: {error}", path.display())).into(),
                // The others name the file themselves.
                error => error.into(),
            }),
            Self::Env(name) => from_environment(name),
            Self::Command(command) => from_command(command).await,
        }
    }
}

fn from_environment(name: &str) -> anyhow::Result<MasterKey> {
    let Some(text) = variable(name) else {
        let hint = "set it for the service only, for example with `systemd-creds` or your secret store";
        return Err(Failure::new(format!("the environment variable {name} does not hold the master key"))
            .hint(hint)
            .into());
    };
    let text = Zeroizing::new(text.into_encoded_bytes());
    let text = std::str::from_utf8(&text).map_err(|_| Failure::new(format!("{name} does not hold text")))?;
    Ok(MasterKey::from_text(text)?)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the configuration may say that the master key comes this way; nothing else of the service does"
)]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

async fn from_command(command: &[String]) -> anyhow::Result<MasterKey> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failure::new("`master_key.command` is empty: name a program").into());
    };
    let mut child = Command::new(program);
    child.args(arguments).stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
    let failed = |why: String| Failure::new(format!("the command for the master key, {program}, {why}"));
    let output = timeout(COMMAND_TIME, child.output())
        .await
        .map_err(|_| failed(format!("took longer than {} s", COMMAND_TIME.as_secs())))?
        .map_err(|error| failed(format!("could not be started: {error}")))?;
    let key = Zeroizing::new(output.stdout);
    if !output.status.success() {
        return Err(failed(format!("ended with {}", output.status)).into());
    }
    Ok(MasterKey::from_bytes(&key)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=";

    fn command(script: &str) -> MasterKeySource {
        MasterKeySource::Command(["sh", "-c", script].map(str::to_owned).to_vec())
    }

    #[tokio::test]
    async fn a_command_hands_it_over() {
        let key = command(&format!("echo {KEY}")).load().await.unwrap();
        assert_eq!(key.check_value(), MasterKey::from_text(KEY).unwrap().check_value());
    }

    #[tokio::test]
    async fn a_command_that_fails_is_named_and_its_output_is_not_shown() {
        for script in [format!("echo {KEY}; exit 3"), "echo too short".to_owned()] {
            let error = format!("{:#}", command(&script).load().await.unwrap_err());
            assert!(!error.contains(KEY) && !error.contains("too short"), "{error}");
        }
        let error = MasterKeySource::Command(vec!["/nowhere/fetch-key".to_owned()]).load().await.unwrap_err();
        assert!(error.to_string().contains("/nowhere/fetch-key"), "{error}");
    }

    #[tokio::test]
    async fn a_variable_that_is_not_set_is_named() {
        let error = MasterKeySource::Env("COUNTERSIGN_NO_SUCH_KEY".to_owned()).load().await.unwrap_err();
        assert!(error.to_string().contains("COUNTERSIGN_NO_SUCH_KEY"), "{error}");
    }
}
