//! The table of the architecture: which crate may use which.
//!
//! A crate that is not listed here fails the check; so does an arrow that is not. Rooms that are still to come are listed already, so that the
//! first line of their code finds its bounds.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{File, Finding};
use crate::run;

/// Folder of a crate, and the crates it may use by the last part of their folder.
#[rustfmt::skip]
const TABLE: &[(&str, May)] = &[
    // Starts PostgreSQL for the tests of others.
    ("testing/postgres",  Use(&[])),

    ("crates/core",       Use(&[])),
    ("crates/keys",       Use(&["core"])),
    ("crates/ledger",     Use(&["core"])),
    ("crates/policy",     Use(&["core"])),
    ("crates/conductor",  Use(&["core"])),
    ("crates/store",      Use(&["core", "ledger"])),
    ("crates/factors",    Use(&["core", "keys"])),
    ("crates/release",    Use(&["core", "keys"])),
    ("crates/engine",     Use(&["core", "keys", "ledger", "policy", "store", "factors", "release"])),
    ("crates/actions",    Use(&["core", "conductor", "store", "engine"])),

    ("doors/kit",         Use(&["core", "engine"])),
    ("doors/api",         Use(&["core", "engine", "kit"])),
    ("doors/console",     Use(&["core", "engine", "kit"])),
    ("doors/sts",         Use(&["core", "engine", "kit"])),
    ("doors/st2",         Use(&["core", "engine", "kit", "actions"])),
    ("doors/choria",      Use(&["core", "engine", "kit"])),
    ("doors/taskcluster", Use(&["core", "engine", "kit"])),

    ("countersign",       All),

    // `soak` starts PostgreSQL.
    ("xtask",             Use(&["postgres"])),
    ("bench/floor",       Use(&[])),
    // Sets up databases that no client could set up in a reasonable time; drives the built service over HTTP.
    ("bench/load",        Use(&["core", "keys", "ledger", "store", "factors", "engine"])),
];

/// What tests of any crate may use besides: nouns to build fixtures of, keys to sign them with, and a server to keep them on.
const TESTS_MAY_USE: &[&str] = &["core", "keys", "postgres"];

#[derive(Debug, Clone, Copy)]
enum May {
    All,
    Use(&'static [&'static str]),
}
use May::{All, Use};

/// The part of `cargo metadata --no-deps` that the check reads.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    workspace_root: String,
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    rename: Option<String>,
    /// `None` for a normal dependency, else `dev` or `build`.
    kind: Option<String>,
    /// Set for dependencies by path, which is what crates of one workspace are to each other.
    path: Option<String>,
}

impl Metadata {
    pub(super) fn load() -> Result<Self> {
        let json = run::capture(&mut run::command("cargo", &["metadata", "--no-deps", "--format-version", "1"]))?;
        serde_json::from_str(&json).context("could not read what cargo metadata printed")
    }

    fn folder<'a>(&self, path: &'a str) -> Option<&'a str> {
        Path::new(path).strip_prefix(&self.workspace_root).ok().and_then(Path::to_str)
    }
}

pub(super) fn check(metadata: &Metadata, files: &[File]) -> Vec<Finding> {
    let table: BTreeMap<&str, May> = TABLE.iter().copied().collect();
    let mut findings = Vec::new();
    for package in &metadata.packages {
        let manifest = metadata.folder(&package.manifest_path).unwrap_or(&package.manifest_path);
        let folder = manifest.trim_end_matches("/Cargo.toml");
        let Some(may) = table.get(folder) else {
            findings.push(Finding::new(
                manifest,
                1,
                format!("crate `{folder}` is not in the table of arrows"),
                "add it to TABLE in xtask/src/tidy/arrows.rs, with the crates it may use",
            ));
            continue;
        };
        for dependency in &package.dependencies {
            let Some(path) = &dependency.path else {
                continue;
            };
            let Some(target) = metadata.folder(path).filter(|target| table.contains_key(target)) else {
                findings.push(Finding::new(
                    manifest,
                    line_of(files, manifest, dependency),
                    format!("`{}` is a path that is no crate of the table", dependency.name),
                    "use a released version, or add the crate to TABLE in xtask/src/tidy/arrows.rs",
                ));
                continue;
            };
            if !allows(*may, target, dependency.kind.as_deref()) {
                findings.push(Finding::new(
                    manifest,
                    line_of(files, manifest, dependency),
                    format!("`{folder}` may not use `{target}`"),
                    remedy(*may),
                ));
            }
        }
    }
    findings
}

fn allows(may: May, target: &str, kind: Option<&str>) -> bool {
    let name = target.rsplit('/').next().unwrap_or(target);
    match may {
        All => true,
        Use(names) => names.contains(&name) || (kind == Some("dev") && TESTS_MAY_USE.contains(&name)),
    }
}

