//! Who owns which path. Each prefix has one owner, and what lies under it without an endpoint is answered in its owner's shape; what nobody owns gets
//! the frame's own `application/problem+json`.

use axum::Router;
use countersign_engine::Engine;
use countersign_kit::Frame;

/// A door and the paths that are its own.
struct Owner {
    name: &'static str,
    prefixes: &'static [&'static str],
    /// Its routes, fallbacks for its prefixes included.
    mount: fn(Engine) -> Router,
}

const TABLE: &[Owner] = &[
    // A 404 of the API is a problem like its other errors; so is one of the log, whose readers look at the status alone.
    Owner {
        name: "api",
        prefixes: &[countersign_door_api::PREFIX, "/ledger", "/healthz", "/metrics", "/openapi.json"],
        mount: countersign_door_api::router,
    },
];

/// All doors in their frame, ready for the accept loop.
pub(super) fn router(engine: &Engine, frame: Frame) -> Router {
    let doors = TABLE.iter().fold(Router::new(), |doors, owner| {
        tracing::debug!(door = owner.name, prefixes = ?owner.prefixes, "mounted");
        doors.merge((owner.mount)(engine.clone()))
    });
    countersign_kit::finish(doors, frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_has_two_owners() {
        let all: Vec<_> = TABLE.iter().flat_map(|owner| owner.prefixes).collect();
        for (at, one) in all.iter().enumerate() {
            for (other_at, other) in all.iter().enumerate() {
                let within = *one == *other || one.strip_prefix(**other).is_some_and(|rest| rest.starts_with('/'));
                assert!(at == other_at || !within, "{one} lies within {other}");
            }
        }
    }

    #[test]
    fn whatever_the_api_documents_lies_under_its_prefixes() {
        let document = countersign_door_api::openapi();
        let api = TABLE.iter().find(|owner| owner.name == "api").unwrap();
        assert!(!document.paths.paths.is_empty());
        for path in document.paths.paths.keys() {
            let owned =
                |prefix: &str| path == prefix || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
            assert!(api.prefixes.iter().any(|prefix| owned(prefix)), "{path}");
        }
    }
}
