//! What administration can change. Each change is the parameter of an operation of the same flow.

use countersign_core::canonical::Value;
use countersign_core::digest::Digest;
use countersign_core::ids::ReleaseId;
use countersign_core::names::{AccountName, Action, GroupName};
use serde::{Deserialize, Serialize};

use crate::EngineError;

/// One change, without its secret: a password travels beside it and is sealed with the request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// A new person with a local account. Takes a password.
    PersonAdd {
        name: String,
        #[serde(default)]
        groups: Vec<GroupName>,
    },
    /// Acts at once: sessions end, tokens are revoked, approvals stop counting.
    PersonDisable {
        name: String,
    },
    PersonEnable {
        name: String,
    },
    /// As disable, and factors and memberships go too. The name stays taken, because receipts name it.
    PersonRemove {
        name: String,
    },
    /// As remove; then names and all clear texts that tell of the person go, too. Nothing brings them back.
    PersonErase {
        name: String,
    },
    /// Takes a password.
    PasswordSet {
        name: String,
    },
    /// The person's factors stop proving anything; a new one must be enrolled.
    FactorReset {
        name: String,
    },
    /// Opens what too many wrong guesses closed.
    ThrottleClear {
        name: String,
    },
    GroupAdd {
        group: GroupName,
    },
    GroupRemove {
        group: GroupName,
    },
    MemberAdd {
        group: GroupName,
        person: String,
    },
    MemberRemove {
        group: GroupName,
        person: String,
    },
    /// An account for a program. It may ask, and fills no slot.
    ServiceAdd {
        name: String,
    },
    /// A token for a service. Its holder makes it and gives its SHA-256, so that nobody else ever sees it.
    ServiceTokenAdd {
        service: String,
        name: String,
        scopes: Vec<String>,
        ttl_secs: u64,
        sha256: Digest,
    },
    /// Says which human being an account belongs to.
    AccountLink {
        account: AccountName,
        person: String,
    },
    PolicyApply {
        text: String,
    },
    /// Closes a release that stayed in doubt.
    ReleaseClose {
        release: ReleaseId,
        reason: String,
    },
}

impl Change {
    /// The action that policy sees.
    pub fn action(&self) -> Result<Action, EngineError> {
        self.words().0.parse().map_err(EngineError::internal)
    }

    /// What it is done to.
    pub fn target(&self) -> String {
        self.words().1
    }

    /// Whether it needs a password beside it.
    pub const fn takes_password(&self) -> bool {
        matches!(self, Self::PersonAdd { .. } | Self::PasswordSet { .. })
    }

    /// As the parameters of an operation.
    pub fn to_parameters(&self) -> Result<Value, EngineError> {
        let json = serde_json::to_vec(self).map_err(EngineError::internal)?;
        Value::parse(&json).map_err(|error| EngineError::Invalid(error.to_string()))
    }

    /// Back from the parameters of an operation.
    pub fn from_parameters(parameters: &Value) -> Result<Self, EngineError> {
        serde_json::from_slice(&parameters.canonical()).map_err(EngineError::internal)
    }

    fn words(&self) -> (&'static str, String) {
        match self {
            Self::PersonAdd { name, .. } => ("admin.person.add", name.clone()),
            Self::PersonDisable { name } => ("admin.person.disable", name.clone()),
            Self::PersonEnable { name } => ("admin.person.enable", name.clone()),
            Self::PersonRemove { name } => ("admin.person.remove", name.clone()),
            Self::PersonErase { name } => ("admin.person.erase", name.clone()),
            Self::PasswordSet { name } => ("admin.password.set", name.clone()),
            Self::FactorReset { name } => ("admin.factor.reset", name.clone()),
            Self::ThrottleClear { name } => ("admin.throttle.clear", name.clone()),
            Self::GroupAdd { group } => ("admin.group.add", group.to_string()),
            Self::GroupRemove { group } => ("admin.group.remove", group.to_string()),
            Self::MemberAdd { group, .. } => ("admin.member.add", group.to_string()),
            Self::MemberRemove { group, .. } => ("admin.member.remove", group.to_string()),
            Self::ServiceAdd { name } => ("admin.service.add", name.clone()),
            Self::ServiceTokenAdd { service, .. } => ("admin.service_token.add", service.clone()),
            Self::AccountLink { account, .. } => ("admin.account.link", account.to_string()),
            Self::PolicyApply { .. } => ("admin.policy.apply", "policy".to_owned()),
            Self::ReleaseClose { release, .. } => ("admin.release.close", release.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_survives_its_way_through_an_operation() {
        let change = Change::PolicyApply { text: "version = 1\n\"\u{1f600}\" = 9007199254740993\n".into() };
        let parameters = change.to_parameters().unwrap();
        assert_eq!(Change::from_parameters(&parameters).unwrap(), change);
    }

    #[test]
    fn an_unknown_member_is_refused() {
        let parameters = Value::parse(br#"{"kind":"person_disable","name":"bob","really":true}"#).unwrap();
        assert!(Change::from_parameters(&parameters).is_err());
    }
}
