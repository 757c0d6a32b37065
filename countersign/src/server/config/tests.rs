use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn parse(text: &str) -> Result<Config, Problems> {
    Config::parse(Path::new("/etc/countersign/countersign.toml"), text, &Overrides::default())
}

fn refused(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn nothing_written_is_the_safe_default() {
    let config = parse("").unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:8220");
    assert_eq!(config.database.file(), Some(Path::new("/etc/countersign/countersign.db")));
    assert_eq!(config.master_key, MasterKeySource::File("/etc/countersign/master.key".into()));
    assert_eq!(config.policy, Path::new("/etc/countersign/policy.toml"));
    assert_eq!((config.cooling, config.session_ttl), (COOLING, SESSION_TTL));
    assert!(!config.strict_totp && config.weakened().is_empty());
    assert_eq!((config.log_format, config.log_level), (LogFormat::Json, LogLevel::Info));
}

#[test]
fn paths_are_relative_to_the_file_and_defaults_lie_in_the_data() {
    let config = parse("data = '/srv/cs'\npolicy = 'rules/policy.toml'\n[master_key]\nfile = 'key'\n").unwrap();
    assert_eq!(config.database.file(), Some(Path::new("/srv/cs/countersign.db")));
    assert_eq!(config.policy, Path::new("/etc/countersign/rules/policy.toml"));
    assert_eq!(config.master_key, MasterKeySource::File("/etc/countersign/key".into()));
    let config = parse("data = 'var'\n[store]\nsqlite = '/fast/cs.db'\n").unwrap();
    assert_eq!(
        (config.data.as_path(), config.database.file()),
        (Path::new("/etc/countersign/var"), Some(Path::new("/fast/cs.db")))
    );
}

#[test]
fn findings_name_file_line_and_key() {
    for (text, line, key) in [
        ("# server\nlisten = '0.0.0.0:8220'\n", 2, "listen"),
        ("listen = 'localhost'\n", 1, "listen"),
        ("\n\nlisten = 8220\n", 3, "listen"),
        ("lisen = '127.0.0.1:1'\n", 1, "lisen"),
        ("[security]\ncooling = '0s'\n", 2, "security.cooling"),
        ("[security]\n\ncooling = '1 day'\n", 3, "security.cooling"),
        ("[security]\nsession_ttl = '13h'\n", 2, "security.session_ttl"),
        ("[security]\nsession_ttl = '5s'\n", 2, "security.session_ttl"),
        ("[security]\nstrict_totp = 'yes'\n", 2, "security.strict_totp"),
        ("[log]\nformat = 'xml'\n", 2, "log.format"),
        ("[log]\nformat = 'text'\nlevel = 'loud'\n", 3, "log.level"),
        ("[listener]\nplain_http = 'yes'\n", 2, "listener.plain_http"),
        ("[listener]\nplain_http = true\n", 2, "listener.plain_http"),
        ("name = 'two words'\n", 1, "name"),
        ("name = 'a+b'\n", 1, "name"),
        ("[store]\nsqlite = 'a.db'\npostgres = 'x'\n", 3, "store.postgres"),
        ("[master_key]\nfile = 'a'\nenv = 'B'\n", 1, "master_key"),
        ("[master_key]\n", 1, "master_key"),
        ("[master_key]\ncommand = []\n", 1, "master_key"),
        ("[master_key]\nenv = 'q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA='\n", 1, "master_key"),
        ("[master_keys]\nfile = 'a'\n", 1, "master_keys"),
    ] {
        let found = refused(text);
        let expected = format!("/etc/countersign/countersign.toml:{line}: `{key}`: ");
        assert!(found.starts_with(&expected), "{text:?} gave {found:?}, not {expected:?}");
    }
}

#[test]
fn what_is_no_toml_is_named_with_its_line() {
    assert!(refused("listen = '127.0.0.1:1'\ndata = \n").starts_with("/etc/countersign/countersign.toml:2: "));
    assert!(
        refused("listen = '127.0.0.1:1'\nlisten = '127.0.0.1:2'\n")
            .starts_with("/etc/countersign/countersign.toml:2: ")
    );
}

#[test]
fn all_findings_come_at_once() {
    let Problems(found) = parse("listen = '[::]:1'\n[security]\ncooling = '0m'\nsession_ttl = '1d'\n").unwrap_err();
    let lines: Vec<_> = found.iter().filter_map(|problem| problem.at.as_ref().map(|(_, line)| *line)).collect();
    assert_eq!(lines, [1, 3, 4]);
}

/// The value of a secret may stand in the file by mistake; an error must not spread it.
#[test]
fn an_error_does_not_quote_the_key() {
    let key = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=";
    assert!(!refused(&format!("[master_key]\nenv = '{key}'\n")).contains(key));
    assert!(!refused(&format!("[master_key]\nfile = '{key}\n")).contains(key));
}

#[test]
fn other_machines_are_answered_only_behind_tls() {
    for address in ["0.0.0.0:80", "[::]:80", "192.0.2.1:80", "[::ffff:192.0.2.1]:80"] {
        assert!(refused(&format!("listen = '{address}'")).contains("clear"), "{address}");
        let config = parse(&format!("listen = '{address}'\n[listener]\nplain_http = 'behind_a_tls_proxy'\n")).unwrap();
        assert!(config.weakened().iter().any(|said| said.contains(address)), "{:?}", config.weakened());
    }
    for address in ["127.0.0.1:0", "127.1.2.3:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
        assert!(parse(&format!("listen = '{address}'")).unwrap().weakened().is_empty(), "{address}");
    }
}

#[test]
fn the_command_line_is_held_to_the_same_rules() {
    let overrides = Overrides { listen: Some("0.0.0.0:80".parse().unwrap()), data: None };
    let Problems(found) = Config::parse(Path::new("c.toml"), "listen = '127.0.0.1:1'", &overrides).unwrap_err();
    assert_eq!((found[0].at.as_ref(), found[0].key.as_str()), (None, "--listen"));
}

#[test]
fn a_folder_that_others_can_write_is_refused() {
    let base = tempfile::tempdir().unwrap();
    let data = base.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o777)).unwrap();
    let file = base.path().join(FILE);
    let found = Config::parse(&file, "\ndata = 'data'\n", &Overrides::default()).unwrap_err().to_string();
    assert!(found.starts_with(&format!("{}:2: `data`: ", file.display())), "{found}");
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(
        Config::parse(&file, "\ndata = 'data'\n", &Overrides::default()).unwrap().database,
        Database::Sqlite(data.join(DATABASE))
    );
}
