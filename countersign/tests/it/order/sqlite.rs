//! On SQLite the system calls tell: the whole server runs under strace. For each verb the database's log is written and synced, and the sync has returned,
//! before the first byte of that verb's answer is written to its connection.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::{Sent, every_verb};
use crate::soak::Engine;
use crate::soak::home::Home;
use crate::support::{has_tool, until};

const CALLS: &str = "trace=fdatasync,fsync,write,writev,pwrite64,pwritev,sendto,sendmsg,read,recvfrom,recvmsg";
const WAL: &str = "countersign.db-wal>";
/// The sequencer waits this long before it adds commits of its own to what a call committed, so what comes earlier is the call's own.
const OWN: f64 = 0.09;
/// Goal G7: a single client pays for two syncs at most.
const SYNCS_AT_MOST: usize = 2;

#[test]
fn sqlite_what_is_answered_is_on_disk() {
    let Some(report) = held(None) else { return };
    eprintln!("syncs of the log between a call and its answer: {report}");
}

/// Where a sync takes long there is time for an answer that does not wait for it.
#[test]
fn sqlite_what_is_answered_is_on_a_slow_disk() {
    held(Some(Duration::from_millis(60)));
}

/// Each verb once, on a disk whose syncs may take longer; how many syncs each took.
fn held(slow: Option<Duration>) -> Option<String> {
    if !has_tool("strace") || !has_tool("oathtool") {
        return None;
    }
    let base = tempfile::tempdir().unwrap();
    let trace = base.path().join("trace");
    let sent = traced(base.path(), &trace, slow);
    let text = std::fs::read_to_string(&trace).unwrap();
    let events = events(&text);
    // While a slow answer waits others may well begin to commit, so there only the first transaction is held to be the call's.
    let own = if slow.is_some() { 0.0 } else { OWN };
    let mut report = String::new();
    for Sent { verb, port, .. } in &sent {
        let found = judge(&events, &Mark { port: *port }, own).unwrap_or_else(|why| panic!("{verb}: {why}"));
        let Durable { syncs, call } = found;
        write!(report, "{verb} {syncs} ({call}), ").unwrap();
        assert!(syncs <= SYNCS_AT_MOST, "{verb} took {syncs} syncs");
    }
    Some(report)
}

/// What runs between two moments of the trace cannot be told from what waits for it, so every call comes alone, from its own port.
fn traced(base: &Path, trace: &Path, slow: Option<Duration>) -> Vec<Sent> {
    let binary = Path::new(env!("CARGO_BIN_EXE_countersign"));
    let home = Home::new(Engine::Sqlite, binary, base, 1, None).unwrap();
    // With -D the server is our child, and strace goes with it.
    let words = ["strace", "-D", "-f", "-y", "-yy", "-ttt", "-s", "96", "-e", "signal=none", "-e", CALLS, "-o"];
    let mut wrapper: Vec<String> = words.map(str::to_owned).into();
    wrapper.push(trace.to_str().unwrap().to_owned());
    if let Some(slow) = slow {
        wrapper.extend(["-e".to_owned(), format!("inject=fdatasync:delay_enter={}", slow.as_micros())]);
    }
    let mut running = home.spawn(&wrapper, "log.txt").unwrap();
    let address = running.address().unwrap();
    // The sequencer has its own commits; what it still has to do is done before the next call.
    let sent = every_verb(&home, &address, |_| settled(trace), |stream| stream);
    running.stop().unwrap();
    until("the end of the trace", || {
        std::fs::read_to_string(trace).unwrap().contains("+++ exited with 0").then_some(())
    });
    sent
}

/// Waits until the log is neither written nor synced for a while.
fn settled(trace: &Path) {
    let count = || std::fs::read_to_string(trace).unwrap().matches(WAL).count();
    let mut before = (count(), 0);
    until("a log at rest", || {
        let now = count();
        before = if now == before.0 { (now, before.1 + 1) } else { (now, 0) };
        // The sequencer gathers for 100 ms and signs what it integrated; the log is moved after half a second.
        (before.1 > 20).then_some(())
    });
}

/// How a call is found again in the trace: the client's port stands in the name of the server's socket.
#[derive(Debug)]
struct Mark {
    port: u16,
}

/// A system call: its lines begin and end at these times, in seconds.
#[derive(Debug, Clone, PartialEq)]
struct Event {
    name: String,
    /// What stands between the parentheses, up to where the trace was interrupted.
    on: String,
    began: f64,
    ended: f64,
    failed: bool,
}

