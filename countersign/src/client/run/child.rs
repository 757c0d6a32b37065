//! The command itself: started, kept company, and its end passed on.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGKILL, SIGPIPE, SIGTERM, SIGUSR1, SIGUSR2};
use tokio::process::Command;

use super::signals::Signals;
use crate::client::http::Client;
use crate::client::output;
use crate::client::wire::Begun;
use crate::client::words;
use crate::exit;

/// How the command ended, or why it did not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Exit(u8),
    Signal(i32),
    NotStarted { why: String, code: u8 },
}

impl Outcome {
    /// As the ledger has it.
    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Exit(code) => format!("exit {code}"),
            Self::Signal(signal) => format!("signal {signal}"),
            Self::NotStarted { why, .. } => format!("not started: {why}"),
        }
    }

    /// Ends this process as the command ended. Who waits for us sees the same signal; those that dump core are told by number alone, because our
    /// memory holds a session.
    pub(super) fn pass_on(self) -> ExitCode {
        const HARMLESS: [i32; 8] = [SIGHUP, SIGINT, SIGTERM, SIGPIPE, SIGALRM, SIGUSR1, SIGUSR2, SIGKILL];
        match self {
            Self::Exit(code) => ExitCode::from(code),
            Self::Signal(signal) => {
                if HARMLESS.contains(&signal) {
                    let _survived = signal_hook::low_level::emulate_default_handler(signal);
                }
                ExitCode::from(after_signal(signal))
            }
            Self::NotStarted { why, code } => {
                output::note(&format!("error: the command was not started: {}", words::visible(&why)));
                ExitCode::from(code)
            }
        }
    }
}

pub(super) async fn run(
    client: &Client,
    begun: &Begun,
    program: &Path,
    typed: &OsStr,
    arguments: &[OsString],
    signals: &mut Signals,
) -> Outcome {
    if let Some(signal) = signals.pending() {
        return Outcome::NotStarted { why: format!("signal {signal} came first"), code: after_signal(signal) };
    }
    let spawned = Command::new(program).arg0(typed).args(arguments).spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            let found = error.kind() != std::io::ErrorKind::NotFound;
            let code = if found { exit::NOT_EXECUTABLE } else { exit::NOT_FOUND };
            return Outcome::NotStarted { why: error.to_string(), code };
        }
    };
    let id = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    let renewal = renew(client, begun);
    tokio::pin!(renewal);
    let mut listening = true;
    loop {
        tokio::select! {
            // First of all its end: once it is over, its number may be another process's.
            biased;
            status = child.wait() => return match status {
                Ok(status) => ended(status),
                Err(error) => Outcome::NotStarted { why: format!("its end could not be seen: {error}"), code: 1 },
            },
            arrived = signals.next(), if listening => match (arrived, id) {
                (Some(arrived), Some(id)) if !arrived.by_terminal => {
                    if let Ok(signal) = Signal::try_from(arrived.signal) {
                        let _gone = kill(id, signal);
                    }
                }
                (Some(_), _) => {}
                (None, _) => listening = false,
            },
            never = &mut renewal => match never {},
        }
    }
}

/// Keeps the lease while the command runs. A server that is away does not stop the command: it was granted; the server will call it in doubt.
async fn renew(client: &Client, begun: &Begun) -> std::convert::Infallible {
    let every = Duration::from_secs(begun.renew_every_secs.clamp(1, 60));
    loop {
        tokio::time::sleep(every).await;
        let path = ["releases", &begun.release, "renew"];
        let _told: Result<serde_json::Value, _> = client.post_within(every, &path, &serde_json::json!({})).await;
    }
}

fn ended(status: ExitStatus) -> Outcome {
    match (status.code().map(u8::try_from), status.signal()) {
        (Some(Ok(code)), _) => Outcome::Exit(code),
        (_, Some(signal)) => Outcome::Signal(signal),
        _ => Outcome::Exit(u8::MAX),
    }
}

fn after_signal(signal: i32) -> u8 {
    u8::try_from(signal).unwrap_or(0).saturating_add(128)
}

#[cfg(test)]
mod tests {
    use super::super::os;
    use super::*;

    async fn outcome(program: &str, arguments: &[&str]) -> Outcome {
        let client = Client::new("http://127.0.0.1:1", false).unwrap();
        let begun = Begun { release: "r".to_owned(), renew_every_secs: 5 };
        let mut signals = Signals::catch().unwrap();
        let ended = run(&client, &begun, Path::new(program), OsStr::new("typed"), &os(arguments), &mut signals).await;
        signals.stop();
        ended
    }

    #[tokio::test]
    async fn the_end_is_the_commands_own() {
        assert_eq!(outcome("/bin/sh", &["-c", "exit 3"]).await, Outcome::Exit(3));
        assert_eq!(outcome("/bin/sh", &["-c", "exit 0"]).await, Outcome::Exit(0));
        assert_eq!(outcome("/bin/sh", &["-c", "kill -9 $$"]).await, Outcome::Signal(9));
        assert_eq!(outcome("/bin/sh", &["-c", "test \"$0\" = typed"]).await, Outcome::Exit(0));
        assert_eq!(outcome("/bin/sh", &["-c", "kill -9 $$"]).await.in_words(), "signal 9");
    }

    #[tokio::test]
    async fn what_cannot_start_says_so() {
        let outcome = outcome("/no/such/program", &[]).await;
        assert!(matches!(&outcome, Outcome::NotStarted { code: 127, .. }), "{outcome:?}");
        assert!(outcome.in_words().starts_with("not started: "));
    }

    #[test]
    fn signals_have_the_shells_codes() {
        assert_eq!((after_signal(15), after_signal(2), after_signal(64)), (143, 130, 192));
    }
}
