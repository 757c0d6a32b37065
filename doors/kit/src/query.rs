//! Strict query strings.

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::Problem;

/// The query as `T`; give `T` `deny_unknown_fields`. A parameter that comes twice is refused.
#[derive(Clone, Copy, Debug)]
pub struct QueryString<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for QueryString<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        axum::extract::Query::try_from_uri(&parts.uri).map(|axum::extract::Query(value)| Self(value)).map_err(|error| {
            Problem::malformed(format!("the query is not what this path takes: {}", error.body_text()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Page {
        limit: Option<u32>,
    }

    async fn read(uri: &str) -> Option<Option<u32>> {
        let (mut parts, ()) = http::Request::builder().uri(uri).body(()).expect("a request").into_parts();
        QueryString::<Page>::from_request_parts(&mut parts, &()).await.ok().map(|QueryString(page)| page.limit)
    }

    #[tokio::test]
    async fn each_parameter_once_and_known() {
        assert_eq!(read("/").await, Some(None));
        assert_eq!(read("/?limit=5").await, Some(Some(5)));
        for bad in ["/?limit=5&limit=6", "/?limit=-1", "/?limit=99999999999", "/?limits=5", "/?limit=%ff"] {
            assert_eq!(read(bad).await, None, "{bad}");
        }
    }
}
