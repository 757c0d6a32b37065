//! A file that gets one line for each entry of the ledger.
//!
//! A thread of its own writes: a disk that hangs holds up that thread, and those who asked wait for as long as they like. What waits is written as a group
//! with one sync, and is acknowledged after that.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use countersign_engine::sinks::{Accepting, Record, Sink, SinkError};
use nix::libc;
use tokio::sync::oneshot;

use crate::server::files;

/// Calls that wait at most.
const QUEUE: usize = 1_024;
/// Bytes that wait at most; a single call may bring more.
const WAITING: usize = 8 << 20;
/// From here on a group takes no further call.
const GROUP: usize = 1 << 20;

/// A file as a sink. Dropping it ends its thread once that has written what it got.
#[derive(Debug)]
pub(super) struct FileSink {
    name: String,
    queue: SyncSender<Job>,
    waiting: Arc<AtomicUsize>,
}

/// Lines that somebody waits for.
#[derive(Debug)]
struct Job {
    lines: Vec<u8>,
    told: oneshot::Sender<Result<(), SinkError>>,
    _weight: Weight,
}

/// Bytes in memory, counted for as long as they are there.
#[derive(Debug)]
struct Weight {
    waiting: Arc<AtomicUsize>,
    bytes: usize,
}

impl FileSink {
    /// Opens or makes the file, or says why that can't be.
    pub(super) fn open(name: &str, path: &Path) -> Result<Self, String> {
        let mut log = Log { path: path.to_owned(), open: None };
        log.current().map_err(|error| words(path, &error))?;
        let (queue, jobs) = sync_channel(QUEUE);
        thread::Builder::new()
            .name(format!("sink {name}"))
            .spawn(move || work(&mut log, &jobs))
            .map_err(|error| format!("its thread can't be started: {error}"))?;
        Ok(Self { name: name.to_owned(), queue, waiting: Arc::default() })
    }
}

impl Sink for FileSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn accept<'a>(&'a self, records: &'a [Record]) -> Accepting<'a> {
        Box::pin(async move {
            let mut lines = Vec::with_capacity(records.iter().map(|record| record.line().len() + 1).sum());
            for record in records {
                lines.extend_from_slice(record.line().as_bytes());
                lines.push(b'\n');
            }
            let weight = Weight::take(&self.waiting, lines.len()).ok_or(SinkError::Full)?;
            let (told, answer) = oneshot::channel();
            self.queue.try_send(Job { lines, told, _weight: weight }).map_err(|error| match error {
                TrySendError::Full(_) => SinkError::Full,
                TrySendError::Disconnected(_) => ended(),
            })?;
            answer.await.unwrap_or_else(|_| Err(ended()))
        })
    }
}

impl Weight {
    fn take(waiting: &Arc<AtomicUsize>, bytes: usize) -> Option<Self> {
        let fits = |now: usize| (now == 0 || now.saturating_add(bytes) <= WAITING).then(|| now.saturating_add(bytes));
        waiting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits).ok()?;
        Some(Self { waiting: Arc::clone(waiting), bytes })
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

/// Writes group after group until nobody can ask any more.
fn work(log: &mut Log, jobs: &Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let (mut group, mut lines) = (Vec::new(), Vec::new());
        for job in std::iter::once(first).chain(std::iter::from_fn(|| jobs.try_recv().ok())) {
            // Who went away was told that nothing was taken: what he brought comes again, or never was.
            if job.told.is_closed() {
                continue;
            }
            lines.extend_from_slice(&job.lines);
            group.push(job);
            if lines.len() >= GROUP {
                break;
            }
        }
        if group.is_empty() {
            continue;
        }
        let outcome = log.append(&lines).map_err(|error| SinkError::Refused(words(&log.path, &error)));
        for job in group {
            // Nobody waits any more: that is for him to know.
            let _gone = job.told.send(outcome.clone());
        }
    }
}

/// The file under its path, whichever that is now.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Device and inode.
    id: (u64, u64),
    /// The last line has no end: somebody was killed, or the disk filled up, in the middle of it.
    torn: bool,
}

impl Log {
    /// All of it, on disk, or an error; then a part may be there.
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let written = self.current().and_then(|open| {
            let begun = if open.torn { [b"\n", lines].concat() } else { lines.to_vec() };
            open.file.write_all(&begun)?;
            open.torn = false;
            open.file.sync_data()
        });
        if written.is_err() {
            // After a failed sync the same descriptor may say yes to what is not on disk, so nothing is asked of it again. How far the write came is seen when
            // the file is opened anew.
            self.open = None;
        }
        written
    }

    /// The file that has the path now: after a rotation that is another one than before.
    fn current(&mut self) -> io::Result<&mut Open> {
        let there = match fs::symlink_metadata(&self.path) {
            Ok(found) => Some((found.dev(), found.ino())),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let open = match self.open.take() {
            Some(open) if Some(open.id) == there => open,
            _ => open(&self.path)?,
        };
        Ok(self.open.insert(open))
    }
}

fn open(path: &Path) -> io::Result<Open> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    files::trusted_folder(folder).map_err(io::Error::other)?;
    let mut options = OpenOptions::new();
    // Without O_NONBLOCK a pipe in its place would hold us up before we could see that it is one.
    options.read(true).append(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = options.open(path)?;
    let found = file.metadata()?;
    let refuse = |why: &str| Err(io::Error::other(format!("{} {why}", path.display())));
    if !found.is_file() {
        return refuse("is not a regular file");
    }
    if found.mode() & 0o026 != 0 {
        return refuse(
            "can be read or written by other users; run `chmod 600` on it, or 640 for a group that may read it",
        );
    }
    let us = nix::unistd::geteuid().as_raw();
    if found.uid() != us && found.uid() != 0 {
        return refuse("belongs to another user, who could change what is in it");
    }
    let mut torn = false;
    if let Some(last) = found.len().checked_sub(1) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, 0)?;
        // A wrong path must not turn a database or a key into a log.
        if byte != *b"{" {
            return refuse("holds something else than records; name a new file");
        }
        file.read_exact_at(&mut byte, last)?;
        torn = byte != *b"\n";
    } else {
        // The name of a new file is on disk before anything in it counts.
        file.sync_all()?;
        File::open(folder)?.sync_all()?;
    }
    Ok(Open { file, id: (found.dev(), found.ino()), torn })
}

fn words(path: &Path, error: &io::Error) -> String {
    let shown = path.display();
    if error.raw_os_error() == Some(libc::ELOOP) {
        return format!("{shown} is a symbolic link; name the file that it leads to");
    }
    match error.kind() {
        ErrorKind::Other => error.to_string(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            format!("the disk of {shown} is full: make room, or rotate the file away")
        }
        _ => format!("{shown} can't be written: {error}"),
    }
}

fn ended() -> SinkError {
    SinkError::Refused("its writer has ended; start the service again".to_owned())
}

#[cfg(test)]
mod tests;
