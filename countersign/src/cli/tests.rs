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
    let asked = Cli::command().term_width(80).try_get_matches_from(["countersign", "--help"]);
    insta::assert_snapshot!(asked.unwrap_err(), @r"
    A second factor, or a second person, in front of dangerous operations

    Usage: countersign [OPTIONS] <COMMAND>

    Commands:
      login    Log in, and pin the key of the server's ledger
      whoami   Show who you are to the server
      logout   End the session
      run      Run a command here once it is granted
      ask      Ask for any operation
      inbox    List what waits for your answer
      show     Show a request, or keep its receipt
      approve  See exactly what is asked, and countersign it with a code
      deny     Say no: final, and needs no code
      cancel   Take back a request of yours
      wait     Wait until a request is decided
      revoke   Take back a grant
      enroll   Set up an authenticator app
      verify   Check a receipt, without server and network
      help     Help for a command; `help --all` shows every command

    Options:
          --server <URL>  Server to speak to, like https://countersign.example.org
                          [env: COUNTERSIGN_SERVER]
          --home <DIR>    Folder for session and log keys [env: COUNTERSIGN_HOME]
          --as <NAME>     Act as one of the people of a demo
          --json          Print one JSON document on standard output
      -h, --help          Print help
      -V, --version       Print version

    More: serve init demo config backup restore user group token policy ledger
    (`help --all`)
    Exit codes of ours: 121 denied, 122 expired, 123 cancelled, 124 refused by
    policy, 125 unreachable; `run` gives the command's own
    ");
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
