//! `cargo xtask test`: everything from a fresh clone to one line that says how many tests passed. A failed test is never run again.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::{Verdict, run, tools};

/// Tests that need a tool which is absent fail when this is set; otherwise they leave that part out.
const REQUIRE_TOOLS: &str = "COUNTERSIGN_TEST_REQUIRE_TOOLS";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Install nothing; tests leave out what needs a missing tool
    #[arg(long)]
    no_install: bool,
    /// Run only tests whose path contains NAME
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<Verdict> {
    let start = Instant::now();
    prepare(args)?;
    // Integration tests start the binary, which `cargo test` alone would not always build.
    run::check(&mut run::command("cargo", &["build", "--workspace", "--all-targets"]))?;
    let tally = cargo_test(args)?;
    eprintln!("tests took {} s", start.elapsed().as_secs());
    Ok(conclude(&tally, args.only.as_deref()))
}

fn prepare(args: &Args) -> Result<()> {
    if !args.no_install {
        return tools::install(tools::TESTS);
    }
    let missing = tools::missing(tools::TESTS);
    if !missing.is_empty() {
        eprintln!("without {}: tests that need them leave that part out", missing.join(", "));
    }
    Ok(())
}

fn cargo_test(args: &Args) -> Result<Tally> {
    let mut command = run::command("cargo", &["test", "--workspace", "--no-fail-fast"]);
    command.args(&args.only);
    if args.no_install {
        command.env_remove(REQUIRE_TOOLS);
    } else {
        command.env(REQUIRE_TOOLS, "1");
    }
    let mut child = command.stdout(Stdio::piped()).spawn().context("could not start `cargo test`")?;
    let mut tally = Tally::default();
    if let Some(stdout) = child.stdout.take() {
        let mut reader = BufReader::new(stdout);
        let mut line = Vec::new();
        // Tests may print what is no UTF-8, so lines are bytes.
        while reader.read_until(b'\n', &mut line)? > 0 {
            std::io::stdout().write_all(&line)?;
            tally.read(String::from_utf8_lossy(&line).trim_end());
            line.clear();
        }
    }
    tally.finish(child.wait()?.success());
    Ok(tally)
}

/// Prints the closing line, on which automation relies; it is the last one.
fn conclude(tally: &Tally, only: Option<&str>) -> Verdict {
    let verdict = tally.verdict();
    if tally.passed + tally.failed == 0 {
        match only {
            Some(name) => eprintln!("no test has {name} in its path"),
            None => eprintln!("not one test ran, so nothing is proved"),
        }
    }
    println!("{}", tally.line());
    verdict
}

/// What the test programs reported.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
    /// A test program has said `running N tests` and not yet how they went.
    open: bool,
}

impl Tally {
    fn read(&mut self, line: &str) {
        if is_start(line) {
            self.close_crashed();
            self.open = true;
        } else if let Some([passed, failed, ignored]) = result(line) {
            self.passed += passed;
            self.failed += failed;
            self.skipped += ignored;
            self.open = false;
        }
    }

    /// A program that aborts or a build that breaks prints no result, and still is a failure.
    fn finish(&mut self, success: bool) {
        self.close_crashed();
        if !success && self.failed == 0 {
            self.failed = 1;
        }
    }

    fn close_crashed(&mut self) {
        if self.open {
            self.failed += 1;
            self.open = false;
        }
    }

    fn verdict(&self) -> Verdict {
        if self.failed == 0 && self.passed > 0 { Verdict::Good } else { Verdict::Bad }
    }

    fn line(&self) -> String {
        let Self { passed, failed, skipped, .. } = self;
        format!("{passed} passed, {failed} failed, {skipped} skipped")
    }
}

fn is_start(line: &str) -> bool {
    let words: Vec<&str> = line.split(' ').collect();
    matches!(words.as_slice(), ["running", count, "test" | "tests"] if count.parse::<u64>().is_ok())
}

/// Passed, failed and ignored, from `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
fn result(line: &str) -> Option<[u64; 3]> {
    let rest = line.strip_prefix("test result: ")?;
    let rest = rest.strip_prefix("ok. ").or_else(|| rest.strip_prefix("FAILED. "))?;
    let mut parts = rest.split("; ");
    let mut count = |name: &str| -> Option<u64> {
        let (number, word) = parts.next()?.split_once(' ')?;
        (word == name).then(|| number.parse().ok())?
    };
    Some([count("passed")?, count("failed")?, count("ignored")?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(text: &str, success: bool) -> Tally {
        let mut tally = Tally::default();
        text.lines().for_each(|line| tally.read(line));
        tally.finish(success);
        tally
    }

    const GOOD: &str = "\nrunning 2 tests\ntest a ... ok\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 5 filtered out; finished in 0.00s\n\
        running 1 test\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n";

    #[test]
    fn results_are_summed() {
        let tally = tally(GOOD, true);
        assert_eq!(tally.line(), "3 passed, 0 failed, 1 skipped");
        assert_eq!(tally.verdict(), Verdict::Good);
    }

    #[test]
    fn failed_tests_are_bad() {
        let text = "running 3 tests\ntest result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        let tally = tally(text, false);
        assert_eq!(tally.line(), "1 passed, 2 failed, 0 skipped");
        assert_eq!(tally.verdict(), Verdict::Bad);
    }

    #[test]
    fn a_program_that_dies_is_a_failure() {
        let tally = tally(&format!("running 9 tests\ntest a ... ok\n{GOOD}running 4 tests\n"), false);
        assert_eq!(tally.line(), "3 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn a_build_that_breaks_is_a_failure() {
        assert_eq!(tally(GOOD, false).line(), "3 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn no_tests_prove_nothing() {
        let text = "running 0 tests\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.00s";
        let tally = tally(text, true);
        assert_eq!(tally.line(), "0 passed, 0 failed, 0 skipped");
        assert_eq!(tally.verdict(), Verdict::Bad);
        assert_eq!(conclude(&tally, Some("nothing")), Verdict::Bad);
    }

    #[test]
    fn look_alikes_are_not_counted() {
        let text =
            "running late tests\n  test result: ok. 9 passed; 0 failed; 0 ignored;\ntest result: ok. many passed\n";
        assert_eq!(tally(text, true), Tally::default());
    }
}
