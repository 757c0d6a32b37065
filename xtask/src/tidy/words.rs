//! Words of ours that a reader of the product's documents has no use for.

use super::{File, Finding};

const TERMS: &[(&str, &str)] =
    &[("house", "architecture"), ("door kit", "the shared HTTP layer, or service"), ("torture list", "tests")];

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| is_document(file)) {
        let words = words(file);
        for (term, instead) in TERMS {
            let parts: Vec<&str> = term.split(' ').collect();
            for window in words.windows(parts.len()) {
                if window.iter().zip(&parts).all(|((_, word), part)| is_form(word, part)) {
                    findings.push(Finding::new(
                        &file.path,
                        window[0].0,
                        format!("`{term}` is no word for the product's documents"),
                        format!("say {instead}, or the plain thing"),
                    ));
                }
            }
        }
    }
    findings
}

fn is_document(file: &File) -> bool {
    let at_root = !file.path.contains('/');
    file.ends_with("md") && (at_root || file.path.starts_with("docs/"))
}

/// Lower-case words with their lines, across line ends. What stands in `backquotes` is a name of code and is skipped.
fn words(file: &File) -> Vec<(usize, String)> {
    let mut words = Vec::new();
    for (number, line) in file.lines() {
        let fence = line.trim_start().starts_with("```");
        let prose = line.split('`').enumerate().filter(|(index, _)| fence || index % 2 == 0).map(|(_, part)| part);
        for part in prose {
            words.extend(
                part.split(|c: char| !c.is_alphanumeric())
                    .filter(|word| !word.is_empty())
                    .map(|word| (number, word.to_lowercase())),
            );
        }
    }
    words
}

fn is_form(word: &str, term: &str) -> bool {
    word == term || word.strip_suffix('s') == Some(term)
}

#[cfg(test)]
mod tests {
    use super::super::files::file;
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        let findings = check(&[file(path, text)]);
        findings.into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn our_words_are_found_in_documents() {
        assert_eq!(lines("README.md", "a\nThe House has rules.\n"), [2]);
        assert_eq!(lines("docs/x/a.md", "the house's rules and two houses"), [1, 1]);
        assert_eq!(lines("ARCHITECTURE.md", "it uses the door\nkit for that"), [1]);
        assert_eq!(lines("SECURITY.md", "our torture\n  list"), [1]);
    }

    #[test]
    fn other_words_code_names_and_other_files_are_not() {
        assert_eq!(lines("README.md", "a warehouse, a door, a kit"), [0; 0]);
        assert_eq!(lines("README.md", "the crate `house` and `doors/kit`"), [0; 0]);
        assert_eq!(lines("crates/core/notes.md", "house"), [0; 0]);
        assert_eq!(lines("docs/a.json", "house"), [0; 0]);
    }
}
