//! A request's changes as the server tells them: server-sent events (WHATWG HTML, section 9.2), read line by line and within bounds.

use std::time::Duration;

use reqwest::Response;
use tokio::time::timeout;

use super::http::{ApiError, Client};
use super::wire::View;

/// The server says something every 15 seconds; who is silent for three times as long is gone.
const SILENCE: Duration = Duration::from_secs(45);
/// An event holds one request, whose body the server bounds to 256 KiB before it is put into canonical form.
const EVENT_LIMIT: usize = 4 * 1024 * 1024;

/// An open stream.
#[derive(Debug)]
pub(super) struct Events<'a> {
    client: &'a Client,
    response: Response,
    parser: Parser,
}

impl Client {
    /// Follows a request from the version that is known on.
    pub(super) async fn events(&self, request: &str, known: i64) -> Result<Events<'_>, ApiError> {
        let response = self.stream(&["requests", request, "events"], ("Last-Event-ID", &known.to_string())).await?;
        let is_stream = response
            .headers()
            .get(reqwest::header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        if !is_stream {
            return Err(self.foreign(response.status()));
        }
        Ok(Events { client: self, response, parser: Parser::default() })
    }
}

impl Events<'_> {
    /// The request as soon as it is another one; `None` when the server ends the stream.
    pub(super) async fn next(&mut self) -> Result<Option<View>, ApiError> {
        loop {
            while let Some(event) = self.parser.next() {
                match event.name.as_str() {
                    "request" => {
                        let view = serde_json::from_slice(&event.data);
                        return view.map(Some).map_err(|_| self.client.foreign(self.response.status()));
                    }
                    "end" => return Ok(None),
                    // What a newer server tells besides.
                    _ => {}
                }
            }
            let silent = |_| ApiError::Cut { server: self.client.server(), why: "the stream fell silent".to_owned() };
            match timeout(SILENCE, self.response.chunk()).await.map_err(silent)? {
                Ok(Some(chunk)) if self.parser.take(&chunk) => {}
                Ok(Some(_)) => return Err(self.client.foreign(self.response.status())),
                Ok(None) => return Ok(None),
                Err(error) => return Err(self.client.failed(error)),
            }
        }
    }
}

#[derive(Debug, Default)]
struct Parser {
    bytes: Vec<u8>,
    name: String,
    data: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
struct Event {
    name: String,
    data: Vec<u8>,
}

impl Parser {
    /// Whether it still fits.
    fn take(&mut self, chunk: &[u8]) -> bool {
        self.bytes.extend_from_slice(chunk);
        self.bytes.len() + self.data.len() <= EVENT_LIMIT
    }

    fn next(&mut self) -> Option<Event> {
        while let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
            let mut line: Vec<u8> = self.bytes.drain(..=end).collect();
            line.truncate(end);
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            if line.is_empty() {
                let event = Event { name: std::mem::take(&mut self.name), data: std::mem::take(&mut self.data) };
                if event.data.is_empty() {
                    continue;
                }
                return Some(event);
            }
            let (field, value) = match line.iter().position(|byte| *byte == b':') {
                Some(colon) => (line.get(..colon), line.get(colon + 1..)),
                None => (Some(line.as_slice()), None),
            };
            let value = value.unwrap_or_default();
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match field {
                Some(b"event") => self.name = String::from_utf8_lossy(value).into_owned(),
                Some(b"data") => {
                    if !self.data.is_empty() {
                        self.data.push(b'\n');
                    }
                    self.data.extend_from_slice(value);
                }
                // Comments, ids, and whatever else.
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str) -> Event {
        Event { name: name.into(), data: data.into() }
    }

    #[test]
    fn events_come_whole_however_they_are_cut() {
        let text = ": hello\nretry: 2000\n\nevent: request\nid: 3\ndata: {\"a\":\ndata:1}\n\n:\n\nevent: end\r\ndata: {}\r\n\r\ndata: x\n\nevent: lost\ndata";
        let expected = [event("request", "{\"a\":\n1}"), event("end", "{}"), event("", "x")];
        for size in 1..text.len() {
            let mut parser = Parser::default();
            let mut events = Vec::new();
            for chunk in text.as_bytes().chunks(size) {
                assert!(parser.take(chunk));
                events.extend(std::iter::from_fn(|| parser.next()));
            }
            assert_eq!(events, expected, "{size}");
        }
    }

    #[test]
    fn an_event_without_end_is_not_kept() {
        let mut parser = Parser::default();
        let part = vec![b'x'; EVENT_LIMIT / 2];
        assert!(parser.take(&part) && parser.next().is_none());
        assert!(parser.take(&part) && !parser.take(b"x"));
        let mut parser = Parser::default();
        let line = [b"data: ".as_slice(), &part, b"\n"].concat();
        assert!(parser.take(&line) && parser.next().is_none());
        assert!(parser.take(&part) && !parser.take(b"x"));
    }
}
