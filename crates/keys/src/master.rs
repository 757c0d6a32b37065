//! The master key: the one secret that lies outside the database and wraps all the others.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::KeysError;
use crate::primitives::{Secret32, same_bytes};
use crate::random::Random;

const WRAP_LABEL: &str = "countersign/master/wrap/v1";
const CHECK_LABEL: &str = "countersign/master/check/v1";
const KEY_LEN: usize = 32;
/// Far more than any accepted form needs, little enough to refuse a log file that was named by mistake without reading it.
const FILE_LIMIT: usize = 1024;

/// 256 bits that only wrap data keys and make the check value, each under a key of its own derived from them.
#[derive(Debug)]
pub struct MasterKey(Secret32);

impl MasterKey {
    pub fn generate(random: &dyn Random) -> Result<Self, KeysError> {
        Secret32::generate(random).map(Self)
    }

    /// From the value of an environment variable: 64 hex digits or base64 of 32 bytes, optionally ending in one line break.
    pub fn from_text(text: &str) -> Result<Self, KeysError> {
        Self::decode_text(text.as_bytes())
    }

    /// From a file's content or a command's output: 32 raw bytes, or a form that [`Self::from_text`] takes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeysError> {
        if bytes.len() == KEY_LEN {
            return Self::checked(bytes);
        }
        Self::decode_text(bytes)
    }

    /// Reads a key file. It must be a regular file, not a link, that neither group nor others may touch (mode 0600 or 0400).
    pub fn read_file(path: &Path) -> Result<Self, KeysError> {
        let failed = |doing| move |source| io_error(doing, path, source);
        let named = fs::symlink_metadata(path).map_err(failed("look at"))?;
        if named.is_symlink() {
            return Err(KeysError::MasterKeyLink(path.to_owned()));
        }
        // Before the open, because opening a named pipe waits for a writer.
        if !named.is_file() {
            return Err(KeysError::MasterKeyNotFile(path.to_owned()));
        }
        let file = File::open(path).map_err(failed("open"))?;
        let opened = file.metadata().map_err(failed("look at"))?;
        // All verdicts are about the file that is open; the name may have been pointed elsewhere since it was looked at.
        if (opened.dev(), opened.ino()) != (named.dev(), named.ino()) {
            return Err(KeysError::MasterKeyMoved(path.to_owned()));
        }
        if opened.mode() & 0o077 != 0 {
            return Err(KeysError::MasterKeyMode(path.to_owned()));
        }
        let mut content = Zeroizing::new(Vec::with_capacity(2 * FILE_LIMIT));
        file.take(FILE_LIMIT as u64).read_to_end(&mut content).map_err(failed("read"))?;
        Self::from_bytes(&content)
    }

    /// Writes a new key file with mode 0600 as one line of base64, durably. An existing file is never touched.
    pub fn create_file(&self, path: &Path) -> Result<(), KeysError> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|source| {
            match source.kind() {
                io::ErrorKind::AlreadyExists => KeysError::MasterKeyExists(path.to_owned()),
                _ => io_error("create", path, source),
            }
        })?;
        let line = Zeroizing::new(STANDARD.encode(self.0.expose()));
        file.write_all(line.as_bytes())
            .and_then(|()| file.write_all(b"\n"))
            .and_then(|()| file.sync_all())
            .and_then(|()| sync_folder(path))
            .map_err(|source| {
                // Half a key would block the next attempt, and nothing can depend on it yet.
                drop(fs::remove_file(path));
                io_error("write", path, source)
            })
    }

    /// The key as one line of base64, for an operator who keeps it somewhere else than in a file.
    pub fn to_text(&self) -> SecretString {
        STANDARD.encode(self.0.expose()).into()
    }

    /// Stored beside the wrapped keys; it tells a wrong master key and gives nothing away about the right one.
    pub fn check_value(&self) -> [u8; 32] {
        self.0.mac(CHECK_LABEL, &[])
    }

    pub fn verify_check_value(&self, stored: &[u8]) -> Result<(), KeysError> {
        if same_bytes(&self.check_value(), stored) { Ok(()) } else { Err(KeysError::WrongMasterKey) }
    }

    pub(crate) fn wrapping_key(&self) -> Result<Secret32, KeysError> {
        self.0.derive(WRAP_LABEL)
    }

    fn decode_text(text: &[u8]) -> Result<Self, KeysError> {
        let line = text.strip_suffix(b"\n").unwrap_or(text);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let decoded = match line.len() {
            64 => decode_hex(line),
            43 => STANDARD_NO_PAD.decode(line).or_else(|_| URL_SAFE_NO_PAD.decode(line)).ok(),
            44 => STANDARD.decode(line).or_else(|_| URL_SAFE.decode(line)).ok(),
            _ => None,
        };
        Self::checked(&Zeroizing::new(decoded.ok_or(KeysError::MasterKeyFormat)?))
    }

    /// A key is refused when it is one byte repeated, or text: 32 random bytes are all printable once in 10^13 keys, while `openssl rand
    /// -hex 16` gives 32 characters with half the strength, and a passphrase of 32 characters has less.
    fn checked(bytes: &[u8]) -> Result<Self, KeysError> {
        let repeated = bytes.windows(2).all(|pair| pair.first() == pair.last());
        if repeated || bytes.iter().all(|byte| (b' '..=b'~').contains(byte)) {
            return Err(KeysError::MasterKeyWeak);
        }
        Secret32::from_slice(bytes).map(Self).map_err(|_| KeysError::MasterKeyFormat)
    }
}

