//! Checkpoints: the signed head of the tree (C2SP `tlog-checkpoint` within `signed-note`).

use countersign_core::digest::Digest;
use signed_note::{Note, Signature, VerifierList};

use crate::error::Error;
use crate::key::{Signer, VerifierKey};
use crate::tree::{MAX_TREE_SIZE, TreeHead, hash};

/// Which log, how many entries, which root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// `<name>/<epoch>`, see [`log_origin`].
    pub origin: String,
    /// Size and root of the tree.
    pub head: TreeHead,
}

/// A checkpoint with a valid signature; the text is kept byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    text: String,
}

/// The origin of an epoch: each is a log of its own, because a log must never sign a fork of itself.
pub fn log_origin(name: &str, epoch: u64) -> Result<String, Error> {
    let origin = format!("{name}/{epoch}");
    if name.is_empty() || origin.chars().any(char::is_control) || !signed_note::is_key_name_valid(&origin) {
        return Err(Error::LogName);
    }
    Ok(origin)
}

impl Checkpoint {
    /// What a signed checkpoint says, without a look at its signature: good for finding out whether that is worth one.
    pub fn claimed(text: &str) -> Result<Self, Error> {
        const SHAPE: Error = Error::Checkpoint("it is an origin, a size and a root, a line each");
        let (body, _) = text.split_once("\n\n").ok_or(SHAPE)?;
        let tree = tlog_tiles::Checkpoint::from_bytes(format!("{body}\n").as_bytes()).map_err(|_| SHAPE)?;
        let head = TreeHead { size: tree.size(), root: Digest::from_bytes(tree.hash().0) };
        Ok(Self { origin: tree.origin().to_owned(), head })
    }

    /// The three lines that are signed.
    pub fn body(&self) -> Result<String, Error> {
        let lines = tlog_tiles::Checkpoint::new(&self.origin, self.head.size, hash(self.head.root), "")
            .map_err(|_| Error::LogName)?
            .to_bytes();
        String::from_utf8(lines).map_err(|_| Error::LogName)
    }

    /// Signs it. The signer's key must bear the origin as its name. Sign only a head that is already durable: what is signed cannot be taken back.
    pub fn sign(self, signer: &(impl Signer + ?Sized)) -> Result<SignedCheckpoint, Error> {
        let key = signer.verifier_key();
        if key.name() != self.origin {
            return Err(Error::Origin { expected: key.name().to_owned(), found: self.origin });
        }
        let body = self.body()?;
        let signature = signer.sign(body.as_bytes()).map_err(|e| Error::Sign(e.to_string()))?;
        if !key.verifies(body.as_bytes(), &signature) {
            return Err(Error::SignerMismatch);
        }
        let text = Signature::new(key.name().to_owned(), key.key_id(), signature)
            .and_then(|line| Note::new(body.as_bytes(), &[line]))
            .map_err(|_| Error::LogName)?
            .to_bytes();
        let text = String::from_utf8(text).map_err(|_| Error::LogName)?;
        Ok(SignedCheckpoint { checkpoint: self, text })
    }
}

impl SignedCheckpoint {
    /// Reads a signed checkpoint and verifies that this key, the key of the log that it names, signed it. Signatures of others are left alone, as
    /// the format asks: they may be a witness's.
    pub fn open(text: &str, key: &VerifierKey) -> Result<Self, Error> {
        let note = Note::from_bytes(text.as_bytes())
            .map_err(|_| Error::Checkpoint("it is a text, an empty line and signature lines"))?;
        if note.to_bytes() != text.as_bytes() {
            return Err(Error::Checkpoint("it is not spelled as its signer spelled it"));
        }
        note.verify(&VerifierList::new(vec![Box::new(key.clone())])).map_err(|_| Error::Signature(key.to_string()))?;
        // Only the first line of a key is looked at; a second one would be a place to hide bytes in.
        if signature_lines(text).filter(|line| line.name() == key.name() && line.id() == key.key_id()).count() != 1 {
            return Err(Error::Checkpoint("it has two signatures of one key"));
        }

        let tree = tlog_tiles::Checkpoint::from_bytes(note.text())
            .map_err(|_| Error::Checkpoint("it is an origin, a size and a root, a line each"))?;
        if tree.origin() != key.name() {
            return Err(Error::Origin { expected: key.name().to_owned(), found: tree.origin().to_owned() });
        }
        if !tree.extension().is_empty() {
            return Err(Error::Checkpoint("it has extension lines, which this log never writes"));
        }
        if tree.size() > MAX_TREE_SIZE {
            return Err(Error::Checkpoint("its size is beyond any log's"));
        }
        Ok(Self {
            checkpoint: Checkpoint {
                origin: tree.origin().to_owned(),
                head: TreeHead { size: tree.size(), root: Digest::from_bytes(tree.hash().0) },
            },
            text: text.to_owned(),
        })
    }

