//! Receipts that lie are refused, by a verifier that knows nothing but the log's key.

use std::fs;
use std::path::{Path, PathBuf};

use countersign_core::canonical::Value;
use countersign_core::digest::commit;
use countersign_keys::SystemRandom;
use countersign_keys::signing::SigningKey;
use countersign_ledger::{
    Checkpoint, Frontier, Receipt, ReceiptEntry, SignError, Signer, TileMap, TlogProof, VerifierKey, leaf_hash,
    prove_inclusion,
};

use crate::support::{Demo, Out, cs};

/// A demo with the receipts of two requests.
struct Proved {
    demo: Demo,
    log_key: String,
    ids: [String; 2],
    files: [PathBuf; 2],
}

impl Proved {
    fn start() -> Option<Self> {
        let demo = Demo::start()?;
        let ids = ["one", "two"].map(|word| {
            let granted = demo.granted(["echo", word]);
            granted.run.ok();
            granted.id
        });
        let files = [demo.receipt(&ids[0], "one.json"), demo.receipt(&ids[1], "two.json")];
        Some(Self { log_key: demo.log_key(), demo, ids, files })
    }

    fn receipt(&self, which: usize) -> Receipt {
        Receipt::from_json(&fs::read(&self.files[which]).unwrap()).unwrap()
    }

    /// `verify` on a machine that was told the log's key.
    #[track_caller]
    fn verify(&self, text: &[u8], more: &[&str]) -> Out {
        let pinned = ["--log-key", self.log_key.as_str()];
        self.verify_with(text, &[&pinned, more].concat())
    }

    /// `verify` on a machine that knows nothing.
    #[track_caller]
    fn verify_with(&self, text: &[u8], more: &[&str]) -> Out {
        let (file, home) = (self.demo.file("claimed.json"), self.demo.file("nothing"));
        fs::write(&file, text).unwrap();
        verify_at(&home, &file, more)
    }

    /// Refused with the right key pinned, and without any.
    #[track_caller]
    fn refused(&self, what: &str, receipt: &Receipt) {
        let text = receipt.to_json();
        for out in [self.verify(text.as_bytes(), &[]), self.verify_with(text.as_bytes(), &[])] {
            assert_eq!(out.code(), 1, "{what}: {}", out.all());
            assert_eq!(out.text(), "", "{what}: nothing of it is shown as if it were so");
        }
    }
}

fn verify_at(home: &Path, file: &Path, more: &[&str]) -> Out {
    let (home, file) = (home.to_str().unwrap(), file.to_str().unwrap());
    cs(["--home", home, "verify", file].iter().chain(more)).run()
}

/// The leaf of the entry of a kind, by its place in the file.
fn place(receipt: &Receipt, kind: &str) -> usize {
    let kind = format!("\"type\":\"{kind}\"");
    receipt.entries.iter().position(|entry| entry.leaf.contains(&kind)).unwrap()
}

/// Another value for a field; with `openly`, its commitment in the leaf is made to fit.
fn claim(entry: &mut ReceiptEntry, field: &str, value: Value, openly: bool) {
    let (salt, old) = entry.openings[field].clone();
    if openly {
        let was = commit(field, &salt, &old.canonical()).to_string();
        let becomes = commit(field, &salt, &value.canonical()).to_string();
        let leaf = entry.leaf.replace(&was, &becomes);
        assert_ne!(leaf, entry.leaf, "{field} was committed to with this formula");
        entry.leaf = leaf;
    }
    entry.openings.insert(field.to_owned(), (salt, value));
}

/// Another base64 character at a place.
fn other_character(text: &str, at: usize) -> String {
    let mut bytes = text.as_bytes().to_vec();
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    String::from_utf8(bytes).unwrap()
}

