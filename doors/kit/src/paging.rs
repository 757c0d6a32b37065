//! Lists in parts: what every list takes and answers.

use axum::extract::{FromRequestParts, MatchedPath};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_core::digest::Digest;
use countersign_engine::{PAGE_LIMIT, Page};
use http::request::Parts;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{Problem, QueryString};

const USUAL: u32 = 50;
/// Longer than any key of a list.
const CURSOR_LIMIT: usize = 1_024;
/// Bytes of the digest that tells whose cursor it is. It keeps mistakes apart, not attackers: a cursor is a place in a list, and what a caller may see of
/// the list is judged for each part anew.
const MARK: usize = 8;

/// What the caller wants of a list: `limit` and `cursor`, and nothing else in the query.
#[derive(Clone, Debug)]
pub struct Paging {
    /// From 1 to 200.
    pub limit: u32,
    after: Option<String>,
    mark: [u8; MARK],
}

/// The query of every list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PagingQuery {
    /// At most this many; 50 if not given.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_cursor` of the part before.
    cursor: Option<String>,
}

/// A part of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Listed<T> {
    pub items: Vec<T>,
    /// What to send as `cursor` for the next part; null at the end.
    pub next_cursor: Option<String>,
}

impl Paging {
    /// The key that the part begins after, as the list itself wrote it.
    pub fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// The answer for what was found.
    pub fn listed<T, U>(&self, page: Page<T>) -> Listed<U>
    where
        U: From<T>,
    {
        let next_cursor = page.next.map(|key| URL_SAFE_NO_PAD.encode([&self.mark[..], key.as_bytes()].concat()));
        Listed { items: page.items.into_iter().map(U::from).collect(), next_cursor }
    }

    fn read(query: PagingQuery, list: &str) -> Result<Self, Problem> {
        let limit = query.limit.unwrap_or(USUAL);
        if !(1..=PAGE_LIMIT).contains(&limit) {
            return Err(Problem::malformed(format!("limit: give 1 to {PAGE_LIMIT}")).with("field", "limit"));
        }
        let mark = mark(list);
        let after = query.cursor.map(|cursor| after(&cursor, mark)).transpose()?;
        Ok(Self { limit, after, mark })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Paging {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let QueryString(query) = QueryString::from_request_parts(parts, state).await?;
        // Below a prefix the router shows the rest of the path only, and two doors may have a list of the same name; the route has the whole path, but an id
        // in it only as a word.
        let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let path = format!("{route} {}", parts.uri.path());
        Self::read(query, &path)
    }
}

fn after(cursor: &str, mark: [u8; MARK]) -> Result<String, Problem> {
    let refused = || {
        Problem::malformed(
            "cursor: this list did not give it out; begin without one, or use `next_cursor` of the part before",
        )
        .with("field", "cursor")
    };
    if cursor.len() > CURSOR_LIMIT {
        return Err(refused());
    }
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| refused())?;
    let key = bytes.strip_prefix(&mark).ok_or_else(refused)?;
    String::from_utf8(key.to_vec()).map_err(|_| refused())
}

/// Which list, so that a cursor of one is none of another.
fn mark(list: &str) -> [u8; MARK] {
    let digest = Digest::sha256(list.as_bytes());
    let mut mark = [0; MARK];
    for (to, from) in mark.iter_mut().zip(digest.as_bytes()) {
        *to = *from;
    }
    mark
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    async fn read(uri: &str) -> Result<Paging, Problem> {
        let (mut parts, ()) = Request::builder().uri(uri).body(()).expect("a request").into_parts();
        Paging::from_request_parts(&mut parts, &()).await
    }

    async fn cursor_of(path: &str, key: &str) -> String {
        let page = Page { items: Vec::<u32>::new(), next: Some(key.to_owned()) };
        let listed: Listed<u32> = read(path).await.expect("fine").listed(page);
        listed.next_cursor.expect("a cursor")
    }

    #[tokio::test]
    async fn a_limit_is_from_1_to_200() {
        assert_eq!(read("/a").await.expect("fine").limit, 50);
        for (limit, fine) in [("1", true), ("200", true), ("0", false), ("201", false), ("-1", false), ("x", false)] {
            let read = read(&format!("/a?limit={limit}")).await;
            assert_eq!(read.is_ok(), fine, "{limit}");
        }
        assert!(read("/a?limit=201").await.expect_err("refused").detail().contains("1 to 200"));
        for bad in ["/a?limit=1&limit=1", "/a?offset=1", "/a?cursor=", "/a?cursor=a&cursor=a"] {
            assert!(read(bad).await.is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_cursor_comes_back_as_the_key_and_only_to_its_own_list() {
        let cursor = cursor_of("/a?limit=7", "local:dba 1").await;
        assert!(!cursor.contains("dba"));
        assert_eq!(read(&format!("/a?cursor={cursor}")).await.expect("fine").after(), Some("local:dba 1"));
        let edited = format!("_{}", &cursor[1..]);
        let (short, long) = (&cursor[..MARK], "A".repeat(2_000));
        for bad in [
            format!("/b?cursor={cursor}"),
            format!("/a?cursor={edited}"),
            format!("/a?cursor={cursor}%3d"),
            format!("/a?cursor={short}"),
            format!("/a?cursor={long}"),
            "/a?cursor=x".to_owned(),
        ] {
            let problem = read(&bad).await.expect_err("refused");
            assert!(problem.detail().starts_with("cursor: "), "{bad}: {}", problem.detail());
        }
    }
}
