//! What other people wrote, made fit for a terminal: nothing invisible, nothing that moves the cursor, nothing that reads two ways.
//!
//! An approver decides by what is on the screen. Text that turns itself round (U+202E), hides (U+200B), overwrites (`\r`, escape sequences) or
//! continues an argument where another seems to begin would make him approve something else.

use std::fmt::Write as _;

use countersign_core::canonical::Value;

/// A word as a POSIX shell reads it. Plain characters stay, other printable text stands in `'..'`, and as soon as one byte is not printable the
/// whole word stands in `$'..'`: `\xNN` is a byte (a control character or one that is no UTF-8), `\u{..}` a character.
pub(crate) fn quote(bytes: &[u8]) -> String {
    let text = std::str::from_utf8(bytes);
    match text {
        Ok(text) if !text.is_empty() && text.bytes().all(is_plain) => text.to_owned(),
        Ok(text) if text.chars().all(is_printable) => format!("'{}'", text.replace('\'', "'\\''")),
        _ => {
            let mut out = String::from("$'");
            for chunk in bytes.utf8_chunks() {
                for c in chunk.valid().chars() {
                    match c {
                        '\'' => out.push_str("\\'"),
                        '\\' => out.push_str("\\\\"),
                        c => push_visible(c, &mut out),
                    }
                }
                for byte in chunk.invalid() {
                    let _infallible = write!(out, "\\x{byte:02x}");
                }
            }
            out.push('\'');
            out
        }
    }
}

/// A whole command. The first word is quoted also where a shell would take it for something else than a program: `a=b`, `if`, `!`.
pub(crate) fn command<B: AsRef<[u8]>>(argv: &[B]) -> String {
    let mut words = Vec::with_capacity(argv.len());
    for (at, argument) in argv.iter().enumerate() {
        let argument = argument.as_ref();
        let quoted = quote(argument);
        let misread = at == 0 && (argument.contains(&b'=') || RESERVED.contains(&quoted.as_str()));
        words.push(if misread && !quoted.ends_with('\'') { format!("'{quoted}'") } else { quoted });
    }
    words.join(" ")
}

/// Running text, for example an error of the server: one line, unprintable characters escaped, the rest as it is.
pub(crate) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        push_visible(c, &mut out);
    }
    out
}

/// A parameter: text and bytes quoted, everything else as canonical JSON with its unprintable characters escaped.
pub(crate) fn value(value: &Value) -> String {
    match value.as_bytes() {
        Some(bytes) => quote(bytes),
        None => visible(&value.to_canonical_string()),
    }
}

fn push_visible(c: char, out: &mut String) {
    let _infallible = match c {
        c if is_printable(c) => write!(out, "{c}"),
        c if c.is_ascii() => write!(out, "\\x{:02x}", u32::from(c)),
        c => write!(out, "\\u{{{:x}}}", u32::from(c)),
    };
}

/// What a shell passes on unquoted, wherever it stands in a word.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_./:=@%+,-".contains(&byte)
}

/// Takes up room, alone, and is what it looks like: no control, format, private or unassigned character, no other blank than the space, no mark
/// that merges into the character before it. The library's own escaping knows the tables; the fillers that Unicode counts as letters it lets pass.
fn is_printable(c: char) -> bool {
    const FILLERS: [char; 5] = ['\u{115f}', '\u{1160}', '\u{2800}', '\u{3164}', '\u{ffa0}'];
    matches!(c, '\'' | '"' | '\\') || (c.escape_debug().len() == 1 && !FILLERS.contains(&c))
}

