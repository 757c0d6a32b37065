//! Secrets come from the terminal or from one line of standard input; never from arguments or the environment, which other users can read.

use std::io::{IsTerminal as _, Write as _};

use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};

use crate::exit::Failure;

const LINE_LIMIT: usize = 4096;

/// Where a secret is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    Terminal,
    /// One line; what follows stays unread, for the next secret or for the command.
    Stdin,
}

impl From {
    pub(crate) fn stdin(flag: bool) -> Self {
        if flag { Self::Stdin } else { Self::Terminal }
    }

    /// How often it makes sense to ask again for a code that was wrong.
    pub(crate) fn tries(self) -> u32 {
        match self {
            Self::Terminal => 3,
            Self::Stdin => 1,
        }
    }
}

pub(crate) fn password(from: From, prompt: &str) -> anyhow::Result<SecretString> {
    let secret = match from {
        From::Terminal => hidden(prompt, "--password-stdin")?,
        From::Stdin => line()?,
    };
    if secret.expose_secret().is_empty() {
        return Err(Failure::new("the password is empty").into());
    }
    Ok(secret)
}

/// A password that is being set: asked twice on the terminal.
pub(crate) fn new_password(from: From, whose: &str) -> anyhow::Result<SecretString> {
    let first = password(from, &format!("New password of {whose}: "))?;
    if from == From::Terminal {
        let second = password(from, "Once more: ")?;
        if first.expose_secret() != second.expose_secret() {
            return Err(Failure::new("the two passwords differ: nothing was changed").into());
        }
    }
    Ok(first)
}

/// A one-time code; blanks inside are what authenticator apps show, not part of it.
pub(crate) fn code(from: From, prompt: &str) -> anyhow::Result<SecretString> {
    let secret = match from {
        From::Terminal => hidden(prompt, "--code-stdin")?,
        From::Stdin => line()?,
    };
    let code: String = secret.expose_secret().chars().filter(|c| !c.is_whitespace()).collect();
    if code.is_empty() {
        return Err(Failure::new("no code was given").into());
    }
    Ok(SecretString::from(code))
}

/// A name, visible while it is typed.
pub(crate) fn name(prompt: &str) -> anyhow::Result<String> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new("whose login is it?").hint("give --user NAME").into());
    }
    let mut stderr = std::io::stderr().lock();
    write!(stderr, "{prompt}").and_then(|()| stderr.flush()).context("the terminal does not take the prompt")?;
    Ok(line()?.expose_secret().trim().to_owned())
}

fn hidden(prompt: &str, instead: &str) -> anyhow::Result<SecretString> {
    let read = rpassword::prompt_password(prompt).map(SecretString::from);
    read.map_err(|_| Failure::new("there is no terminal to ask on").hint(format!("use {instead}")).into())
}

/// Byte by byte, because what a buffer reads ahead would be missing from the command's own input.
fn line() -> anyhow::Result<SecretString> {
    let stdin = std::io::stdin();
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(LINE_LIMIT));
    let mut byte = [0_u8];
    loop {
        match nix::unistd::read(&stdin, &mut byte) {
            Ok(0) if bytes.is_empty() => {
                return Err(Failure::new("standard input ended before the secret").hint("write it as one line").into());
            }
            Ok(0) => break,
            Ok(_) if byte == *b"\n" => break,
            Ok(_) if bytes.len() == LINE_LIMIT => {
                return Err(Failure::new("the line on standard input is too long for a secret").into());
            }
            Ok(_) => bytes.extend_from_slice(&byte),
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error).context("standard input does not read"),
        }
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| Failure::new("the secret on standard input is not UTF-8"))?;
    Ok(SecretString::from(text))
}
