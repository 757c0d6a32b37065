//! The Go project's transparency log packages read what this crate wrote (`go_oracle/main.go`).
//!
//! They come with Debian's `golang-golang-x-mod-dev`; where they are absent the test says so and passes, unless COUNTERSIGN_TEST_REQUIRE_TOOLS=1.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_core::digest::Digest;
use countersign_ledger::{
    Checkpoint, Frontier, SignError, Signer, TileMap, TreeHead, VerifierKey, leaf_hash, prove_consistency,
    prove_inclusion,
};
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};

const GOPATH: &str = "/usr/share/gocode";
const ORIGIN: &str = "log.example/1";

struct Key(SigningKey, VerifierKey);

impl Signer for Key {
    fn verifier_key(&self) -> &VerifierKey {
        &self.1
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(self.0.sign(message).to_vec())
    }
}

#[test]
fn go_accepts_what_we_sign_and_prove_and_nothing_else() {
    let Some(oracle) = build() else { return };
    let honest = input(1_000, 613, 300);
    assert_eq!(run(&oracle, &honest), (0, "ok".to_owned()));
    for (size, index, old) in [(1, 0, 1), (256, 255, 255), (257, 256, 256), (700, 300, 513)] {
        assert_eq!(run(&oracle, &input(size, index, old)), (0, "ok".to_owned()), "{size}");
    }

    let other = Digest::sha256(b"another");
    let hash = json!(STANDARD.encode(other.as_bytes()));
    let tampered: [(&str, Value, &str); 7] = [
        ("checkpoint", json!(text(&honest, "checkpoint").replace("\n1000\n", "\n1001\n")), "checkpoint"),
        ("key", json!(input_key(2).1.to_string()), "checkpoint"),
        ("index", json!(612), "inclusion"),
        ("inclusion", with_first(&honest, "inclusion", &hash), "inclusion"),
        ("old_root", hash.clone(), "consistency"),
        ("consistency", with_first(&honest, "consistency", &hash), "consistency"),
        ("tiles", json!({}), "rebuilt"),
    ];
    for (member, value, reason) in tampered {
        let mut edited = honest.clone();
        *edited.get_mut(member).unwrap() = value;
        assert_ne!(edited, honest, "{member}");
        let (status, output) = run(&oracle, &edited);
        assert_eq!(status, 1, "{member}: {output}");
        assert!(output.starts_with(&format!("refused: {reason}")), "{member}: {output}");
    }
}

/// A log of `size` entries that grew from `old` ones, with everything that the oracle checks.
fn input(size: u64, index: u64, old: u64) -> Value {
    let leaves: Vec<Vec<u8>> = (0..size).map(|n| format!("entry {n}").into_bytes()).collect();
    let hashes = |range: std::ops::Range<u64>| leaves_of(&leaves, range);
    let mut frontier = Frontier::new();
    let mut tiles: TileMap = frontier.extend(hashes(0..old)).unwrap().into_iter().collect();
    let before: TreeHead = frontier.head();
    tiles.extend(frontier.extend(hashes(old..size)).unwrap());
    let head = frontier.head();

    let key = input_key(1);
    let signed = Checkpoint { origin: ORIGIN.to_owned(), head }.sign(&key).unwrap();
    let encode = |proof: Vec<Digest>| -> Vec<String> { proof.iter().map(|h| STANDARD.encode(h.as_bytes())).collect() };
    // What is written when the whole log is appended at once: each tile in its widest form.
    let written = Frontier::new().extend(hashes(0..size)).unwrap();
    let written: serde_json::Map<_, _> =
        written.into_iter().map(|(tile, bytes)| (tile.path(), json!(STANDARD.encode(bytes)))).collect();
    json!({
        "key": key.1.to_string(),
        "checkpoint": signed.text(),
        "leaves": leaves.iter().map(|leaf| STANDARD.encode(leaf)).collect::<Vec<_>>(),
        "index": index,
        "inclusion": encode(prove_inclusion(&head, index, &tiles).unwrap()),
        "old_size": old,
        "old_root": STANDARD.encode(before.root.as_bytes()),
        "consistency": encode(prove_consistency(&head, old, &tiles).unwrap()),
        "tiles": written,
    })
}

fn leaves_of(leaves: &[Vec<u8>], range: std::ops::Range<u64>) -> Vec<Digest> {
    let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
    leaves.get(range).unwrap().iter().map(|leaf| leaf_hash(leaf)).collect()
}

fn input_key(seed: u8) -> Key {
    let key = SigningKey::from_bytes(&[seed; 32]);
    let public = VerifierKey::from_ed25519(ORIGIN, key.verifying_key().as_bytes()).unwrap();
    Key(key, public)
}

fn text<'a>(input: &'a Value, member: &str) -> &'a str {
    input.get(member).and_then(Value::as_str).unwrap()
}

fn with_first(input: &Value, member: &str, hash: &Value) -> Value {
    let mut list = input.get(member).unwrap().clone();
    *list.get_mut(0).unwrap() = hash.clone();
    list
}

fn run(oracle: &Path, input: &Value) -> (i32, String) {
    let mut child = Command::new(oracle).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), text.trim_end().to_owned())
}

/// `None` if the tools are absent and nobody insists on them.
fn build() -> Option<PathBuf> {
    if !Path::new(GOPATH).join("src/golang.org/x/mod/sumdb/tlog").is_dir() {
        return absent("the Go package golang.org/x/mod (Debian: golang-golang-x-mod-dev)");
    }
    let works = |go: &&str| Command::new(go).arg("version").stdout(Stdio::null()).status().is_ok_and(|s| s.success());
    let Some(go) = ["go", "/usr/bin/go"].into_iter().find(works) else {
        return absent("go (Debian: golang-go)");
    };
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let oracle = scratch.join("go_oracle");
    let output = Command::new(go)
        .args(["build", "-o"])
        .arg(&oracle)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/go_oracle/main.go"))
        .env("GO111MODULE", "off")
        .env("GOPATH", GOPATH)
        .env("GOFLAGS", "")
        .env("GOTOOLCHAIN", "local")
        .env("GOCACHE", scratch.join("go_cache"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(oracle)
}

#[expect(clippy::print_stderr, clippy::disallowed_methods, reason = "a test that does not run must say so")]
fn absent(tool: &str) -> Option<PathBuf> {
    let required = std::env::var_os("COUNTERSIGN_TEST_REQUIRE_TOOLS").is_some_and(|value| value == "1");
    assert!(!required, "{tool} is not installed, and COUNTERSIGN_TEST_REQUIRE_TOOLS=1 demands it");
    eprintln!("skipped: {tool} is not installed");
    None
}
