//! A secret in a body.

use std::fmt;

use secrecy::SecretString;
use serde::de::{Deserialize, Deserializer};

/// Text that no log and no error shows.
#[derive(Clone)]
pub struct SecretText(SecretString);

impl SecretText {
    pub fn into_secret(self) -> SecretString {
        self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(SecretString::from(String::deserialize(deserializer)?)))
    }
}