/// What was found for one call.
#[derive(Debug, PartialEq)]
struct Durable {
    syncs: usize,
    /// The system call that was used.
    call: String,
}

/// Reads a trace with times and thread ids. A call that another thread's line interrupts ends where it is resumed.
fn events(text: &str) -> Vec<Event> {
    let mut open: BTreeMap<(&str, &str), (String, f64)> = BTreeMap::new();
    let mut events = Vec::new();
    for line in text.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((time, rest)) = rest.trim_start().split_once(' ') else { continue };
        let Ok(time) = time.parse::<f64>() else { continue };
        if let Some(rest) = rest.strip_prefix("<... ") {
            let name = rest.split(' ').next().unwrap();
            if let Some((on, began)) = open.remove(&(thread, name)) {
                // The buffer of a read stands behind the interruption.
                events.push(Event { name: name.to_owned(), on: on + rest, began, ended: time, failed: failed(rest) });
            }
        } else if let Some((name, on)) = rest.split_once('(') {
            if on.ends_with("<unfinished ...>") {
                open.insert((thread, name), (on.to_owned(), time));
            } else {
                let event =
                    Event { name: name.to_owned(), on: on.to_owned(), began: time, ended: time, failed: failed(rest) };
                events.push(event);
            }
        }
    }
    events
}

fn failed(line: &str) -> bool {
    line.rsplit_once(" = ").is_none_or(|(_, result)| result.starts_with('-'))
}

/// Whether what this connection asked for was durable before it was answered. Times are those at which a call began, or was resumed to its end: a sync
/// that ends in the microsecond in which the answer begins is not yet before it.
fn judge(events: &[Event], mark: &Mark, own: f64) -> Result<Durable, String> {
    let socket = format!("->127.0.0.1:{}]>", mark.port);
    let ours = |event: &&Event| event.on.contains(&socket) && !event.failed;
    let asked = events.iter().filter(ours).find(|event| ["read", "recvfrom", "recvmsg"].contains(&event.name.as_str()));
    let answers = ["write", "writev", "sendto", "sendmsg"];
    let answered = events.iter().filter(ours).find(|event| answers.contains(&event.name.as_str()));
    let (Some(asked), Some(answered)) = (asked, answered) else {
        return Err("the trace does not show the call and its answer".to_owned());
    };
    let wal = events.iter().filter(|event| event.on.contains(WAL) && !event.failed);
    let transactions = transactions(wal.filter(|event| event.began >= asked.began && event.began < answered.began));
    let Some(first) = transactions.first() else {
        return Err("nothing was written to the log before the answer".to_owned());
    };
    // On a slow machine the answer may leave so late that the sequencer is at work already.
    let first_end = first.synced.map_or(f64::INFINITY, |sync| sync.ended);
    let mut durable = Durable { syncs: 0, call: String::new() };
    for transaction in transactions.iter().filter(|transaction| transaction.began <= first_end + own) {
        match transaction.synced {
            Some(sync) if sync.ended < answered.began => durable.call.clone_from(&sync.name),
            _ => return Err("the answer was written before the log was synced".to_owned()),
        }
        durable.syncs += transaction.syncs;
    }
    Ok(durable)
}

/// Frames of the log, and the sync that made them last.
#[derive(Debug, Default)]
struct Transaction<'a> {
    began: f64,
    synced: Option<&'a Event>,
    /// A log that begins anew has its header written and synced before.
    syncs: usize,
}

fn transactions<'a>(wal: impl Iterator<Item = &'a Event>) -> Vec<Transaction<'a>> {
    let mut all = Vec::new();
    let (mut open, mut headers, mut header) = (None::<Transaction<'_>>, 0, false);
    for event in wal {
        let is_sync = event.name.ends_with("sync");
        let is_header = event.on.contains(", 32, 0)") || event.on.contains(", 32, 0 <");
        match (is_sync, open.take()) {
            (true, Some(transaction)) => {
                all.push(Transaction { synced: Some(event), syncs: headers + 1, ..transaction });
                headers = 0;
            }
            // Without a header it belongs to the move of the log into the database.
            (true, None) => headers += usize::from(std::mem::take(&mut header)),
            (false, None) if is_header => header = true,
            (false, None) => open = Some(Transaction { began: event.began, ..Transaction::default() }),
            (false, Some(transaction)) => open = Some(transaction),
        }
    }
    all.extend(open);
    all
}

