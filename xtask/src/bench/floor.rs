//! Runs the yardsticks of `bench/floor`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::run;

const NAME: &str = "countersign-bench-floor";

/// The yardsticks, built for release.
#[derive(Debug)]
pub(crate) struct Floor {
    program: PathBuf,
}

/// Mean microseconds of one operation on one core.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct SignCost {
    pub(crate) sign_micros: f64,
    pub(crate) verify_micros: f64,
}

#[derive(Deserialize)]
struct Appended {
    micros: Vec<f64>,
}

#[derive(Deserialize)]
struct Listening {
    listening: String,
}

impl Floor {
    pub(crate) fn build() -> Result<Self> {
        run::check(&mut run::command("cargo", &["build", "--release", "--package", NAME]))?;
        Ok(Self::built())
    }

    /// As it lies in the target folder.
    pub(crate) fn built() -> Self {
        Self { program: run::target().join("release").join(NAME) }
    }

    /// Microseconds of each append and fdatasync of a record of `bytes` to a new file in `dir`.
    pub(crate) fn append_fdatasync(&self, dir: &Path, count: u32, bytes: u32) -> Result<Vec<f64>> {
        let mut command = self.command("append");
        command.arg("--dir").arg(dir).args(["--count", &count.to_string(), "--bytes", &bytes.to_string()]);
        let appended: Appended = output(&mut command)?;
        Ok(appended.micros)
    }

    /// `alg` is `ed25519` or `rsa2048`.
    pub(crate) fn sign(&self, alg: &str, count: u32) -> Result<SignCost> {
        output(self.command("sign").args(["--alg", alg, "--count", &count.to_string()]))
    }

    /// The echo server, for whoever measures its start.
    pub(crate) fn echo_on(&self, address: &str) -> Command {
        let mut command = self.command("echo");
        command.args(["--listen", address]);
        command
    }

    /// The program itself: axum, and next to nothing else.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Starts the echo server on a free port.
    pub(crate) fn echo(&self) -> Result<Server> {
        Server::start(self.command("echo").args(["--listen", "127.0.0.1:0"]))
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(name).stdin(Stdio::null());
        command
    }
}

/// A server that ends with this value.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    address: String,
}

impl Server {
    /// Waits for the line that names the address.
    fn start(command: &mut Command) -> Result<Self> {
        let child = command.stdout(Stdio::piped()).spawn().context("could not start a server")?;
        let mut server = Self { child, address: String::new() };
        let mut line = String::new();
        if let Some(stdout) = server.child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let first: Listening =
            serde_json::from_str(&line).with_context(|| format!("a server printed no address but {line:?}"))?;
        server.address = first.listening;
        Ok(server)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// User and system time that a process has used so far, in microseconds.
pub(crate) fn cpu_micros(process: u32) -> Result<f64> {
    let path = format!("/proc/{process}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("could not read {path}"))?;
    let ticks = ticks(&stat).with_context(|| format!("{path} looks unusual: {stat}"))?;
    let per_second: f64 = run::capture(&mut run::command("getconf", &["CLK_TCK"]))?.trim().parse()?;
    Ok(ticks * 1e6 / per_second)
}

/// Fields 14 and 15. The name of the program, field 2, may hold spaces and parentheses, so counting starts behind its last one.
fn ticks(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn output<T: DeserializeOwned>(command: &mut Command) -> Result<T> {
    let text = run::capture(command)?;
    match text.lines().last() {
        Some(line) => Ok(serde_json::from_str(line)?),
        None => bail!("a yardstick printed nothing"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20 0 1";
        assert_eq!(ticks(stat), Some(175.0));
        assert_eq!(ticks("42 (a) S 1"), None);
    }

    #[test]
    fn this_process_has_a_time() {
        assert!(cpu_micros(std::process::id()).unwrap() >= 0.0);
    }
}
