//! Folders and files that hold secrets: made for their owner alone, replaced as a whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::exit::Failure;

/// Makes the folder and its parents with mode 0700. One that exists stays as it is.
pub(super) fn private_folder(path: &Path) -> anyhow::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| cannot("create", path, &error))?;
    trusted_folder(path).map_err(|why| Failure::new(why).into())
}

/// Why the folder can't be trusted with the service's data, in words.
pub(super) fn trusted_folder(path: &Path) -> Result<(), String> {
    let found = fs::metadata(path).map_err(|error| format!("{} can't be looked at: {error}", path.display()))?;
    if !found.is_dir() {
        return Err(format!("{} is not a folder; name one", path.display()));
    }
    // Who can write into the folder can put another database, or another key, in the place of ours.
    if found.mode() & 0o022 != 0 {
        return Err(format!("{0} can be written by other users; run `chmod 700 {0}`", path.display()));
    }
    Ok(())
}

/// Writes a new file; one that exists is never touched.
pub(super) fn create(path: &Path, content: &[u8], mode: u32) -> anyhow::Result<()> {
    write_new(path, content, mode).map_err(|error| cannot("create", path, &error))
}

/// Writes the file anew for its owner alone: readers find the old content or the new, never a part, also after a power cut.
pub(super) fn replace(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = Path::new(&name);
    let replaced = match fs::remove_file(new) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => write_new(new, content, 0o600).and_then(|()| fs::rename(new, path)).and_then(|()| sync_folder(path)),
    };
    replaced.map_err(|error| cannot("write", path, &error))
}

/// What an error of the file system means, and what to do.
pub(super) fn cannot(doing: &str, path: &Path, error: &io::Error) -> anyhow::Error {
    let path = path.display();
    let hint = match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "give this user the right to write there, or name another folder"
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "the disk is full: make room, nothing is lost",
        ErrorKind::AlreadyExists => "it is never overwritten: move it away first, or name another folder",
        _ => "look at the path and its permissions",
    };
    Failure::new(format!("cannot {doing} {path}: {error}")).hint(hint).into()
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    let written = file.write_all(content).and_then(|()| file.sync_all()).and_then(|()| sync_folder(path));
    if written.is_err() {
        // Half a file would stand in the way of the next attempt.
        drop(fs::remove_file(path));
    }
    written
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn what_is_made_is_for_its_owner_alone() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("a/b");
        private_folder(&folder).unwrap();
        assert_eq!((mode(&folder), mode(&base.path().join("a"))), (0o700, 0o700));
        let file = folder.join("secret");
        replace(&file, b"one").unwrap();
        assert_eq!(mode(&file), 0o600);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        // A half-written file of an attempt that was killed is no obstacle.
        fs::write(folder.join("secret.new"), b"half").unwrap();
        replace(&file, b"two").unwrap();
        assert_eq!((fs::read(&file).unwrap().as_slice(), mode(&file)), (b"two".as_slice(), 0o600));
        assert!(!folder.join("secret.new").exists());
    }

    #[test]
    fn a_file_that_exists_is_not_overwritten() {
        let base = tempfile::tempdir().unwrap();
        let file = base.path().join("countersign.toml");
        create(&file, b"mine", 0o644).unwrap();
        let error = create(&file, b"theirs", 0o644).unwrap_err();
        assert!(error.to_string().contains("exists"), "{error}");
        assert_eq!(fs::read(&file).unwrap(), b"mine");
    }

    #[test]
    fn a_folder_that_others_can_write_is_refused() {
        let base = tempfile::tempdir().unwrap();
        fs::set_permissions(base.path(), fs::Permissions::from_mode(0o770)).unwrap();
        let error = private_folder(base.path()).unwrap_err();
        assert!(error.to_string().contains("chmod 700"), "{error}");
    }
}
