use clap::{CommandFactory as _, Parser as _};

use super::ask::duration_secs;
use super::*;

fn parse(line: &[&str]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from([&["countersign"], line].concat())
}

#[test]
fn the_definitions_hold_together() {
    Cli::command().debug_assert();
}

#[test]
fn the_commands_of_every_day_fit_one_screen() {
    let help = Cli::command().term_width(80).render_help().to_string();
    assert!(help.lines().count() <= 40 && help.lines().all(|line| line.chars().count() <= 80), "{help}");
    for name in ["login", "run", "approve", "verify", "enroll", "help --all"] {
        assert!(help.contains(name), "{name}");
    }
    assert!(!help.contains("\n  ledger"));
}

#[test]
fn the_first_screen_is_this() {
    let help = Cli::command().term_width(80).render_long_help().to_string();
    insta::assert_snapshot!(help, @"");
}

#[test]
fn all_of_them_are_told_on_demand() {
    let mut cli = Cli::command();
    cli.build();
    let all = help::everything(&cli);
    for name in [
        "  policy explain ",
        "  user reset-factor ",
        "  demo code ",
        "  ledger verify ",
        "  serve ",
        "  release close ",
        "  whoami ",
    ] {
        assert!(all.contains(name), "{name}\n{all}");
    }
}

#[test]
fn a_command_keeps_its_own_options() {
    let cli = parse(&["--as", "alice", "run", "--reason", "R", "--", "ls", "--json", "--help"]).unwrap();
    assert!(!cli.globals.json);
    let Command::Run(run) = cli.command else { panic!("{:?}", cli.command) };
    assert_eq!(run.command, ["ls", "--json", "--help"]);
    assert!(parse(&["run", "ls"]).is_err(), "without -- an option of the command could be taken for ours");
    assert!(parse(&["run", "--"]).is_err());
}

#[test]
fn secrets_have_no_option() {
    for id in secret_like(&Cli::command()) {
        assert!(id.ends_with("_stdin"), "{id}");
    }
}

fn secret_like(command: &clap::Command) -> Vec<String> {
    let own = command.get_arguments().map(|arg| arg.get_id().to_string());
    let own = own.filter(|id| ["password", "code", "token", "secret"].iter().any(|word| id.contains(word)));
    own.chain(command.get_subcommands().flat_map(secret_like)).collect()
}

#[test]
fn folders_of_a_demo_and_of_a_server_are_told_apart() {
    let cli = parse(&["--dir", "d", "--as", "bob", "inbox", "--json"]).unwrap();
    assert_eq!(cli.globals.demo_dir.as_deref(), Some(std::path::Path::new("d")));
    assert!(cli.globals.json);
    let Command::Demo(demo) = parse(&["demo", "--dir", "x", "code", "bob"]).unwrap().command else { panic!() };
    assert_eq!(demo.demo.dir, std::path::Path::new("x"));
    let Command::Demo(demo) = parse(&["demo", "code", "bob", "--dir", "y"]).unwrap().command else { panic!() };
    assert_eq!(demo.demo.dir, std::path::Path::new("y"));
    let Command::Serve(serve) = parse(&["serve", "--dir", "z"]).unwrap().command else { panic!() };
    assert_eq!(serve.dir.as_deref(), Some(std::path::Path::new("z")));
}

#[test]
fn times_are_read_and_nonsense_is_not() {
    assert_eq!(duration_secs("30m"), Ok(1800));
    assert_eq!(duration_secs("1h 30m"), Ok(5400));
    for bad in ["", "30", "-5m", "0s", "m", "1e3s"] {
        assert!(duration_secs(bad).is_err(), "{bad}");
    }
}
