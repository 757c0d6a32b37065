//! A test that does not run says why.

use proc_macro2::{TokenStream, TokenTree};

use super::{Finding, Source};

pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for attribute in &source.attributes {
            if ignores_without_reason(&attribute.body) {
                findings.push(Finding::new(
                    &source.path,
                    attribute.line,
                    "a test is ignored without a reason",
                    "write #[ignore = \"why, and what would bring it back\"], or let it run",
                ));
            }
        }
    }
    findings
}

fn ignores_without_reason(body: &TokenStream) -> bool {
    let trees: Vec<TokenTree> = body.clone().into_iter().collect();
    match trees.as_slice() {
        [TokenTree::Ident(name)] => name == "ignore",
        [TokenTree::Ident(name), TokenTree::Punct(_), TokenTree::Literal(reason)] => {
            name == "ignore" && reason.to_string().trim_matches(['"', ' ']).is_empty()
        }
        [TokenTree::Ident(name), TokenTree::Group(inner)] if name == "cfg_attr" => {
            let inner: Vec<TokenTree> = inner.stream().into_iter().collect();
            inner
                .split(|tree| matches!(tree, TokenTree::Punct(mark) if mark.as_char() == ','))
                .skip(1)
                .any(|part| ignores_without_reason(&part.iter().cloned().collect()))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::rust::source;
    use super::*;

    #[test]
    fn a_reason_is_asked_for() {
        for (text, count) in [
            ("#[test]\n#[ignore]\nfn a() {}", 1),
            ("#[ignore = \"\"] fn a() {}", 1),
            ("#[cfg_attr(not(unix), ignore)] fn a() {}", 1),
            ("#[ignore = \"needs a smart card\"] fn a() {}", 0),
            ("#[cfg_attr(windows, ignore = \"no fork\")] fn a() {}", 0),
            ("#[serde(ignore)] struct A; // #[ignore]", 0),
        ] {
            let findings = check(&[source("tests/a.rs", text)]);
            assert_eq!(findings.len(), count, "{text}");
        }
    }
}
