use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use countersign_engine::testing::record;

use super::*;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("audit.jsonl")
    }

    fn sink(&self) -> FileSink {
        FileSink::open("audit", &self.path()).unwrap()
    }

    fn refused(&self) -> String {
        FileSink::open("audit", &self.path()).unwrap_err()
    }

    fn lines(&self) -> Vec<String> {
        fs::read_to_string(self.path()).unwrap().lines().map(str::to_owned).collect()
    }
}

fn records(seeds: std::ops::Range<u8>) -> Vec<Record> {
    seeds.map(|seed| record(seed, "because").unwrap()).collect()
}

fn lines(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| record.line().to_owned()).collect()
}

#[tokio::test]
async fn what_is_accepted_is_in_the_file_for_its_owner_alone() {
    let place = Place::new();
    let sink = place.sink();
    let all = records(0..9);
    let (one, two) = tokio::join!(sink.accept(&all[..4]), sink.accept(&all[4..]));
    assert_eq!((one, two), (Ok(()), Ok(())));
    assert_eq!(place.lines(), lines(&all));
    assert_eq!(fs::metadata(place.path()).unwrap().mode() & 0o777, 0o600);
    // The next start goes on at the end.
    drop(sink);
    assert_eq!(place.sink().accept(&all[..1]).await, Ok(()));
    assert_eq!(place.lines().len(), 10);
}

#[tokio::test]
async fn a_line_that_was_torn_by_a_crash_is_ended() {
    let place = Place::new();
    let all = records(0..2);
    let torn = &all[0].line()[..40];
    fs::write(place.path(), format!("{}\n{torn}", all[0].line())).unwrap();
    fs::set_permissions(place.path(), Permissions::from_mode(0o600)).unwrap();
    let sink = place.sink();
    assert_eq!(sink.accept(&all[1..]).await, Ok(()));
    assert_eq!(sink.accept(&all[..1]).await, Ok(()));
    let found = place.lines();
    assert_eq!(found, [all[0].line(), torn, all[1].line(), all[0].line()]);
    let json = |line: &String| serde_json::from_str::<serde_json::Value>(line).is_ok();
    assert_eq!(found.iter().filter(|line| json(line)).count(), 3);
}

#[tokio::test]
async fn a_rotated_file_is_left_and_a_new_one_begun() {
    let place = Place::new();
    let sink = place.sink();
    let all = records(0..4);
    assert_eq!(sink.accept(&all[..1]).await, Ok(()));
    let old = place.0.path().join("audit.jsonl.1");
    fs::rename(place.path(), &old).unwrap();
    assert_eq!(sink.accept(&all[1..2]).await, Ok(()));
    assert_eq!(fs::read_to_string(&old).unwrap().lines().collect::<Vec<_>>(), [all[0].line()]);
    assert_eq!(place.lines(), [all[1].line()]);
    // Removed, and made anew by the one that rotates.
    fs::remove_file(place.path()).unwrap();
    fs::write(place.path(), "").unwrap();
    fs::set_permissions(place.path(), Permissions::from_mode(0o640)).unwrap();
    assert_eq!(sink.accept(&all[2..3]).await, Ok(()));
    assert_eq!(place.lines(), [all[2].line()]);
    // Cut in place: what is appended goes to its new end.
    File::options().write(true).open(place.path()).unwrap().set_len(0).unwrap();
    assert_eq!(sink.accept(&all[3..]).await, Ok(()));
    assert_eq!(place.lines(), [all[3].line()]);
}

#[tokio::test]
async fn what_takes_the_place_of_the_file_is_not_written_to() {
    let place = Place::new();
    let sink = place.sink();
    let all = records(0..3);
    assert_eq!(sink.accept(&all[..1]).await, Ok(()));
    let victim = place.0.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    for swap in [
        |victim: &Path, path: &Path| symlink(victim, path),
        |victim: &Path, path: &Path| fs::copy(victim, path).map(drop),
    ] {
        fs::remove_file(place.path()).unwrap();
        swap(&victim, &place.path()).unwrap();
        let refused = sink.accept(&all[1..2]).await;
        assert!(matches!(refused, Err(SinkError::Refused(_))), "{refused:?}");
        assert_eq!(fs::read_to_string(place.path()).unwrap(), "precious");
    }
    // It recovers by itself.
    fs::remove_file(place.path()).unwrap();
    assert_eq!(sink.accept(&all[2..]).await, Ok(()));
    assert_eq!(place.lines(), [all[2].line()]);
}

