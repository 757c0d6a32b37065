use std::net::SocketAddr;

use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::*;
use crate::{Document, Frame, Stopping, finish};

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Running {
    async fn start(limits: Limits) -> Self {
        let router = Router::new()
            .route("/", get(async |source: Source| source.as_str().to_owned()).post(async |_: Document| "taken"))
            .route("/panic", get(async || -> &'static str { panic!("boom: s3cret") }))
            .route(
                "/held",
                get(async |stopping: Stopping| {
                    stopping.begun().await;
                    "ended early"
                }),
            )
            .route("/stuck", get(async || std::future::pending::<()>().await));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(serve(listener, finish(router, Frame::new("t")), limits, stop.clone()));
        tasks.close();
        Self { address, stop, tasks }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends these bytes and reads until the server closes.
    async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // The server may close before it has read everything.
        let _sent = stream.write_all(bytes).await;
        read_all(&mut stream).await
    }

    async fn stop(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let mut part = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut part).await {
        all.extend_from_slice(&part[..read]);
    }
    String::from_utf8(all).unwrap()
}

fn quick() -> Limits {
    Limits {
        header_time: Duration::from_millis(200),
        grace: Duration::from_millis(400),
        idle_time: Duration::from_millis(300),
        ..Limits::default()
    }
}

#[tokio::test]
async fn keeps_a_connection_for_several_requests_and_knows_its_source() {
    let server = Running::start(Limits::default()).await;
    let two = "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = server.exchange(two.as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert_eq!(answer.matches("127.0.0.1").count(), 2, "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn headers_are_bounded_in_number_and_size() {
    let server = Running::start(Limits::default()).await;
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(120));
    let large = format!("GET / HTTP/1.1\r\nHost: x\r\na: {}\r\n\r\n", "b".repeat(40_000));
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "b".repeat(40_000));
    for (request, statuses) in [(many, &["431"][..]), (large, &["431"]), (long, &["431", "414"])] {
        let answer = server.exchange(request.as_bytes()).await;
        assert!(statuses.iter().any(|status| answer.starts_with(&format!("HTTP/1.1 {status}"))), "{answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn bodies_are_bounded() {
    let server = Running::start(Limits::default()).await;
    let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n";
    let fits = format!("{head}Content-Length: 262144\r\n\r\n\"{}\"", "a".repeat(262_142));
    assert!(server.exchange(fits.as_bytes()).await.starts_with("HTTP/1.1 200"));
    let announced = format!("{head}Content-Length: 262145\r\n\r\n\"{}\"", "a".repeat(262_143));
    let answer = server.exchange(announced.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("\"slug\":\"too-large\""), "{answer}");
    let chunk = format!("10000\r\n{}\r\n", "1".repeat(65_536));
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(5));
    assert!(server.exchange(chunked.as_bytes()).await.starts_with("HTTP/1.1 413"));
    server.stop().await;
}

#[tokio::test]
async fn two_ideas_of_a_body_s_length_are_refused() {
    let server = Running::start(Limits::default()).await;
    let both = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let answer = server.exchange(both.as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "nothing is read after it: {answer}");
    let twice = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n123";
    assert!(server.exchange(twice.as_bytes()).await.starts_with("HTTP/1.1 400"));
    server.stop().await;
}

#[tokio::test]
async fn a_panic_is_one_answer_and_nobody_else_s() {
    let server = Running::start(Limits::default()).await;
    let mut other = server.connect().await;
    other.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").await.unwrap();
    let answer = server.exchange(b"GET /panic HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 500") && answer.contains("\"slug\":\"internal\""), "{answer}");
    assert!(!answer.contains("s3cret"), "{answer}");
    assert!(answer.contains("x-request-id: t-") && answer.contains("cache-control: no-store"), "{answer}");
    other.write_all(b"Connection: close\r\n\r\n").await.unwrap();
    assert!(read_all(&mut other).await.starts_with("HTTP/1.1 200"));
    server.stop().await;
}

#[tokio::test]
async fn who_sends_nothing_or_dribbles_is_closed() {
    let server = Running::start(quick()).await;
    let begun = Instant::now();
    for start in ["", "PRI * HT", "GET / HTTP/1.1\r\nHos", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = server.connect().await;
        stream.write_all(start.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        // A reset is a close as well.
        let _closed = stream.read_to_end(&mut rest).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
    server.stop().await;
}

#[tokio::test]
async fn one_source_has_so_many_connections() {
    let server = Running::start(Limits { connections_per_source: 2, ..Limits::default() }).await;
    let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut held = [server.connect().await, server.connect().await];
    for stream in &mut held {
        stream.write_all(request).await.unwrap();
        assert!(stream.read(&mut [0; 64]).await.unwrap() > 0);
    }
    assert_eq!(server.exchange(request).await, "");
    drop(held);
    let closing = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let deadline = Instant::now() + Duration::from_secs(5);
    while !server.exchange(closing).await.starts_with("HTTP/1.1 200") {
        assert!(Instant::now() < deadline, "the places were not given back");
    }
    server.stop().await;
}

#[tokio::test]
async fn stopping_ends_held_calls_at_once_and_stuck_ones_after_the_grace() {
    let server = Running::start(quick()).await;
    let (mut held, mut stuck, mut quiet) = (server.connect().await, server.connect().await, server.connect().await);
    held.write_all(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    stuck.write_all(b"GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    quiet.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(quiet.read(&mut [0; 1024]).await.unwrap() > 0);
    sleep(Duration::from_millis(50)).await;
    let (address, begun) = (server.address, Instant::now());
    let stop = server.stop();
    let (answer, ()) = tokio::join!(read_all(&mut held), stop);
    assert!(answer.ends_with("ended early"), "{answer}");
    assert!(begun.elapsed() >= quick().grace && begun.elapsed() < Duration::from_secs(5));
    assert_eq!(read_all(&mut stuck).await, "");
    assert!(TcpStream::connect(address).await.is_err(), "the port is free again");
}

mod http2 {
    use axum::body::{Body, Bytes, to_bytes};
    use http::{Request, Response, StatusCode};
    use hyper::client::conn::http2::{SendRequest, handshake};
    use hyper_util::rt::{TokioExecutor, TokioIo};

    use super::*;

    type Sender = SendRequest<Body>;

    /// A connection, and a task that ends with it.
    async fn connect(server: &Running, tasks: &TaskTracker) -> Sender {
        let stream = TokioIo::new(server.connect().await);
        let (sender, connection) = handshake(TokioExecutor::new(), stream).await.unwrap();
        tasks.spawn(connection);
        tasks.close();
        sender
    }

    async fn get(sender: &mut Sender, path: &str, headers: usize) -> (StatusCode, Bytes) {
        let request = (0..headers).fold(Request::get(format!("http://x{path}")), |request, _| request.header("a", "b"));
        let response: Response<_> = sender.send_request(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status();
        (status, to_bytes(Body::new(response.into_body()), 10_000).await.unwrap())
    }

    #[tokio::test]
    async fn has_the_same_limits_and_answers_side_by_side() {
        let server = Running::start(Limits::default()).await;
        let mut sender = connect(&server, &TaskTracker::new()).await;
        let mut other = sender.clone();
        let (held, ()) = tokio::join!(get(&mut other, "/held", 0), async {
            assert_eq!(get(&mut sender, "/", 1).await, (StatusCode::OK, Bytes::from("127.0.0.1")));
            assert_eq!(get(&mut sender, "/", 120).await.0, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
            assert_eq!(get(&mut sender, "/panic", 0).await.0, StatusCode::INTERNAL_SERVER_ERROR);
            server.stop.cancel();
        });
        assert_eq!(held, (StatusCode::OK, Bytes::from("ended early")));
        server.stop().await;
    }

    #[tokio::test]
    async fn an_idle_connection_is_closed() {
        let server = Running::start(quick()).await;
        let tasks = TaskTracker::new();
        let mut sender = connect(&server, &tasks).await;
        assert_eq!(get(&mut sender, "/", 0).await.0, StatusCode::OK);
        timeout(Duration::from_secs(5), tasks.wait()).await.expect("closed by the server");
        server.stop().await;
    }
}
