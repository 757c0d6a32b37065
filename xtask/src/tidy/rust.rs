//! Rust sources as flat lists of tokens, so that comments, doc comments, attributes and test code are told apart from what ships.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

use super::{File, Finding};

#[derive(Debug)]
pub(super) struct Source {
    pub(super) path: String,
    pub(super) tokens: Vec<Token>,
    pub(super) attributes: Vec<Attribute>,
}

#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) line: usize,
    pub(super) kind: Kind,
    /// Compiled for tests only: under `#[cfg(test)]`, in a module declared so, or in a `tests` folder.
    pub(super) test: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Word(String),
    Mark(char),
    /// `::`, kept whole because paths are what most checks look for.
    PathSeparator,
    /// A string or byte string as written, quotes and escapes included.
    Text(String),
    /// An opening bracket of any kind; what it holds follows.
    Group,
    Other,
}

/// `#[...]` or `#![...]`, doc comments left out.
#[derive(Debug)]
pub(super) struct Attribute {
    pub(super) line: usize,
    pub(super) body: TokenStream,
}

impl Source {
    pub(super) fn read(path: &str, text: &str) -> Result<Self, Finding> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let stream: TokenStream = text.parse().map_err(|error: proc_macro2::LexError| {
            Finding::new(
                path,
                error.span().start().line,
                format!("does not read as Rust: {error}"),
                "make it compile first",
            )
        })?;
        let mut source = Self { path: path.to_owned(), tokens: Vec::new(), attributes: Vec::new() };
        source.flatten(stream, in_tests_folder(path));
        Ok(source)
    }

    fn flatten(&mut self, stream: TokenStream, level_is_test: bool) {
        let trees: Vec<TokenTree> = stream.into_iter().collect();
        let mut level_is_test = level_is_test;
        let mut item_is_test = false;
        let mut rest = trees.as_slice();
        loop {
            rest = match rest {
                [] => return,
                [TokenTree::Punct(hash), TokenTree::Group(body), tail @ ..]
                    if hash.as_char() == '#' && body.delimiter() == Delimiter::Bracket =>
                {
                    item_is_test |= self.attribute(hash, body.stream());
                    tail
                }
                [TokenTree::Punct(hash), TokenTree::Punct(bang), TokenTree::Group(body), tail @ ..]
                    if hash.as_char() == '#' && bang.as_char() == '!' && body.delimiter() == Delimiter::Bracket =>
                {
                    level_is_test |= self.attribute(hash, body.stream());
                    tail
                }
                [tree, tail @ ..] => {
                    let used = self.tree(tree, tail.first(), level_is_test || item_is_test);
                    if ends_item(tree) {
                        item_is_test = false;
                    }
                    &rest[used..]
                }
            };
        }
    }

    /// Keeps the attribute and tells whether it hides what follows from everything but tests.
    fn attribute(&mut self, hash: &proc_macro2::Punct, body: TokenStream) -> bool {
        let trees: Vec<TokenTree> = body.clone().into_iter().collect();
        if matches!(trees.first(), Some(TokenTree::Ident(name)) if name == "doc") {
            return false;
        }
        self.attributes.push(Attribute { line: hash.span().start().line, body });
        matches!(
            trees.as_slice(),
            [TokenTree::Ident(name), TokenTree::Group(condition)]
                if name == "cfg" && needs_test(condition.stream())
        )
    }

    /// Gives the number of trees used up: two for `::`, otherwise one.
    fn tree(&mut self, tree: &TokenTree, next: Option<&TokenTree>, test: bool) -> usize {
        let line = tree.span().start().line;
        let mut used = 1;
        let kind = match tree {
            TokenTree::Group(group) => {
                self.tokens.push(Token { line, kind: Kind::Group, test });
                self.flatten(group.stream(), test);
                return used;
            }
            TokenTree::Ident(word) => Kind::Word(word.to_string()),
            TokenTree::Punct(mark) => match next {
                Some(TokenTree::Punct(second))
                    if mark.as_char() == ':' && mark.spacing() == Spacing::Joint && second.as_char() == ':' =>
                {
                    used = 2;
                    Kind::PathSeparator
                }
                _ => Kind::Mark(mark.as_char()),
            },
            TokenTree::Literal(literal) => text_literal(&literal.to_string()),
        };
        self.tokens.push(Token { line, kind, test });
        used
    }

    /// Files that this one declares with `#[cfg(test)] mod name;`, as path prefixes without `.rs`.
    fn test_modules(&self) -> impl Iterator<Item = String> {
        let folder = match self.path.rsplit_once('/') {
            Some((folder, "lib.rs" | "main.rs" | "mod.rs")) => folder,
            _ => self.path.trim_end_matches(".rs"),
        };
        self.tokens.windows(3).filter_map(move |window| match window {
            [first, name, end] if first.test && first.kind == Kind::Word("mod".to_owned()) => {
                match (&name.kind, &end.kind) {
                    (Kind::Word(name), Kind::Mark(';')) => Some(format!("{folder}/{name}")),
                    _ => None,
                }
            }
            _ => None,
        })
    }
}

