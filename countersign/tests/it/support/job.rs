//! A process, what it has written so far, and how it ended.

use std::io::{Read, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::PATIENCE;

/// A running process. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Job {
    child: Child,
    line: String,
    stdin: Option<ChildStdin>,
    stdout: Written,
    stderr: Written,
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Out {
    pub(crate) line: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

#[derive(Debug)]
struct Written {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Job {
    pub(crate) fn start(mut command: Command) -> Self {
        let line = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        let stdin = child.stdin.take();
        let stdout = Written::collect(child.stdout.take().unwrap());
        let stderr = Written::collect(child.stderr.take().unwrap());
        Self { child, line, stdin, stdout, stderr }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.pid()).unwrap()), signal).unwrap();
    }

    /// Writes to its input, which stays open.
    pub(crate) fn write(&mut self, text: &[u8]) {
        // Who has ended already reads no more; how it ended is what the test looks at.
        let _closed = self.stdin.as_mut().unwrap().write_all(text);
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn stdout(&self) -> String {
        self.stdout.text()
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until it has written a line to stderr that holds this; gives the line.
    #[track_caller]
    pub(crate) fn says(&mut self, part: &str) -> String {
        self.wrote(part, Self::stderr)
    }

    /// The same for stdout.
    #[track_caller]
    pub(crate) fn prints(&mut self, part: &str) -> String {
        self.wrote(part, Self::stdout)
    }

    #[track_caller]
    fn wrote(&mut self, part: &str, text: impl Fn(&Self) -> String) -> String {
        let begun = Instant::now();
        loop {
            let running = self.is_running();
            let written = text(self);
            let whole = written.split_inclusive('\n').filter(|line| line.ends_with('\n') || !running);
            if let Some(line) = whole.into_iter().find(|line| line.contains(part)) {
                return line.trim_end().to_owned();
            }
            let (out, err) = (self.stdout(), self.stderr());
            assert!(running, "{} ended without saying {part:?}\n{out}\n{err}", self.line);
            assert!(begun.elapsed() < PATIENCE, "{} never said {part:?}\n{out}\n{err}", self.line);
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn end(mut self) -> Out {
        self.close_stdin();
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > PATIENCE {
                self.child.kill().unwrap();
                panic!("{} does not end\n{}\n{}", self.line, self.stdout(), self.stderr());
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        };
        let (line, stdout, stderr) = (self.line.clone(), self.stdout.whole(), self.stderr.whole());
        Out { line, status, stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if self.is_running() {
            let _ended = self.child.kill();
            let _ended = self.child.wait();
        }
    }
}

impl Written {
    fn collect(mut from: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&bytes);
        let reader = std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(read @ 1..) = from.read(&mut part) {
                into.lock().unwrap().extend_from_slice(&part[..read]);
            }
        });
        Self { bytes, reader: Some(reader) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    /// Everything up to its end; a grandchild that holds the pipe is not waited for.
    fn whole(&mut self) -> Vec<u8> {
        if let Some(reader) = self.reader.take() {
            let begun = Instant::now();
            while !reader.is_finished() && begun.elapsed().as_secs() < 5 {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        }
        self.bytes.lock().unwrap().clone()
    }
}

impl Out {
    /// The exit code, as a shell has it: 128 and the number for a signal.
    pub(crate) fn code(&self) -> i32 {
        self.status.code().or_else(|| self.status.signal().map(|signal| 128 + signal)).unwrap()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Both outputs, for messages that may stand in either.
    pub(crate) fn all(&self) -> String {
        format!("{}{}", self.text(), self.stderr)
    }

    /// It ended well.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.with_code(0)
    }

    #[track_caller]
    pub(crate) fn with_code(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "{}\n{}\n{}", self.line, self.text(), self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn fails(self) -> Self {
        assert_ne!(self.code(), 0, "{}\n{}\n{}", self.line, self.text(), self.stderr);
        // A panic exits with 101, an abort with a signal.
        assert_ne!(self.code(), 101, "{}\n{}", self.line, self.stderr);
        assert!(self.status.code().is_some(), "{}: {}\n{}", self.line, self.status, self.stderr);
        self
    }

    /// It says this, on stdout or stderr.
    #[track_caller]
    pub(crate) fn saying(self, part: &str) -> Self {
        assert!(self.all().contains(part), "{} does not say {part:?}:\n{}", self.line, self.all());
        self
    }

    /// stdout is one JSON document.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("{}: {error}\n{}\n{}", self.line, self.text(), self.stderr))
    }
}
