//! The built program as a command line.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;

use super::{Job, Out};

/// A call of the program, in an environment that holds nothing of the developer's.
#[derive(Debug)]
pub(crate) struct Cs {
    command: Command,
    stdin: Vec<u8>,
}

pub(crate) fn cs<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Cs {
    Cs::through(&[], args)
}

/// Some other program, in the same environment.
pub(crate) fn other_program<A: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = A>) -> Cs {
    let mut command = Command::new(program);
    command.args(args);
    Cs::new(command)
}

impl Cs {
    /// The program, started by another one, like `prlimit --fsize=1`.
    pub(crate) fn through<A: AsRef<OsStr>>(wrapper: &[&str], args: impl IntoIterator<Item = A>) -> Self {
        let mut words: Vec<OsString> = wrapper.iter().map(Into::into).collect();
        words.push(env!("CARGO_BIN_EXE_countersign").into());
        words.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        Self::new(command)
    }

    fn new(mut command: Command) -> Self {
        for name in ["COUNTERSIGN_SERVER", "COUNTERSIGN_HOME", "COUNTERSIGN_DEMO", "XDG_CONFIG_HOME", "RUST_LOG"] {
            command.env_remove(name);
        }
        // Whoever forgets to name a folder must not find the developer's.
        command.env("HOME", "/nonexistent").env("TZ", "UTC").env("LC_ALL", "C.UTF-8");
        Self { command, stdin: Vec::new() }
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    pub(crate) fn stdin(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.stdin = text.into();
        self
    }

    /// Starts it; its input stays open.
    pub(crate) fn start(self) -> Job {
        let mut job = Job::start(self.command);
        job.write(&self.stdin);
        job
    }

    /// Runs it to its end.
    #[track_caller]
    pub(crate) fn run(self) -> Out {
        self.start().end()
    }
}
