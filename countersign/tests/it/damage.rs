//! Damage to the database of a server that was stopped, done with the `sqlite3` program: `ledger verify` names the first break, and passes what was not
//! touched. A running server's log is read by Go's own transparency log packages.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::support::{Cs, Demo, Out, cs, has_tool, other_program, until};

const GOPATH: &str = "/usr/share/gocode";

/// A stopped demo with a countersigned command, a denied request, and one that waits; and the checkpoint that a client kept.
struct History {
    demo: Demo,
    kept: PathBuf,
    /// The request that was granted.
    granted: String,
    /// The request that was denied.
    denied: String,
    /// The request of the newest row.
    last: String,
    /// The tree's root before the newest row, as SQL.
    root_before: String,
}

impl History {
    fn new() -> Option<Self> {
        if !has_tool("sqlite3") {
            return None;
        }
        let mut demo = Demo::start()?;
        let granted = demo.granted(["true"]).id;
        let denied = ask(&demo, "denied");
        demo.by("bob", ["deny", &denied]).run().ok();
        // Waits for the checkpoint that covers everything so far.
        demo.receipt(&denied, "denied.json");
        let root_before = sqlite(&demo.dir(), "SELECT quote(root) FROM log_state");
        let last = ask(&demo, "last");
        let receipt = demo.file("last.json");
        demo.by("alice", ["show", &last, "--receipt", receipt.to_str().unwrap()]).run().ok();
        let kept = keep(&demo, "kept.txt");
        demo.stop();
        let history = Self { demo, kept, granted, denied, last, root_before };
        history.verify(&[]).run().ok();
        history.verify(&[&history.kept]).run().ok().saying("is intact");
        Some(history)
    }

    fn sql(&self, sql: &str) -> String {
        sqlite(&self.demo.dir(), sql)
    }

    fn verify(&self, kept: &[&Path]) -> Cs {
        verify(&self.demo.dir(), kept)
    }

    /// Does the damage, which is one, and looks.
    #[track_caller]
    fn damaged(&self, sql: &str) -> Out {
        let changed = self.sql(&format!("{sql}; SELECT total_changes() > 0"));
        assert!(changed.ends_with('1'), "nothing was changed: {changed}");
        self.verify(&[]).run().with_code(1).saying("the ledger does not hold: ")
    }

    /// Where an entry of this type lies that tells of this request.
    fn row(&self, request: &str, kind: &str) -> u64 {
        let sql = format!(
            "SELECT leaf_index FROM entries WHERE request = '{request}' AND CAST(bytes AS TEXT) LIKE '%\"type\":\"{kind}\"%'"
        );
        self.sql(&sql).parse().unwrap()
    }
}

fn ask(demo: &Demo, argument: &str) -> String {
    let body = json!({
        "action": "command.run", "target": "db-1", "reason": "something to damage",
        "parameters": {"argv": ["true", argument], "cwd": "/", "user": "alice"},
    });
    demo.api("alice").post("requests", &body).json()["id"].as_str().unwrap().to_owned()
}

/// What the log signed last, as a client keeps it.
fn keep(demo: &Demo, name: &str) -> PathBuf {
    let file = demo.file(name);
    std::fs::write(&file, demo.by("alice", ["ledger", "checkpoint"]).run().ok().text()).unwrap();
    file
}

fn sqlite(dir: &Path, sql: &str) -> String {
    let database = dir.join("countersign.db");
    let args = ["-bail", "-cmd", ".timeout 5000", database.to_str().unwrap(), sql];
    let done = other_program("sqlite3", args.into_iter().filter(|arg| !arg.is_empty())).run().ok();
    done.text().trim_end().rsplit('\n').next().unwrap_or_default().to_owned()
}

fn verify(dir: &Path, kept: &[&Path]) -> Cs {
    let mut args = vec!["ledger", "verify", "--dir", dir.to_str().unwrap()];
    for file in kept {
        args.extend(["--checkpoint", file.to_str().unwrap()]);
    }
    cs(args)
}

