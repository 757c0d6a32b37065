//! Nothing unfinished is committed: what is missing is an issue, not a mark in the code.

use super::rust::Kind;
use super::{File, Finding, Source};

const MACROS: &[&str] = &["todo", "unimplemented"];
// In two halves, so that this file passes its own check.
const MARK: &str = concat!("FIX", "ME");
const REMEDY: &str = "finish it, or leave it out and open an issue";

pub(super) fn check(sources: &[Source], files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for called in source.tokens.windows(3) {
            if let [name, bang, arguments] = called
                && bang.kind == Kind::Mark('!')
                && arguments.kind == Kind::Group
                && let Kind::Word(word) = &name.kind
                && MACROS.contains(&word.as_str())
            {
                let what = format!("unfinished: {word}!");
                findings.push(Finding::new(&source.path, name.line, what, REMEDY));
            }
        }
    }
    for file in files {
        for (number, line) in file.lines().filter(|(_, line)| line.contains(MARK)) {
            let what = format!("unfinished: {}", line.trim());
            findings.push(Finding::new(&file.path, number, what, REMEDY));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::files::file;
    use super::super::rust::source;
    use super::*;

    #[test]
    fn macros_count_wherever_they_are_called() {
        let text = "fn a() {\n    todo!()\n}\n#[cfg(test)] mod t { fn b() { unimplemented!(\"x\") } }";
        let findings = check(&[source("a.rs", text)], &[]);
        let found: Vec<_> = findings.iter().map(|f| (f.line, f.what.as_str())).collect();
        assert_eq!(found, [(2, "unfinished: todo!"), (4, "unfinished: unimplemented!")]);
    }

    #[test]
    fn talking_about_them_does_not_count() {
        let text = "// todo!() is denied\nconst A: &str = \"todo!()\"; fn todo() -> bool { todo != true }";
        assert_eq!(check(&[source("a.rs", text)], &[]), []);
    }

    #[test]
    fn marks_count_in_every_file() {
        let findings = check(&[], &[file("docs/a.md", &format!("a\n{MARK}: later\n"))]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].line, 2);
    }
}
