//! A password goes out in the clear to nobody.
//!
//! Without TLS whoever listens on the port first is the server: another user of this machine can do that while the real one is down. SCRAM tells such a
//! listener nothing that it could use; a request for the password itself, or for its MD5, is refused here, before the protocol's own code sees it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Codes of the message `R` that ask for the password as it is, or as good as that.
const CLEARTEXT: u32 = 3;
const MD5: u32 = 5;
const DONE: u32 = 0;

/// A stream whose first messages are looked at until the server lets us in.
#[derive(Debug)]
pub(super) struct Guarded<S> {
    stream: S,
    watch: Option<Watch>,
}

/// How far into a message the stream is.
#[derive(Debug, Default)]
struct Watch {
    /// Type, length and the four bytes after them.
    head: Vec<u8>,
    /// Bytes of the message that follow its head.
    skip: usize,
}

impl<S> Guarded<S> {
    pub(super) fn new(stream: S, guard: bool) -> Self {
        Self { stream, watch: guard.then(Watch::default) }
    }
}

impl Watch {
    /// `true` once the server let us in.
    fn see(&mut self, bytes: &[u8]) -> io::Result<bool> {
        for byte in bytes {
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            self.head.push(*byte);
            if let [kind, a, b, c, d, rest @ ..] = self.head.as_slice() {
                // The length counts itself and not the type.
                let body = u32::from_be_bytes([*a, *b, *c, *d]).saturating_sub(4);
                if *kind == b'R' && body >= 4 {
                    if let Ok(code) = <[u8; 4]>::try_from(rest) {
                        match u32::from_be_bytes(code) {
                            DONE => return Ok(true),
                            CLEARTEXT | MD5 => return Err(io::Error::new(io::ErrorKind::PermissionDenied, REFUSAL)),
                            _ => self.begin(body.saturating_sub(4)),
                        }
                    }
                } else {
                    self.begin(body);
                }
            }
        }
        Ok(false)
    }

    fn begin(&mut self, skip: u32) {
        self.head.clear();
        self.skip = usize::try_from(skip).unwrap_or(usize::MAX);
    }
}

const REFUSAL: &str = "the server asks for the password itself; let it use scram-sha-256 (password_encryption and pg_hba.conf), \
    or reach it over TLS or a Unix socket";

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if let Some(watch) = &mut self.watch
            && watch.see(buf.filled().get(before..).unwrap_or_default())?
        {
            self.watch = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[kind][..], &length, body].concat()
    }

    /// In one piece and byte by byte.
    fn both_ways(bytes: &[u8]) -> [Option<bool>; 2] {
        let whole = Watch::default().see(bytes).ok();
        let mut watch = Watch::default();
        let mut apart = Some(false);
        for byte in bytes {
            match watch.see(&[*byte]) {
                Ok(true) => {
                    apart = Some(true);
                    break;
                }
                Ok(false) => {}
                Err(_) => {
                    apart = None;
                    break;
                }
            }
        }
        [whole, apart]
    }

    #[test]
    fn a_request_for_the_password_is_refused_wherever_it_comes() {
        let notice = message(b'N', b"hello R\0\0\0\x08\0\0\0\0");
        let empty = message(b'v', b"");
        let sasl = message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0");
        for code in [b"\0\0\0\x03".as_slice(), b"\0\0\0\x05salt"] {
            let asks = message(b'R', code);
            assert_eq!(both_ways(&asks), [None; 2]);
            assert_eq!(both_ways(&[notice.clone(), empty.clone(), sasl.clone(), asks].concat()), [None; 2]);
        }
        let done = message(b'R', &[0; 4]);
        assert_eq!(both_ways(&[sasl.clone(), done].concat()), [Some(true); 2]);
        assert_eq!(both_ways(&[notice, sasl].concat()), [Some(false); 2]);
    }
}
