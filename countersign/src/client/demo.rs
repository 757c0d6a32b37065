//! `--as NAME`: one of the people of a demo, with a folder of his own below the demo's.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use countersign_core::names::check_name;
use secrecy::SecretString;
use serde::Deserialize;

use super::home::{Home, Session};
use super::http::Client;
use super::wire::WhoAmI;
use super::{login, surroundings};
use crate::cli::DEMO_DIR;
use crate::exit::Failure;

#[derive(Debug)]
pub(super) struct Person {
    pub(super) url: String,
    pub(super) home: PathBuf,
    name: String,
    password: SecretString,
}

#[derive(Deserialize)]
struct Demo {
    url: String,
    people: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    password: SecretString,
}

pub(super) fn person(dir: Option<&Path>, name: &str) -> anyhow::Result<Person> {
    let dir = dir.unwrap_or(Path::new(DEMO_DIR));
    let file = dir.join("demo.json");
    let text = std::fs::read(&file).map_err(|error| {
        Failure::new(format!("there is no demo in {}: {error}", dir.display())).hint(
            "--as is for demos: start one with `countersign demo`, or name its folder with --dir or COUNTERSIGN_DEMO",
        )
    })?;
    let text = zeroize::Zeroizing::new(text);
    let demo: Demo = serde_json::from_slice(&text)
        .with_context(|| format!("{} is damaged: start the demo again", file.display()))?;
    let names: Vec<&str> = demo.people.iter().map(|person| person.name.as_str()).collect();
    let known = names.join(", ");
    let entry = demo.people.into_iter().find(|person| person.name == name);
    let entry =
        entry.ok_or_else(|| Failure::new(format!("the demo has no {name}")).hint(format!("it has: {known}")))?;
    // The name becomes a folder.
    check_name(&entry.name)
        .ok()
        .filter(|()| !entry.name.starts_with('.'))
        .context("the demo's people have odd names")?;
    Ok(Person {
        url: demo.url,
        home: dir.join("clients").join(&entry.name),
        name: entry.name,
        password: entry.password,
    })
}

/// A client with a session that lives; a new one is opened where there is none.
pub(super) async fn client(
    person: &Person,
    home: &Home,
    client: Client,
    session: Option<Session>,
) -> anyhow::Result<Client> {
    if let Some(session) = session.filter(|session| session.expires_at > surroundings::now()) {
        let known = client.clone().with_token(session.token);
        match known.get::<WhoAmI>(&["whoami"], &[]).await {
            Err(error) if error.slug() == Some("unauthenticated") => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(known),
        }
    }
    let opened = login::open(home, &client, &person.name, &person.password, None, None).await?;
    Ok(client.with_token(opened.token))
}