#[test]
fn whatever_is_edited_is_found() {
    let Some(proved) = Proved::start() else { return };
    let honest = proved.receipt(0);
    let (asked, answered) = (place(&honest, "request.asked"), place(&honest, "request.answered"));
    let told = proved.verify(honest.to_json().as_bytes(), &["--request", &proved.ids[0]]).ok();
    assert!(told.text().contains("approved by bob"), "{}", told.text());

    let edit = |what: &str, change: &dyn Fn(&mut Receipt)| {
        let mut edited = honest.clone();
        change(&mut edited);
        assert_ne!(edited, honest, "{what}");
        proved.refused(what, &edited);
    };
    edit("the reason", &|r| claim(&mut r.entries[asked], "reason", Value::from("quite another"), false));
    edit("the requester", &|r| claim(&mut r.entries[asked], "requester", Value::from("mallory"), false));
    edit("the operation", &|r| {
        let (salt, operation) = r.entries[asked].openings["operation"].clone();
        let text = operation.to_canonical_string().replace(r#"["echo","one"]"#, r#"["rm","-rf"]"#);
        assert!(text.contains("rm"), "{text}");
        let value = Value::from_canonical(text.as_bytes()).unwrap();
        r.entries[asked].openings.insert("operation".to_owned(), (salt, value));
    });
    edit("the demands", &|r| claim(&mut r.entries[asked], "demands", Value::array::<Value>([]), false));
    edit("the factor", &|r| claim(&mut r.entries[answered], "factor", Value::from("webauthn"), false));
    edit("the outcome", &|r| {
        let done = place(r, "release.done");
        claim(&mut r.entries[done], "outcome", Value::from("exit 1"), false);
    });
    edit("a salt", &|r| {
        let other = r.entries[answered].openings["factor"].0;
        r.entries[answered].openings.get_mut("person").unwrap().0 = other;
    });
    edit("the time of the approval", &|r| {
        let leaf = &mut r.entries[answered].leaf;
        let at = leaf.find("\"time\":").unwrap() + 12;
        let digit = if &leaf[at..=at] == "5" { "6" } else { "5" };
        leaf.replace_range(at..=at, digit);
    });
    edit("the policy", &|r| {
        let leaf = &mut r.entries[asked].leaf;
        let at = leaf.find("\"policy\":\"").unwrap() + 20;
        let digit = if &leaf[at..=at] == "5" { "6" } else { "5" };
        leaf.replace_range(at..=at, digit);
    });
    edit("a hash of the proof", &|r| {
        let proof = &r.entries[answered].proof;
        let at = proof.match_indices('\n').nth(1).unwrap().0 + 5;
        r.entries[answered].proof = other_character(proof, at);
    });
    edit("the place in the log", &|r| {
        r.entries[answered].proof = r.entries[answered].proof.replacen("\nindex ", "\nindex 1", 1);
    });
    edit("the checkpoint's root", &|r| {
        for entry in r.entries.iter_mut().chain(&mut r.keys) {
            let head = entry.proof.find("\n\n").unwrap();
            let at = entry.proof[head + 2..].match_indices('\n').nth(1).unwrap().0 + head + 6;
            entry.proof = other_character(&entry.proof, at);
        }
    });
    edit("the signature", &|r| {
        for entry in r.entries.iter_mut().chain(&mut r.keys) {
            let at = entry.proof.rfind('\u{2014}').unwrap()
                + entry.proof[entry.proof.rfind('\u{2014}').unwrap()..].rfind(' ').unwrap()
                + 20;
            entry.proof = other_character(&entry.proof, at);
        }
    });
    edit("the approval left out", &|r| {
        r.entries.remove(answered);
    });
    edit("the order", &|r| r.entries.swap(asked, answered));
    edit("a key of the log", &|r| r.keys[1] = r.keys[0].clone());

    // And bytes anywhere in the file: refused, or without any meaning.
    let file = fs::read(&proved.files[0]).unwrap();
    let said = proved.verify(&file, &["--json"]).ok().stdout;
    for at in (0..file.len()).step_by(file.len() / 40) {
        let mut edited = file.clone();
        edited[at] ^= 1;
        let out = proved.verify(&edited, &["--json"]);
        assert!(out.code() == 1 || out.stdout == said, "byte {at}: {}", out.all());
    }
    proved.verify(&file[..file.len() - 1], &[]).with_code(1);
    proved.verify(b"", &[]).with_code(1);
}

#[test]
fn an_approver_swapped_together_with_his_opening_is_found() {
    let Some(proved) = Proved::start() else { return };
    let honest = proved.receipt(0);
    let answered = place(&honest, "request.answered");
    for openly in [false, true] {
        let mut edited = honest.clone();
        claim(&mut edited.entries[answered], "person", Value::from("mallory"), openly);
        proved.refused(&format!("the approver, commitment made to fit: {openly}"), &edited);
    }
    // The whole approval of the other request, whose salt and commitment are real.
    let other = proved.receipt(1);
    let mut edited = honest.clone();
    edited.entries[answered].openings = other.entries[place(&other, "request.answered")].openings.clone();
    proved.refused("the openings of another approval", &edited);
}

#[test]
fn a_receipt_of_another_request_proves_nothing_about_this_one() {
    let Some(proved) = Proved::start() else { return };
    let (one, two) = (proved.receipt(0), proved.receipt(1));
    let file = fs::read(&proved.files[1]).unwrap();
    proved.verify(&file, &["--request", &proved.ids[1]]).ok();
    proved.verify(&file, &["--request", &proved.ids[0]]).with_code(1).saying(&proved.ids[1]);

    let pasted = Receipt { request: one.request, ..two.clone() };
    proved.refused("all entries of another request under this id", &pasted);
    let mut mixed = one.clone();
    mixed.entries[place(&one, "request.answered")] = two.entries[place(&two, "request.answered")].clone();
    proved.refused("the approval of another request", &mixed);
    let mut mixed = one.clone();
    mixed.entries.extend(two.entries.clone());
    proved.refused("both requests in one", &mixed);
}

/// A forger's key under the log's own name.
struct Forger {
    key: SigningKey,
    public: VerifierKey,
}

impl Forger {
    fn new(origin: &str) -> Self {
        let key = SigningKey::generate(&SystemRandom).unwrap();
        let public = VerifierKey::from_ed25519(origin, key.verifying_key().as_bytes()).unwrap();
        Self { key, public }
    }

    /// The whole log anew: the same entries with other words in them, a tree over them, and a signature that holds.
    fn forge(&self, honest: &Receipt) -> Receipt {
        let mut forged = Receipt { key: self.public.clone(), ..honest.clone() };
        let answered = place(&forged, "request.answered");
        claim(&mut forged.entries[answered], "person", Value::from("mallory"), true);
        let (was, becomes) = (honest.key.kid(), self.public.kid());
        let mut frontier = Frontier::new();
        let mut tiles = TileMap::default();
        for entry in forged.keys.iter_mut().chain(&mut forged.entries) {
            entry.leaf = entry.leaf.replace(&format!("\"kid\":\"{was}\""), &format!("\"kid\":\"{becomes}\""));
            for (id, bytes) in frontier.extend([leaf_hash(entry.leaf.as_bytes())]).unwrap() {
                tiles.insert(id, bytes);
            }
        }
        let head = frontier.head();
        let signed = Checkpoint { origin: honest.origin.clone(), head }.sign(self).unwrap();
        for (index, entry) in (0..).zip(forged.keys.iter_mut().chain(&mut forged.entries)) {
            let hashes = prove_inclusion(&head, index, &tiles).unwrap();
            let proof = TlogProof { extra: None, index, hashes, checkpoint: signed.text().to_owned() };
            entry.proof = proof.to_text();
        }
        forged
    }
}

impl Signer for Forger {
    fn verifier_key(&self) -> &VerifierKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.key.sign(message).map(Vec::from).map_err(|error| SignError(error.to_string()))
    }
}

