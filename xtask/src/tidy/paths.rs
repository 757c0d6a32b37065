//! No file names a folder of the machine that it was written on: it would work there and nowhere else.

use super::{File, Finding};

// In halves, so that this file passes its own check.
const FOLDERS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/")];
const HOMES: &str = concat!("/ho", "me/");
const NEIGHBOUR: &str = concat!("../sha", "red");
/// The scripts of the machine that runs the checks.
const EXEMPT: &str = ".ci/";
/// Where people are told how to get the conformance suites, the neighbouring folder may be named.
const NEIGHBOUR_TOPIC: &str = "conformance";

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| !file.path.starts_with(EXEMPT)) {
        for (number, line) in file.lines() {
            if let Some(path) = machine_path(line) {
                findings.push(Finding::new(
                    &file.path,
                    number,
                    format!("names `{path}`, a folder of one machine"),
                    "use a path relative to the checkout, a temporary folder or an argument",
                ));
            }
        }
    }
    findings
}

fn machine_path(line: &str) -> Option<&'static str> {
    let stands_alone = |at: usize| {
        line[..at].chars().next_back().is_none_or(|before| !(before.is_alphanumeric() || "_-.~})".contains(before)))
    };
    if let Some(folder) = FOLDERS.iter().find(|folder| line.match_indices(**folder).any(|(at, _)| stands_alone(at))) {
        return Some(folder);
    }
    let is_home = line.match_indices(HOMES).any(|(at, _)| {
        let after = line[at + HOMES.len()..].chars().next();
        stands_alone(at) && after.is_some_and(char::is_alphanumeric)
    });
    if is_home {
        return Some(HOMES);
    }
    (line.contains(NEIGHBOUR) && !line.contains(NEIGHBOUR_TOPIC)).then_some(NEIGHBOUR)
}

#[cfg(test)]
mod tests {
    use super::super::files::file;
    use super::*;

    #[test]
    fn folders_of_a_machine_are_found() {
        for line in [
            format!("let a = \"{}main\";", FOLDERS[0]),
            format!("cd {}.cargo", FOLDERS[1]),
            format!("{HOMES}alice/x"),
            format!("see {NEIGHBOUR}/design"),
        ] {
            let findings = check(&[file("docs/a.md", &format!("first\n{line}\n"))]);
            assert_eq!(findings.len(), 1, "{line}");
            assert_eq!(findings[0].line, 2);
        }
    }

    #[test]
    fn longer_paths_placeholders_and_exempt_places_are_not() {
        for line in [
            format!("https://example.org/home{}x", FOLDERS[0]),
            format!("${{HOME}}{}x", FOLDERS[0]),
            format!("~{}x", FOLDERS[0]),
            format!("{HOMES}$USER"),
            format!("{HOMES}<user>"),
            format!("the conformance suites lie in {NEIGHBOUR}/conformance"),
        ] {
            assert_eq!(check(&[file("docs/a.md", &line)]), [], "{line}");
        }
        assert_eq!(check(&[file(".ci/run", FOLDERS[0])]), []);
    }
}
