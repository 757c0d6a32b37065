//! No source file grows past what a reader holds in mind.

use super::{File, Finding};

const LONGEST: usize = 800;

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    files
        .iter()
        .filter(|file| file.is_rust())
        .map(|file| (file, file.lines().count()))
        .filter(|(_, lines)| *lines > LONGEST)
        .map(|(file, lines)| {
            Finding::new(
                &file.path,
                LONGEST + 1,
                format!("{lines} lines, at most {LONGEST} are allowed"),
                "split it by what changes together; 150 lines are a good size",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::files::file;
    use super::*;

    #[test]
    fn the_line_after_the_last_allowed_one_is_found() {
        let long = "\n".repeat(801);
        let fits = "\n".repeat(800);
        let findings = check(&[file("a.rs", &long), file("b.rs", &fits), file("c.json", &long)]);
        assert_eq!(findings.len(), 1);
        assert_eq!((findings[0].path.as_str(), findings[0].line), ("a.rs", 801));
    }
}
