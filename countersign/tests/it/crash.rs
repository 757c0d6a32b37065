//! The server is killed again and again under load; nothing that it acknowledged may be gone. What clients do and what is checked is the same as in
//! `cargo xtask soak crash --victim server`, which does it for longer.

use std::path::Path;
use std::time::Duration;

use crate::support::has_tool;
use server::Server;

#[path = "../../../xtask/src/soak/server/mod.rs"]
mod server;

const ROUNDS: u32 = 20;

#[test]
fn twenty_kills_under_load_lose_nothing() {
    let base = tempfile::tempdir().unwrap();
    let Some(mut server) = server(base.path()) else { return };
    for round in 1..=ROUNDS {
        // From the very first answers to a log that is long enough to be moved into the database.
        one_life(&mut server, Duration::from_millis(u64::from(round * 263 % 700 + 40)));
        let damage = server.damage(round == ROUNDS).unwrap();
        assert_eq!(damage, [""; 0], "round {round}");
    }
    eprintln!("{}", server.report());
    // A load that does nothing would prove nothing.
    let counts = server.counts();
    for verb in ["asked", "approved", "denied", "cancelled", "released", "reported"] {
        assert!(counts.contains_key(verb), "never {verb}: {counts:?}");
    }
    assert!(counts.values().sum::<u64>() > u64::from(ROUNDS * 5), "{counts:?}");
}

/// The same check, on a server that does lose something: one that lives on in an older copy of its database.
#[test]
fn a_server_that_forgets_is_found_out() {
    let base = tempfile::tempdir().unwrap();
    let Some(mut server) = server(base.path()) else { return };
    let files = ["countersign.db", "countersign.db-wal"];
    let life = Duration::from_millis(600);
    one_life(&mut server, life);
    assert_eq!(server.damage(true).unwrap(), [""; 0]);
    let [database, log] = files.map(|name| std::fs::read(server.dir().join(name)).ok());
    one_life(&mut server, life);
    for (name, content) in files.iter().zip([database, log]) {
        let file = server.dir().join(name);
        match content {
            Some(content) => std::fs::write(file, content).unwrap(),
            None => std::fs::remove_file(file).unwrap(),
        }
    }
    let damage = server.damage(false).unwrap();
    assert!(damage.iter().any(|what| what.starts_with("lost: ")), "{damage:?}");
}

fn server(base: &Path) -> Option<Server> {
    has_tool("oathtool").then(|| Server::new(Path::new(env!("CARGO_BIN_EXE_countersign")), base).unwrap())
}

/// A start and, some time later, the kill.
fn one_life(server: &mut Server, length: Duration) {
    let mut child = server.start().unwrap();
    std::thread::sleep(length);
    let ended = child.try_wait().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(ended, None, "the server ended by itself");
}
