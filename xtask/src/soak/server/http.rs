//! As much of HTTP/1.1 as a client needs that wants to know exactly what it was told. An answer that a kill cut short is none.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

const API: &str = "/api/countersign/v1";
/// Longer than anything takes on a slow machine. A server that is gone closes its connections at once, so waiting for this is itself a finding.
const PATIENCE: Duration = Duration::from_secs(20);
/// Far less than what the service grants.
const IDLE: Duration = Duration::from_secs(3);

/// One connection that is kept.
#[derive(Debug)]
pub(crate) struct Http {
    stream: BufReader<TcpStream>,
    address: String,
    used: Instant,
}

/// An answer that arrived whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// What is asked: a path below the API, or a whole one that begins with `/ledger`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Call<'a> {
    pub(crate) path: &'a str,
    pub(crate) token: &'a str,
    /// Asks with POST if there is one, with GET otherwise.
    pub(crate) body: Option<&'a Value>,
    pub(crate) idempotency: Option<&'a str>,
    /// Asks with DELETE.
    pub(crate) delete: bool,
}

impl Http {
    /// `address` is `127.0.0.1:PORT`.
    pub(crate) fn connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream), address: address.to_owned(), used: Instant::now() })
    }

    /// Any error means that nobody knows what became of the call.
    pub(crate) fn call(&mut self, call: Call<'_>) -> io::Result<Answer> {
        // The service closes what nobody uses for a while, and a call that crosses that has no answer.
        if self.used.elapsed() > IDLE {
            *self = Self::connect(&self.address)?;
        }
        let bytes = self.request(call)?;
        self.stream.get_mut().write_all(&bytes)?;
        let answer = self.answer();
        self.used = Instant::now();
        answer
    }

    fn request(&self, call: Call<'_>) -> io::Result<Vec<u8>> {
        let Call { path, token, body, idempotency, delete } = call;
        let method = match (delete, body.is_some()) {
            (true, _) => "DELETE",
            (false, true) => "POST",
            (false, false) => "GET",
        };
        let prefix = if path.starts_with("/ledger") { "" } else { API };
        let mut bytes = format!("{method} {prefix}{path} HTTP/1.1\r\nHost: {}\r\n", self.address).into_bytes();
        if !token.is_empty() {
            write!(bytes, "Authorization: Bearer {token}\r\n")?;
        }
        if let Some(key) = idempotency {
            write!(bytes, "Idempotency-Key: {key}\r\n")?;
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        if !body.is_empty() {
            write!(bytes, "Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())?;
        }
        write!(bytes, "\r\n{body}")?;
        Ok(bytes)
    }

    fn answer(&mut self) -> io::Result<Answer> {
        let first = self.line()?;
        let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| unusual(&first))?;
        let mut length = (status == 204).then_some(0);
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = Some(value.trim().parse().map_err(|_| unusual(&line))?);
            }
        }
        let mut body = vec![0; length.ok_or_else(|| unusual("an answer without its length"))?];
        self.stream.read_exact(&mut body)?;
        Ok(Answer { status, body })
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None => Err(ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Answer {
    /// Null where it is no JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Whether an error is something else than a server that is gone.
pub(crate) fn is_strange(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::InvalidData)
}

fn unusual(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// What a client makes of these bytes, sent by a server that then is gone.
    fn told(bytes: &'static str) -> io::Result<Answer> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut part = [0; 1024];
            assert!(stream.read(&mut part).unwrap() > 0);
            stream.write_all(bytes.as_bytes()).unwrap();
        });
        let answer = Http::connect(&address)?.call(Call { path: "/x", ..Call::default() });
        server.join().unwrap();
        answer
    }

    #[test]
    fn a_whole_answer_is_one() {
        let answer = told("HTTP/1.1 201 Created\r\ncontent-length: 8\r\n\r\n{\"a\": 1}").unwrap();
        assert_eq!((answer.status, answer.json()["a"].as_u64()), (201, Some(1)));
        assert_eq!(told("HTTP/1.1 204 No Content\r\n\r\n").unwrap().status, 204);
    }

    #[test]
    fn an_answer_cut_anywhere_is_none() {
        let whole = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ntrue";
        for end in 0..whole.len() {
            let error = told(&whole[..end]).unwrap_err();
            assert!(!is_strange(&error), "{end}: {error}");
        }
        assert!(is_strange(&told("HTTP/1.1 200 OK\r\n\r\ntrue").unwrap_err()));
    }
}
