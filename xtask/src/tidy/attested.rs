//! `attested` is the one constructor that makes a `Principal` or an `Evidence`. Only `factors` may call it, because only there has anything been
//! verified; a second caller would be a way around every factor.

use super::rust::Kind;
use super::{Finding, Source};

const HOME: &str = "crates/factors/";
const DEFINED_IN: &str = "crates/core/";
const CONSTRUCTOR: &str = "attested";

/// Any path that ends in `::attested` counts, so that an alias or `Self` does not hide the call.
pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| !source.path.starts_with(HOME)) {
        let in_core = source.path.starts_with(DEFINED_IN);
        for pair in source.tokens.windows(2) {
            let [separator, name] = pair else { continue };
            let called =
                separator.kind == Kind::PathSeparator && matches!(&name.kind, Kind::Word(word) if word == CONSTRUCTOR);
            if called && !(in_core && name.test) {
                findings.push(Finding::new(
                    &source.path,
                    name.line,
                    "`attested` is called outside crates/factors",
                    "ask crates/factors to verify the proof and take the principal or evidence that it gives",
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::rust::source;
    use super::*;

    const CALL: &str = "fn f() {\n    let p = Principal::attested(1);\n}";

    #[test]
    fn only_factors_may_call() {
        let findings = check(&[
            source("crates/factors/src/a.rs", CALL),
            source("crates/engine/src/a.rs", CALL),
            source("countersign/tests/it/a.rs", CALL),
            source("crates/core/src/b.rs", CALL),
        ]);
        let found: Vec<_> = findings.iter().map(|f| (f.path.as_str(), f.line)).collect();
        assert_eq!(
            found,
            [("crates/engine/src/a.rs", 2), ("countersign/tests/it/a.rs", 2), ("crates/core/src/b.rs", 2)]
        );
    }

    #[test]
    fn tests_of_core_may_call_tests_of_others_may_not() {
        let tests = format!("#[cfg(test)]\nmod tests {{ {CALL} }}");
        let findings =
            check(&[source("crates/core/src/principal.rs", &tests), source("crates/engine/src/a.rs", &tests)]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].path, "crates/engine/src/a.rs");
    }

    #[test]
    fn the_definition_and_prose_are_not_calls() {
        let core = "/// `Principal::attested`\nimpl Principal { pub fn attested() -> Self { Self } }";
        assert_eq!(check(&[source("crates/core/src/principal.rs", core)]), []);
        let prose = "// Principal::attested\nconst A: &str = \"Evidence::attested\";";
        assert_eq!(check(&[source("crates/engine/src/a.rs", prose)]), []);
    }

    #[test]
    fn aliases_and_layout_hide_nothing() {
        for text in [
            "use core::Evidence as E; fn f() { E::attested() }",
            "fn f() { <Evidence> :: attested() }",
            "fn f() { map(Evidence::\n  attested) }",
            "impl X for Principal { fn f() { Self::attested() } }",
        ] {
            assert_eq!(check(&[source("doors/api/src/a.rs", text)]).len(), 1, "{text}");
        }
    }
}
