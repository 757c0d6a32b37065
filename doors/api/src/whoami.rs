//! `GET /whoami`.

use axum::Json as Reply;
use axum::extract::State;
use countersign_engine::Engine;
use countersign_engine::identity;
use countersign_kit::{Caller, Problem, Routes};
use serde::Serialize;
use utoipa::ToSchema;

pub(crate) fn routes(routes: Routes<Engine>) -> Routes<Engine> {
    routes.get("/whoami", whoami)
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Whoami {
    account: String,
    person: Option<String>,
    /// `person` or `service`.
    kind: &'static str,
    groups: Vec<String>,
    /// `session` or `token`.
    via: &'static str,
    /// The last factor proved in this session.
    fresh: Option<Fresh>,
    /// Factors that can be proved.
    enrolled: Vec<&'static str>,
    #[schema(format = DateTime)]
    expires_at: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Fresh {
    factor: &'static str,
    #[schema(format = DateTime)]
    at: String,
}

/// The caller, as the service sees him.
#[utoipa::path(get, path = "/api/countersign/v1/whoami", tag = "session", security(("bearer" = [])), responses((status = 200, body = Whoami)))]
pub(crate) async fn whoami(State(engine): State<Engine>, Caller(principal): Caller) -> Result<Reply<Whoami>, Problem> {
    Ok(Reply(engine.whoami(&principal).await?.into()))
}

impl From<identity::Whoami> for Whoami {
    fn from(whoami: identity::Whoami) -> Self {
        Self {
            account: whoami.account.to_string(),
            person: whoami.person.map(|person| person.name),
            kind: whoami.kind.as_str(),
            groups: whoami.groups.iter().map(ToString::to_string).collect(),
            via: whoami.via,
            fresh: whoami.fresh.map(|(factor, at)| Fresh { factor: factor.as_str(), at: at.to_string() }),
            enrolled: whoami.enrolled.into_iter().map(countersign_core::names::Factor::as_str).collect(),
            expires_at: whoami.expires_at.map(|at| at.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_core::identity::{AccountKind, PersonRef};
    use countersign_core::ids::PersonId;
    use countersign_core::names::{Factor, GroupName};
    use countersign_core::time::Micros;

    #[test]
    fn wire() {
        let person = PersonRef { id: PersonId::new(Micros::from_secs(1), [1; 10]), name: "alice".into() };
        let wire = Whoami::from(identity::Whoami {
            account: "alice".parse().expect("a name"),
            person: Some(person),
            kind: AccountKind::Person,
            groups: vec![GroupName::administrators()],
            via: "session",
            fresh: Some((Factor::Totp, Micros::from_micros(1_000_001))),
            enrolled: vec![Factor::Totp],
            expires_at: Some(Micros::from_secs(60)),
        });
        insta::assert_json_snapshot!(wire, @r#"
        {
          "account": "local:alice",
          "person": "alice",
          "kind": "person",
          "groups": [
            "local:administrators"
          ],
          "via": "session",
          "fresh": {
            "factor": "totp",
            "at": "1970-01-01T00:00:01.000001Z"
          },
          "enrolled": [
            "totp"
          ],
          "expires_at": "1970-01-01T00:01:00Z"
        }
        "#);
    }
}
