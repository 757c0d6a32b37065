//! The newest checkpoint goes out with each answer and comes back with each call, so that those who use the service remember for it how far it had come.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use countersign_engine::{CHECKPOINT_LIMIT, Engine};
use http::{HeaderMap, HeaderName, HeaderValue};

/// A signed note in base64.
const COUNTERSIGN_CHECKPOINT: HeaderName = HeaderName::from_static("countersign-checkpoint");

/// A layer. What is shown is looked at before the call is, so that a database that turns out to be old does not serve even this one.
pub async fn checkpoints(State(engine): State<Engine>, request: Request, next: Next) -> Response {
    if let Some(note) = shown(request.headers()) {
        engine.present(&note).await;
    }
    let mut response = next.run(request).await;
    if let Some(newest) = engine.newest_checkpoint()
        && let Ok(value) = HeaderValue::try_from(BASE64_STANDARD.encode(newest.text()))
    {
        response.headers_mut().insert(COUNTERSIGN_CHECKPOINT, value);
    }
    response
}

/// One header, not longer than any of ours. Whatever else comes is no reason to refuse a call.
fn shown(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(COUNTERSIGN_CHECKPOINT).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    if value.len() > CHECKPOINT_LIMIT * 4 / 3 + 4 {
        return None;
    }
    String::from_utf8(BASE64_STANDARD.decode(value).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_no_checkpoint_is_not_read() {
        let one = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.append(COUNTERSIGN_CHECKPOINT, value.parse().unwrap());
            headers
        };
        assert_eq!(shown(&one("YWI=")), Some("ab".to_owned()));
        assert_eq!(shown(&one("YWI")), None);
        assert_eq!(shown(&one("/////w==")), None);
        assert_eq!(shown(&one(&"A".repeat(CHECKPOINT_LIMIT * 2))), None);
        let mut two = one("YWI=");
        two.append(COUNTERSIGN_CHECKPOINT, "YWI=".parse().unwrap());
        assert_eq!(shown(&two), None);
        assert_eq!(shown(&HeaderMap::new()), None);
    }
}
