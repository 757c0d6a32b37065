//! A data folder as an operator has it: configuration, policy, master key, database.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::Result;
use countersign_core::time::Micros;
use countersign_engine::{Bootstrap, NewPerson};
use countersign_keys::SystemRandom;
use countersign_keys::master::MasterKey;
use countersign_store::{Store, StoreConfig};

/// Paths are relative to the folder, so that it may be copied. Where it listens is an argument of each start.
const CONFIG: &str = "data = \"data\"\npolicy = \"policy.toml\"\n[store]\nsqlite = \"data/countersign.db\"\n\
    [master_key]\nfile = \"master.key\"\n[log]\nlevel = \"warn\"\n";

/// An opened data folder.
pub(crate) struct Folder {
    pub(crate) store: Store,
    pub(crate) master: MasterKey,
}

impl Folder {
    /// Makes it with these people, who are there since `since`.
    pub(crate) async fn create(dir: &Path, people: Vec<NewPerson>, policy: String, since: Micros) -> Result<Self> {
        let data = dir.join("data");
        fs::create_dir_all(&data)?;
        let master = MasterKey::generate(&SystemRandom)?;
        master.create_file(&dir.join("master.key"))?;
        fs::write(dir.join("policy.toml"), &policy)?;
        fs::write(dir.join("countersign.toml"), CONFIG)?;
        let store = Store::open(&StoreConfig::Sqlite { path: data.join("countersign.db") }).await?;
        let bootstrap = Bootstrap { name: "bench.example".to_owned(), people, policy };
        bootstrap.run(&store, &master, &SystemRandom, since).await?;
        Ok(Self { store, master })
    }
}

pub(crate) fn now() -> Micros {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Micros::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
