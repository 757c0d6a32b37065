//! Groups, as the writer serves them.

use super::*;
use crate::commit::{Commit, SystemWrite};
use crate::error::Expectation;
use crate::tables::meta::MetaExpectation;
use std::sync::mpsc::channel;

type Answer = oneshot::Receiver<Result<Reply, CommitError>>;

struct Bench {
    writer: Writer,
    fatal: watch::Receiver<Option<Fatal>>,
    counters: Arc<Counters>,
    path: std::path::PathBuf,
    _lock: std::fs::File,
    _folder: tempfile::TempDir,
}

fn bench() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let opened = crate::sqlite::open(&path, 0).unwrap();
    let counters = Arc::new(Counters::default());
    let (sender, fatal) = watch::channel(None);
    let writer = Writer::new(opened.writer, Arc::clone(&counters), sender).unwrap();
    Bench { writer, fatal, counters, path, _lock: opened.lock, _folder: folder }
}

fn put(key: &str, value: &[u8], expect: MetaExpectation) -> Op {
    let write = SystemWrite::PutMeta { key: key.to_owned(), value: value.to_vec(), expect };
    Op::Commit(Commit::from(vec![write]).ordered())
}

fn job(op: Op) -> (Job, Answer) {
    let (answer, receiver) = oneshot::channel();
    (Job { op, answer }, receiver)
}

fn outcome(answer: &mut Answer) -> Result<(), CommitError> {
    answer.try_recv().unwrap().map(drop)
}

fn serve(writer: &mut Writer, ops: Vec<Op>) -> Vec<Result<(), CommitError>> {
    let (jobs, mut answers): (Vec<_>, Vec<_>) = ops.into_iter().map(job).unzip();
    writer.serve(jobs);
    answers.iter_mut().map(outcome).collect()
}

fn keys(path: &std::path::Path) -> Vec<String> {
    let connection = rusqlite::Connection::open(path).unwrap();
    let mut statement = connection.prepare("SELECT name FROM meta ORDER BY name").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn what_waits_shares_a_transaction() {
    for (waiting, transactions) in [(1, 1), (64, 1), (256, 1), (600, 3)] {
        let Bench { writer, counters, path, _lock, _folder, .. } = bench();
        let (sender, queue) = channel();
        let mut answers = Vec::new();
        for number in 0..waiting {
            let (job, answer) = job(put(&format!("k{number}"), b"v", MetaExpectation::Absent));
            sender.send(job).unwrap();
            answers.push(answer);
        }
        drop(sender);
        writer.run(&queue);
        assert!(answers.iter_mut().all(|answer| outcome(answer).is_ok()));
        assert_eq!(counters.transactions.load(Ordering::Relaxed), transactions, "{waiting} commits");
        assert_eq!(counters.commits.load(Ordering::Relaxed), waiting);
        assert_eq!(keys(&path).len(), usize::try_from(waiting).unwrap());
    }
}

#[test]
fn a_failed_expectation_takes_back_its_own_commit_and_no_other() {
    let mut bench = bench();
    let both = Commit::from(vec![
        SystemWrite::PutMeta { key: "a-of-loser".to_owned(), value: vec![1], expect: MetaExpectation::Any },
        SystemWrite::PutMeta { key: "first".to_owned(), value: vec![1], expect: MetaExpectation::Absent },
    ]);
    let answers = serve(
        &mut bench.writer,
        vec![
            put("first", b"1", MetaExpectation::Absent),
            Op::Commit(both.ordered()),
            put("last", b"1", MetaExpectation::Absent),
        ],
    );
    let conflict = CommitError::Conflict(Expectation::MetaMoved { key: "first".to_owned() });
    assert_eq!(answers, [Ok(()), Err(conflict), Ok(())]);
    assert_eq!(keys(&bench.path), ["first", "last"]);
    assert_eq!(bench.counters.transactions.load(Ordering::Relaxed), 1);
}

#[test]
fn a_group_of_which_nothing_stands_costs_no_sync() {
    let mut bench = bench();
    let answers = serve(&mut bench.writer, vec![put("x", b"1", MetaExpectation::Is(b"0".to_vec()))]);
    assert!(matches!(answers.as_slice(), [Err(CommitError::Conflict(_))]));
    assert_eq!(bench.counters.transactions.load(Ordering::Relaxed), 0);
    assert!(!bench.writer.connection.in_transaction());
}

#[test]
fn a_full_disk_loses_nothing_and_service_resumes() {
    let mut bench = bench();
    assert_eq!(serve(&mut bench.writer, vec![put("before", b"1", MetaExpectation::Any)]), [Ok(())]);
    let pages: i64 = bench.writer.connection.inner().query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    let limit = |bench: &mut Bench, pages: i64| {
        let pragma = format!("PRAGMA max_page_count = {pages}");
        bench.writer.connection.inner().query_row(&pragma, [], |_| Ok(())).unwrap();
    };
    limit(&mut bench, pages);
    let large = vec![7; 100_000];
    let answers = serve(
        &mut bench.writer,
        vec![put("small", b"1", MetaExpectation::Any), put("large", &large, MetaExpectation::Any)],
    );
    assert_eq!(answers, [Err(CommitError::Full), Err(CommitError::Full)]);
    assert_eq!(keys(&bench.path), ["before"]);
    limit(&mut bench, pages + 1_000);
    assert_eq!(serve(&mut bench.writer, vec![put("large", &large, MetaExpectation::Any)]), [Ok(())]);
    assert_eq!(keys(&bench.path), ["before", "large"]);
    assert!(bench.fatal.borrow().is_none());
}

#[test]
fn a_broken_disk_is_final() {
    let mut bench = bench();
    // SQLite reports this as it reports a file system that was remounted read-only after an error.
    bench.writer.connection.inner().execute_batch("PRAGMA query_only = ON").unwrap();
    let answers = serve(&mut bench.writer, vec![put("x", b"1", MetaExpectation::Any)]);
    assert_eq!(answers, [Err(CommitError::Unknown)]);
    assert!(bench.fatal.borrow().is_some());
    bench.writer.connection.inner().execute_batch("PRAGMA query_only = OFF").unwrap();
    let answers = serve(&mut bench.writer, vec![put("x", b"1", MetaExpectation::Any)]);
    assert_eq!(answers, [Err(CommitError::Unknown)], "never tried again");
    assert_eq!(keys(&bench.path), [""; 0]);
}

#[test]
fn the_log_is_moved_when_it_is_long() {
    let Bench { writer, counters, _lock, _folder, .. } = bench();
    let (sender, queue) = channel();
    let large = vec![7; 60_000];
    let mut answers = Vec::new();
    for number in 0..600 {
        let (job, answer) = job(put(&format!("k{number}"), &large, MetaExpectation::Any));
        sender.send(job).unwrap();
        answers.push(answer);
    }
    drop(sender);
    writer.run(&queue);
    assert!(counters.checkpoints.load(Ordering::Relaxed) >= 1);
}

#[test]
fn a_group_waits_for_half_of_those_who_are_on_their_way() {
    for (coming, gathered) in [(0, 1), (1, 1), (2, 1), (8, 4), (64, 6)] {
        let (sender, queue) = channel();
        for n in 1..6 {
            sender.send(job(put(&format!("k{n}"), b"", MetaExpectation::Absent)).0).unwrap();
        }
        let mut group = vec![job(put("k0", b"", MetaExpectation::Absent)).0];
        gather(&mut group, &AtomicUsize::new(coming), &queue);
        assert_eq!(group.len(), gathered, "{coming} on their way");
        assert_eq!(queue.try_iter().count(), 6 - gathered);
    }
}
