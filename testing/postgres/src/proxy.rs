//! A wire between client and server that is cut at the moment that a test names.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// When the wire is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Never.
    Forever,
    /// The COMMIT of this number, counted from 0, has arrived here and does not reach the server.
    CommitHeld(u64),
    /// The COMMIT of this number has reached the server, and its answer does not reach the client.
    CommitSent(u64),
}

/// Forwards connections from a port of 127.0.0.1 to a server in the clear.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    server: u16,
    until: Mutex<Until>,
    commits: AtomicU64,
    /// Both ends of each connection.
    wires: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Forwards to this port of 127.0.0.1 until the process ends.
    pub fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its number").port();
        let shared = Arc::new(Shared {
            server,
            until: Mutex::new(Until::Forever),
            commits: AtomicU64::new(0),
            wires: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                accepting.connect(client);
            }
        });
        Self { port, shared }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Counts COMMITs anew, and cuts then.
    pub fn cut(&self, until: Until) {
        *self.shared.until.lock().unwrap() = until;
        self.shared.commits.store(0, Ordering::SeqCst);
    }

    /// Cuts all connections now; new ones are forwarded.
    pub fn cut_all(&self) {
        for wire in self.shared.wires.lock().unwrap().drain(..) {
            let _ = wire.shutdown(Shutdown::Both);
        }
    }

    /// COMMITs seen since they were counted anew.
    pub fn commits(&self) -> u64 {
        self.shared.commits.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn connect(self: &Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.server)) else {
            return;
        };
        let _ = client.set_nodelay(true);
        let _ = server.set_nodelay(true);
        let copies = (client.try_clone(), server.try_clone(), client.try_clone(), server.try_clone());
        let (Ok(client_copy), Ok(server_copy), Ok(client_wire), Ok(server_wire)) = copies else {
            return;
        };
        self.wires.lock().unwrap().extend([client_wire, server_wire]);
        let shared = Arc::clone(self);
        std::thread::spawn(move || shared.forward(client, server));
        std::thread::spawn(move || {
            let (mut from, mut to) = (server_copy, client_copy);
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
    }

    /// What the client says, message by message.
    fn forward(&self, mut client: TcpStream, mut server: TcpStream) {
        // The first message has no type.
        let mut started = false;
        while let Some(message) = read(&mut client, started) {
            started = true;
            if message == b"Q\0\0\0\x0bCOMMIT\0" {
                let number = self.commits.fetch_add(1, Ordering::SeqCst);
                let until = *self.until.lock().unwrap();
                if until == Until::CommitHeld(number) {
                    break;
                }
                if until == Until::CommitSent(number) {
                    // The client is cut off first, so that no answer can slip through.
                    let _ = client.shutdown(Shutdown::Both);
                    let _ = server.write_all(&message);
                    let _ = server.shutdown(Shutdown::Write);
                    return;
                }
            }
            if server.write_all(&message).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    }
}

fn read(from: &mut TcpStream, typed: bool) -> Option<Vec<u8>> {
    let mut message = vec![0; if typed { 5 } else { 4 }];
    from.read_exact(&mut message).ok()?;
    let length = message.len();
    let body = u32::from_be_bytes(message[length - 4..].try_into().ok()?).checked_sub(4)?;
    message.resize(length + usize::try_from(body).ok()?, 0);
    from.read_exact(&mut message[length..]).ok()?;
    Some(message)
}
