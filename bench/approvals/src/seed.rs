//! A data folder with many approvers.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use countersign_core::changes::Write;
use countersign_core::digest::Digest;
use countersign_core::identity::Session;
use countersign_core::ids::SessionId;
use countersign_core::names::{AccountName, Factor, GroupName};
use countersign_core::time::Micros;
use countersign_engine::{Bootstrap, NewPerson};
use countersign_keys::SystemRandom;
use countersign_keys::master::MasterKey;
use countersign_keys::opaque::OpaqueToken;
use countersign_keys::password::Passwords;
use countersign_keys::random;
use countersign_keys::totp::TotpSecret;
use countersign_store::{AccountByName, Commit, Store, StoreConfig};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

/// People of one group, so that a request has a quorum of a usual size to choose from.
pub(crate) const GROUP: usize = 32;

/// Somebody who is logged in.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) token: String,
    /// The payload of the TOTP secret, as hexadecimal.
    pub(crate) secret: Vec<u8>,
}

/// What the load needs to know. The first one asks, the others approve.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct People {
    pub(crate) people: Vec<Member>,
}

impl People {
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let path = dir.join("people.json");
        let json = fs::read(&path).with_context(|| format!("could not read {}", path.display()))?;
        Ok(serde_json::from_slice(&json)?)
    }
}

pub(crate) fn now() -> Micros {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Micros::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

pub(crate) fn seed(dir: &Path, listen: &str, approvers: usize) -> Result<()> {
    let data = dir.join("data");
    fs::create_dir_all(&data)?;
    let random = SystemRandom;
    let master = MasterKey::generate(&random)?;
    master.create_file(&dir.join("master.key"))?;
    let policy = policy(approvers);
    fs::write(dir.join("policy.toml"), &policy)?;
    let config = format!(
        "listen = \"{listen}\"\ndata = \"data\"\npolicy = \"policy.toml\"\n[store]\nsqlite = \"data/countersign.db\"\n\
         [master_key]\nfile = \"master.key\"\n[log]\nlevel = \"warn\"\n"
    );
    fs::write(dir.join("countersign.toml"), config)?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let people = runtime.block_on(fill(&data.join("countersign.db"), &master, policy, approvers))?;
    fs::write(dir.join("people.json"), serde_json::to_vec(&people)?)?;
    Ok(())
}

async fn fill(path: &Path, master: &MasterKey, policy: String, approvers: usize) -> Result<People> {
    let random = SystemRandom;
    let store = Store::open(&StoreConfig::Sqlite { path: path.to_owned() })?;
    let hash = Passwords::default().hash(&random, &"a password for all of them".into())?;
    let mut new = Vec::new();
    let mut people = Vec::new();
    for number in 0..=approvers {
        let secret = TotpSecret::generate(&random)?;
        let name = format!("p{number}");
        people.push(Member {
            name: name.clone(),
            token: String::new(),
            secret: secret.to_payload().expose_secret().to_vec(),
        });
        let groups = match number.checked_sub(1) {
            None => vec![GroupName::administrators()],
            Some(number) => vec![GroupName::new("local", &format!("g{}", number / GROUP))?],
        };
        new.push(NewPerson { name, password_hash: hash.clone(), totp: Some(secret.into()), groups });
    }
    let bootstrap = Bootstrap { name: "bench.example".to_owned(), people: new, policy };
    bootstrap.run(&store, master, &random, now()).await?;
    for member in &mut people {
        member.token = log_in(&store, &member.name).await?;
    }
    Ok(People { people })
}

/// A session without its password: what is measured is the approval.
async fn log_in(store: &Store, name: &str) -> Result<String> {
    let random = SystemRandom;
    let row = store.load(AccountByName(AccountName::new("local", name)?)).await?.context("an account is missing")?;
    let token = OpaqueToken::generate(&random, "session")?;
    let at = now();
    let session = Session {
        id: SessionId::new(at, random::bytes(&random)?),
        hash: Digest::from_bytes(token.hash()),
        account: row.account.id,
        created_at: at,
        last_used_at: at,
        expires_at: at.plus(Duration::from_hours(12)),
        fresh_at: at,
        fresh_factor: Factor::Password,
        source: "127.0.0.1".to_owned(),
    };
    store.commit(Commit::from(vec![Write::InsertSession(session)])).await?;
    Ok(token.text().expose_secret().to_owned())
}

/// One rule for each group: what is asked of target `gN` is approved by one of `local:gN`.
fn policy(approvers: usize) -> String {
    let mut text = "version = 1\n".to_owned();
    for number in 0..approvers.div_ceil(GROUP) {
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "[[rule]]\nid = \"g{number}\"\neffect = \"require\"\naction = \"command.run\"\ntarget = \"g{number}\"\n\
             quorum = [{{ k = 1, of = \"local:g{number}\" }}]\n"
        );
    }
    text
}
