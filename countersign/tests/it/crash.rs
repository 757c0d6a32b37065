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
    if !has_tool("oathtool") {
        return;
    }
    let base = tempfile::tempdir().unwrap();
    let mut server = Server::new(Path::new(env!("CARGO_BIN_EXE_countersign")), base.path()).unwrap();
    for round in 1..=ROUNDS {
        let mut child = server.start().unwrap();
        // From the very first answers to a log that is long enough to be moved into the database.
        std::thread::sleep(Duration::from_millis(u64::from(round * 263 % 700 + 20)));
        assert_eq!(child.try_wait().unwrap(), None, "the server ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        let damage = server.damage(round == ROUNDS).unwrap();
        assert_eq!(damage, [""; 0], "round {round}");
    }
    eprintln!("{}", server.report());
    // A load that does nothing would prove nothing.
    let counts = server.counts();
    for verb in ["asked", "approved", "denied", "cancelled", "released", "reported"] {
        assert!(counts.get(verb).is_some_and(|count| *count >= u64::from(ROUNDS)), "{verb}: {counts:?}");
    }
}
