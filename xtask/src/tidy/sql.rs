//! SQL lives in `store`, beside the table it serves, where one suite prepares each statement on both engines.

use super::rust::Kind;
use super::{File, Finding, Source};

const HOME: &str = "crates/store/";
/// The yardsticks speak to databases that are not ours; the soak moves rows that it knows nothing about from one engine to the other.
const EXEMPT: [&str; 3] = [HOME, "xtask/src/bench/", "xtask/src/soak/server/postgres.rs"];
const REMEDY: &str = "move the statement to crates/store and call it from here; reword the text if it is prose";

pub(super) fn check(sources: &[Source], files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| !EXEMPT.iter().any(|folder| source.path.starts_with(folder))) {
        for token in source.tokens.iter().filter(|token| !token.test) {
            if let Kind::Text(text) = &token.kind
                && let Some(statement) = statement(text)
            {
                findings.push(Finding::new(
                    &source.path,
                    token.line,
                    format!("SQL outside crates/store: {statement}"),
                    REMEDY,
                ));
            }
        }
    }
    for file in files {
        let in_tests = file.path.split('/').any(|part| part == "tests");
        if file.ends_with("sql") && !file.path.starts_with(HOME) && !in_tests {
            findings.push(Finding::new(&file.path, 1, "a file of SQL outside crates/store", "move it to crates/store"));
        }
    }
    findings
}

/// The kind of statement that a string literal, as written in the source, holds.
fn statement(literal: &str) -> Option<&'static str> {
    let text = literal.replace("\\n", " ").replace("\\t", " ").to_ascii_lowercase();
    let words: Vec<&str> = text
        .split(|c: char| !(c.is_ascii_alphanumeric() || "_.$*{}".contains(c)))
        .filter(|word| !word.is_empty() && !word.chars().all(|c| "br".contains(c)))
        .collect();
    words.iter().enumerate().find_map(|(at, _)| starts_statement(&words[at..], at == 0))
}

/// A query may read like prose ("select one from the list"), so `select` counts at the start of a literal, or wherever what follows it is no prose.
fn starts_statement(words: &[&str], first: bool) -> Option<&'static str> {
    match words {
        ["insert", "into", _, ..] | ["insert", "or", _, "into", ..] => Some("insert into"),
        ["delete", "from", _, ..] => Some("delete from"),
        ["update", _, "set", _, ..] | ["update", _, "as", _, "set", ..] => Some("update .. set"),
        ["create", "table" | "index" | "view" | "trigger", _, ..]
        | ["create", "unique", "index", ..]
        | ["create", "temp" | "temporary", "table", ..] => Some("create table"),
        ["alter" | "drop", "table" | "index", _, ..] => Some("alter or drop"),
        ["select", rest @ ..] if rest.contains(&"from") && (first || looks_like_columns(rest)) => Some("a query"),
        _ => None,
    }
}

fn looks_like_columns(rest: &[&str]) -> bool {
    matches!(rest, ["*" | "1" | "distinct", ..] | [_, "from", ..])
        || rest.iter().any(|word| ["where", "join", "count"].contains(word))
}

#[cfg(test)]
mod tests {
    use super::super::files::file;
    use super::super::rust::source;
    use super::*;

    #[test]
    fn statements_are_known_by_their_shape() {
        for (literal, expected) in [
            ("\"select id from person where id = $1\"", Some("a query")),
            ("\"SELECT a, b\\nFROM t\"", Some("a query")),
            ("r#\"\n  select *\n  from t\n\"#", Some("a query")),
            ("\"with x as (select id from t) select 1\"", Some("a query")),
            ("\"insert into t (a) values ($1)\"", Some("insert into")),
            ("\"INSERT OR REPLACE INTO t values (1)\"", Some("insert into")),
            ("\"update person set name = $2\"", Some("update .. set")),
            ("\"update {table} set a = 1\"", Some("update .. set")),
            ("b\"delete from t\"", Some("delete from")),
            ("\"create table if not exists t (a text)\"", Some("create table")),
            ("\"drop table t\"", Some("alter or drop")),
            ("\"please select another of them\"", None),
            ("\"then select the person to ask from the group\"", None),
            ("\"update the settings and set a password\"", None),
            ("\"select\"", None),
            ("\"create a table of arrows\"", None),
            ("\"from here\"", None),
        ] {
            assert_eq!(statement(literal), expected, "{literal}");
        }
    }

    #[test]
    fn store_and_tests_may_other_code_may_not() {
        let body = "fn f() {\n    run(\"select id from t\");\n}\n";
        let tail = format!("#[cfg(test)]\nmod tests {{ {body} }}");
        let commented = "// select id from t\n/// delete from t\nfn f() {}";
        let findings = check(
            &[
                source("crates/engine/src/a.rs", body),
                source("crates/store/src/a.rs", body),
                source("crates/engine/src/b.rs", &tail),
                source("countersign/tests/it/a.rs", body),
                source("crates/engine/src/c.rs", commented),
            ],
            &[],
        );
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].path, "crates/engine/src/a.rs");
        assert_eq!(findings[0].line, 2);
    }

    #[test]
    fn sql_files_belong_to_store_too() {
        let findings = check(
            &[],
            &[
                file("crates/store/migrations/V1__first.sql", ""),
                file("countersign/tests/it/seed.sql", ""),
                file("crates/engine/queries.sql", ""),
            ],
        );
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].path, "crates/engine/queries.sql");
    }
}