#[test]
fn what_is_not_ours_to_append_to_is_refused_at_once() {
    let place = Place::new();
    let path = place.path();
    symlink("/dev/full", &path).unwrap();
    assert!(place.refused().contains("symbolic link"));
    fs::remove_file(&path).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    assert!(place.refused().contains("not a regular file"));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(!place.refused().is_empty());
    fs::remove_dir(&path).unwrap();
    for (content, mode, why) in [
        ("SQLite format 3\0", 0o600, "something else"),
        ("{}\n", 0o644, "chmod 600"),
        ("{}\n", 0o660, "chmod 600"),
        ("{}\n", 0o602, "chmod 600"),
    ] {
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let said = place.refused();
        assert!(said.contains(why), "{said}");
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
        fs::remove_file(&path).unwrap();
    }
    fs::set_permissions(place.0.path(), Permissions::from_mode(0o777)).unwrap();
    assert!(place.refused().contains("chmod 700"));
}

/// The writer stands still, as on a disk that hangs.
fn without_a_writer() -> (FileSink, Receiver<Job>) {
    let (queue, jobs) = sync_channel(QUEUE);
    (FileSink { name: "audit".to_owned(), queue, waiting: Arc::default() }, jobs)
}

#[tokio::test]
async fn what_waits_for_a_disk_that_hangs_is_bounded_and_given_up() {
    let (sink, jobs) = without_a_writer();
    let large = [record(1, &"x".repeat(60_000)).unwrap()];
    let mut waiting = Vec::new();
    let full = loop {
        let mut call = sink.accept(&large);
        match std::future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx))).await {
            std::task::Poll::Pending => waiting.push(call),
            std::task::Poll::Ready(outcome) => break outcome,
        }
    };
    assert_eq!(full, Err(SinkError::Full));
    assert!(sink.waiting.load(Ordering::SeqCst) <= WAITING);
    assert!(waiting.len() > 100, "{}", waiting.len());
    // All went away: when the disk comes back nothing of theirs is written.
    drop(waiting);
    let place = Place::new();
    let mut log = Log { path: place.path(), open: None };
    assert!(sink.waiting.load(Ordering::SeqCst) > WAITING / 2, "their weight is there until they are looked at");
    let weight = Arc::clone(&sink.waiting);
    drop(sink);
    work(&mut log, &jobs);
    assert_eq!(weight.load(Ordering::SeqCst), 0);
    assert!(!place.path().exists());
}

#[tokio::test]
async fn a_batch_larger_than_all_that_may_wait_is_taken_when_nothing_waits() {
    let (sink, _jobs) = without_a_writer();
    let weight = Weight::take(&sink.waiting, WAITING + 1).unwrap();
    assert!(Weight::take(&sink.waiting, 1).is_none());
    drop(weight);
    assert!(Weight::take(&sink.waiting, 1).is_some());
}

#[test]
fn a_write_that_fails_half_way_is_no_acknowledgement_and_its_rest_no_line() {
    let place = Place::new();
    let mut log = Log { path: place.path(), open: None };
    log.append(b"{\"n\":1}\n").unwrap();
    // A descriptor that can't be written to stands in for the disk that can't.
    let reading = File::open(place.path()).unwrap();
    log.open.as_mut().unwrap().file = reading;
    assert!(log.append(b"{\"n\":2}\n").is_err());
    assert!(log.open.is_none(), "the descriptor is not asked again");
    OpenOptions::new().append(true).open(place.path()).unwrap().write_all(b"{\"n\"").unwrap();
    log.append(b"{\"n\":3}\n").unwrap();
    assert_eq!(place.lines(), ["{\"n\":1}", "{\"n\"", "{\"n\":3}"]);
}
