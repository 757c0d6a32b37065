//! A server with its data.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::script::{self, command, run};

/// Small, because several run beside each other, and as safe as in production: commits are synced.
const SETTINGS: &[(&str, &str)] = &[
    ("fsync", "on"),
    ("shared_buffers", "16MB"),
    ("max_connections", "200"),
    ("max_wal_size", "256MB"),
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_permissions", "0777"),
    ("password_encryption", "scram-sha-256"),
    ("autovacuum", "off"),
    ("logging_collector", "off"),
];
/// The user of all databases here, who needs no password.
const OWNER: &str = "countersign";
/// Ends the server and removes its folder when the test's process is gone, however it went: its standard input ends then.
const WARDEN: &str = r#"trap "" INT TERM HUP
cat >/dev/null
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ] && grep -qF "$1/data" "/proc/$pid/cmdline" 2>/dev/null; then
    kill -CONT "$pid" 2>/dev/null
    kill -QUIT "$pid" 2>/dev/null
    for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
fi
rm -rf "$1""#;

/// A PostgreSQL server on a Unix socket and a port of 127.0.0.1. It ends with this value, or with the process.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    programs: PathBuf,
    port: u16,
    databases: AtomicU32,
    warden: Child,
}

impl Cluster {
    /// A new one.
    ///
    /// # Panics
    ///
    /// When PostgreSQL is not installed or does not start.
    pub fn start() -> Self {
        Self::start_with(&[], &[])
    }

    /// One for all tests of this process, started by the first that asks.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A new one with these lines of `postgresql.conf`, and these lines at the beginning of `pg_hba.conf`.
    pub fn start_with(settings: &[(&str, &str)], hba: &[&str]) -> Self {
        // Made once, because it takes its time.
        static EMPTY: OnceLock<(PathBuf, Child)> = OnceLock::new();
        let programs = script::programs();
        let (folder, warden) = folder();
        let mut cluster = Self { folder, programs, port: 0, databases: AtomicU32::new(0), warden };
        let data = cluster.data();
        let (empty, _) = EMPTY.get_or_init(|| initialised(&cluster.programs));
        run(Command::new("cp").arg("-a").arg(empty.join("data")).arg(&data)).unwrap();
        let mut file = fs::OpenOptions::new().append(true).open(data.join("postgresql.conf")).unwrap();
        for (name, value) in SETTINGS.iter().chain(settings) {
            writeln!(file, "{name} = '{value}'").unwrap();
        }
        writeln!(file, "unix_socket_directories = '{}'", cluster.folder.display()).unwrap();
        let known = fs::read_to_string(data.join("pg_hba.conf")).unwrap();
        fs::write(data.join("pg_hba.conf"), format!("{}\n{known}", hba.join("\n"))).unwrap();
        // The port is free now and may be taken in a moment.
        let mut last = String::new();
        for _ in 0..5 {
            cluster.port = free_port();
            match cluster.try_launch() {
                Ok(()) => return cluster,
                Err(why) => last = why,
            }
        }
        panic!("{last}");
    }

    /// The address of a new, empty database, over the Unix socket.
    pub fn database(&self) -> String {
        let name = self.create("TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'");
        self.url(&name)
    }

    /// A new database made with these words; its name.
    pub fn create(&self, how: &str) -> String {
        let name = format!("t{}", self.databases.fetch_add(1, Ordering::SeqCst));
        self.psql("postgres", &format!("CREATE DATABASE {name} {how}"));
        name
    }

    /// The address of a database over the Unix socket, as its owner.
    pub fn url(&self, database: &str) -> String {
        let folder = self.folder.display().to_string().replace('/', "%2F");
        format!("postgresql://{OWNER}@{folder}:{}/{database}", self.port)
    }

