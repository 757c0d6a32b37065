//! A file that does not bear its name yet: whoever dies before it is whole leaves nothing that could be taken for it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::error::StoreError;

/// What SQLite and the store put beside a database.
const BESIDE: &[&str] = &["-wal", "-shm", "-journal", ".lock"];

/// It is removed with all that lies beside it unless it is published.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    target: PathBuf,
}

impl Draft {
    /// Beside a file that must not exist. Only this user can read it.
    pub(super) fn beside(target: &Path) -> Result<Self, StoreError> {
        for name in std::iter::once(target.to_owned()).chain(BESIDE.iter().take(3).map(|end| with(target, end))) {
            if fs::symlink_metadata(&name).is_ok() {
                return Err(StoreError::Occupied { path: name });
            }
        }
        let name = target
            .file_name()
            .ok_or_else(|| StoreError::NotWritable { path: target.to_owned(), why: "it names no file".to_owned() })?;
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.partial", std::process::id()));
        let draft = Self { path: target.with_file_name(hidden), target: target.to_owned() };
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        crate::sqlite::private(&mut options).open(&draft.path).map_err(|error| draft.failed(&error))?;
        Ok(draft)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name, if nobody else took that meanwhile. It is on disk when this returns. Returns its size in bytes.
    pub fn publish(self) -> Result<u64, StoreError> {
        let published = (|| {
            let file = File::open(&self.path)?;
            file.sync_all()?;
            // Unlike a rename, a link replaces nothing.
            fs::hard_link(&self.path, &self.target)?;
            fs::remove_file(&self.path)?;
            let folder = self.target.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
            Ok(file.metadata()?.len())
        })();
        published.map_err(|error: io::Error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> StoreError {
        match error.kind() {
            ErrorKind::AlreadyExists => StoreError::Occupied { path: self.target.clone() },
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full,
            ErrorKind::NotFound => {
                StoreError::NotWritable { path: self.target.clone(), why: "its folder does not exist".to_owned() }
            }
            _ => StoreError::NotWritable { path: self.target.clone(), why: error.to_string() },
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        for end in BESIDE {
            let _there_or_not = fs::remove_file(with(&self.path, end));
        }
        let _published_or_not = fs::remove_file(&self.path);
    }
}

fn with(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}