const RESERVED: &[&str] = &[
    "case",
    "coproc",
    "do",
    "done",
    "elif",
    "else",
    "esac",
    "fi",
    "for",
    "function",
    "if",
    "in",
    "namespace",
    "select",
    "then",
    "time",
    "until",
    "while",
];

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn plain_words_stay_and_others_are_quoted() {
        assert_eq!(command(&["ls", "-la", "/srv/a_b.c", "x=1"]), "ls -la /srv/a_b.c x=1");
        assert_eq!(command(&["rm", "-rf", "/var/tmp/x y"]), "rm -rf '/var/tmp/x y'");
        assert_eq!(
            command(&["echo", "", "it's", "$HOME", "~", "*", "a;b", "#"]),
            r"echo '' 'it'\''s' '$HOME' '~' '*' 'a;b' '#'"
        );
        assert_eq!(command(&["a=b", "a=b"]), "'a=b' a=b");
        assert_eq!(command(&["if"]), "'if'");
    }

    #[test]
    fn what_cannot_be_seen_is_spelled_out() {
        assert_eq!(quote(b"a\nb\t\x1b[2K\x7f"), r"$'a\x0ab\x09\x1b[2K\x7f'");
        assert_eq!(quote(b"caf\xc3\xa9"), "'caf\u{e9}'");
        assert_eq!(quote(b"\xff\xfe'\\"), r"$'\xff\xfe\'\\'");
        assert_eq!(quote("\u{85}".as_bytes()), r"$'\u{85}'");
        assert_eq!(visible("no\u{202e}on\r\n"), r"no\u{202e}on\x0d\x0a");
    }

    /// The characters of CVE-2021-42574, those of no width, and blanks that are no space.
    #[test]
    fn trojan_sources_are_seen() {
        let hidden = [
            '\u{61c}',
            '\u{200e}',
            '\u{200f}',
            '\u{202a}',
            '\u{202b}',
            '\u{202c}',
            '\u{202d}',
            '\u{202e}',
            '\u{2066}',
            '\u{2067}',
            '\u{2068}',
            '\u{2069}',
            '\u{200b}',
            '\u{200c}',
            '\u{200d}',
            '\u{2060}',
            '\u{feff}',
            '\u{ad}',
            '\u{34f}',
            '\u{180e}',
            '\u{fe0f}',
            '\u{e0041}',
            '\u{a0}',
            '\u{2003}',
            '\u{3000}',
            '\u{2028}',
            '\u{2029}',
            '\u{115f}',
            '\u{1160}',
            '\u{2800}',
            '\u{3164}',
            '\u{ffa0}',
            '\u{301}',
            '\u{e000}',
            '\u{fff9}',
            '\u{378}',
        ];
        for c in hidden {
            let quoted = quote(format!("a{c}b").as_bytes());
            assert_eq!(quoted, format!("$'a\\u{{{:x}}}b'", u32::from(c)), "U+{:04X}", u32::from(c));
        }
    }

    #[test]
    fn two_arguments_never_look_like_one_or_the_other_way_round() {
        assert_ne!(command(&["a b"]), command(&["a", "b"]));
        assert_ne!(command(&["a'", "'b"]), command(&["a' 'b"]));
        // The escape and the characters that spell it.
        assert_ne!(quote("\u{202e}".as_bytes()), quote(br"\u{202e}"));
        assert_ne!(quote(b"\x1b"), quote(br"\x1b"));
        assert_ne!(quote("\u{ff}\u{1}".as_bytes()), quote(b"\xff\x01"));
    }

    /// The shell itself is the oracle for what is quoted without `\u{..}`.
    #[test]
    fn a_shell_reads_the_words_back() {
        let argv: &[&[u8]] = &[
            b"it's",
            b"",
            b"a b",
            b"$HOME `id` $(id)",
            b"\\",
            b"!x",
            b"~root",
            b"-n",
            b"*?[",
            b"\x01\x7f\\'x",
            b"\xff\xc3(",
            "\u{e9}\u{4e2d}".as_bytes(),
        ];
        let script = format!("printf '%s\\0' {}", argv.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" "));
        let output = Command::new("bash").args(["-c", &script]).output().unwrap();
        let mut expected = Vec::new();
        for word in argv {
            expected.extend_from_slice(word);
            expected.push(0);
        }
        assert_eq!(output.stdout, expected);
    }
}
