//! Programs and libraries of other people that tests and benchmarks use, from Debian.
//!
//! To add one, add a line to [`TESTS`] or [`BENCH`].

use std::path::Path;

use anyhow::{Result, bail};

use crate::run;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    /// The Debian package.
    package: &'static str,
    /// A program that makes the package unnecessary where it is on PATH already, from whatever source.
    program: Option<&'static str>,
    purpose: &'static str,
}

#[rustfmt::skip]
pub(crate) const TESTS: &[Tool] = &[
    program("git", "git", "the list of files that tidy checks"),
    program("oathtool", "oathtool", "another implementation of TOTP to compare with"),
    program("zbar-tools", "zbarimg", "reads the QR code that the terminal shows"),
    program("golang-go", "go", "builds the reference verifier of the transparency log"),
    library("golang-golang-x-mod-dev", "sumdb/note and sumdb/tlog, the reference for checkpoints and proofs"),
    library("postgresql", "the other database, which the tests start"),
    program("faketime", "faketime", "lets one server's clock run apart"),
    program("openssl", "openssl", "makes certificates for tests of TLS"),
    program("sqlite3", "sqlite3", "edits a database behind the service's back"),
    library("python3-prometheus-client", "another reader of the format of metrics"),
    program("strace", "strace", "counts and breaks system calls"),
];

#[rustfmt::skip]
pub(crate) const BENCH: &[Tool] = &[
    program("wrk", "wrk", "makes the load"),
    library("postgresql", "durable transactions to compare approvals with"),
    program("strace", "strace", "counts and breaks system calls"),
];

const fn program(package: &'static str, program: &'static str, purpose: &'static str) -> Tool {
    Tool { package, program: Some(program), purpose }
}

const fn library(package: &'static str, purpose: &'static str) -> Tool {
    Tool { package, program: None, purpose }
}

impl Tool {
    fn is_present(&self) -> bool {
        self.program.is_some_and(on_path) || dpkg_has(self.package)
    }
}

/// Installs what is missing and says so; does nothing where all is there.
pub(crate) fn install(tools: &[Tool]) -> Result<()> {
    let missing: Vec<&Tool> = tools.iter().filter(|tool| !tool.is_present()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    if !on_path("apt-get") {
        bail!(
            "install {} by hand and run again with --no-install; only Debian's packages are installed automatically",
            packages.join(", ")
        );
    }
    eprintln!("installing Debian packages:");
    for tool in &missing {
        eprintln!("  {:<24} {}", tool.package, tool.purpose);
    }
    // The lists of a fresh container are empty and those of an old one name versions that are gone; only then are they fetched.
    if apt_get(&install_args(&packages)).is_err() {
        apt_get(&["-q", "update"])?;
        apt_get(&install_args(&packages))?;
    }
    match missing.iter().find(|tool| !tool.is_present()) {
        Some(tool) => bail!("{} was installed but is not there; is PATH unusual?", tool.package),
        None => Ok(()),
    }
}

/// Packages that are missing, for a message; nothing is installed.
pub(crate) fn missing(tools: &[Tool]) -> Vec<&'static str> {
    tools.iter().filter(|tool| !tool.is_present()).map(|tool| tool.package).collect()
}

fn install_args<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["-q", "-y", "--no-install-recommends", "install"];
    args.extend(packages);
    args
}

fn apt_get(args: &[&str]) -> Result<()> {
    let mut command = if is_root()? {
        run::command("apt-get", args)
    } else if on_path("sudo") {
        // Without -n a machine that nobody watches would wait for a password.
        let mut command = run::command("sudo", &["-n", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        command.args(args);
        command
    } else {
        bail!("packages have to be installed, which needs root: run as root, install sudo, or pass --no-install");
    };
    run::check(command.env("DEBIAN_FRONTEND", "noninteractive"))
}

fn is_root() -> Result<bool> {
    Ok(run::capture(&mut run::command("id", &["-u"]))?.trim() == "0")
}

fn dpkg_has(package: &str) -> bool {
    run::capture(&mut run::command("dpkg-query", &["-W", "-f", "${db:Status-Status}", package]))
        .is_ok_and(|status| status == "installed")
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| is_program(&folder.join(program))))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_path_is_present_and_what_is_not_is_missing() {
        let here = program("no-such-package-anywhere", "sh", "");
        let gone = library("no-such-package-anywhere", "");
        assert!(here.is_present());
        assert_eq!(missing(&[here, gone]), ["no-such-package-anywhere"]);
    }

    #[test]
    fn a_file_that_cannot_run_is_no_program() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tool");
        std::fs::write(&file, "").unwrap();
        assert!(!is_program(&file));
        assert!(!is_program(folder.path()));
    }
}
