//! `demo`: a whole server on embedded defaults, with people who can try it out at once.

mod code;
mod people;
mod welcome;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use countersign_core::names::GroupName;
use countersign_engine::{Bootstrap, Clock as _, EngineConfig, NewPerson, is_bootstrapped};
use countersign_keys::SystemRandom;
use countersign_keys::master::MasterKey;
use countersign_keys::otpauth::OtpauthUrl;
use countersign_keys::random;
use countersign_policy::sample_policy;
use countersign_store::Store;
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::clock::SystemClock;
use super::config::{self, LogFormat};
use super::serve::Service;
use super::{files, logging, wiring};
use crate::cli::DemoArgs;
use crate::client::output;
use crate::exit::Failure;
use people::Demo;

pub(crate) use code::demo_code;

const READY_TIME: Duration = Duration::from_secs(10);

pub(crate) async fn demo(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let DemoArgs { dir, listen, json } = args;
    if !config::is_loopback(listen) {
        let hint = "reach it from elsewhere through `ssh -L 8220:127.0.0.1:8220 HOST`, or make a real server with `countersign init`";
        return Err(Failure::new(format!("a demo answers this machine only, not {listen}")).hint(hint).into());
    }
    logging::begin(LogFormat::Text, tracing::Level::WARN)?;
    // First of all: a demo that runs already must not be disturbed.
    let listener = wiring::listen(listen).await?;
    let address = listener.local_addr()?;
    let (store, master, demo) = prepare(&dir, &format!("http://{address}")).await?;
    let node = wiring::node()?;
    // With one administrator nothing waits anyway; without cooling a newcomer's second administrator can act at once, too.
    let config = EngineConfig { cooling: Duration::ZERO, node: node.clone(), ..EngineConfig::default() };
    let engine = wiring::start(store, &master, config).await?;
    let service = Service { engine, listener, node, policy: dir.join(config::POLICY) };
    service
        .run(async || {
            timeout(READY_TIME, healthy(address)).await.context("the server does not answer itself")??;
            if json {
                output::line(&serde_json::to_string(&demo)?);
            } else {
                welcome::print(&demo, &dir)?;
            }
            Ok(())
        })
        .await
}

/// Makes what is missing in the folder, and takes up what is there.
async fn prepare(dir: &Path, url: &str) -> anyhow::Result<(Store, MasterKey, Demo)> {
    let (database, key, file) = (dir.join(config::DATABASE), dir.join(config::MASTER_KEY), dir.join(config::DEMO));
    if !file.exists() && dir.join(config::FILE).exists() {
        let hint = "name another folder with --dir";
        return Err(Failure::new(format!("{} belongs to a real server", dir.display())).hint(hint).into());
    }
    files::private_folder(dir)?;
    let store = wiring::open_store(&database).await?;
    let ready = is_bootstrapped(&store).await.map_err(wiring::words)?;
    // From here on the database is locked: no other demo writes these files.
    let demo = match Demo::read(&file)? {
        Some(demo) => Demo { url: url.to_owned(), ..demo }.with_doors(),
        None if ready => {
            let hint = "put demo.json back, or name another folder with --dir";
            return Err(Failure::new(format!("{} holds a database whose people are not known", dir.display()))
                .hint(hint)
                .into());
        }
        None => Demo::new(url, dir, &SystemRandom)?,
    };
    let master = if ready || key.exists() {
        MasterKey::read_file(&key)?
    } else {
        let master = MasterKey::generate(&SystemRandom)?;
        master.create_file(&key)?;
        master
    };
    // The people are on disk before they exist: a start that was interrupted goes on with the same ones.
    demo.write(&file)?;
    if !ready {
        let policy = dir.join(config::POLICY);
        if !policy.exists() {
            files::create(&policy, sample_policy().as_bytes(), 0o644)?;
        }
        bootstrap(&demo, &store, &master).await?;
    }
    Ok((store, master, demo))
}

async fn bootstrap(demo: &Demo, store: &Store, master: &MasterKey) -> anyhow::Result<()> {
    let pool = wiring::passwords();
    let mut people = Vec::new();
    for person in &demo.people {
        let groups = person.groups.iter().map(|group| group.parse()).collect::<Result<Vec<GroupName>, _>>()?;
        people.push(NewPerson {
            name: person.name.clone(),
            password_hash: pool.hash(Arc::new(SystemRandom), person.password.clone()).await?,
            totp: Some(OtpauthUrl::parse(person.otpauth.expose_secret())?.secret.into()),
            groups,
        });
    }
    // The first one is the one whom the log names.
    people.sort_by_key(|person| !person.groups.contains(&GroupName::administrators()));
    // A name of its own, so that nobody's pinned key of another demo stands against it.
    let suffix = u32::from_be_bytes(random::bytes(&SystemRandom)?);
    let bootstrap = Bootstrap {
        name: format!("demo-{suffix:08x}.countersign.invalid"),
        people,
        policy: sample_policy().to_owned(),
    };
    bootstrap.run(store, master, &SystemRandom, SystemClock.now()).await.map_err(wiring::words)
}

/// What is printed can be used at once, so nothing is printed before the server has answered.
async fn healthy(address: std::net::SocketAddr) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(1_024).read_to_end(&mut answer).await?;
    anyhow::ensure!(answer.starts_with(b"HTTP/1.1 200 "), "the server answers, but not that it is well");
    Ok(())
}

#[cfg(test)]
mod tests;
