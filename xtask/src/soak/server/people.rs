//! The people of a service, chosen before it exists: a demo that finds them in its folder takes them as they are. One approver's code counts once in
//! thirty seconds, so a load of approvals takes many.

use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// A code is good in its own step and in the one after it.
const STEP: u64 = 30;

/// Everybody, with all their secrets.
#[derive(Debug, Clone)]
pub(crate) struct People {
    pub(crate) requester: Login,
    pub(crate) administrator: Login,
    /// Of `local:security`.
    pub(crate) approvers: Vec<Login>,
}

/// What somebody logs in with.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) name: String,
    pub(crate) password: String,
    secret: String,
}

/// Somebody with a session and an authenticator.
#[derive(Debug)]
pub(crate) struct Approver {
    pub(crate) login: Login,
    pub(crate) token: String,
    /// The last step whose code was sent.
    used: u64,
}

impl People {
    /// Invents them, and writes `demo.json` into a folder that has none.
    pub(crate) fn invent(dir: &Path, approvers: usize) -> Result<Self> {
        let approvers = (0..approvers).map(|n| Login::invent(&format!("approver-{n}"))).collect::<Result<Vec<_>>>()?;
        let people = Self { requester: Login::invent("alice")?, administrator: Login::invent("admin")?, approvers };
        let mut all = vec![people.requester.describe(&[]), people.administrator.describe(&["local:administrators"])];
        all.extend(people.approvers.iter().map(|person| person.describe(&["local:security"])));
        let demo = json!({"url": "http://127.0.0.1:0", "dir": dir.display().to_string(), "people": all, "doors": {}});
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.join("demo.json"))?;
        serde_json::to_writer(&mut file, &demo)?;
        Ok(people)
    }
}

impl Login {
    fn invent(name: &str) -> Result<Self> {
        Ok(Self { name: name.to_owned(), password: random_base32()?, secret: random_base32()? })
    }

    fn describe(&self, groups: &[&str]) -> Value {
        let Self { name, password, secret } = self;
        let otpauth = format!("otpauth://totp/soak:{name}?secret={secret}&issuer=soak");
        json!({"name": name, "password": password, "otpauth": otpauth, "groups": groups})
    }
}

impl Approver {
    pub(crate) fn new(login: Login, token: String) -> Self {
        Self { login, token, used: 0 }
    }

    /// A code that was never sent anywhere, if there is one now. It stays used up whatever becomes of it.
    pub(crate) fn fresh_code(&mut self) -> Result<Option<String>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        self.fresh_step(now).map(|step| oathtool(&self.login.secret, step)).transpose()
    }

    fn fresh_step(&mut self, now: u64) -> Option<u64> {
        // The step before may end while its code is on its way.
        let oldest = if now % STEP < STEP - 5 { now / STEP - 1 } else { now / STEP };
        let step = oldest.max(self.used + 1);
        if step > now / STEP {
            return None;
        }
        self.used = step;
        Some(step)
    }
}

/// 160 bits.
fn random_base32() -> Result<String> {
    let mut bytes = [0; 32];
    fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).context("no random bytes")?;
    Ok(bytes.iter().map(|byte| char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[usize::from(byte % 32)])).collect())
}

/// The code as the program `oathtool` computes it.
fn oathtool(secret: &str, step: u64) -> Result<String> {
    let output = std::process::Command::new("oathtool")
        .args(["--hotp", "--base32", "--counter", &step.to_string(), secret])
        .output()
        .context("could not start oathtool")?;
    if !output.status.success() {
        bail!("oathtool: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_used_once_and_none_before_or_after_its_time() {
        let login = Login::invent("a").unwrap();
        let mut approver = Approver::new(login.clone(), String::new());
        let steps: Vec<_> = [300, 300, 300, 330, 330, 329].map(|now| approver.fresh_step(now)).into();
        assert_eq!(steps, [Some(9), Some(10), None, Some(11), None, None]);
        let mut approver = Approver::new(login, String::new());
        assert_eq!([328, 328].map(|now| approver.fresh_step(now)), [Some(10), None]);
    }

    #[test]
    fn secrets_differ_and_are_base32() {
        let one = random_base32().unwrap();
        assert_eq!(one.len(), 32);
        assert_ne!(one, random_base32().unwrap());
    }
}
