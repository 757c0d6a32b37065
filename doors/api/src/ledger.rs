//! `/ledger/`: the log as anybody may read it, in the shape of C2SP `tlog-tiles`. Nothing here can be guessed back into a name or a reason.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use countersign_engine::Engine;
use countersign_kit::{Problem, Routes, not_found};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Uri};

/// The deepest tile that a log of 2^64 entries has.
const LEVELS: u8 = 8;

pub(crate) fn routes(routes: Routes<Engine>) -> Routes<Engine> {
    routes.get("/ledger/{*path}", ledger)
}

/// A checkpoint (`checkpoint`), a tile (`tile/<L>/<N>[.p/<W>]`) or a bundle of entries (`tile/entries/<N>[.p/<W>]`) of the current epoch, or after
/// `<epoch>/` of that one.
#[utoipa::path(get, path = "/ledger/{path}", tag = "ledger", params(("path" = String, Path)), responses(
    (status = 200, description = "text for a checkpoint, bytes for the rest"),
    (status = 404, description = "not-found"),
))]
pub(crate) async fn ledger(State(engine): State<Engine>, uri: Uri) -> Result<Response, Problem> {
    // As it was sent: an escape is no second spelling of a path.
    let Some(wanted) = uri.path().strip_prefix("/ledger/").and_then(Wanted::parse) else {
        return Err(not_found().await);
    };
    match wanted {
        Wanted { epoch, resource: Resource::Checkpoint } => match engine.checkpoint(epoch).await? {
            Some(note) => Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], note).into_response()),
            None => Err(not_found().await),
        },
        Wanted { epoch, resource: Resource::Tile(path) } => match engine.tile(epoch, path).await? {
            Some(tile) => {
                let mut response = ([(CONTENT_TYPE, "application/octet-stream")], tile.bytes).into_response();
                if tile.is_final {
                    let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
                    response.headers_mut().insert(CACHE_CONTROL, forever);
                }
                Ok(response)
            }
            None => Err(not_found().await),
        },
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Wanted<'a> {
    epoch: Option<u64>,
    resource: Resource<'a>,
}

#[derive(Debug, PartialEq, Eq)]
enum Resource<'a> {
    Checkpoint,
    /// `tile/...`, in its one spelling.
    Tile(&'a str),
}

impl<'a> Wanted<'a> {
    fn parse(path: &'a str) -> Option<Self> {
        let (epoch, rest) = match path.split_once('/') {
            Some((first, rest)) if first.starts_with(|c: char| c.is_ascii_digit()) => (Some(number(first)?), rest),
            _ => (None, path),
        };
        let resource = match rest.strip_prefix("tile/") {
            Some(tile) if is_tile(tile) => Resource::Tile(rest),
            None if rest == "checkpoint" => Resource::Checkpoint,
            _ => return None,
        };
        Some(Self { epoch, resource })
    }
}

/// `<L>/<N>` or `entries/<N>`, then `.p/<W>` for a partial one.
fn is_tile(path: &str) -> bool {
    let (path, width) = match path.split_once(".p/") {
        Some((path, width)) => (path, number(width)),
        None => (path, Some(1)),
    };
    let Some((level, index)) = path.split_once('/') else { return false };
    let level = level == "entries" || number(level).is_some_and(|level| level < u64::from(LEVELS));
    level && is_index(index) && width.is_some_and(|width| (1..256).contains(&width))
}

/// Groups of three digits, all but the last with an `x` before them, and no group of zeros in front.
fn is_index(index: &str) -> bool {
    let digits = |group: &str| group.len() == 3 && group.bytes().all(|byte| byte.is_ascii_digit());
    match index.rsplit_once('/') {
        None => digits(index),
        Some((front, last)) => {
            let front: Vec<&str> = front.split('/').collect();
            digits(last)
                && front.len() <= 6
                && front.first() != Some(&"x000")
                && front.iter().all(|group| group.strip_prefix('x').is_some_and(digits))
        }
    }
}

/// A decimal without sign or leading zeros.
fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_tlog_tiles() {
        let tile = |epoch, path| Some(Wanted { epoch, resource: Resource::Tile(path) });
        assert_eq!(Wanted::parse("checkpoint"), Some(Wanted { epoch: None, resource: Resource::Checkpoint }));
        assert_eq!(Wanted::parse("3/checkpoint"), Some(Wanted { epoch: Some(3), resource: Resource::Checkpoint }));
        assert_eq!(Wanted::parse("tile/0/000"), tile(None, "tile/0/000"));
        assert_eq!(Wanted::parse("tile/0/x001/x234/067.p/255"), tile(None, "tile/0/x001/x234/067.p/255"));
        assert_eq!(Wanted::parse("2/tile/entries/x001/000"), tile(Some(2), "tile/entries/x001/000"));
    }

    #[test]
    fn everything_else_is_nothing() {
        for path in [
            "",
            "/",
            "checkpoint/",
            "Checkpoint",
            "checkpoint%00",
            "%63heckpoint",
            "../checkpoint",
            "0/../checkpoint",
            "01/checkpoint",
            "+1/checkpoint",
            "99999999999999999999/checkpoint",
            "1/2/checkpoint",
            "tile",
            "tile/",
            "tile/0",
            "tile/0/",
            "tile/0/0",
            "tile/0/0000",
            "tile/0/000/",
            "tile/0//000",
            "tile/8/000",
            "tile/00/000",
            "tile/-1/000",
            "tile/entries",
            "tile/Entries/000",
            "tile/0/001/002",
            "tile/0/x000/001",
            "tile/0/x001",
            "tile/0/x1/001",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/",
            "tile/0/000.p",
            "tile/0/000.p/1/",
            "tile/0/000.p/1.p/1",
            "tile/0/%30%30%30",
            "tile/0/000%2f001",
            "tile/0/..%2f..%2fcheckpoint",
            "tile/0/\u{661}00",
            "tile/data/000",
        ] {
            assert_eq!(Wanted::parse(path), None, "{path}");
        }
    }
}
