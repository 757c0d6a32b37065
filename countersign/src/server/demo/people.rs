//! `demo.json`: the people of a demo with all their secrets, for the commands that act as one of them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use countersign_keys::Random;
use countersign_keys::random;
use countersign_keys::totp::TotpSecret;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::exit::Failure;
use crate::server::files;

/// Who is there, and what for.
const PEOPLE: [(&str, &[&str]); 3] =
    [("alice", &[]), ("bob", &["local:security"]), ("admin", &["local:administrators"])];
const ISSUER: &str = "Countersign-demo";
/// 32 characters, so that five random bits choose one: none that another one looks like.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnopqrstuvwxyz2345678";

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Demo {
    pub(super) url: String,
    pub(super) dir: String,
    pub(super) people: Vec<Person>,
    /// What each door has to say to a script; each URL answers.
    #[serde(default)]
    pub(super) doors: BTreeMap<String, BTreeMap<String, String>>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Person {
    pub(super) name: String,
    #[serde(serialize_with = "shown")]
    pub(super) password: SecretString,
    #[serde(serialize_with = "shown")]
    pub(super) otpauth: SecretString,
    pub(super) groups: Vec<String>,
}

impl Demo {
    pub(super) fn new(url: &str, dir: &Path, random: &dyn Random) -> anyhow::Result<Self> {
        let dir = std::path::absolute(dir).context("the folder has no absolute path")?;
        let people = PEOPLE.iter().map(|(name, groups)| Person::new(name, groups, random)).collect::<Result<_, _>>()?;
        let dir = dir.display().to_string();
        Ok(Self { url: url.to_owned(), dir, people, doors: BTreeMap::new() }.with_doors())
    }

    /// The doors' addresses follow the server's.
    pub(super) fn with_doors(mut self) -> Self {
        let api = [("url", countersign_door_api::PREFIX), ("openapi", "/openapi.json")];
        let api = api.map(|(name, path)| (name.to_owned(), format!("{}{path}", self.url)));
        self.doors.insert("api".to_owned(), BTreeMap::from(api));
        self
    }

    pub(super) fn read(file: &Path) -> anyhow::Result<Option<Self>> {
        let text = match std::fs::read(file) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(files::cannot("read", file, &error)),
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| {
            // The error's own words could quote a password.
            let place = format!("{} is damaged at line {}, column {}", file.display(), error.line(), error.column());
            Failure::new(place).hint("begin anew in another folder: `countersign demo --dir DIR`").into()
        })
    }

    pub(super) fn write(&self, file: &Path) -> anyhow::Result<()> {
        let mut text = Zeroizing::new(serde_json::to_vec_pretty(self)?);
        text.push(b'\n');
        files::replace(file, &text)
    }
}

impl Person {
    fn new(name: &str, groups: &[&str], random: &dyn Random) -> anyhow::Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            password: password(random)?,
            otpauth: TotpSecret::generate(random)?.otpauth_url(ISSUER, name)?,
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        })
    }
}

/// Four groups of five characters: 100 bits, and still something that can be typed.
fn password(random: &dyn Random) -> anyhow::Result<SecretString> {
    let bytes = Zeroizing::new(random::bytes::<20>(random)?);
    let mut text = String::with_capacity(23);
    for (at, byte) in bytes.iter().enumerate() {
        if at > 0 && at % 5 == 0 {
            text.push('-');
        }
        let letter = ALPHABET.get(usize::from(byte % 32)).context("the alphabet has 32 letters")?;
        text.push(char::from(*letter));
    }
    Ok(SecretString::from(text))
}

fn shown<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

#[cfg(test)]
mod tests {
    use countersign_keys::SystemRandom;

    use super::*;

    #[test]
    fn passwords_are_long_typeable_and_never_the_same() {
        let one = password(&SystemRandom).unwrap();
        let groups: Vec<_> = one.expose_secret().split('-').map(str::len).collect();
        assert_eq!(groups, [5, 5, 5, 5]);
        assert!(one.expose_secret().bytes().all(|b| b == b'-' || ALPHABET.contains(&b)));
        assert_ne!(one.expose_secret(), password(&SystemRandom).unwrap().expose_secret());
    }

    #[test]
    fn debug_shows_no_secret() {
        let demo = Demo::new("http://127.0.0.1:1", Path::new("d"), &SystemRandom).unwrap();
        let debug = format!("{demo:?}");
        for person in &demo.people {
            assert!(!debug.contains(person.password.expose_secret()) && !debug.contains("secret="), "{debug}");
        }
    }

    #[test]
    fn a_damaged_file_is_named_without_its_content() {
        let base = tempfile::tempdir().unwrap();
        let file = base.path().join("demo.json");
        std::fs::write(&file, r#"{"url":"x","dir":"y","people":"hunter2-hunter2"}"#).unwrap();
        let error = format!("{:#}", Demo::read(&file).unwrap_err());
        assert!(error.contains("line 1") && !error.contains("hunter2"), "{error}");
        assert!(Demo::read(&base.path().join("none.json")).unwrap().is_none());
    }
}
