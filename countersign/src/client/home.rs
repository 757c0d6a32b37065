//! What the client remembers between two commands, in a folder of its own (0700, files 0600): the session, the log keys that it trusts, and the
//! newest checkpoint of each log, which is what finds a log that was cut or rewritten later.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};

use super::wire::LogKey;
use crate::exit::Failure;

const SESSION: &str = "session.json";
const LOG_KEYS: &str = "log-keys.json";
const CHECKPOINTS: &str = "checkpoints.json";
const NEWEST: &str = "newest.json";

/// The folder. It is made when something is first written.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    dir: PathBuf,
}

/// A login that lasts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) server: String,
    #[serde(serialize_with = "exposed")]
    pub(crate) token: SecretString,
    pub(crate) account: String,
    pub(crate) expires_at: Timestamp,
}

/// Log keys by server, oldest first: the last one is in use, the others verify old receipts.
pub(crate) type LogKeys = BTreeMap<String, Vec<LogKey>>;

/// Signed checkpoints by the origin of their log, as text.
pub(crate) type Checkpoints = BTreeMap<String, String>;

/// What pinning a key found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pinned {
    /// The first key that this client sees of that server.
    First,
    /// The one that was pinned.
    Same,
    /// Another one; it is not pinned.
    Changed { pinned: LogKey },
}

impl Home {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(crate) fn session(&self) -> anyhow::Result<Option<Session>> {
        self.read(SESSION)
    }

    pub(crate) fn keep_session(&self, session: &Session) -> anyhow::Result<()> {
        self.write(SESSION, session)
    }

    pub(crate) fn forget_session(&self) -> anyhow::Result<()> {
        match fs::remove_file(self.dir.join(SESSION)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context("the session stays on disk"),
            _ => Ok(()),
        }
    }

    pub(crate) fn log_keys(&self) -> anyhow::Result<LogKeys> {
        Ok(self.read(LOG_KEYS)?.unwrap_or_default())
    }

    /// Pins the first key of a server; another one only if `accept` names it.
    pub(crate) fn pin(&self, server: &str, key: &LogKey, accept: Option<&str>) -> anyhow::Result<Pinned> {
        let mut all = self.log_keys()?;
        let keys = all.entry(server.to_owned()).or_default();
        let found = match keys.last() {
            None => Pinned::First,
            Some(pinned) if pinned == key => return Ok(Pinned::Same),
            Some(_) if accept == Some(key.vkey.as_str()) => Pinned::First,
            Some(pinned) => return Ok(Pinned::Changed { pinned: pinned.clone() }),
        };
        keys.push(key.clone());
        self.write(LOG_KEYS, &all)?;
        Ok(found)
    }

    pub(crate) fn checkpoints(&self) -> anyhow::Result<Checkpoints> {
        Ok(self.read(CHECKPOINTS)?.unwrap_or_default())
    }

    pub(crate) fn keep_checkpoint(&self, origin: &str, note: &str) -> anyhow::Result<()> {
        let mut all = self.checkpoints()?;
        all.insert(origin.to_owned(), note.to_owned());
        self.write(CHECKPOINTS, &all)
    }

    /// The newest checkpoint of each log that came with an answer; not proved to continue anything.
    pub(crate) fn newest(&self) -> anyhow::Result<Checkpoints> {
        Ok(self.read(NEWEST)?.unwrap_or_default())
    }

    pub(crate) fn keep_newest(&self, origin: &str, note: &str) -> anyhow::Result<()> {
        let mut all = self.newest()?;
        all.insert(origin.to_owned(), note.to_owned());
        self.write(NEWEST, &all)
    }

    /// Keeps what contradicts an older checkpoint, as evidence; gives the file.
    pub(crate) fn keep_evidence(&self, name: &str, note: &str) -> anyhow::Result<PathBuf> {
        self.prepare()?;
        let path = self.dir.join(name);
        write_whole(&path, note.as_bytes(), 0o600)?;
        Ok(path)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> anyhow::Result<Option<T>> {
        let path = self.dir.join(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("{} does not open", path.display())),
        };
        let found = file.metadata().with_context(|| format!("{} does not open", path.display()))?;
        // Who can write here chooses the server's key; who can read has the session.
        if found.mode() & 0o077 != 0 || found.uid() != nix::unistd::geteuid().as_raw() {
            let shown = path.display();
            return Err(Failure::new(format!("{shown} is not yours alone"))
                .hint(format!("chmod 600 {shown}, and see who owns it"))
                .into());
        }
        serde_json::from_reader(std::io::BufReader::new(file))
            .map(Some)
            .with_context(|| format!("{} is damaged: remove it and log in again", path.display()))
    }

