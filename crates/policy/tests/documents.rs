//! The reference in `docs/policy.md` is true: each TOML block in it loads; one marked `toml,refused` is refused with the very errors that the text
//! block after it shows; and every key that the reader of rules knows is named.

#![expect(clippy::expect_used, reason = "tests")]

use std::path::Path;

use countersign_policy::Policy;

struct Block<'d> {
    /// Of its opening fence.
    line: usize,
    kind: &'d str,
    text: String,
}

fn document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/policy.md");
    std::fs::read_to_string(path).expect("docs/policy.md")
}

fn blocks(document: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut open: Option<Block<'_>> = None;
    for (number, line) in document.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(kind)) => open = Some(Block { line: number + 1, kind, text: String::new() }),
            (Some(_), Some("")) => blocks.extend(open.take()),
            (Some(block), _) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "the last block is not closed");
    blocks
}

fn errors(text: &str) -> Vec<String> {
    match Policy::parse(text, "policy.toml") {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn each_example_loads_or_is_refused_as_it_says() {
    let document = document();
    let blocks = blocks(&document);
    let (mut good, mut refused) = (0, 0);
    for (at, block) in blocks.iter().enumerate() {
        let found = errors(&block.text);
        match block.kind {
            "toml" => {
                assert!(found.is_empty(), "line {}: {found:#?}", block.line);
                good += 1;
            }
            "toml,refused" => {
                assert!(!found.is_empty(), "line {}: this loads", block.line);
                let told = blocks.get(at + 1).filter(|next| next.kind == "text");
                let told = told.unwrap_or_else(|| panic!("line {}: its errors do not follow it", block.line));
                assert_eq!(found, told.text.lines().collect::<Vec<_>>(), "line {}", told.line);
                refused += 1;
            }
            _ => {}
        }
    }
    assert!(good > 5 && refused > 2, "{good} examples load and {refused} are refused: is this the document?");
}

#[test]
fn each_key_is_named() {
    let document = document();
    let rule = "[[rule]]\nid = \"a\"\neffect = \"require\"\naction = \"a.b\"\n";
    let probes = [
        "version = 1\nnone = 1\n".to_owned(),
        format!("version = 1\n{rule}confirm = true\nnone = 1\n"),
        format!("version = 1\n{rule}quorum = [{{ k = 1, of = \"local:a\", none = 1 }}]\n"),
        format!("version = 1\n{rule}confirm = true\ngrant = {{ none = 1 }}\n"),
        format!(
            "version = 1\n{rule}confirm = true\n[[rule.test]]\nname = \"n\"\nby = \"person:a\"\naction = \"a.b\"\nexpect = \"require\"\nnone = 1\n"
        ),
    ];
    for probe in probes {
        let found = errors(&probe);
        let known = found.iter().find_map(|error| error.split_once("there is no key `none` here; use one of: "));
        let (_, known) = known.unwrap_or_else(|| panic!("{found:?}"));
        for key in known.split(", ") {
            assert!(document.contains(&format!("`{key}`")), "`{key}` is not in the document");
        }
    }
}
