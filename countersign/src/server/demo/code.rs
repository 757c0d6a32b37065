//! `demo code NAME`: the authenticator app of somebody who has none. Each call gives another code, because each code counts once.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use countersign_core::time::Micros;
use countersign_engine::Clock as _;
use countersign_keys::otpauth::OtpauthUrl;
use countersign_keys::totp::{STEP_SECS, TotpSecret};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use super::people::Demo;
use crate::cli::DemoCodeArgs;
use crate::client::output;
use crate::exit::Failure;
use crate::server::clock::SystemClock;
use crate::server::{config, files};

/// The last step that was shown, for each name.
const SHOWN: &str = "codes-shown.json";

#[derive(Serialize)]
struct Printed<'a> {
    name: &'a str,
    code: &'a str,
}

pub(crate) async fn demo_code(args: DemoCodeArgs) -> anyhow::Result<ExitCode> {
    let DemoCodeArgs { name, dir, json } = args;
    let Some(demo) = Demo::read(&dir.join(config::DEMO))? else {
        let hint = "start one with `countersign demo`, or name its folder with --dir or COUNTERSIGN_DEMO";
        return Err(Failure::new(format!("there is no demo in {}", dir.display())).hint(hint).into());
    };
    let Some(person) = demo.people.iter().find(|person| person.name == name) else {
        let names: Vec<_> = demo.people.iter().map(|person| person.name.as_str()).collect();
        return Err(Failure::new(format!("the demo has no {name}"))
            .hint(format!("it has: {}", names.join(", ")))
            .into());
    };
    let totp = OtpauthUrl::parse(person.otpauth.expose_secret())?.secret;
    let code = fresh(&dir.join(SHOWN), &name, &totp).await?;
    if json {
        output::json(&Printed { name: &name, code: code.expose_secret() })?;
    } else {
        output::line(code.expose_secret());
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits for a step that was not shown yet, and notes it. The file stays locked meanwhile, so that two calls never show the same code.
async fn fresh(file: &Path, name: &str, totp: &TotpSecret) -> anyhow::Result<SecretString> {
    let mut shown = Shown::open(file).await?;
    let last = shown.steps.get(name).copied();
    let mut told = false;
    let now = loop {
        let now = SystemClock.now();
        let Some(wait) = until_fresh(now, last) else { break now };
        if !told {
            output::note(&format!("this code was shown before; the next one comes in {} s", wait.as_secs().max(1)));
            told = true;
        }
        tokio::time::sleep(wait).await;
    };
    shown.steps.insert(name.to_owned(), step(now));
    shown.write().with_context(|| format!("{} can't be written", file.display()))?;
    Ok(totp.code_at(now))
}

fn step(now: Micros) -> u64 {
    u64::try_from(now.as_secs()).unwrap_or(0) / STEP_SECS
}

/// How long until there is a code later than the last one shown. A note from a clock that was far ahead is forgotten: it would never come.
fn until_fresh(now: Micros, last: Option<u64>) -> Option<Duration> {
    let last = last.filter(|last| *last <= step(now) + 1)?;
    if step(now) > last {
        return None;
    }
    let next = i64::try_from((last + 1) * STEP_SECS).ok()?;
    Some(Micros::from_secs(next).since(now))
}

struct Shown {
    file: File,
    steps: BTreeMap<String, u64>,
}

impl Shown {
    async fn open(path: &Path) -> anyhow::Result<Self> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true).mode(0o600);
        let file = options.open(path).map_err(|error| files::cannot("open", path, &error))?;
        // Another call may hold it for half a minute.
        let (mut file, locked) = tokio::task::spawn_blocking(move || {
            let locked = file.lock();
            (file, locked)
        })
        .await?;
        locked.map_err(|error| files::cannot("lock", path, &error))?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|error| files::cannot("read", path, &error))?;
        // What can't be read is no more than a note that got lost.
        Ok(Self { file, steps: serde_json::from_str(&text).unwrap_or_default() })
    }

    fn write(&mut self) -> anyhow::Result<()> {
        let text = serde_json::to_vec(&self.steps)?;
        self.file.rewind()?;
        self.file.set_len(0)?;
        self.file.write_all(&text)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use countersign_keys::SystemRandom;

    use super::*;

    #[test]
    fn a_code_is_shown_once() {
        let at = |secs| Micros::from_secs(secs);
        assert_eq!(until_fresh(at(59), None), None);
        assert_eq!(until_fresh(at(59), Some(0)), None);
        assert_eq!(until_fresh(at(59), Some(1)), Some(Duration::from_secs(1)));
        assert_eq!(until_fresh(at(60), Some(1)), None);
        assert_eq!(until_fresh(at(30), Some(2)), Some(Duration::from_mins(1)));
        // The clock went back by days.
        assert_eq!(until_fresh(at(30), Some(100_000)), None);
    }

    #[tokio::test]
    async fn the_first_code_comes_at_once_and_is_noted_for_its_owner_alone() {
        let base = tempfile::tempdir().unwrap();
        let file = base.path().join(SHOWN);
        std::fs::write(&file, "damaged").unwrap();
        std::fs::remove_file(&file).unwrap();
        let totp = TotpSecret::generate(&SystemRandom).unwrap();
        let before = step(SystemClock.now());
        let code = fresh(&file, "bob", &totp).await.unwrap();
        let noted = Shown::open(&file).await.unwrap().steps["bob"];
        assert!(noted == before || noted == before + 1);
        assert_eq!(totp.hotp(noted).expose_secret(), code.expose_secret());
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    }
}