#[test]
fn one_signed_anew_with_a_fresh_key_is_refused_under_a_pinned_one() {
    let Some(proved) = Proved::start() else { return };
    let honest = proved.receipt(0);
    let forger = Forger::new(&honest.origin);
    let anew = forger.forge(&honest).to_json();

    // Who knows no key is told so, and sees a forgery that holds together in itself.
    let unknown = proved.verify_with(anew.as_bytes(), &[]).ok();
    let text = unknown.text();
    assert!(text.contains("unknown log key") && text.contains("approved by mallory"), "{text}");
    assert!(text.contains("anybody can make a log"), "{text}");
    let json = proved.verify_with(anew.as_bytes(), &["--json"]).ok().json();
    assert_eq!((json["pinned"].as_bool(), json["consistent"].as_bool()), (Some(false), Some(true)));
    let strict = proved.verify_with(anew.as_bytes(), &["--require-pinned"]).with_code(1);
    assert!(!strict.text().contains("mallory"), "{}", strict.text());

    // Who was told the key, or has logged in once, is not fooled.
    proved.verify(anew.as_bytes(), &[]).with_code(1).saying("pinned");
    let file = proved.demo.file("claimed.json");
    let alice = proved.demo.dir().join("clients/alice");
    verify_at(&alice, &file, &[]).with_code(1).saying("do not believe it");
    verify_at(&alice, &proved.files[0], &["--require-pinned"]).ok();
    proved.verify(honest.to_json().as_bytes(), &["--require-pinned"]).ok();

    // Nor does it help the forger to claim the old key, or to sign a log of another name.
    let claimed = Receipt { key: honest.key.clone(), ..forger.forge(&honest) };
    proved.refused("the old key over the new signature", &claimed);
    let elsewhere = Forger::new("elsewhere.example/1");
    let other = Receipt {
        origin: "elsewhere.example/1".to_owned(),
        ..elsewhere.forge(&Receipt { origin: "elsewhere.example/1".to_owned(), ..honest })
    };
    proved.verify(other.to_json().as_bytes(), &[]).with_code(1);
    fs::write(&file, other.to_json()).unwrap();
    verify_at(&alice, &file, &[]).ok().saying("unknown log key");
    verify_at(&alice, &file, &["--require-pinned"]).with_code(1);
}

#[test]
fn a_damaged_or_foreign_key_or_id_is_an_error_not_an_unknown_one() {
    let Some(proved) = Proved::start() else { return };
    let file = fs::read(&proved.files[0]).unwrap();
    let other = Forger::new("log.example/1").public.to_string();
    for key in [&proved.log_key[..proved.log_key.len() - 2], "", "x", &other] {
        proved.verify_with(&file, &["--log-key", key]).with_code(1);
    }
    proved.verify(&file, &["--request", "not-an-id"]).with_code(1);
    let missing = proved.demo.file("missing.json");
    verify_at(&proved.demo.file("nothing"), &missing, &[]).with_code(1).saying("missing.json");
}