#[test]
fn a_tail_cut_with_all_that_mentions_it_is_told_by_a_kept_checkpoint_alone() {
    let Some(history) = History::new() else { return };
    let last = &history.last;
    let size: u64 = history.sql("SELECT size FROM log_state").parse().unwrap();
    let rest = history.row(last, "request.asked");
    // The sessions of those who asked wrote rows too, so the newest one is looked for where it was put.
    assert_eq!(rest + 1, size, "the newest row is the one that asks");
    let root = &history.root_before;
    let before: u64 = history.sql(&format!("SELECT max(size) FROM checkpoints WHERE size < {size}")).parse().unwrap();
    history.sql(&format!(
        "DELETE FROM openings WHERE entry IN (SELECT id FROM entries WHERE leaf_index >= {before}); \
         DELETE FROM entries WHERE leaf_index >= {before}; \
         DELETE FROM requests WHERE id = '{last}'; DELETE FROM inbox WHERE request = '{last}'; \
         DELETE FROM timers WHERE subject = '{last}'; DELETE FROM idempotency WHERE request = '{last}'; \
         DELETE FROM outbox WHERE payload LIKE '%{last}%'; DELETE FROM checkpoints WHERE size > {before}; \
         UPDATE tiles SET width = {before}, bytes = substr(bytes, 1, 32 * {before}) WHERE level = 0; \
         UPDATE log_state SET size = {before}, root = {root}"
    ));
    // Nothing in the database tells of it any more.
    history.verify(&[]).run().ok().saying(&format!("{before} entries"));
    let told = format!(
        "the log was cut: the checkpoint kept in {} signs {size} rows, there are {before}",
        history.kept.display()
    );
    history.verify(&[&history.kept]).run().with_code(1).saying(&told);
}

#[test]
fn an_edited_row_is_named() {
    let Some(history) = History::new() else { return };
    let row = history.row(&history.denied, "request.denied");
    let edit = "CAST(replace(CAST(bytes AS TEXT), 'request.denied', 'request.revoke') AS BLOB)";
    let out = history.damaged(&format!("UPDATE entries SET bytes = {edit} WHERE leaf_index = {row}"));
    out.saying(&format!("row {row} was edited: it does not hash to its leaf"));
}

#[test]
fn an_edited_row_whose_leaf_and_root_follow_contradicts_what_was_signed() {
    let Some(history) = History::new() else { return };
    let row = history.row(&history.denied, "request.denied");
    // Without SHA-256 in the sqlite3 program, the row of another place stands in with its own, right hash.
    let other = row + 1;
    let part = |index: u64| format!("substr(bytes, 32 * {index} + 1, 32)");
    let sql = format!(
        "UPDATE entries SET leaf_index = -1 WHERE leaf_index = {row}; UPDATE entries SET leaf_index = {row} WHERE leaf_index = {other}; \
         UPDATE entries SET leaf_index = {other} WHERE leaf_index = -1; \
         UPDATE tiles SET bytes = CAST(substr(bytes, 1, 32 * {row}) || {} || {} || substr(bytes, 32 * {row} + 65) AS BLOB) WHERE level = 0",
        part(other),
        part(row)
    );
    history.damaged(&sql).saying("the log was rewritten or forked after row ");
}

#[test]
fn swapped_rows_are_named() {
    let Some(history) = History::new() else { return };
    let (one, two) = (history.row(&history.granted, "request.asked"), history.row(&history.granted, "request.granted"));
    let out = history.damaged(&format!(
        "UPDATE entries SET leaf_index = -1 WHERE leaf_index = {one}; UPDATE entries SET leaf_index = {one} WHERE leaf_index = {two}; \
         UPDATE entries SET leaf_index = {two} WHERE leaf_index = -1"
    ));
    out.saying(&format!("row {one} holds the entry that belongs to row {two}: rows were swapped"));
}

#[test]
fn a_fork_is_told_by_the_checkpoint_of_the_other_branch() {
    let Some(mut history) = History::new() else { return };
    // A copy of the folder has the log's key as well: what it signs is as good as what the original signs.
    let branch = history.demo.file("branch");
    Command::new("cp").arg("-a").arg(history.demo.dir()).arg(&branch).status().unwrap();
    let size: u64 = history.sql("SELECT size FROM log_state").parse().unwrap();
    let grow = |demo: &Demo, argument: &str, name: &str| {
        let asked = ask(demo, argument);
        demo.receipt(&asked, &format!("{argument}.json"));
        keep(demo, name)
    };
    history.demo.start_again();
    let ours = grow(&history.demo, "original", "original.txt");
    history.demo.stop();
    // The other folder takes the place of the first one, which its demo.json names.
    let original = history.demo.file("original");
    std::fs::rename(history.demo.dir(), &original).unwrap();
    std::fs::rename(&branch, history.demo.dir()).unwrap();
    history.demo.start_again();
    let theirs = grow(&history.demo, "branch", "branch.txt");
    history.demo.stop();

    verify(&original, &[&history.kept, &ours]).run().ok();
    history.verify(&[&history.kept, &theirs]).run().ok();
    // What both have in common is not in doubt.
    let told = |out: Out, kept: &Path| {
        out.with_code(1).saying("the log was rewritten or forked after row ").saying(&kept.display().to_string())
    };
    let out = told(history.verify(&[&ours]).run(), &ours);
    let row = out.all().split_once("after row ").unwrap().1.split(':').next().unwrap().parse::<u64>().unwrap();
    assert!(row + 1 >= size, "the common prefix of {size} rows is agreed on, {row}");
    told(verify(&original, &[&theirs]).run(), &theirs);
}

