//! A server that is measured from outside: how soon it answers, what it holds in memory, how it ends.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::run;

/// A call that a server answers with 200 as soon as it can answer anything.
pub(crate) const HEALTH: &str = "GET /healthz HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n";
/// The same for the echo server.
pub(crate) const ECHO: &str = "POST / HTTP/1.1\r\nhost: bench\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

/// A server that hangs is an error, not a figure.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks at something that is waited for; well below what is measured.
const LOOK_AGAIN: Duration = Duration::from_micros(500);

/// A started server. It ends with this value.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// The server itself, which is a child of `child` where that is strace.
    id: u32,
    pub(crate) ready: Duration,
}

/// What a process holds, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    /// All that is resident, mapped files included.
    pub(crate) resident: u64,
    /// What no file stands behind: heap and stacks.
    pub(crate) anonymous: u64,
}

impl Server {
    /// Starts it and waits until it answers `probe` with 200. `ready` is how long that took from before the process was made.
    pub(crate) fn start(command: &mut Command, address: &str, probe: &str) -> Result<Self> {
        let begun = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("could not start a server")?;
        let mut server = Self { id: child.id(), child, ready: Duration::ZERO };
        while !answers(address, probe) {
            if let Some(status) = server.child.try_wait()? {
                bail!("the server on {address} ended with {status} instead of answering");
            }
            if begun.elapsed() > PATIENCE {
                bail!("the server does not answer on {address}");
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        server.ready = begun.elapsed();
        Ok(server)
    }

    /// The same for a server that another program has started for us, as strace does.
    pub(crate) fn start_within(command: &mut Command, address: &str, probe: &str) -> Result<Self> {
        let mut server = Self::start(command, address, probe)?;
        let path = format!("/proc/{id}/task/{id}/children", id = server.id);
        let children = std::fs::read_to_string(&path).with_context(|| format!("could not read {path}"))?;
        let child = children.split_whitespace().next().context("the server's process is not to be found")?;
        server.id = child.parse()?;
        Ok(server)
    }

    pub(crate) const fn id(&self) -> u32 {
        self.id
    }

    pub(crate) fn memory(&self) -> Result<Memory> {
        let path = format!("/proc/{}/status", self.id);
        let status = std::fs::read_to_string(&path).with_context(|| format!("could not read {path}"))?;
        memory(&status).with_context(|| format!("{path} looks unusual"))
    }

    /// SIGTERM, as a supervisor does it, and the end of the process.
    pub(crate) fn stop(mut self) -> Result<()> {
        run::capture(&mut run::command("sh", &["-c", &format!("kill -TERM {}", self.id)]))?;
        let begun = Instant::now();
        while self.child.try_wait()?.is_none() {
            if begun.elapsed() > PATIENCE {
                bail!("the server does not stop");
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// SIGKILL, and the end of the process.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        if self.id != self.child.id() && matches!(self.child.try_wait(), Ok(None)) {
            let _ = run::capture(&mut run::command("sh", &["-c", &format!("kill -KILL {}", self.id)]));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that was free a moment ago.
pub(crate) fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

fn answers(address: &str, probe: &str) -> bool {
    let ask = || -> Result<bool> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(probe.as_bytes())?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(&status == b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}

fn memory(status: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    };
    Some(Memory { resident: field("VmRSS")?, anonymous: field("RssAnon")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\tx\nVmHWM:\t  200 kB\nVmRSS:\t  100 kB\nRssAnon:\t   40 kB\nRssFile:\t   60 kB\n";
        assert_eq!(memory(status), Some(Memory { resident: 102_400, anonymous: 40_960 }));
        assert_eq!(memory("VmRSS:\t100 kB\n"), None);
    }

    #[test]
    fn a_server_that_ends_is_no_figure() {
        let address = free_address().unwrap();
        let error = Server::start(&mut run::command("true", &[]), &address, HEALTH).unwrap_err();
        assert!(error.to_string().contains("instead of answering"), "{error}");
    }

    #[test]
    fn ready_is_the_first_good_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let calls = std::thread::spawn(move || {
            let answers = ["HTTP/1.1 503 Service Unavailable\r\n\r\n", "", "HTTP/1.1 200 OK\r\n\r\n"];
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 1024]).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
            answers.len()
        });
        let server = Server::start(&mut run::command("sleep", &["60"]), &address, HEALTH).unwrap();
        assert_eq!(calls.join().unwrap(), 3);
        assert!(server.memory().unwrap().resident > 0);
        server.stop().unwrap();
    }

    #[test]
    fn the_server_within_is_the_one_that_is_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let begun = dir.path().join("begun");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let script = format!("(touch {}; exec sleep 60); true", begun.display());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]).unwrap();
            while !begun.exists() {
                std::thread::sleep(LOOK_AGAIN);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        });
        let server = Server::start_within(&mut run::command("sh", &["-c", &script]), &address, HEALTH).unwrap();
        assert_ne!(server.id(), server.child.id());
        // The shell ends because its child does.
        server.stop().unwrap();
    }
}
