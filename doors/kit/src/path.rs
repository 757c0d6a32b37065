//! Ids in paths.

use std::fmt;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::{Problem, Slug};

/// The last-but-`N` segment of the path, read as an id in its one spelling: `PathId<RequestId, 0>` of `/requests/{id}`, `PathId<RequestId, 1>` of
/// `/requests/{id}/answer`. The segment is taken as it was sent, so that `%30` is no second spelling of `0`.
#[derive(Clone, Copy, Debug)]
pub struct PathId<T, const N: usize>(pub T);

impl<S, T, const N: usize> FromRequestParts<S> for PathId<T, N>
where
    S: Sync,
    T: FromStr,
    T::Err: fmt::Display,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let segment = parts.uri.path().rsplit('/').nth(N).unwrap_or_default();
        segment.parse().map(Self).map_err(|error: T::Err| Problem::new(Slug::NotFound, error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_core::ids::RequestId;
    use countersign_core::time::Micros;

    async fn read<const N: usize>(path: &str) -> Option<RequestId> {
        let (mut parts, ()) = http::Request::builder().uri(path).body(()).expect("a request").into_parts();
        PathId::<RequestId, N>::from_request_parts(&mut parts, &()).await.ok().map(|id| id.0)
    }

    #[tokio::test]
    async fn an_id_has_one_spelling_in_a_path() {
        let id = RequestId::new(Micros::from_secs(1), [1; 10]);
        assert_eq!(read::<0>(&format!("/requests/{id}?version=1")).await, Some(id));
        assert_eq!(read::<1>(&format!("/requests/{id}/answer")).await, Some(id));
        let escaped = id.to_string().replacen('0', "%30", 1);
        for bad in [escaped, id.to_string().to_uppercase(), id.to_string().replace('-', ""), format!("{{{id}}}")] {
            let path = format!("/requests/{}", bad.replace('{', "%7B").replace('}', "%7D"));
            assert_eq!(read::<0>(&path).await, None, "{bad}");
        }
    }
}
