//! Sixty-four connections race for what only one may have. The races are those of `cargo xtask soak race`, which runs more of them.

use std::path::Path;

use crate::soak::{Engine, race};
use crate::support::has_tool;

const ROUNDS: u32 = 12;

#[test]
fn sqlite_each_race_has_one_winner() {
    each_race_has_one_winner(Engine::Sqlite);
}

/// The sixty-four are spread over two processes.
#[test]
fn postgres_each_race_has_one_winner() {
    each_race_has_one_winner(Engine::Postgres);
}

fn each_race_has_one_winner(engine: Engine) {
    if !has_tool("oathtool") {
        return;
    }
    let base = tempfile::tempdir().unwrap();
    let tally = race(engine, Path::new(env!("CARGO_BIN_EXE_countersign")), base.path(), ROUNDS).unwrap();
    eprintln!("{engine}:\n{tally}");
    assert_eq!(tally.wrong(), [""; 0]);
    let rounds = tally.rounds();
    assert_eq!(rounds.len(), 7, "{rounds:?}");
    assert!(rounds.values().all(|count| *count == u64::from(ROUNDS)), "{rounds:?}");
}
