//! What is wrong with a configuration, and where.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One finding: file, line, key, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// `None`: it came from the command line.
    pub(crate) at: Option<(PathBuf, usize)>,
    pub(crate) key: String,
    pub(crate) what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((file, line)) = &self.at {
            write!(f, "{}:{line}: ", file.display())?;
        }
        if !self.key.is_empty() {
            write!(f, "`{}`: ", self.key)?;
        }
        f.write_str(&self.what)
    }
}

/// Everything that is wrong at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub(crate) struct Problems(pub(crate) Vec<Problem>);

/// The text that findings are about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
}

impl Text<'_> {
    pub(super) fn problem(&self, key: &str, span: &Range<usize>, what: impl Into<String>) -> Problem {
        Problem { at: Some(self.place(span)), key: key.to_owned(), what: what.into() }
    }

    /// An error of the TOML reader. Only its first line is taken: the rest quotes the file, which may hold what must not be printed.
    pub(super) fn unreadable(&self, error: &toml::de::Error) -> Problem {
        let start = error.span().map_or(0, |span| span.start);
        let what = error.message().lines().next().unwrap_or("it is not TOML");
        Problem { at: Some((self.file.to_owned(), self.line(start))), key: self.key(start), what: what.to_owned() }
    }

    /// File and line.
    pub(super) fn place(&self, span: &Range<usize>) -> (PathBuf, usize) {
        (self.file.to_owned(), self.line(span.start))
    }

    pub(super) fn line(&self, offset: usize) -> usize {
        self.before(offset).matches('\n').count() + 1
    }

    /// The key on the line of `offset`, with the table that it stands in.
    fn key(&self, offset: usize) -> String {
        let head = self.before(offset);
        let begin = head.rfind('\n').map_or(0, |at| at + 1);
        let line = self.text.get(begin..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        let Some((key, _)) = line.split_once('=') else { return table(line).unwrap_or_default().to_owned() };
        let key = key.trim();
        match head.get(..begin).and_then(|above| above.lines().rev().find_map(table)) {
            Some(table) => format!("{table}.{key}"),
            None => key.to_owned(),
        }
    }

    fn before(&self, offset: usize) -> &str {
        self.text.get(..offset).unwrap_or(self.text)
    }
}

fn table(line: &str) -> Option<&str> {
    line.trim().strip_prefix('[')?.trim_start_matches('[').split(']').next().map(str::trim)
}
