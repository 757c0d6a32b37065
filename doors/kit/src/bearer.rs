//! The credential of a call.

use axum::extract::FromRequestParts;
use http::header::AUTHORIZATION;
use http::request::Parts;
use secrecy::SecretString;

use crate::{Problem, Slug};

/// Longer than any credential of ours; more is nobody's.
const LIMIT: usize = 512;

/// What stands in `Authorization: Bearer ...`. Never read from the query, where proxies and browsers would keep it.
#[derive(Debug)]
pub struct Bearer(pub SecretString);

impl<S: Sync> FromRequestParts<S> for Bearer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut headers = parts.headers.get_all(AUTHORIZATION).iter();
        let refuse = |detail: &str| Problem::new(Slug::Unauthenticated, detail);
        let header =
            headers.next().ok_or_else(|| refuse("log in first, and send the token as Authorization: Bearer"))?;
        // Two credentials are how a proxy and a server come to see two callers in one call.
        if headers.next().is_some() {
            return Err(refuse("send exactly one Authorization header"));
        }
        let text = header.to_str().map_err(|_| refuse("the Authorization header is not ASCII"))?;
        let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(refuse("this service takes the scheme Bearer only"));
        }
        if token.is_empty() || token.len() > LIMIT || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refuse("this is no token of this service; log in again"));
        }
        Ok(Self(SecretString::from(token)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use secrecy::ExposeSecret;

    async fn read(values: &[&str]) -> Result<String, Problem> {
        let mut request = Request::builder().uri("/?access_token=cs_1&token=cs_1");
        for value in values {
            request = request.header(AUTHORIZATION, *value);
        }
        let (mut parts, ()) = request.body(()).expect("a request").into_parts();
        Bearer::from_request_parts(&mut parts, &()).await.map(|bearer| bearer.0.expose_secret().to_owned())
    }

    #[tokio::test]
    async fn one_header_with_one_token() {
        assert_eq!(read(&["Bearer cs_abc"]).await.expect("a token"), "cs_abc");
        assert_eq!(read(&["bEARER cs_abc"]).await.expect("a token"), "cs_abc");
        let long = format!("Bearer {}", "x".repeat(LIMIT + 1));
        for bad in [
            &[][..],
            &["Bearer cs_a", "Bearer cs_a"],
            &["Bearer cs_a", "Basic eDp5"],
            &["Bearer"],
            &["Bearer "],
            &["Bearer  cs_a"],
            &["Bearer cs_a b"],
            &["Basic eDp5"],
            &[&long],
        ] {
            assert_eq!(read(bad).await.expect_err("refused").slug(), Slug::Unauthenticated, "{bad:?}");
        }
    }
}
