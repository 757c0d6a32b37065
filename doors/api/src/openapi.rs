//! `GET /openapi.json`.

use axum::Json as Reply;
use countersign_engine::Engine;
use countersign_kit::Routes;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use crate::{
    admin, enrol, health, ledger, log, login, metrics, people, policy, releases, requests, session, tokens, whoami,
};

pub(crate) fn routes(routes: Routes<Engine>) -> Routes<Engine> {
    routes.get("/openapi.json", document)
}

/// The document that describes this API.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "service", responses((status = 200, body = Object, content_type = "application/json")))]
pub(crate) async fn document() -> Reply<utoipa::openapi::OpenApi> {
    Reply(openapi())
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Countersign",
        description = "A fresh second factor, or a second person, in front of a dangerous operation. Errors are application/problem+json; their `slug` is \
                       what programs branch on."
    ),
    paths(
        login::login,
        login::logout,
        session::fresh,
        whoami::whoami,
        requests::ask,
        requests::mine,
        requests::inbox,
        requests::explain_request,
        requests::show_request,
        requests::wait,
        requests::events,
        requests::answer,
        requests::deny,
        requests::cancel,
        requests::revoke_grant,
        requests::release,
        requests::receipt,
        releases::renew,
        releases::result,
        admin::admin,
        people::people,
        people::groups,
        people::memberships,
        tokens::create,
        tokens::list,
        tokens::revoke,
        enrol::begin,
        enrol::finish,
        policy::show,
        policy::check,
        policy::explain,
        log::log,
        ledger::ledger,
        health::healthz,
        metrics::metrics,
        document,
    ),
    modifiers(&Bearer)
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A session of POST /login, or a token of POST /tokens."))
            .build();
        document.components.get_or_insert_default().add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{PREFIX, api, outside};

    fn documented() -> BTreeSet<(String, String)> {
        let document = serde_json::to_value(openapi()).expect("JSON");
        let paths = document["paths"].as_object().expect("paths");
        let methods = |path: &String, item: &serde_json::Value| {
            let item = item.as_object().expect("methods").clone();
            item.into_iter().map(|(method, _)| (method.to_uppercase(), path.clone())).collect::<Vec<_>>()
        };
        paths.iter().flat_map(|(path, item)| methods(path, item)).collect()
    }

    #[test]
    fn the_document_lists_every_route_and_no_other() {
        let api = api();
        let own = api.list().iter().map(|(method, path)| (method.to_string(), format!("{PREFIX}{path}")));
        let outside = outside();
        // OpenAPI has no word for "the rest of the path".
        let others = outside.list().iter().map(|(method, path)| (method.to_string(), path.replace("{*", "{")));
        let served: BTreeSet<_> = own.chain(others).collect();
        assert_eq!(served, documented());
    }

    #[test]
    fn whatever_needs_a_credential_says_so() {
        let document = serde_json::to_value(openapi()).expect("JSON");
        let open = ["/api/countersign/v1/login", "/ledger/{path}", "/healthz", "/openapi.json"];
        for (method, path) in documented() {
            let secured = document["paths"][&path][method.to_lowercase()].get("security").is_some();
            assert_eq!(secured, !open.contains(&path.as_str()), "{method} {path}");
        }
    }
}