    /// What was signed.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Size and root.
    pub fn head(&self) -> &TreeHead {
        &self.checkpoint.head
    }

    /// The note, as it is served under `checkpoint`.
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn signature_lines(text: &str) -> impl Iterator<Item = Signature> {
    let lines = text.rsplit_once("\n\n").map_or("", |(_, lines)| lines);
    lines.lines().filter_map(|line| Signature::from_bytes(line.as_bytes()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SignError;
    use crate::testing::TestKey;
    use crate::tree::{Frontier, empty_root, leaf_hash};

    fn signed(key: &TestKey) -> SignedCheckpoint {
        let mut tree = Frontier::new();
        tree.extend([leaf_hash(b"a"), leaf_hash(b"b")]).unwrap();
        let origin = key.verifier_key().name().to_owned();
        let head = tree.head();
        Checkpoint { origin, head }.sign(key).unwrap()
    }

    #[test]
    fn a_checkpoint_is_three_lines_and_a_signature() {
        let key = TestKey::new("log.example/1", 1);
        let signed = signed(&key);
        let (body, lines) = signed.text().split_once("\n\n").unwrap();
        assert_eq!(body, "log.example/1\n2\nsTeYX/SE+2ANuTEHx3sDZcgNePW0Kd7Q/Zc2HQd5mes=");
        assert!(lines.starts_with("— log.example/1 ") && lines.ends_with("=\n"));
        let opened = SignedCheckpoint::open(signed.text(), key.verifier_key()).unwrap();
        assert_eq!(opened, signed);
        assert_eq!(Checkpoint::claimed(signed.text()).as_ref(), Ok(signed.checkpoint()));
        assert!(Checkpoint::claimed("log.example/1\n2\n").is_err());
    }

    #[test]
    fn every_edited_byte_is_refused() {
        let key = TestKey::new("log.example/1", 1);
        let text = signed(&key).text().to_owned();
        for at in 0..text.len() {
            for change in [1, 2, 0x20, 0x80] {
                let mut bytes = text.clone().into_bytes();
                *bytes.get_mut(at).unwrap() ^= change;
                if let Ok(edited) = String::from_utf8(bytes) {
                    assert!(SignedCheckpoint::open(&edited, key.verifier_key()).is_err(), "{at} {edited}");
                }
            }
        }
    }

    #[test]
    fn a_witness_may_sign_below_but_nobody_twice() {
        let key = TestKey::new("log.example/1", 1);
        let text = signed(&key).text().to_owned();
        let line = text.lines().last().unwrap();
        let witness = line.replace("log.example/1", "witness.example");
        let cosigned = format!("{text}{witness}\n");
        assert!(SignedCheckpoint::open(&cosigned, key.verifier_key()).is_ok());
        assert!(SignedCheckpoint::open(&format!("{text}{line}\n"), key.verifier_key()).is_err());
        assert!(SignedCheckpoint::open(&format!("{text}\n"), key.verifier_key()).is_err());
        assert!(SignedCheckpoint::open(text.trim_end(), key.verifier_key()).is_err());
    }

    #[test]
    fn another_key_of_the_same_name_is_another_log() {
        let text = signed(&TestKey::new("log.example/1", 1)).text().to_owned();
        let other = TestKey::new("log.example/1", 2);
        assert!(matches!(SignedCheckpoint::open(&text, other.verifier_key()), Err(Error::Signature(_))));
    }

    /// Signs with another key than it names.
    struct Mixed(TestKey, TestKey);

    impl Signer for Mixed {
        fn verifier_key(&self) -> &VerifierKey {
            self.0.verifier_key()
        }
        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
            self.1.sign(message)
        }
    }

    #[test]
    fn only_the_logs_own_key_signs() {
        let head = TreeHead { size: 0, root: empty_root() };
        let key = TestKey::new("log.example/1", 1);
        let foreign = Checkpoint { origin: "log.example/2".into(), head };
        assert!(matches!(foreign.sign(&key), Err(Error::Origin { .. })));

        let mixed = Mixed(TestKey::new("log.example/1", 1), TestKey::new("log.example/1", 2));
        let own = Checkpoint { origin: "log.example/1".into(), head };
        assert_eq!(own.sign(&mixed), Err(Error::SignerMismatch));
    }

    #[test]
    fn an_origin_names_log_and_epoch() {
        assert_eq!(log_origin("log.example", 3).unwrap(), "log.example/3");
        for name in ["", "a b", "a+b", "a\nb", "a\u{7f}"] {
            assert_eq!(log_origin(name, 1), Err(Error::LogName));
        }
    }
}