const READ: &str = "7 1.0 recvfrom(9<TCP:[127.0.0.1:8220->127.0.0.1:5000]>, \"POST /x\", 512, 0, NULL, NULL) = 7";
const WRITTEN: &str = "8 1.1 pwrite64(4</d/countersign.db-wal>, \"\\0\", 4096, 32) = 4096";
const SYNCED: &str = "8 1.2 fdatasync(4</d/countersign.db-wal>) = 0";
const ANSWERED: &str = "7 1.3 writev(9<TCP:[127.0.0.1:8220->127.0.0.1:5000]>, [{\"HTTP/1.1 200\"}], 2) = 200";

fn judged(lines: &[&str]) -> Result<Durable, String> {
    judge(&events(&lines.join("\n")), &Mark { port: 5000 }, OWN)
}

#[test]
fn the_right_order_is_seen() {
    let durable = judged(&[READ, WRITTEN, SYNCED, ANSWERED]).unwrap();
    assert_eq!(durable, Durable { syncs: 1, call: "fdatasync".to_owned() });
    // What the sequencer writes while a slow answer is on its way is not the call's own.
    let sequenced = WRITTEN.replace("1.1", "1.4");
    assert!(judged(&[READ, WRITTEN, SYNCED, &sequenced, &ANSWERED.replace("1.3", "1.5")]).is_ok());
    let restarted = [WRITTEN.replace("4096, 32) = 4096", "32, 0) = 32"), SYNCED.replace("1.2", "1.12")];
    let durable = judged(&[READ, &restarted[0], &restarted[1], &WRITTEN.replace("1.1", "1.15"), SYNCED, ANSWERED]);
    assert_eq!(durable.unwrap().syncs, 2);
    let interrupted =
        ["8 1.2 fdatasync(4</d/countersign.db-wal> <unfinished ...>", "8 1.25 <... fdatasync resumed>) = 0"];
    assert!(
        judged(&[READ, WRITTEN, interrupted[0], "7 1.21 read(3</x>, \"\", 1) = 0", interrupted[1], ANSWERED]).is_ok()
    );
}

#[test]
fn every_wrong_order_is_told() {
    let at = |line: &str, from: &str, to: &str| line.replace(from, to);
    let late = "the answer was written before the log was synced";
    // As with synchronous=NORMAL: written, and never synced.
    assert_eq!(judged(&[READ, WRITTEN, ANSWERED]).unwrap_err(), late);
    assert_eq!(judged(&[READ, WRITTEN, &at(ANSWERED, "1.3", "1.15"), SYNCED]).unwrap_err(), late);
    // Begun before the answer, and not ended.
    let begun = "8 1.2 fdatasync(4</d/countersign.db-wal> <unfinished ...>";
    assert_eq!(judged(&[READ, WRITTEN, begun, ANSWERED, "8 1.4 <... fdatasync resumed>) = 0"]).unwrap_err(), late);
    // Another file, a failed sync, a sync that came before the write.
    assert_eq!(judged(&[READ, WRITTEN, &at(SYNCED, "db-wal", "db"), ANSWERED]).unwrap_err(), late);
    assert_eq!(
        judged(&[READ, WRITTEN, &at(SYNCED, "= 0", "= -1 EIO (Input/output error)"), ANSWERED]).unwrap_err(),
        late
    );
    assert_eq!(judged(&[READ, &at(SYNCED, "1.2", "1.05"), WRITTEN, ANSWERED]).unwrap_err(), late);
    assert!(judged(&[READ, SYNCED, ANSWERED]).unwrap_err().starts_with("nothing was written"));
    // A second transaction of the call's own that was not synced, right after one that was; and a header that was, without its frames.
    assert_eq!(judged(&[READ, WRITTEN, SYNCED, &at(WRITTEN, "1.1", "1.21"), ANSWERED]).unwrap_err(), late);
    let header = at(WRITTEN, "4096, 32) = 4096", "32, 0) = 32");
    assert_eq!(judged(&[READ, &header, SYNCED, &at(WRITTEN, "1.1", "1.21"), ANSWERED]).unwrap_err(), late);
    assert!(judged(&[READ, WRITTEN, SYNCED]).unwrap_err().starts_with("the trace does not show"));
}
