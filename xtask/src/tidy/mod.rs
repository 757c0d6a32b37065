//! The rules that the compiler cannot check. Each check is a pure function over file contents and has a test that proves that it can fail.
//!
//! A new check is a module with a `check` function and one line in [`run`].

mod arrows;
mod attested;
mod crates;
mod files;
mod ignored;
mod named;
mod paths;
mod rust;
mod size;
mod sql;
mod unfinished;
mod words;

use std::fmt;

use anyhow::Result;

use crate::Verdict;
use files::File;
use rust::Source;

pub(crate) fn run() -> Result<Verdict> {
    let files = files::tracked()?;
    let (sources, mut findings) = rust::read_all(&files);
    findings.extend(arrows::check(&arrows::Metadata::load()?, &files));
    findings.extend(crates::check(&crates::shipped()?, &files));
    findings.extend(sql::check(&sources, &files));
    findings.extend(attested::check(&sources));
    findings.extend(ignored::check(&sources));
    findings.extend(unfinished::check(&sources, &files));
    findings.extend(size::check(&files));
    findings.extend(paths::check(&files));
    findings.extend(words::check(&files));
    findings.extend(named::check(&sources, &files));
    Ok(report(findings, files.len()))
}

/// One broken rule: where, what, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    line: usize,
    what: String,
    remedy: String,
}

impl Finding {
    fn new(path: impl Into<String>, line: usize, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { path: path.into(), line, what: what.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, what, remedy } = self;
        write!(f, "{path}:{line}: {what}\n    to do: {remedy}")
    }
}

fn report(mut findings: Vec<Finding>, files: usize) -> Verdict {
    findings.sort();
    findings.dedup();
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("tidy: {files} files, nothing to do");
        return Verdict::Good;
    }
    println!("tidy: {files} files, {} to fix", findings.len());
    Verdict::Bad
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_says_where_what_and_what_to_do() {
        let finding = Finding::new("a/b.rs", 7, "too long", "split it");
        assert_eq!(finding.to_string(), "a/b.rs:7: too long\n    to do: split it");
    }

    #[test]
    fn any_finding_makes_the_verdict_bad() {
        assert_eq!(report(vec![], 3), Verdict::Good);
        assert_eq!(report(vec![Finding::new("a", 1, "b", "c")], 3), Verdict::Bad);
    }
}
