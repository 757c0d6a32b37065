//! `[[sink]]`: where the ledger's entries go besides the database.

use std::path::{Path, PathBuf};

use countersign_engine::sinks::Mode;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::problem::{Problem, Text};
use crate::server::files;

const NAME_LIMIT: usize = 64;

/// One `[[sink]]` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    pub(super) kind: Kind,
    name: Spanned<String>,
    path: Spanned<PathBuf>,
    mode: WrittenMode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    File,
}

/// There is no default: whether an outage of the sink stops releases is for the operator to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WrittenMode {
    Required,
    BestEffort,
}

/// A sink that is to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct SinkConfig {
    pub(in crate::server) name: String,
    pub(in crate::server) mode: Mode,
    pub(in crate::server) path: PathBuf,
    /// Where it stands, for what only opening it shows.
    pub(in crate::server) line: usize,
}

/// One `[[sink]]` for `config show`.
#[derive(Debug, Serialize)]
pub(super) struct Shown<'a> {
    kind: Kind,
    name: &'a str,
    path: &'a Path,
    mode: WrittenMode,
}

pub(super) fn read(
    at: &Text<'_>,
    written: Vec<Written>,
    folder: &Path,
    problems: &mut Vec<Problem>,
) -> Vec<SinkConfig> {
    let mut sinks: Vec<SinkConfig> = Vec::with_capacity(written.len());
    for Written { kind: Kind::File, name, path, mode } in written {
        let full = super::tidy(&folder.join(path.get_ref()));
        if let Err(what) = fits(name.get_ref()) {
            problems.push(at.problem("sink.name", &name.span(), what));
        }
        if let Err(what) = safe(&full) {
            problems.push(at.problem("sink.path", &path.span(), what));
        }
        for other in &sinks {
            if other.name == *name.get_ref() {
                let what = format!(
                    "another sink, on line {}, has this name; each has its own place in the log by its name",
                    other.line
                );
                problems.push(at.problem("sink.name", &name.span(), what));
            }
            if place(&other.path) == place(&full) {
                let what = format!("the sink on line {} writes there already", other.line);
                problems.push(at.problem("sink.path", &path.span(), what));
            }
        }
        let mode = match mode {
            WrittenMode::Required => Mode::Required,
            WrittenMode::BestEffort => Mode::BestEffort,
        };
        let line = at.line(path.span().start);
        sinks.push(SinkConfig { name: name.into_inner(), mode, path: full, line });
    }
    sinks
}

impl<'a> Shown<'a> {
    pub(super) fn of(sink: &'a SinkConfig) -> Self {
        let SinkConfig { name, mode, path, line: _ } = sink;
        let mode = match mode {
            Mode::Required => WrittenMode::Required,
            Mode::BestEffort => WrittenMode::BestEffort,
        };
        Self { kind: Kind::File, name, path, mode }
    }
}

fn fits(name: &str) -> Result<(), &'static str> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > NAME_LIMIT || !name.bytes().all(known) {
        return Err("is 1 to 64 letters, digits, `-`, `_` and `.`");
    }
    Ok(())
}

/// What can be said without touching the file.
fn safe(path: &Path) -> Result<(), String> {
    let Some(folder) = path.parent().filter(|_| path.file_name().is_some()) else {
        return Err("is a file; name one".to_owned());
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    // Who can write into the folder can take the file away or put another one in its place.
    files::trusted_folder(folder)?;
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => {
            Err(format!("{} is a symbolic link; name the file that it leads to", path.display()))
        }
        Ok(found) if !found.is_file() => Err(format!("{} is not a regular file", path.display())),
        _ => Ok(()),
    }
}