#[test]
fn an_edited_clear_text_is_named() {
    let Some(history) = History::new() else { return };
    let row = history.row(&history.granted, "request.answered");
    let out = history.damaged(&format!(
        "UPDATE openings SET opened = (SELECT json_group_array(json(CASE json_extract(value, '$[0]') \
             WHEN 'person' THEN json_set(value, '$[2]', '\"eve\"') ELSE value END)) FROM json_each(opened)) \
         WHERE entry = (SELECT id FROM entries WHERE leaf_index = {row})"
    ));
    out.saying(&format!("row {row} of ")).saying("the clear text of `person` was edited");
}

#[test]
fn an_edited_request_is_named() {
    let Some(history) = History::new() else { return };
    let (granted, denied) = (history.granted.clone(), history.denied.clone());
    let saved = |request: &str| history.sql(&format!("SELECT quote(state) FROM requests WHERE id = '{request}'"));
    let edits = [
        // Something else than what was asked.
        (&granted, "\"cwd\":\"", "\"cwd\":\"/evil", "it is not what was digested"),
        // Used up, and fit for use again.
        (&granted, "\"state\":\"spent\"", "\"state\":\"live\",\"uses_left\":1", "other uses of its grant"),
        (&granted, "\"uses\":1,\"state\":{", "\"uses\":2,\"state\":{", "another grant"),
        // Somebody else's approval.
        (&granted, "\"name\":\"bob\"", "\"name\":\"eve\"", "other approvals"),
        // Denied, and said to have expired.
        (&denied, "\"stage\":\"refused\"", "\"stage\":\"expired\"", "it says expired, the log says denied"),
        // Weaker demands than policy made.
        (&denied, "\"k\":1", "\"k\":0", "it is not what was digested"),
        // More uses than were approved.
        (&denied, "\"uses\":1", "\"uses\":9", "it is not what was digested"),
    ];
    for (request, from, to, told) in edits {
        let before = saved(request);
        assert!(before.contains(from), "{before}");
        let edit = format!("UPDATE requests SET state = replace(state, '{from}', '{to}') WHERE id = '{request}'");
        history.damaged(&edit).saying(&format!("request {request}: ")).saying(told);
        history.sql(&format!("UPDATE requests SET state = {before} WHERE id = '{request}'"));
        history.verify(&[]).run().ok();
    }
}

#[test]
fn go_reads_the_log_of_a_running_server() {
    let Some(reader) = go_reader() else { return };
    let Some(demo) = Demo::start() else { return };
    let granted = demo.granted(["true"]).id;
    demo.receipt(&granted, "r.json");
    // Over one tile: 256 rows are a full one, which is served under another name.
    let alice = demo.api("alice");
    for number in 0..280 {
        let body = json!({
            "action": "command.run", "target": "db-1", "reason": "a log of some length",
            "parameters": {"argv": ["true", number], "cwd": "/", "user": "alice"},
        });
        assert_eq!(alice.post("requests", &body).status, 201);
    }
    until("a checkpoint over one tile", || {
        let text = alice.get("/ledger/checkpoint");
        let text = String::from_utf8(text.body).unwrap();
        (text.lines().nth(1)?.parse::<u64>().ok()? > 280).then_some(())
    });
    let read = |key: &str| other_program(reader.to_str().unwrap(), [&format!("{}/ledger", demo.url()), key]).run();
    let out = read(&demo.log_key()).ok();
    eprintln!("{}", out.text().trim());
    assert!(out.text().starts_with("ok: "), "{}", out.text());
    // And it can tell: with another key of the same name nothing holds.
    let other = Demo::start().unwrap().log_key();
    read(&other).with_code(1).saying("refused: checkpoint");
}

/// `None` where the tools are absent and nobody insists on them.
fn go_reader() -> Option<PathBuf> {
    if !has_tool("go") {
        return None;
    }
    if !Path::new(GOPATH).join("src/golang.org/x/mod/sumdb/tlog").is_dir() {
        let required = std::env::var_os("COUNTERSIGN_TEST_REQUIRE_TOOLS").is_some_and(|value| value == "1");
        assert!(!required, "golang-golang-x-mod-dev is not installed");
        eprintln!("skipped: golang-golang-x-mod-dev is not installed");
        return None;
    }
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let program = scratch.join("go_ledger_reader");
    let output = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/go/ledger/main.go"))
        .env("GO111MODULE", "off")
        .env("GOPATH", GOPATH)
        .env("GOFLAGS", "")
        .env("GOTOOLCHAIN", "local")
        .env("GOCACHE", scratch.join("go_cache"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(program)
}
