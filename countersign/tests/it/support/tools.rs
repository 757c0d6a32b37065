//! Programs of other people.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const STEP: u64 = 30;
/// Less than this before a step ends, a code of the step before may come too late.
const MARGIN: u64 = 4;

/// The last step of each secret whose code was given out: a code counts once.
static USED: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

/// Whether a program is there. `cargo xtask test` installs them all and forbids to go on without.
pub(crate) fn has_tool(name: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()));
    if !found {
        let required = std::env::var_os("COUNTERSIGN_TEST_REQUIRE_TOOLS").is_some_and(|value| value == "1");
        assert!(!required, "{name} is not installed");
        eprintln!("skipped: {name} is not installed");
    }
    found
}

/// The base32 secret of an `otpauth:` URL.
pub(crate) fn secret_of(otpauth: &str) -> String {
    let query = otpauth.split_once('?').unwrap().1;
    query.split('&').find_map(|pair| pair.strip_prefix("secret=")).unwrap().to_owned()
}

/// A code that was not given out before. A code is good in its own step and the one after it, so two of them come without waiting.
pub(crate) fn code_of(secret: &str) -> String {
    let mut used = USED.lock().unwrap();
    let mut now = now();
    let next = used.get(secret).map_or(0, |last| last + 1);
    if next < now / STEP && STEP - now % STEP <= MARGIN || next > now / STEP {
        drop(used);
        let start = next.max(now / STEP + 1) * STEP;
        std::thread::sleep(Duration::from_secs(start - now) + Duration::from_millis(300));
        return code_of(secret);
    }
    now = now.max(STEP);
    let step = next.max(now / STEP - 1);
    used.insert(secret.to_owned(), step);
    drop(used);
    oathtool(secret, step)
}

/// Two different ones that follow each other, both good now.
pub(crate) fn two_codes_of(secret: &str) -> [String; 2] {
    let first = code_of(secret);
    [first, code_of(secret)]
}

/// Six digits that are not the code of any step near now.
pub(crate) fn wrong_code_of(secret: &str) -> String {
    let step = now() / STEP;
    let right: Vec<String> = (step - 3..step + 4).map(|step| oathtool(secret, step)).collect();
    (0..10).map(|number| format!("{number:06}")).find(|code| !right.contains(code)).unwrap()
}

fn oathtool(secret: &str, step: u64) -> String {
    let at = format!("--now=@{}", step * STEP);
    let output = Command::new("oathtool").args(["--totp=sha1", "-b", secret, &at]).env("TZ", "UTC").output();
    let output = output.expect("oathtool is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
