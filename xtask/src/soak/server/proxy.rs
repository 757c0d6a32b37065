//! A wire between the service and PostgreSQL that stops at a COMMIT.
//!
//! It reads what the service says message by message, as <https://www.postgresql.org/docs/current/protocol-message-formats.html> has it, and knows a
//! transaction that writes from one that only reads by the texts of its statements.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// A moment in the life of a transaction that writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Its COMMIT is here, and has not reached the server.
    Sent,
    /// The server has done it, and the service has not heard of it.
    Done,
}

/// What becomes of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Pass,
    /// The connection ends here, without it.
    Cut,
}

/// Is asked at each moment, on the thread of the connection, which waits for it.
type Hook = dyn Fn(Moment) -> Then + Send + Sync;

#[derive(Clone)]
pub(crate) struct Proxy {
    port: u16,
    hook: Arc<Mutex<Arc<Hook>>>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("port", &self.port).finish_non_exhaustive()
    }
}

impl Proxy {
    /// Forwards to this port of 127.0.0.1 until the process ends.
    pub(crate) fn start(server: u16) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let proxy = Self { port: listener.local_addr()?.port(), hook: Arc::new(Mutex::new(Arc::new(|_| Then::Pass))) };
        let accepting = proxy.clone();
        std::thread::spawn(move || {
            for service in listener.incoming().flatten() {
                // A server that is away refuses, and so the service's connection ends.
                let _refused = accepting.connect(service, server);
            }
        });
        Ok(proxy)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From now on this is asked.
    pub(crate) fn ask(&self, hook: impl Fn(Moment) -> Then + Send + Sync + 'static) {
        *self.hook.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(hook);
    }

    fn what(&self, moment: Moment) -> Then {
        let hook = Arc::clone(&self.hook.lock().unwrap_or_else(PoisonError::into_inner));
        hook(moment)
    }

    fn connect(&self, service: TcpStream, server: u16) -> io::Result<()> {
        let server = TcpStream::connect(("127.0.0.1", server))?;
        service.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let ends = Arc::new(Mutex::new(VecDeque::new()));
        let (from_server, to_service) = (server.try_clone()?, service.try_clone()?);
        let (forward, back) = (self.clone(), self.clone());
        let known = Arc::clone(&ends);
        std::thread::spawn(move || {
            let ended = forward.forward(&service, &server, &known);
            cut(ended, &[&service, &server]);
        });
        std::thread::spawn(move || {
            let ended = back.back(&from_server, &to_service, &ends);
            cut(ended, &[&from_server, &to_service]);
        });
        Ok(())
    }

    /// What the service says.
    fn forward(&self, mut service: &TcpStream, mut server: &TcpStream, ends: &Mutex<VecDeque<bool>>) -> io::Result<()> {
        // The first messages have no type: a question for TLS, which is answered here, and the greeting.
        loop {
            let first = read(&mut service, 4)?;
            if first.get(4..8) == Some(&80_877_103_u32.to_be_bytes()) {
                service.write_all(b"N")?;
                continue;
            }
            server.write_all(&first)?;
            break;
        }
        let mut session = Session::default();
        loop {
            let message = read(&mut service, 5)?;
            let ends_here = session.hears(&message);
            if let Some(writes) = ends_here {
                ends.lock().unwrap_or_else(PoisonError::into_inner).push_back(writes);
                if writes && self.what(Moment::Sent) == Then::Cut {
                    return Ok(());
                }
            }
            server.write_all(&message)?;
        }
    }

    /// What the server says.
    fn back(&self, mut server: &TcpStream, mut service: &TcpStream, ends: &Mutex<VecDeque<bool>>) -> io::Result<()> {
        loop {
            let message = read(&mut server, 5)?;
            let ended = match message.first() {
                Some(b'C') if message.get(5..) == Some(b"COMMIT\0") || message.get(5..) == Some(b"ROLLBACK\0") => {
                    ends.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
                }
                // What follows an error is not done; the next transaction begins anew.
                Some(b'E') => {
                    ends.lock().unwrap_or_else(PoisonError::into_inner).clear();
                    None
                }
                _ => None,
            };
            let committed = message.get(5..) == Some(b"COMMIT\0");
            if ended == Some(true) && committed && self.what(Moment::Done) == Then::Cut {
                return Ok(());
            }
            service.write_all(&message)?;
        }
    }
}

/// What one session of the service has said so far.
#[derive(Debug, Default)]
struct Session {
    statements: BTreeMap<Vec<u8>, String>,
    portals: BTreeMap<Vec<u8>, String>,
    writes: bool,
}

