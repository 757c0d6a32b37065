//! What the demo says first: who is there, and what to paste.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret as _;

use super::people::Demo;
use crate::cli::DEMO_DIR;
use crate::client::{output, words};
use crate::qr;

pub(super) fn print(demo: &Demo, dir: &Path) -> anyhow::Result<()> {
    for person in &demo.people {
        output::line(&qr::terminal(person.otpauth.expose_secret())?);
        output::line(&format!("{}: {}", person.name, role(&person.groups)));
        output::line(&format!("  password  {}", person.password.expose_secret()));
        output::line(&format!("  otpauth   {}\n", person.otpauth.expose_secret()));
    }
    output::line(&story(&demo.url, dir, &program()));
    Ok(())
}

fn role(groups: &[String]) -> String {
    match groups {
        [] => "asks (in no group)".to_owned(),
        [group] if group == "local:administrators" => format!("administers ({group})"),
        groups => format!("countersigns ({})", groups.join(", ")),
    }
}

/// The commands, ready to paste. None needs an authenticator app: `demo code` is one.
fn story(url: &str, dir: &Path, program: &str) -> String {
    let (elsewhere, with_dir) = if dir == Path::new(DEMO_DIR) {
        (" in this folder", String::new())
    } else {
        let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        ("", format!(" --dir {}", words::quote(dir.as_os_str().as_encoded_bytes())))
    };
    let mut text = String::new();
    let policy = dir.join(super::config::POLICY);
    let _infallible = writeln!(
        text,
        "Countersign answers on {url}. Its rules are in {}:\n\
         whatever alice wants to run needs a reason and one of local:security, which is bob.\n\n\
         Open a second terminal{elsewhere}. Alice asks, and waits:\n\n  \
         {program}{with_dir} --as alice run --reason \"try it out\" -- id\n\n\
         Open a third one. Bob looks, takes a code, and countersigns with it, where ID is what\n\
         the inbox shows and the last command asks for the code:\n\n  \
         {program}{with_dir} --as bob inbox\n  \
         {program} demo{with_dir} code bob\n  \
         {program}{with_dir} --as bob approve ID\n\n\
         Ctrl-C here stops the server. Everything stays in {}.",
        policy.display(),
        dir.display(),
    );
    text.truncate(text.trim_end().len());
    text
}

/// How this program is called in another terminal: by its name if that finds this very file, or else by its path.
fn program() -> String {
    let name = "countersign";
    let Ok(own) = std::env::current_exe().and_then(|path| path.canonicalize()) else { return name.to_owned() };
    let found = search_path().into_iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    if found.and_then(|path| path.canonicalize().ok()).is_some_and(|path| path == own) {
        return name.to_owned();
    }
    // What was typed is shorter than the absolute path, and as good in the same folder.
    let typed = std::env::args_os().next().map(PathBuf::from).filter(|path| path.components().count() > 1);
    let path = typed.filter(|path| path.canonicalize().is_ok_and(|path| path == own)).unwrap_or(own);
    words::quote(path.as_os_str().as_encoded_bytes())
}

#[expect(clippy::disallowed_methods, reason = "which name to print depends on what the user's shell would find")]
fn search_path() -> Vec<PathBuf> {
    std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_folder_needs_no_option() {
        let text = story("http://127.0.0.1:8220", Path::new(DEMO_DIR), "countersign");
        assert!(text.contains("  countersign --as alice run --reason \"try it out\" -- id\n"), "{text}");
        assert!(text.contains("  countersign demo code bob\n") && !text.contains("--dir"), "{text}");
    }

    #[test]
    fn another_folder_stands_in_each_command() {
        let text = story("http://127.0.0.1:8220", Path::new("/tmp/my demo"), "target/release/countersign");
        assert!(text.contains("  target/release/countersign --dir '/tmp/my demo' --as bob inbox\n"), "{text}");
        assert!(text.contains("  target/release/countersign demo --dir '/tmp/my demo' code bob\n"), "{text}");
        assert_eq!(text.matches("--dir '/tmp/my demo'").count(), 4);
    }

    /// The commands must be ones that the parser takes.
    #[test]
    fn what_is_to_be_pasted_parses() {
        use clap::Parser as _;

        for dir in [DEMO_DIR, "/tmp/demo"] {
            let text = story("http://127.0.0.1:8220", Path::new(dir), "countersign");
            let commands: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("  countersign ")).collect();
            assert_eq!(commands.len(), 4, "{text}");
            for command in commands {
                let command = command.split("   ").next().unwrap().replace("\"try it out\"", "reason");
                let words = std::iter::once("countersign").chain(command.split_whitespace());
                crate::cli::Cli::try_parse_from(words).unwrap();
            }
        }
    }
}