fn remedy(may: May) -> String {
    let list = match may {
        All => "everything".to_owned(),
        Use([]) => "no other crate of the workspace".to_owned(),
        Use(names) => names.join(", "),
    };
    format!(
        "it may use {list}; move the code, or hand the value over as data (ARCHITECTURE.md says why the arrow is not there)"
    )
}

fn line_of(files: &[File], manifest: &str, dependency: &Dependency) -> usize {
    let key = dependency.rename.as_ref().unwrap_or(&dependency.name);
    files
        .iter()
        .find(|file| file.path == manifest)
        .and_then(|file| {
            file.lines()
                .find(|(_, line)| {
                    line.trim_start()
                        .strip_prefix(key.as_str())
                        .is_some_and(|rest| rest.trim_start().starts_with(['=', '.']))
                })
                .map(|(number, _)| number)
        })
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::super::files::file;
    use super::*;

    fn metadata(folder: &str, dependencies: &[(&str, &str, Option<&str>)]) -> Metadata {
        Metadata {
            workspace_root: "/r".into(),
            packages: vec![Package {
                manifest_path: format!("/r/{folder}/Cargo.toml"),
                dependencies: dependencies
                    .iter()
                    .map(|(name, path, kind)| Dependency {
                        name: (*name).to_owned(),
                        rename: None,
                        kind: kind.map(str::to_owned),
                        path: (!path.is_empty()).then(|| format!("/r/{path}")),
                    })
                    .collect(),
            }],
        }
    }

    fn whats(metadata: &Metadata) -> Vec<String> {
        let findings = check(metadata, &[]);
        findings.into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn an_arrow_that_is_not_in_the_table_is_found_with_its_line() {
        let metadata = metadata(
            "doors/api",
            &[
                ("countersign-engine", "crates/engine", None),
                ("countersign-store", "crates/store", None),
                ("serde", "", None),
            ],
        );
        let manifest =
            "[dependencies]\ncountersign-engine = { workspace = true }\ncountersign-store.workspace = true\n";
        let findings = check(&metadata, &[file("doors/api/Cargo.toml", manifest)]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].path, "doors/api/Cargo.toml");
        assert_eq!(findings[0].line, 3);
        assert_eq!(findings[0].what, "`doors/api` may not use `crates/store`");
        assert!(findings[0].remedy.contains("core, engine, kit"));
    }

    #[test]
    fn doors_do_not_use_doors_and_core_uses_nothing() {
        let found = whats(&metadata("doors/st2", &[("d", "doors/choria", None)]));
        assert_eq!(found, ["`doors/st2` may not use `doors/choria`"]);
        let found = whats(&metadata("crates/core", &[("k", "crates/keys", Some("build"))]));
        assert_eq!(found, ["`crates/core` may not use `crates/keys`"]);
    }

    #[test]
    fn tests_may_use_core_and_keys_but_no_more() {
        let dev = Some("dev");
        assert_eq!(whats(&metadata("doors/api", &[("k", "crates/keys", dev)])), [""; 0]);
        assert_eq!(
            whats(&metadata("doors/api", &[("s", "crates/store", dev)])),
            ["`doors/api` may not use `crates/store`"]
        );
        assert_eq!(
            whats(&metadata("doors/api", &[("k", "crates/keys", None)])),
            ["`doors/api` may not use `crates/keys`"]
        );
    }

    #[test]
    fn the_binary_uses_all_and_automation_nothing() {
        let arrows = [("s", "crates/store", None), ("d", "doors/api", None)];
        assert_eq!(whats(&metadata("countersign", &arrows)), [""; 0]);
        assert_eq!(whats(&metadata("xtask", &arrows)).len(), 2);
        assert_eq!(whats(&metadata("bench/floor", &arrows)).len(), 2);
    }

    #[test]
    fn unknown_crates_and_foreign_paths_are_found() {
        assert_eq!(whats(&metadata("crates/utils", &[])), ["crate `crates/utils` is not in the table of arrows"]);
        assert_eq!(
            whats(&metadata("countersign", &[("x", "vendor/x", None)])),
            ["`x` is a path that is no crate of the table"]
        );
    }

    #[test]
    fn the_table_has_no_cycles_and_names_only_its_own_crates() {
        // A crate uses only what stands above it in the table.
        let mut above: Vec<&str> = Vec::new();
        for (folder, may) in TABLE {
            if let Use(names) = may {
                for name in *names {
                    assert!(above.contains(name), "{folder} uses {name}");
                }
            }
            above.push(folder.rsplit('/').next().unwrap());
        }
    }

    #[test]
    fn the_workspace_itself_loads() {
        let metadata = Metadata::load().unwrap();
        assert!(metadata.packages.len() > 5);
        let manifests: Vec<_> =
            metadata.packages.iter().map(|package| metadata.folder(&package.manifest_path)).collect();
        assert!(manifests.contains(&Some("xtask/Cargo.toml")));
    }
}
