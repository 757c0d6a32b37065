//! Crates that must not ship, and crates of which one version ships.
//!
//! Judged by `cargo tree` for what is built for users, because `Cargo.lock` and `cargo metadata` also list what no build contains. `deny.toml`
//! tells cargo-deny the same; [`tests`] keeps the two alike.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::{File, Finding};
use crate::run;

const BANNED: &[(&str, &str)] = &[
    ("openssl", "TLS and asymmetric cryptography are rustls and aws-lc-rs alone"),
    ("openssl-sys", "TLS and asymmetric cryptography are rustls and aws-lc-rs alone"),
    ("native-tls", "TLS is rustls alone"),
    ("ring", "aws-lc-rs is the one cryptographic library; switch the feature that brings ring off"),
    ("serde_yaml", "archived; serde-saphyr reads YAML"),
    ("serde_yml", "unsound fork; serde-saphyr reads YAML"),
    ("rsa", "slow and open to timing attacks; aws-lc-rs signs and verifies RSA"),
];

const ONE_VERSION: &[&str] = &["tokio", "hyper", "http", "rustls", "rusqlite", "axum"];

/// What release builds are made for.
const TARGETS: &[&str] = &["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];

/// Name, version and target of every crate in what ships. All features are on: packages ship with all of them, and a feature that is left out
/// here would be one that nobody checks.
pub(super) fn shipped() -> Result<BTreeSet<Shipped>> {
    let mut shipped = BTreeSet::new();
    for target in TARGETS {
        let tree = run::capture(&mut run::command(
            "cargo",
            &[
                "tree",
                "--quiet",
                "--package",
                "countersign",
                "--all-features",
                "--edges",
                "normal,build",
                "--prefix",
                "none",
                "--format",
                "{p}",
                "--target",
                target,
            ],
        ))?;
        shipped.extend(tree.lines().filter_map(|line| parse(line, target)));
    }
    Ok(shipped)
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shipped {
    name: String,
    version: String,
    target: &'static str,
}

/// A line such as `tokio v1.48.0` or `ring v0.17.14 (*)`.
fn parse(line: &str, target: &'static str) -> Option<Shipped> {
    let mut words = line.split_whitespace();
    let name = words.next()?.to_owned();
    let version = words.next()?.strip_prefix('v')?.to_owned();
    Some(Shipped { name, version, target })
}

pub(super) fn check(shipped: &BTreeSet<Shipped>, files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for found in shipped {
        if let Some((name, reason)) = BANNED.iter().find(|(name, _)| *name == found.name) {
            findings.push(Finding::new(
                "Cargo.lock",
                line_of(files, &found.name, &found.version),
                format!("`{name}` {} would ship for {}: {reason}", found.version, found.target),
                ask_tree(found, name),
            ));
        }
    }
    let mut versions: BTreeMap<(&str, &str), Vec<&Shipped>> = BTreeMap::new();
    for found in shipped {
        let key = (found.target, found.name.as_str());
        versions.entry(key).or_default().push(found);
    }
    for ((target, name), found) in versions {
        if let [first, second, ..] = found.as_slice()
            && ONE_VERSION.contains(&name)
        {
            let list: Vec<&str> = found.iter().map(|found| found.version.as_str()).collect();
            findings.push(Finding::new(
                "Cargo.lock",
                line_of(files, name, &second.version),
                format!("{} versions of `{name}` would ship for {target}: {}", found.len(), list.join(", ")),
                ask_tree(first, &format!("{name}@{}", first.version)),
            ));
        }
    }
    findings
}

fn ask_tree(found: &Shipped, package: &str) -> String {
    format!(
        "see who brings it with `cargo tree -p countersign --all-features -e normal,build --target {} -i {package}`, then change that dependency's version or features",
        found.target
    )
}

fn line_of(files: &[File], name: &str, version: &str) -> usize {
    let Some(lock) = files.iter().find(|file| file.path == "Cargo.lock") else {
        return 1;
    };
    let name = format!("name = \"{name}\"");
    let version = format!("version = \"{version}\"");
    let lines: Vec<&str> = lock.text.lines().collect();
    lines.windows(2).position(|pair| pair[0] == name && pair[1] == version).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::super::files::file;
    use super::*;

    const TARGET: &str = TARGETS[0];

    fn tree(text: &str) -> BTreeSet<Shipped> {
        text.lines().filter_map(|line| parse(line, TARGET)).collect()
    }

    #[test]
    fn a_banned_crate_is_found_with_its_line() {
        let shipped = tree("countersign v0.1.0 (/somewhere)\nserde v1.0.0 (proc-macro)\nring v0.17.14 (*)\n\n");
        let lock = file("Cargo.lock", "[[package]]\nname = \"ring\"\nversion = \"0.17.14\"\n");
        let findings = check(&shipped, &[lock]);
        assert_eq!(findings.len(), 1);
        assert_eq!((findings[0].path.as_str(), findings[0].line), ("Cargo.lock", 2));
        assert!(findings[0].what.starts_with("`ring` 0.17.14 would ship for x86_64"));
    }

    #[test]
    fn names_are_compared_whole() {
        assert_eq!(check(&tree("ring-compat v1.0.0\nopenssl-probe v0.1.6\nrsasl v2.0.0"), &[]), []);
    }

    #[test]
    fn two_versions_of_what_must_be_one_are_found() {
        let findings =
            check(&tree("http v0.2.12\nhttp v1.3.1\nsyn v1.0.0\nsyn v2.0.0\nhyper v1.7.0\nhyper v1.7.0 (*)"), &[]);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].what.contains("2 versions of `http`"));
        assert!(findings[0].what.ends_with("0.2.12, 1.3.1"));
    }

    #[test]
    fn one_version_for_each_of_two_targets_is_no_duplicate() {
        let mut shipped = tree("http v1.3.1");
        shipped.extend(parse("http v1.3.1", TARGETS[1]));
        assert_eq!(check(&shipped, &[]), []);
    }

    #[test]
    fn the_real_tree_is_read() {
        let shipped = shipped().unwrap();
        for target in TARGETS {
            assert!(shipped.iter().any(|found| found.target == *target && found.name == "rustls"));
        }
    }

    #[test]
    fn deny_toml_bans_the_same_crates() {
        let deny = include_str!("../../../deny.toml");
        for (name, _) in BANNED {
            assert!(deny.contains(&format!("crate = \"{name}\"")), "{name} is not in deny.toml");
        }
    }
}