    fn write(&self, name: &str, content: &impl Serialize) -> anyhow::Result<()> {
        self.prepare()?;
        let mut text = zeroize::Zeroizing::new(serde_json::to_vec_pretty(content)?);
        text.push(b'\n');
        write_whole(&self.dir.join(name), &text, 0o600)
    }

    fn prepare(&self) -> anyhow::Result<()> {
        let shown = self.dir.display();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)
            .with_context(|| format!("{shown} cannot be made"))?;
        let found = fs::metadata(&self.dir)?;
        if found.uid() != nix::unistd::geteuid().as_raw() {
            return Err(Failure::new(format!("{shown} belongs to another user"))
                .hint("give a folder of your own with --home")
                .into());
        }
        if found.mode() & 0o077 != 0 {
            fs::set_permissions(&self.dir, fs::Permissions::from_mode(0o700))
                .with_context(|| format!("{shown} stays open to others"))?;
        }
        Ok(())
    }
}

/// Writes a file so that nobody ever sees half of it, and it is there after a crash.
pub(crate) fn write_whole(path: &Path, content: &[u8], mode: u32) -> anyhow::Result<()> {
    let name = path.file_name().with_context(|| format!("{} names no file", path.display()))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", std::process::id()));
    let beside = folder.join(hidden);
    let written = (|| {
        // What an earlier process of the same number left behind would keep its own mode.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(content)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        let _gone = fs::remove_file(&beside);
    }
    written.with_context(|| format!("{} cannot be written", path.display()))
}

fn exposed<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    fn key(vkey: &str) -> LogKey {
        LogKey { origin: "log/1".to_owned(), vkey: vkey.to_owned() }
    }

    fn session() -> Session {
        Session {
            server: "https://a.example".to_owned(),
            token: SecretString::from("cs_secret"),
            account: "local:alice".to_owned(),
            expires_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn nobody_else_reads_the_session() {
        let base = tempfile::tempdir().unwrap();
        let home = Home::new(base.path().join("a/b"));
        home.keep_session(&session()).unwrap();
        assert_eq!(mode(&base.path().join("a/b")), 0o700);
        let file = base.path().join("a/b/session.json");
        assert_eq!(mode(&file), 0o600);
        assert_eq!(home.session().unwrap().unwrap().token.expose_secret(), "cs_secret");
        assert!(!format!("{:?}", home.session().unwrap()).contains("cs_secret"));
        assert_eq!(fs::read_dir(base.path().join("a/b")).unwrap().count(), 1, "nothing is left beside it");

        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(home.session().unwrap_err().to_string().contains("not yours alone"));
    }

    #[test]
    fn a_folder_that_was_open_is_closed() {
        let base = tempfile::tempdir().unwrap();
        fs::set_permissions(base.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let home = Home::new(base.path().to_owned());
        home.keep_session(&session()).unwrap();
        assert_eq!(mode(base.path()), 0o700);
        home.forget_session().unwrap();
        home.forget_session().unwrap();
        assert!(home.session().unwrap().is_none());
    }

    #[test]
    fn a_changed_key_is_not_pinned_unless_it_is_named() {
        let base = tempfile::tempdir().unwrap();
        let home = Home::new(base.path().to_owned());
        assert_eq!(home.pin("https://a", &key("k1"), None).unwrap(), Pinned::First);
        assert_eq!(home.pin("https://a", &key("k1"), None).unwrap(), Pinned::Same);
        assert_eq!(home.pin("https://a", &key("k2"), None).unwrap(), Pinned::Changed { pinned: key("k1") });
        assert_eq!(home.pin("https://a", &key("k2"), Some("k3")).unwrap(), Pinned::Changed { pinned: key("k1") });
        assert_eq!(home.pin("https://b", &key("k2"), None).unwrap(), Pinned::First);
        assert_eq!(home.pin("https://a", &key("k2"), Some("k2")).unwrap(), Pinned::First);
        assert_eq!(home.log_keys().unwrap()["https://a"], [key("k1"), key("k2")]);
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("receipt.json");
        write_whole(&path, b"old and long", 0o644).unwrap();
        write_whole(&path, b"new", 0o644).unwrap();
        assert_eq!((fs::read(&path).unwrap().as_slice(), mode(&path)), (b"new".as_slice(), 0o644));
        assert!(write_whole(&base.path().join("no/such/folder"), b"", 0o600).is_err());
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 1);
    }
}