/// The same file under whichever spelling.
fn place(path: &Path) -> PathBuf {
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    match (folder, path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::super::{Config, FILE, Overrides};
    use super::*;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn parse(&self, text: &str) -> Result<Config, String> {
            let file = self.0.path().join(FILE);
            Config::parse(&file, text, &Overrides::default()).map_err(|problems| problems.to_string())
        }

        #[track_caller]
        fn refused(&self, text: &str, line: usize, key: &str) -> String {
            let found = self.parse(text).unwrap_err();
            let expected = format!("{}:{line}: `{key}`: ", self.0.path().join(FILE).display());
            assert!(found.starts_with(&expected), "{text:?} gave {found:?}, not {expected:?}");
            found
        }
    }

    const GOOD: &str = "[[sink]]\nkind = 'file'\nname = 'audit'\npath = 'audit.jsonl'\nmode = 'required'\n";

    #[test]
    fn sinks_are_read_and_shown_again() {
        let place = Place::new();
        let text = format!("{GOOD}[[sink]]\nkind = 'file'\nname = 'b'\npath = 'b.jsonl'\nmode = 'best_effort'\n");
        let config = place.parse(&text).unwrap();
        let found: Vec<_> = config.sinks.iter().map(|sink| (sink.name.as_str(), sink.mode, sink.line)).collect();
        assert_eq!(found, [("audit", Mode::Required, 4), ("b", Mode::BestEffort, 9)]);
        assert_eq!(config.sinks[0].path, place.0.path().join("audit.jsonl"));
        let shown: Vec<_> = config.sinks.iter().map(|sink| toml::to_string(&Shown::of(sink)).unwrap()).collect();
        let again = place.parse(&format!("[[sink]]\n{}[[sink]]\n{}", shown[0], shown[1])).unwrap();
        let without_line = |sinks: &[SinkConfig]| -> Vec<_> {
            sinks.iter().map(|sink| (sink.name.clone(), sink.mode, sink.path.clone())).collect()
        };
        assert_eq!(without_line(&again.sinks), without_line(&config.sinks));
        assert!(!place.0.path().join("audit.jsonl").exists(), "reading a configuration makes nothing");
    }

    #[test]
    fn what_is_unknown_or_missing_is_named() {
        let place = Place::new();
        for (from, to, line, key) in [
            ("'file'", "'nats'", 2, "sink.kind"),
            ("'required'", "'optional'", 5, "sink.mode"),
            ("'audit'", "'a/b'", 3, "sink.name"),
            ("'audit'", "''", 3, "sink.name"),
            ("'audit.jsonl'", "'missing/audit.jsonl'", 4, "sink.path"),
            ("'audit.jsonl'", "'.'", 4, "sink.path"),
            ("mode =", "mod =", 5, "sink.mod"),
        ] {
            place.refused(&GOOD.replace(from, to), line, key);
        }
        for part in ["kind = 'file'\n", "name = 'audit'\n", "path = 'audit.jsonl'\n", "mode = 'required'\n"] {
            assert!(place.refused(&GOOD.replace(part, ""), 1, "sink").contains("missing"), "{part}");
        }
    }

    #[test]
    fn two_sinks_share_neither_name_nor_file() {
        let place = Place::new();
        let second = GOOD.replace("audit.jsonl", "other.jsonl");
        place.refused(&format!("{GOOD}{second}"), 8, "sink.name");
        fs::create_dir(place.0.path().join("d")).unwrap();
        for spelling in ["audit.jsonl", "./audit.jsonl", "d/../audit.jsonl"] {
            let second = GOOD.replace("'audit'", "'other'").replace("audit.jsonl", spelling);
            place.refused(&format!("{GOOD}{second}"), 9, "sink.path");
        }
    }

    #[test]
    fn a_place_that_others_can_change_is_refused() {
        let place = Place::new();
        let folder = place.0.path().join("open");
        fs::create_dir(&folder).unwrap();
        for mode in [0o777, 0o1777, 0o770] {
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
            let found = place.refused(&GOOD.replace("audit.jsonl", "open/audit.jsonl"), 4, "sink.path");
            assert!(found.contains("chmod"), "{found}");
        }
        symlink("/dev/full", place.0.path().join("audit.jsonl")).unwrap();
        assert!(place.refused(GOOD, 4, "sink.path").contains("symbolic link"));
    }
}