    /// The same over TCP, as this user.
    pub fn tcp_url(&self, user: &str, database: &str) -> String {
        format!("postgresql://{user}@127.0.0.1:{}/{database}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where a file of the server can lie that its configuration names.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a file that only the server may read; its path.
    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.folder.join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        if script::is_root() {
            run(Command::new("chown").arg(script::user()).arg(&path)).unwrap();
        }
        path
    }

    /// What `psql` prints for these statements: rows in lines, columns with `|` between them. Another program than the one that is tested.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        let mut psql = command(&self.programs.join("psql"), &self.folder);
        psql.arg("-h").arg(&self.folder).args(["-p", &self.port.to_string(), "-U", OWNER, "-d", database]);
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql]);
        run(&mut psql).unwrap().trim_end().to_owned()
    }

    /// Ends it as an administrator does: sessions are cut, what was committed is written.
    pub fn stop_fast(&self) {
        self.pg_ctl(&["-m", "fast", "-w", "stop"]).unwrap();
    }

    /// Ends it as a crash does.
    pub fn kill9(&self) {
        let mut all = children(self.pid());
        all.insert(0, self.pid());
        signal(&all, Signal::SIGKILL);
        // They hold the shared memory, without which a new one does not start.
        let gone = wait(|| !all.iter().any(|pid| alive(*pid)));
        assert!(gone, "a process of the server does not die");
        // A new server takes a dead one for a living one while nobody has buried it, which in a container may be for ever.
        fs::remove_file(self.data().join("postmaster.pid")).unwrap();
        fs::remove_file(self.folder.join(format!(".s.PGSQL.{}.lock", self.port))).unwrap();
    }

    /// Starts it again after its end.
    pub fn launch(&self) {
        self.try_launch().unwrap();
    }

    /// Ends it fast and starts it again.
    pub fn restart(&self) {
        self.stop_fast();
        self.launch();
    }

    /// Lets it hang: connections stay, and nothing answers.
    pub fn pause(&self) {
        // First the one that starts others.
        signal(&[self.pid()], Signal::SIGSTOP);
        signal(&children(self.pid()), Signal::SIGSTOP);
    }

    pub fn resume(&self) {
        signal(&children(self.pid()), Signal::SIGCONT);
        signal(&[self.pid()], Signal::SIGCONT);
    }

    fn try_launch(&self) -> Result<(), String> {
        let log = self.folder.join("log");
        let options = format!("-p {}", self.port);
        let start = self.pg_ctl(&["-l", &log.display().to_string(), "-o", &options, "-w", "-t", "60", "start"]);
        start.map(drop).map_err(|why| format!("{why}\n{}", fs::read_to_string(log).unwrap_or_default()))
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn pid(&self) -> i32 {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        let pid = file.lines().next().and_then(|line| line.trim().parse().ok()).unwrap_or(i32::MAX);
        // The file outlives a killed server, and its number may be somebody else's by now.
        let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if words.contains(&self.data().display().to_string()) { pid } else { i32::MAX }
    }

    fn pg_ctl(&self, args: &[&str]) -> Result<String, String> {
        let mut pg_ctl = command(&self.programs.join("pg_ctl"), &self.folder);
        pg_ctl.arg("-D").arg(self.data()).args(args);
        // The server keeps the output of pg_ctl open, so a pipe would never end.
        let out = self.folder.join("pg_ctl.out");
        let file = fs::File::create(&out).map_err(|error| error.to_string())?;
        pg_ctl.stdout(file.try_clone().map_err(|error| error.to_string())?).stderr(file);
        let status = pg_ctl.status().map_err(|error| error.to_string())?;
        let text = fs::read_to_string(out).unwrap_or_default();
        if status.success() { Ok(text) } else { Err(format!("{pg_ctl:?}: {text}")) }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.warden.stdin.take());
        // It has nothing to tell.
        let _ = self.warden.wait();
    }
}

/// An empty folder of the server's user, and the process that removes it.
fn folder() -> (PathBuf, Child) {
    // Not in the target folder: the server's user may not reach that. Short, because the path of a socket has at most 107 bytes.
    let folder = tempfile::Builder::new().prefix("cs-pg-").tempdir_in("/tmp").expect("a folder in /tmp").keep();
    if script::is_root() {
        run(Command::new("chown").arg(script::user()).arg(&folder)).expect("the folder is given away");
    }
    let warden = Command::new("sh")
        .args(["-c", WARDEN, "warden"])
        .arg(&folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh starts");
    (folder, warden)
}

/// A folder with the data of a new server.
fn initialised(programs: &Path) -> (PathBuf, Child) {
    let (folder, warden) = folder();
    let mut initdb = command(&programs.join("initdb"), &folder);
    initdb.args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--username", OWNER, "-D"]);
    run(initdb.arg(folder.join("data"))).unwrap();
    (folder, warden)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

fn signal(pids: &[i32], signal: Signal) {
    for pid in pids {
        // One that has ended needs none.
        let _ = kill(Pid::from_raw(*pid), signal);
    }
}

fn alive(pid: i32) -> bool {
    // A zombie has ended, but for its parent.
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with('Z')))
}

/// The processes that this one has started.
fn children(parent: i32) -> Vec<i32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // pid (name) state parent
            let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
            fields.nth(1).and_then(|field| field.parse().ok()) == Some(parent)
        })
        .collect()
}

/// Looks until it is so, for as long as a slow machine may need.
fn wait(done: impl Fn() -> bool) -> bool {
    for _ in 0..3_000 {
        if done() {
            return true;
        }
        sleep(Duration::from_millis(10));
    }
    false
}
