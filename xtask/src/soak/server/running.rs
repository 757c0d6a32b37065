//! A process of the service.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

/// Ready after a kill: far above what it takes, so that a slow machine is no finding.
const READY: Duration = Duration::from_secs(30);

/// A started process. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    first: Receiver<String>,
    complaints: Option<JoinHandle<Vec<String>>>,
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// What it wrote to its log as an error, and panics.
    pub(crate) complaints: Vec<String>,
}

impl Running {
    /// Starts `binary arguments`, perhaps through another program. All that it logs goes to `log`.
    pub(crate) fn spawn(wrapper: &[String], mut command: Command, log: &Path) -> Result<Self> {
        if let Some((program, rest)) = wrapper.split_first() {
            let mut through = Command::new(program);
            through.args(rest).arg(command.get_program()).args(command.get_args());
            for (name, _) in command.get_envs() {
                through.env_remove(name);
            }
            command = through;
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("could not start the service")?;
        let (sender, first) = channel();
        let stdout = child.stdout.take().context("the service has no output")?;
        let of_stdout = sender.clone();
        std::thread::spawn(move || {
            tell_address(stdout, &of_stdout, |line| line["url"].as_str().map(|url| url.replacen("http://", "", 1)));
        });
        let stderr = child.stderr.take().context("the service has no log")?;
        let log = File::create(log)?;
        let complaints = std::thread::spawn(move || complaints(stderr, log, &sender));
        Ok(Self { child, first, complaints: Some(complaints) })
    }

    /// Where it answers, once it does.
    pub(crate) fn address(&mut self) -> Result<String> {
        self.address_within(READY).context("the service did not get ready")
    }

    /// `None` if it is not ready by then, or has ended.
    pub(crate) fn address_within(&mut self, patience: Duration) -> Option<String> {
        self.first.recv_timeout(patience).ok()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// SIGKILL, whether it still runs or not.
    pub(crate) fn kill(mut self) -> Result<Ended> {
        self.child.kill()?;
        self.end()
    }

    /// SIGTERM, as a supervisor does it.
    pub(crate) fn stop(self) -> Result<Ended> {
        signal(self.pid(), "TERM")?;
        self.ends(READY)
    }

    /// Waits for an end that comes by itself.
    pub(crate) fn ends(mut self, patience: Duration) -> Result<Ended> {
        let begun = Instant::now();
        while self.is_running()? {
            if begun.elapsed() > patience {
                bail!("the process did not end within {patience:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.end()
    }

    fn end(&mut self) -> Result<Ended> {
        let status = self.child.wait()?;
        let complaints = self.complaints.take().map_or(Ok(Vec::new()), JoinHandle::join);
        Ok(Ended { status, complaints: complaints.map_err(|_| anyhow!("the reader of the log panicked"))? })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Sends a signal to a process of ours, by the shell's own word for it.
pub(crate) fn signal(pid: u32, name: &str) -> Result<()> {
    let status = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status()?;
    if !status.success() {
        bail!("no signal could be sent to process {pid}");
    }
    Ok(())
}

fn tell_address(from: impl Read, to: &std::sync::mpsc::Sender<String>, find: impl Fn(&Value) -> Option<String>) {
    for line in BufReader::new(from).lines().map_while(Result::ok) {
        let about: Value = serde_json::from_str(&line).unwrap_or_default();
        if let Some(address) = find(&about) {
            // Nobody waits for it any more if the process was killed.
            let _ = to.send(address);
        }
    }
}

fn complaints(stderr: impl Read, mut log: File, address: &std::sync::mpsc::Sender<String>) -> Vec<String> {
    let mut complaints = Vec::new();
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        let _full = writeln!(log, "{line}");
        if line.contains("\"serving\"") {
            let about: Value = serde_json::from_str(&line).unwrap_or_default();
            if let Some(listening) = about["address"].as_str() {
                let _ = address.send(listening.to_owned());
            }
        } else if line.contains("panicked") || line.contains("ERROR") {
            complaints.push(line);
        }
    }
    complaints
}
