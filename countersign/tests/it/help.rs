//! `--help` is one screen; `help --all` is all there is.

use crate::support::cs;

#[test]
fn the_commands_of_every_day_fit_one_screen() {
    for args in [&["--help"][..], &["-h"], &["help"]] {
        let help = cs(args).env("COLUMNS", "80").run().ok().text();
        assert!(help.lines().count() <= 40, "{} lines:\n{help}", help.lines().count());
        for line in help.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        for name in ["login", "run", "ask", "inbox", "show", "approve", "deny", "cancel", "wait", "revoke", "verify"] {
            assert!(help.contains(&format!("\n  {name} ")), "{name}\n{help}");
        }
        for code in ["121", "122", "123", "124", "125", "help --all"] {
            assert!(help.contains(code), "{code}\n{help}");
        }
    }
}

#[test]
fn help_all_lists_every_command_and_each_explains_itself() {
    const WANTED: &str = "login whoami logout run ask inbox show approve deny cancel wait revoke enroll verify user group token policy \
                          ledger serve demo init config";
    let all = cs(["help", "--all"]).run().ok().text();
    let listed: Vec<Vec<&str>> = all
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .map(|line| line.split("  ").next().unwrap().split_whitespace().collect())
        .collect();
    for wanted in WANTED.split_whitespace() {
        assert!(listed.iter().any(|words| words[0] == wanted), "{wanted}\n{all}");
    }
    for (group, commands) in
        [("policy", "check apply show explain"), ("token", "create list revoke"), ("ledger", "verify checkpoint")]
    {
        for command in commands.split(' ') {
            assert!(listed.contains(&vec![group, command]), "{group} {command}\n{all}");
        }
    }
    assert!(listed.len() > 30, "{all}");
    for words in listed {
        let told = cs(["help"].iter().chain(&words)).run().ok().text();
        let usage = format!("Usage: countersign {}", words.join(" "));
        assert!(told.contains(&usage), "{usage}\n{told}");
    }
}

#[test]
fn wrong_arguments_are_2_and_no_secret_is_an_argument() {
    for args in [
        &["no-such-command"][..],
        &["approve", "x", "--code", "123456"],
        &["login", "--password", "x"],
        &["run", "ls"],
        &[],
    ] {
        let out = cs(args).run().with_code(2);
        assert!(out.text().is_empty() && !out.stderr.is_empty(), "{args:?}");
    }
    cs(["help", "nothing"]).run().with_code(1).saying("help --all");
    assert!(cs(["--version"]).run().ok().text().starts_with("countersign "));
}
