use std::os::unix::fs::MetadataExt as _;

use super::*;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o777
}

fn secrets(demo: &Demo) -> Vec<(String, String)> {
    let pair = |person: &people::Person| {
        (person.password.expose_secret().to_owned(), person.otpauth.expose_secret().to_owned())
    };
    demo.people.iter().map(pair).collect()
}

#[tokio::test]
async fn a_second_start_finds_the_same_people_under_the_new_address() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("demo");
    let (store, _, first) = prepare(&dir, "http://127.0.0.1:1").await.unwrap();
    for file in ["demo.json", "master.key", "countersign.db"] {
        assert_eq!(mode(&dir.join(file)), 0o600, "{file}");
    }
    assert_eq!(mode(&dir), 0o700);
    drop(store);
    let (store, master, second) = prepare(&dir, "http://127.0.0.1:2").await.unwrap();
    assert_eq!(secrets(&first), secrets(&second));
    let written = Demo::read(&dir.join("demo.json")).unwrap().unwrap();
    assert_eq!(written.url, "http://127.0.0.1:2");
    assert_eq!(written.doors["api"]["url"], "http://127.0.0.1:2/api/countersign/v1");
    assert_eq!(written.doors["api"]["openapi"], "http://127.0.0.1:2/openapi.json");
    let engine = wiring::start(store, &master, EngineConfig::default()).await.unwrap();
    assert_eq!(engine.policy().1, sample_policy());
}

#[tokio::test]
async fn a_demo_that_runs_is_not_disturbed() {
    let base = tempfile::tempdir().unwrap();
    let first = prepare(base.path(), "http://127.0.0.1:1").await.unwrap();
    let error = prepare(base.path(), "http://127.0.0.1:2").await.unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
    assert_eq!(Demo::read(&base.path().join("demo.json")).unwrap().unwrap().url, "http://127.0.0.1:1");
    drop(first);
}

/// Killed between any two steps: the next start goes on with what is there.
#[tokio::test]
async fn an_interrupted_first_start_is_taken_up() {
    let base = tempfile::tempdir().unwrap();
    drop(wiring::open_store(&base.path().join(config::DATABASE)).await.unwrap());
    let demo = Demo::new("http://127.0.0.1:1", base.path(), &SystemRandom).unwrap();
    MasterKey::generate(&SystemRandom).unwrap().create_file(&base.path().join(config::MASTER_KEY)).unwrap();
    demo.write(&base.path().join(config::DEMO)).unwrap();
    let (_, _, taken_up) = prepare(base.path(), "http://127.0.0.1:1").await.unwrap();
    assert_eq!(secrets(&demo), secrets(&taken_up));
}

#[tokio::test]
async fn a_real_server_is_not_made_a_demo() {
    let base = tempfile::tempdir().unwrap();
    std::fs::write(base.path().join(config::FILE), "").unwrap();
    let error = prepare(base.path(), "http://127.0.0.1:1").await.unwrap_err();
    assert!(error.to_string().contains("real server"), "{error}");
    assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn people_that_nobody_knows_are_not_replaced() {
    let base = tempfile::tempdir().unwrap();
    drop(prepare(base.path(), "http://127.0.0.1:1").await.unwrap());
    std::fs::remove_file(base.path().join(config::DEMO)).unwrap();
    assert!(prepare(base.path(), "http://127.0.0.1:1").await.is_err());
    assert!(!base.path().join(config::DEMO).exists());
}

#[tokio::test]
async fn other_machines_never_reach_a_demo() {
    let base = tempfile::tempdir().unwrap();
    let args = DemoArgs { dir: base.path().join("d"), listen: "0.0.0.0:0".parse().unwrap(), json: true };
    let error = demo(args).await.unwrap_err();
    assert!(error.to_string().contains("this machine only"), "{error}");
    assert!(!base.path().join("d").exists());
}
