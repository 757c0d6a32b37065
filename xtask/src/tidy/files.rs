//! What git would commit: tracked files and new ones that no `.gitignore` hides.

use anyhow::{Context, Result};

use crate::run;

/// A text file; `path` is relative to the root, with `/`.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) path: String,
    pub(super) text: String,
}

impl File {
    pub(super) fn is_rust(&self) -> bool {
        self.ends_with("rs")
    }

    pub(super) fn ends_with(&self, extension: &str) -> bool {
        self.path.rsplit_once('.').is_some_and(|(_, found)| found.eq_ignore_ascii_case(extension))
    }

    /// Lines with their numbers, from 1.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

/// Binary files are left out, and so are files that git still lists but that are gone.
pub(super) fn tracked() -> Result<Vec<File>> {
    let list =
        run::capture(&mut run::command("git", &["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))
            .context("tidy asks git for the list of files; run it in a clone")?;
    let root = run::root();
    let mut paths: Vec<&str> = list.split('\0').filter(|path| !path.is_empty()).collect();
    paths.sort_unstable();
    paths.dedup();
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let full = root.join(path);
        if !full.is_file() {
            continue;
        }
        let bytes = std::fs::read(&full).with_context(|| format!("could not read {path}"))?;
        if let Ok(text) = String::from_utf8(bytes)
            && !text.contains('\0')
        {
            files.push(File { path: path.to_owned(), text });
        }
    }
    Ok(files)
}

#[cfg(test)]
pub(super) fn file(path: &str, text: &str) -> File {
    File { path: path.to_owned(), text: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_file_is_listed() {
        let files = tracked().unwrap();
        assert!(files.iter().any(|file| file.path == "xtask/src/tidy/files.rs"));
        assert!(!files.iter().any(|file| file.path.starts_with("target/")));
    }
}
