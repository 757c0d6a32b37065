//! `SECURITY.md` promises a test for each attack. A test that was renamed or removed leaves a promise that nobody keeps.

use std::collections::BTreeSet;

use super::rust::{Kind, Source};
use super::{File, Finding};

const DOCUMENT: &str = "SECURITY.md";
/// The head of the column that names them.
const COLUMN: &str = "test";
/// Where the tests of a name before a colon lie.
const FOLDERS: &[&str] = &["crates/", "doors/", ""];

pub(super) fn check(sources: &[Source], files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path == DOCUMENT) {
        let mut column = None;
        for (number, line) in file.lines() {
            let cells = cells(line);
            // A table ends with the first line that is none.
            column = match cells.iter().position(|cell| *cell == COLUMN) {
                _ if cells.is_empty() => None,
                Some(found) => Some(found),
                None => column,
            };
            let Some(cell) = column.and_then(|column| cells.get(column)) else { continue };
            if *cell == COLUMN || cell.trim_matches(['-', ':']).is_empty() {
                continue;
            }
            let broken = names(cell)
                .and_then(|named| named.into_iter().try_for_each(|(place, name)| exists(sources, place, name)));
            if let Err(what) = broken {
                findings.push(Finding::new(
                    DOCUMENT,
                    number,
                    what,
                    "name the test that carries the attack out, as `place: `function`, `function`; place: ..`",
                ));
            }
        }
    }
    findings
}

/// The cells of a row, or nothing where there is no row.
fn cells(line: &str) -> Vec<&str> {
    let row = line.trim().strip_prefix('|').and_then(|rest| rest.strip_suffix('|'));
    row.map_or_else(Vec::new, |row| row.split('|').map(str::trim).collect())
}

/// Each name with the place before its colon.
fn names(cell: &str) -> Result<Vec<(&str, &str)>, String> {
    let mut named = Vec::new();
    for part in cell.split(';') {
        let (place, list) = part.split_once(':').ok_or_else(|| format!("`{part}` does not say where its test is"))?;
        let before = named.len();
        named.extend(list.split('`').skip(1).step_by(2).map(|name| (place.trim(), name)));
        if named.len() == before {
            return Err(format!("`{part}` names no test"));
        }
    }
    Ok(named)
}

fn exists(sources: &[Source], place: &str, name: &str) -> Result<(), String> {
    let folders: BTreeSet<String> = FOLDERS.iter().map(|folder| format!("{folder}{place}/")).collect();
    let here = |path: &str| folders.iter().any(|folder| path.starts_with(folder.as_str()));
    let found = sources.iter().filter(|source| here(&source.path)).any(|source| has_test(source, name));
    if found { Ok(()) } else { Err(format!("{place} has no test `{name}`")) }
}

fn has_test(source: &Source, name: &str) -> bool {
    source.tokens.windows(2).any(|pair| match pair {
        [function, named] => {
            named.test && function.kind == Kind::Word("fn".to_owned()) && named.kind == Kind::Word(name.to_owned())
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::super::files::file;
    use super::super::rust::source;
    use super::*;

    const HEAD: &str = "| attack | what stops it | test |\n|---|---|---|\n";

    fn found(row: &str) -> Vec<String> {
        let sources = [
            source("crates/engine/tests/it/a.rs", "#[test] fn one() {} #[tokio::test] async fn two() {}"),
            source("doors/api/src/lib.rs", "fn shipped() {} #[cfg(test)] mod tests { #[test] fn three() {} }"),
            source("countersign/tests/it/b.rs", "#[test] fn four() {}"),
        ];
        let document = file(DOCUMENT, &format!("# A\n\n{HEAD}{row}\n\nend\n"));
        check(&sources, &[document]).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn what_is_there_is_found_wherever_it_lies() {
        assert_eq!(found("| a | b | engine: `one`, `two`; api: `three`; countersign: `four` |"), [""; 0]);
    }

    #[test]
    fn what_is_not_there_is_told() {
        for (cell, what) in [
            ("engine: `one`, `gone`", "engine has no test `gone`"),
            ("api: `one`", "api has no test `one`"),
            // Only what runs as a test carries an attack out.
            ("api: `shipped`", "api has no test `shipped`"),
            ("`one`", "does not say where its test is"),
            ("engine: one", "names no test"),
        ] {
            let told = found(&format!("| a | b | {cell} |"));
            assert!(told.len() == 1 && told[0].contains(what), "{cell}: {told:?}");
        }
    }

    #[test]
    fn other_tables_and_other_documents_promise_nothing() {
        let table = "| who | is trusted with |\n|---|---|\n| root | the clock; verifying codes |\n";
        let both = format!("{table}\n{HEAD}| a | b | engine: `one` |\n\n{table}");
        let sources = [source("crates/engine/tests/it/a.rs", "#[test] fn one() {}")];
        assert_eq!(check(&sources, &[file(DOCUMENT, &both)]), []);
        assert_eq!(check(&[], &[file("docs/a.md", &format!("{HEAD}| a | b | engine: `gone` |\n"))]), []);
    }

    #[test]
    fn the_line_is_told() {
        let text = format!("{HEAD}| a | b | engine: `gone` |\n");
        assert_eq!(check(&[], &[file(DOCUMENT, &text)])[0].line, 3);
    }
}