impl Session {
    /// If this message ends a transaction: whether that one wrote.
    fn hears(&mut self, message: &[u8]) -> Option<bool> {
        let body = message.get(5..)?;
        match message.first()? {
            b'Q' => self.runs(&text(cut_at_zero(body).0)),
            b'P' => {
                let (name, rest) = cut_at_zero(body);
                self.statements.insert(name.to_vec(), text(cut_at_zero(rest).0));
                None
            }
            b'B' => {
                let (portal, rest) = cut_at_zero(body);
                let statement = self.statements.get(cut_at_zero(rest).0).cloned().unwrap_or_default();
                self.portals.insert(portal.to_vec(), statement);
                None
            }
            b'E' => {
                let statement = self.portals.get(cut_at_zero(body).0).cloned().unwrap_or_default();
                self.runs(&statement)
            }
            _ => None,
        }
    }

    fn runs(&mut self, statements: &str) -> Option<bool> {
        let mut ended = None;
        for statement in statements.split(';').map(str::trim_start) {
            let word = statement.split(|letter: char| !letter.is_ascii_alphabetic()).next().unwrap_or_default();
            match word.to_ascii_uppercase().as_str() {
                "BEGIN" | "START" => self.writes = false,
                "INSERT" | "UPDATE" | "DELETE" => self.writes = true,
                "WITH" => self.writes |= ["INSERT", "UPDATE", "DELETE"].iter().any(|word| statement.contains(word)),
                "COMMIT" | "END" => ended = Some(std::mem::take(&mut self.writes)),
                "ROLLBACK" if !statement.to_ascii_uppercase().contains(" TO ") => {
                    self.writes = false;
                    ended = Some(false);
                }
                _ => {}
            }
        }
        ended
    }
}

/// One message, whose length stands behind its type, if it has one.
fn read(from: &mut impl Read, head: usize) -> io::Result<Vec<u8>> {
    let mut message = vec![0; head];
    from.read_exact(&mut message)?;
    let length = message.last_chunk::<4>().map_or(0, |length| u32::from_be_bytes(*length));
    let body = (length as usize).checked_sub(4).ok_or(io::ErrorKind::InvalidData)?;
    message.resize(head + body, 0);
    from.read_exact(message.get_mut(head..).unwrap_or_default())?;
    Ok(message)
}

fn cut_at_zero(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    (bytes.get(..end).unwrap_or_default(), bytes.get(end + 1..).unwrap_or_default())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn cut(_ended: io::Result<()>, wires: &[&TcpStream]) {
    for wire in wires {
        // One of them may be gone already.
        let _gone = wire.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[kind][..], &length, body].concat()
    }

    fn heard(messages: &[(u8, &[u8])]) -> Vec<Option<bool>> {
        let mut session = Session::default();
        messages.iter().map(|(kind, body)| session.hears(&message(*kind, body))).collect()
    }

    #[test]
    fn a_transaction_that_writes_is_told_from_one_that_reads() {
        let simple: [(u8, &[u8]); 4] =
            [(b'Q', b"BEGIN\0"), (b'Q', b"INSERT INTO a VALUES (1)\0"), (b'Q', b"COMMIT\0"), (b'Q', b"COMMIT\0")];
        assert_eq!(heard(&simple), [None, None, Some(true), Some(false)]);
        let read: [(u8, &[u8]); 3] = [(b'Q', b"BEGIN READ ONLY\0"), (b'Q', b"SELECT 1\0"), (b'Q', b"COMMIT\0")];
        assert_eq!(heard(&read), [None, None, Some(false)]);
        let taken_back: [(u8, &[u8]); 3] =
            [(b'Q', b"UPDATE a SET b = 1\0"), (b'Q', b"ROLLBACK TO x\0"), (b'Q', b"ROLLBACK\0")];
        assert_eq!(heard(&taken_back), [None, None, Some(false)]);
    }

    #[test]
    fn prepared_statements_are_known_by_their_names() {
        let prepared: [(u8, &[u8]); 7] = [
            (b'P', b"s1\0WITH x AS (DELETE FROM a RETURNING b) SELECT * FROM x\0\0\0"),
            (b'P', b"s2\0COMMIT\0\0\0"),
            (b'B', b"\0s1\0\0\0"),
            (b'E', b"\0\0\0\0\0"),
            (b'B', b"p\0s2\0\0\0"),
            (b'E', b"p\0\0\0\0\0"),
            (b'S', b""),
        ];
        assert_eq!(heard(&prepared), [None, None, None, None, None, Some(true), None]);
    }

    #[test]
    fn messages_are_cut_where_they_end() {
        let bytes = [message(b'Q', b"BEGIN\0"), message(b'S', b"")].concat();
        let mut wire = bytes.as_slice();
        assert_eq!(read(&mut wire, 5).unwrap(), message(b'Q', b"BEGIN\0"));
        assert_eq!(read(&mut wire, 5).unwrap(), message(b'S', b""));
        assert!(read(&mut wire, 5).is_err());
        assert!(read(&mut [b'Q', 0, 0, 0, 0].as_slice(), 5).is_err());
    }
}