fn decode_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(digits.len() / 2);
    for pair in digits.chunks_exact(2) {
        let mut byte = 0;
        for digit in pair {
            byte = byte << 4 | char::from(*digit).to_digit(16)?;
        }
        out.push(u8::try_from(byte).ok()?);
    }
    Some(out)
}

/// A file whose name is not durable is gone after a power cut, and with it everything that was sealed.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn io_error(doing: &'static str, path: &Path, source: io::Error) -> KeysError {
    KeysError::MasterKeyIo { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::primitives::lower_hex;
    use crate::testing::SeededRandom;

    fn key() -> MasterKey {
        MasterKey::generate(&SeededRandom::new(21)).unwrap()
    }

    fn same(result: Result<MasterKey, KeysError>) -> bool {
        result.unwrap().check_value() == key().check_value()
    }

    #[test]
    fn all_spellings_of_one_key_are_one_key() {
        let raw = key().0.expose().to_vec();
        assert!(same(MasterKey::from_bytes(&raw)));
        let hex = lower_hex(&raw);
        let spellings = [
            hex.to_uppercase(),
            hex,
            STANDARD.encode(&raw),
            STANDARD_NO_PAD.encode(&raw),
            URL_SAFE.encode(&raw),
            URL_SAFE_NO_PAD.encode(&raw),
            key().to_text().expose_secret().to_owned(),
        ];
        for text in spellings {
            for end in ["", "\n", "\r\n"] {
                let text = format!("{text}{end}");
                assert!(same(MasterKey::from_text(&text)), "{text:?}");
                assert!(same(MasterKey::from_bytes(text.as_bytes())), "{text:?}");
            }
        }
    }

    #[test]
    fn other_lengths_and_spaces_are_refused() {
        let hex = lower_hex(key().0.expose());
        for text in [
            String::new(),
            "\n".to_owned(),
            format!(" {hex}"),
            format!("{hex} "),
            format!("{hex}\n\n"),
            format!("{hex}00"),
            hex.replacen(|_| true, "g", 1),
            hex.replacen(|_| true, "+", 1),
        ] {
            assert!(matches!(MasterKey::from_text(&text), Err(KeysError::MasterKeyFormat)), "{text:?}");
            assert!(matches!(MasterKey::from_bytes(text.as_bytes()), Err(KeysError::MasterKeyFormat)), "{text:?}");
        }
        let mut raw_with_newline = key().0.expose().to_vec();
        raw_with_newline.push(b'\n');
        assert!(MasterKey::from_bytes(&raw_with_newline).is_err());
    }

    #[test]
    fn text_taken_for_raw_bytes_and_placeholders_are_refused() {
        for weak in [&[0; 32], &[0xff; 32], b"0123456789abcdef0123456789abcdef", b"correct horse battery staple yes"] {
            assert!(matches!(MasterKey::from_bytes(weak), Err(KeysError::MasterKeyWeak)));
        }
        assert!(matches!(MasterKey::from_text(&"0".repeat(64)), Err(KeysError::MasterKeyWeak)));
    }

    #[test]
    fn the_check_value_tells_another_key() {
        let stored = key().check_value();
        assert!(key().verify_check_value(&stored).is_ok());
        let other = MasterKey::generate(&SeededRandom::new(22)).unwrap();
        assert!(matches!(other.verify_check_value(&stored), Err(KeysError::WrongMasterKey)));
        assert!(key().verify_check_value(&[]).is_err());
        assert_ne!(stored, *key().wrapping_key().unwrap().expose());
    }

    #[test]
    fn a_created_file_is_private_and_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        key().create_file(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(same(MasterKey::read_file(&path)));
    }

    #[test]
    fn an_existing_file_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        key().create_file(&path).unwrap();
        let other = MasterKey::generate(&SeededRandom::new(22)).unwrap();
        assert!(matches!(other.create_file(&path), Err(KeysError::MasterKeyExists(_))));
        assert!(same(MasterKey::read_file(&path)));
        let dangling = folder.path().join("dangling");
        symlink(folder.path().join("elsewhere"), &dangling).unwrap();
        assert!(matches!(other.create_file(&dangling), Err(KeysError::MasterKeyExists(_))));
    }

    #[test]
    fn a_file_that_others_can_touch_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        key().create_file(&path).unwrap();
        for (mode, good) in
            [(0o400, true), (0o640, false), (0o604, false), (0o620, false), (0o601, false), (0o644, false)]
        {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            match MasterKey::read_file(&path) {
                Ok(_) => assert!(good, "{mode:o}"),
                Err(error) => assert!(!good && matches!(error, KeysError::MasterKeyMode(_)), "{mode:o} {error}"),
            }
        }
    }

    #[test]
    fn links_folders_and_missing_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        key().create_file(&path).unwrap();
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(matches!(MasterKey::read_file(&link), Err(KeysError::MasterKeyLink(_))));
        assert!(matches!(MasterKey::read_file(folder.path()), Err(KeysError::MasterKeyNotFile(_))));
        let missing = MasterKey::read_file(&folder.path().join("none")).unwrap_err();
        assert!(missing.to_string().starts_with("cannot look at "), "{missing}");
    }

    #[test]
    fn a_long_file_is_refused_and_debug_is_silent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
        file.write_all(&vec![b'a'; 1 << 20]).unwrap();
        assert!(matches!(MasterKey::read_file(&path), Err(KeysError::MasterKeyFormat)));
        assert!(format!("{:?}", key()).contains("REDACTED"));
    }
}
