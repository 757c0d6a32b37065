//! On PostgreSQL the wire tells: what the server has committed is kept from the service, and as long as it is, no byte of an answer may come.

use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::every_verb;
use crate::soak::Engine;
use crate::soak::home::Home;
use crate::soak::proxy::{Moment, Then};
use crate::support::{PATIENCE, has_tool, until};

/// An answer that does not wait would come long before. One that does wait never comes in this time, however slow the machine.
const LISTENED: Duration = Duration::from_millis(250);
/// The sequencer is done by then with what it had to do.
const REST: u32 = 12;
/// Whoever looks for work from time to time commits, too; nobody waits for that to end.
const LOOKS: u32 = 60;

/// Commits that the server has done, and of which the service has not heard.
#[derive(Debug, Default)]
struct Held {
    closed: Mutex<bool>,
    opened: Condvar,
    waiting: AtomicUsize,
    seen: AtomicUsize,
}

impl Held {
    fn passes(&self) -> Then {
        self.seen.fetch_add(1, Ordering::SeqCst);
        let mut closed = self.closed.lock().unwrap();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        while *closed {
            closed = self.opened.wait(closed).unwrap();
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        Then::Pass
    }

    fn close(&self) {
        *self.closed.lock().unwrap() = true;
    }

    fn open(&self) {
        *self.closed.lock().unwrap() = false;
        self.opened.notify_all();
    }
}

#[test]
fn postgres_what_is_answered_is_committed() {
    if !has_tool("oathtool") {
        return;
    }
    let base = tempfile::tempdir().unwrap();
    let home = Home::new(Engine::Postgres, Path::new(env!("CARGO_BIN_EXE_countersign")), base.path(), 1, None).unwrap();
    let held = Arc::new(Held::default());
    let hook = Arc::clone(&held);
    home.postgres().unwrap().proxy().ask(move |moment| match moment {
        Moment::Sent => Then::Pass,
        Moment::Done => hook.passes(),
    });
    let (running, address) = home.start().unwrap();
    let quiet = |_: &str| {
        settled(&held);
        held.close();
    };
    let listen = |stream: TcpStream| {
        until("a commit that is held", || (held.waiting.load(Ordering::SeqCst) > 0).then_some(()));
        assert!(!hears(&stream, LISTENED), "an answer came before the service could know that it was committed");
        // What needs no commit is answered meanwhile: an early answer would have been heard.
        let other = TcpStream::connect(&address).unwrap();
        (&other).write_all(b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").unwrap();
        assert!(hears(&other, PATIENCE), "nothing is answered at all");
        held.open();
        stream.set_read_timeout(None).unwrap();
        stream
    };
    let sent = every_verb(&home, &address, quiet, listen);
    let verbs: Vec<_> = sent.iter().map(|sent| sent.verb).collect();
    eprintln!("no answer before its commit: {}", verbs.join(", "));
    running.stop().unwrap();
}

/// Whether so much as a byte comes within this time.
fn hears(stream: &TcpStream, time: Duration) -> bool {
    stream.set_read_timeout(Some(time)).unwrap();
    stream.peek(&mut [0]).is_ok_and(|bytes| bytes > 0)
}

/// Waits until nobody has committed for a while, so that what is committed next is, most of the time, the call's own. What comes beside it is held, too.
fn settled(held: &Held) {
    let (mut rest, mut looks) = ((0, 0), 0);
    until("a database at rest", || {
        let now = held.seen.load(Ordering::SeqCst);
        rest = if now == rest.0 { (now, rest.1 + 1) } else { (now, 0) };
        looks += 1;
        (rest.1 > REST || looks > LOOKS).then_some(())
    });
}
