use axum::body::Body;
use http::Request;

use super::*;

fn request(body: impl Into<Body>) -> Request<Body> {
    Request::post("/").header(CONTENT_TYPE, "application/json").body(body.into()).unwrap()
}

async fn refused(body: impl Into<Body>) -> Problem {
    Document::from_request(request(body), &()).await.unwrap_err()
}

#[tokio::test]
async fn whatever_two_readers_could_disagree_about_is_refused() {
    let deep = "[".repeat(10_000);
    let long = format!("{{\"n\":{}}}", "9".repeat(100_000));
    for bad in [
        &b""[..],
        b"{\"a\":1,\"a\":2}",
        b"{\"a\":1,\"\\u0061\":2}",
        b"{\"a\":\"\xff\"}",
        b"{\"a\":\"\\ud800\"}",
        b"\xef\xbb\xbf{}",
        b"{}{}",
        b"{\"a\":1,}",
        b"{\"a\":1e999999999}",
        b"{\"a\":NaN}",
        b"{\"a\":01}",
        b"{'a':1}",
        deep.as_bytes(),
        long.as_bytes(),
    ] {
        assert_eq!(refused(bad.to_vec()).await.slug(), Slug::Malformed, "{}", String::from_utf8_lossy(bad).len());
    }
    assert_eq!(refused("{\"a\":1, x}").await.detail(), "not acceptable JSON at byte 8: unexpected character");
}

#[tokio::test]
async fn only_json_is_taken() {
    for (types, fits) in [
        (&["application/json"][..], true),
        (&["Application/JSON; charset=UTF-8"], true),
        (&["application/json;charset=\"utf-8\""], true),
        (&[], false),
        (&["text/plain"], false),
        (&["application/x-www-form-urlencoded"], false),
        (&["application/json; charset=utf-16"], false),
        (&["application/json", "text/plain"], false),
        (&["application/json, text/plain"], false),
    ] {
        let request = types.iter().fold(Request::post("/"), |request, value| request.header(CONTENT_TYPE, *value));
        let result = Document::from_request(request.body(Body::from("{}")).unwrap(), &()).await;
        assert_eq!(result.is_ok(), fits, "{types:?}");
    }
}

#[tokio::test]
async fn a_call_without_content_takes_nothing_or_an_empty_object() {
    let bare = Request::post("/").body(Body::empty()).unwrap();
    assert!(NoContent::from_request(bare, &()).await.is_ok());
    assert!(NoContent::from_request(request("{}"), &()).await.is_ok());
    assert!(NoContent::from_request(request(""), &()).await.is_ok());
    for bad in ["{\"a\":1}", "[]", "null", "{"] {
        assert!(NoContent::from_request(request(bad), &()).await.is_err(), "{bad}");
    }
    let form = Request::post("/").body(Body::from("{}")).unwrap();
    assert_eq!(NoContent::from_request(form, &()).await.unwrap_err().slug(), Slug::UnsupportedMediaType);
}

#[test]
fn layout_does_not_change_the_digest_and_content_does() {
    let digest = |text: &str| Document(Value::parse(text.as_bytes()).unwrap()).digest();
    assert_eq!(digest("{\"a\":1,\"b\":[]}"), digest(" {\"b\" : [ ], \"a\":1.0}"));
    assert_ne!(digest("{\"a\":9007199254740993}"), digest("{\"a\":9007199254740992}"));
}

/// A body whose next part never comes.
struct Never;

impl hyper::body::Body for Never {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let problem = read(request(Body::new(Never)), &(), Duration::from_millis(20)).await.unwrap_err();
    assert_eq!(problem.slug(), Slug::TooSlow);
}
