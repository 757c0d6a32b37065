//! Which file a command is, found before anything is asked.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::client::words;
use crate::exit::{self, Failure};

enum Found {
    Executable,
    /// It is there, but not to be executed.
    Other(&'static str),
    Nothing,
}

/// The absolute path of what the shell would run: with a slash that file, without one the first executable on the search path.
pub(super) fn program(typed: &OsStr, search: &[PathBuf], folder: &Path) -> Result<PathBuf, Failure> {
    let shown = words::quote(typed.as_bytes());
    let candidates: Vec<PathBuf> = if typed.as_bytes().contains(&b'/') {
        vec![folder.join(typed)]
    } else if typed.is_empty() {
        Vec::new()
    } else {
        search.iter().map(|entry| folder.join(entry).join(typed)).collect()
    };
    let mut reason = None;
    for candidate in candidates {
        match look(&candidate) {
            Found::Executable => return Ok(candidate),
            Found::Other(why) => reason = reason.or(Some(why)),
            Found::Nothing => {}
        }
    }
    Err(match reason {
        Some(why) => Failure::new(format!("{shown} {why}: nothing was asked")).code(exit::NOT_EXECUTABLE),
        None => Failure::new(format!("{shown} is no command here: nothing was asked")).code(exit::NOT_FOUND),
    })
}

fn look(path: &Path) -> Found {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Found::Other("is a folder"),
        Ok(found) if !found.is_file() => Found::Other("is no file"),
        Ok(found) if found.permissions().mode() & 0o111 == 0 => Found::Other("is not executable"),
        Ok(_) => Found::Executable,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Found::Other("is out of your reach"),
        Err(_) => Found::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::code_of;

    fn code(result: Result<PathBuf, Failure>) -> u8 {
        code_of(&result.unwrap_err().into())
    }

    #[test]
    fn it_finds_what_a_shell_would() {
        let base = tempfile::tempdir().unwrap();
        let dir = |name: &str| base.path().join(name);
        for (name, mode) in [("a/tool", 0o644), ("b/tool", 0o755), ("c/tool", 0o755), ("a/data", 0o600)] {
            fs::create_dir_all(dir(name).parent().unwrap()).unwrap();
            fs::write(dir(name), "#!/bin/sh\n").unwrap();
            fs::set_permissions(dir(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let search = [dir("none"), dir("a"), dir("b"), dir("c")];
        let find = |typed: &str| program(OsStr::new(typed), &search, &dir("c"));
        assert_eq!(find("tool").unwrap(), dir("b/tool"));
        assert_eq!(find("./tool").unwrap(), dir("c/./tool"));
        assert_eq!(code(find("data")), 126);
        assert_eq!(code(find("../a")), 126);
        assert_eq!(code(find("nothing")), 127);
        assert_eq!(code(find("./nothing")), 127);
        assert_eq!(code(find("")), 127);
        // An empty part of the search path is the current folder.
        assert_eq!(program(OsStr::new("tool"), &[PathBuf::new()], &dir("c")).unwrap(), dir("c/tool"));
    }
}
