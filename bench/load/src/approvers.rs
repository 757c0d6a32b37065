//! A data folder with many approvers.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use countersign_core::changes::Write;
use countersign_core::digest::Digest;
use countersign_core::identity::Session;
use countersign_core::ids::SessionId;
use countersign_core::names::{AccountName, Factor, GroupName};
use countersign_engine::NewPerson;
use countersign_keys::SystemRandom;
use countersign_keys::opaque::OpaqueToken;
use countersign_keys::password::Passwords;
use countersign_keys::random;
use countersign_keys::totp::TotpSecret;
use countersign_store::{AccountByName, Commit, Store};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use crate::folder::{Folder, now};

/// People of one group, so that a request has a quorum of a usual size to choose from.
pub(crate) const GROUP: usize = 32;
const PEOPLE: &str = "people.json";

/// Somebody who is logged in.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) token: String,
    /// The payload of the TOTP secret.
    pub(crate) secret: Vec<u8>,
}

/// What the load needs to know. The first one asks, the others approve.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct People {
    pub(crate) people: Vec<Member>,
}

impl People {
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(PEOPLE);
        let json = fs::read(&path).with_context(|| format!("could not read {}", path.display()))?;
        Ok(serde_json::from_slice(&json)?)
    }
}

pub(crate) fn seed(dir: &Path, approvers: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let people = runtime.block_on(fill(dir, approvers))?;
    fs::write(dir.join(PEOPLE), serde_json::to_vec(&people)?)?;
    Ok(())
}

async fn fill(dir: &Path, approvers: usize) -> Result<People> {
    let random = SystemRandom;
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
    let Folder { store, .. } = Folder::create(dir, new, policy(approvers), now()).await?;
    let mut sessions = Vec::with_capacity(people.len());
    for member in &mut people {
        let (session, token) = session(&store, &member.name).await?;
        member.token = token;
        sessions.push(Write::InsertSession(session));
    }
    store.commit(Commit::from(sessions)).await?;
    Ok(People { people })
}

/// A session without its password: what is measured is the approval.
async fn session(store: &Store, name: &str) -> Result<(Session, String)> {
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
    Ok((session, token.text().expose_secret().to_owned()))
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