/// Reads every Rust file; those that do not lex become findings.
pub(super) fn read_all(files: &[File]) -> (Vec<Source>, Vec<Finding>) {
    let mut sources = Vec::new();
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        match Source::read(&file.path, &file.text) {
            Ok(source) => sources.push(source),
            Err(finding) => findings.push(finding),
        }
    }
    let test_modules: BTreeSet<String> = sources.iter().flat_map(Source::test_modules).collect();
    for source in &mut sources {
        let module = source.path.trim_end_matches(".rs");
        let is_test = test_modules.iter().any(|test| {
            module.strip_prefix(test.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        if is_test {
            for token in &mut source.tokens {
                token.test = true;
            }
        }
    }
    (sources, findings)
}

fn in_tests_folder(path: &str) -> bool {
    path.rsplit_once('/').is_some_and(|(folder, _)| folder.split('/').any(|part| part == "tests"))
}

/// `test` or `all(test, ..)`. What `any(test, ..)` guards may ship, so it counts as product code.
fn needs_test(condition: TokenStream) -> bool {
    let trees: Vec<TokenTree> = condition.into_iter().collect();
    match trees.as_slice() {
        [TokenTree::Ident(name)] => name == "test",
        [TokenTree::Ident(name), TokenTree::Group(inner)] if name == "all" => {
            inner.stream().into_iter().any(|tree| matches!(tree, TokenTree::Ident(name) if name == "test"))
        }
        _ => false,
    }
}

fn ends_item(tree: &TokenTree) -> bool {
    match tree {
        TokenTree::Punct(mark) => mark.as_char() == ';',
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        _ => false,
    }
}

fn text_literal(written: &str) -> Kind {
    let is_text = written.trim_start_matches(['b', 'c', 'r', '#']).starts_with('"');
    if is_text { Kind::Text(written.to_owned()) } else { Kind::Other }
}

#[cfg(test)]
pub(super) fn source(path: &str, text: &str) -> Source {
    Source::read(path, text).unwrap()
}

#[cfg(test)]
mod tests {
    use super::super::files::file;
    use super::*;

    fn texts(source: &Source) -> Vec<(&str, usize, bool)> {
        source
            .tokens
            .iter()
            .filter_map(|token| match &token.kind {
                Kind::Text(text) => Some((text.as_str(), token.line, token.test)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn comments_docs_and_attributes_are_not_text() {
        let read =
            source("a.rs", "//! \"doc\"\n// \"comment\"\n#[error(\"attribute\")]\nconst A: &str = r#\"real\"#;\n");
        assert_eq!(texts(&read), [("r#\"real\"#", 4, false)]);
        assert_eq!(read.attributes.len(), 1);
    }

    #[test]
    fn only_what_needs_test_is_test() {
        let read = source(
            "a.rs",
            r#"
            #[cfg(test)] const A: &str = "a";
            const B: &str = "b";
            #[cfg(any(test, unix))] const C: &str = "c";
            #[cfg(all(test, unix))] fn d() { f("d") }
            #[cfg(not(test))] const E: &str = "e";
            #[cfg(test)] mod tests { const F: &str = "f"; mod more { const G: &str = "g"; } }
            const H: &str = "h";
            "#,
        );
        let tests: Vec<bool> = texts(&read).into_iter().map(|(.., test)| test).collect();
        assert_eq!(tests, [true, false, false, true, false, true, true, false]);
    }

    #[test]
    fn an_inner_attribute_makes_the_whole_file_test() {
        let read = source("a.rs", "#![cfg(test)]\nconst A: &str = \"a\";");
        assert_eq!(texts(&read), [("\"a\"", 2, true)]);
    }

    #[test]
    fn files_of_test_modules_and_test_folders_are_test() {
        let (sources, findings) = read_all(&[
            file("x/src/lib.rs", "#[cfg(test)]\nmod vectors;\nmod plain;"),
            file("x/src/vectors.rs", "const A: &str = \"a\";"),
            file("x/src/vectors/deep.rs", "const A: &str = \"a\";"),
            file("x/src/plain.rs", "const A: &str = \"a\"; #[cfg(test)] mod t;"),
            file("x/src/plain/t.rs", "const A: &str = \"a\";"),
            file("x/tests/it/main.rs", "const A: &str = \"a\";"),
            file("x/src/tests.rs", "const A: &str = \"a\";"),
        ]);
        assert_eq!(findings, []);
        let tests: Vec<(&str, bool)> = sources
            .iter()
            .flat_map(|source| texts(source).into_iter().map(|(.., test)| (source.path.as_str(), test)))
            .collect();
        assert_eq!(
            tests,
            [
                ("x/src/vectors.rs", true),
                ("x/src/vectors/deep.rs", true),
                ("x/src/plain.rs", false),
                ("x/src/plain/t.rs", true),
                ("x/tests/it/main.rs", true),
                // Its parent does not declare it as test code, so the name alone is no excuse.
                ("x/src/tests.rs", false),
            ]
        );
    }

    #[test]
    fn what_does_not_lex_is_a_finding() {
        let (_, findings) = read_all(&[file("a.rs", "fn a() {\n\"open")]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].path, "a.rs");
    }
}
