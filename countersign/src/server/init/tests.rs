use std::os::unix::fs::MetadataExt as _;

use countersign_engine::{EngineConfig, Keyring};
use countersign_keys::totp::STEP_SECS;

use super::*;

fn totp() -> TotpSecret {
    TotpSecret::generate(&SystemRandom).unwrap()
}

async fn carry_out(dir: &Path, made: &mut Vec<String>) -> anyhow::Result<Config> {
    Plan::make(dir)?.carry_out("root", "correct horse battery".into(), totp().into(), made).await
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o777
}

#[tokio::test]
async fn a_new_server_starts_and_a_second_init_is_refused() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("server");
    let mut made = Vec::new();
    let config = carry_out(&dir, &mut made).await.unwrap();
    assert_eq!((mode(&dir), mode(&dir.join("master.key")), mode(&dir.join("countersign.db"))), (0o700, 0o600, 0o600));
    assert!(made.iter().any(|made| made.ends_with("policy.toml")) && made.len() == 5, "{made:?}");

    let key = std::fs::read(dir.join("master.key")).unwrap();
    let error = carry_out(&dir, &mut Vec::new()).await.unwrap_err();
    assert!(error.to_string().contains("set up already"), "{error}");
    assert_eq!(std::fs::read(dir.join("master.key")).unwrap(), key);

    let loaded = Config::load(&dir.join(config::FILE), &Overrides::default()).unwrap();
    assert_eq!(loaded.name, config.name);
    let store = wiring::open_database(&loaded.database).await.unwrap();
    let master = loaded.master_key.load().await.unwrap();
    let engine = wiring::start(store, &master, EngineConfig::default()).await.unwrap();
    assert_eq!(engine.policy().1, POLICY_TEXT);
    engine.sequence().await.unwrap();
    let info = engine.log_info().await.unwrap();
    assert_eq!(info.origin, format!("{}/1", config.name.unwrap()));
    // Two published keys and the bootstrap.
    assert_eq!(info.size, 3);
}

#[tokio::test]
async fn a_configuration_written_beforehand_decides() {
    let base = tempfile::tempdir().unwrap();
    let key = base.path().join("key");
    MasterKey::generate(&SystemRandom).unwrap().create_file(&key).unwrap();
    let text = "name = 'log.example.com'\ndata = 'var'\n[master_key]\ncommand = ['cat', '{key}']\n";
    let text = text.replace("{key}", &key.display().to_string());
    std::fs::write(base.path().join(config::FILE), &text).unwrap();
    let mut made = Vec::new();
    let config = carry_out(base.path(), &mut made).await.unwrap();
    assert_eq!((config.name.as_deref(), config.data), (Some("log.example.com"), base.path().join("var")));
    assert!(base.path().join("var/countersign.db").exists() && !base.path().join("var/master.key").exists());
    assert_eq!(std::fs::read_to_string(base.path().join(config::FILE)).unwrap(), text);
}

#[tokio::test]
async fn another_master_key_does_not_open_it() {
    let base = tempfile::tempdir().unwrap();
    let config = carry_out(base.path(), &mut Vec::new()).await.unwrap();
    let store = wiring::open_database(&config.database).await.unwrap();
    let other = MasterKey::generate(&SystemRandom).unwrap();
    let error = wiring::words(Keyring::open(&store, &other).await.unwrap_err());
    assert!(error.to_string().contains("master key does not fit"), "{error}");
}

#[tokio::test]
async fn a_demo_is_no_place_for_a_server() {
    let base = tempfile::tempdir().unwrap();
    std::fs::write(base.path().join(config::DEMO), "{}").unwrap();
    let error = carry_out(base.path(), &mut Vec::new()).await.unwrap_err();
    assert!(error.to_string().contains("demo"), "{error}");
    assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_policy_that_does_not_hold_is_refused_and_nobody_exists() {
    let base = tempfile::tempdir().unwrap();
    std::fs::write(base.path().join(config::POLICY), "version = 1\n[[rule]]\nid = 'x'\n").unwrap();
    assert!(carry_out(base.path(), &mut Vec::new()).await.is_err());
    std::fs::write(base.path().join(config::POLICY), POLICY_TEXT).unwrap();
    assert!(carry_out(base.path(), &mut Vec::new()).await.is_ok());
}

#[test]
fn two_different_codes_prove_an_authenticator() {
    let totp = totp();
    let now = Micros::from_secs(1_767_225_600);
    let step = u64::try_from(now.as_secs()).unwrap() / STEP_SECS;
    let first = totp.code_at(now);
    assert_eq!(judge(&totp, &first, now, None), Ok(step));
    assert!(judge(&totp, &first, now, Some(step)).is_err());
    let later = Micros::from_secs(now.as_secs() + 30);
    // The old code is still within its time, and still the same one.
    assert!(judge(&totp, &first, later, Some(step)).is_err());
    assert_eq!(judge(&totp, &totp.code_at(later), later, Some(step)), Ok(step + 1));
    assert!(judge(&totp, &totp.code_at(later), now, None).is_err());
}

#[test]
fn the_templates_are_sound() {
    countersign_policy::Policy::parse(POLICY_TEXT, "policy.toml").unwrap();
    let uncommented: String = POLICY_TEXT
        .split_once("# [[rule]]")
        .map(|(_, rule)| format!("version = 1\n[[rule]]{}", rule.replace("\n# ", "\n").replace("\n#\n", "\n\n")))
        .unwrap();
    countersign_policy::Policy::parse(&uncommented, "policy.toml").unwrap();
    // Every setting that stands in a comment must be one that is understood, with its default.
    let folder = Path::new("/etc/countersign/countersign.toml");
    let plain = CONFIG_TEXT.replace("{name}", "log.example.com");
    let setting = |line: &&str| line.starts_with('[') || (line.contains(" = ") && !line.contains("of:"));
    let all: Vec<_> = plain.lines().map(|line| line.strip_prefix("# ").filter(setting).unwrap_or(line)).collect();
    let all = all.join("\n");
    let defaults = Config::parse(folder, &plain, &Overrides::default()).unwrap();
    let written = Config::parse(folder, &all, &Overrides::default()).unwrap();
    assert!(written.behind_tls_proxy && all.contains("\ncooling = "), "{all}");
    assert_eq!(Config { behind_tls_proxy: false, ..written }, defaults);
}
