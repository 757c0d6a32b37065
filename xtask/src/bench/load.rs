//! Load from `wrk`.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run;

/// What one run of `wrk` saw; every answer was a good one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Load {
    pub(crate) requests: f64,
    pub(crate) per_second: f64,
    pub(crate) p50_micros: f64,
    pub(crate) p99_micros: f64,
}

/// `script` is a path inside the checkout, `args` are for it.
pub(crate) fn wrk(url: &str, script: &str, connections: u32, seconds: u32, args: &[&str]) -> Result<Load> {
    let text = run::capture(&mut command(url, script, connections, seconds, args))?;
    read(&text)
}

/// The same as a command that is still to be started, for a load whose server dies under it.
pub(crate) fn command(url: &str, script: &str, connections: u32, seconds: u32, args: &[&str]) -> Command {
    let duration = format!("-d{seconds}s");
    let connections = format!("-c{connections}");
    let mut command = run::command("wrk", &["-t2", &connections, &duration, "--latency", "-s", script, url, "--"]);
    command.args(args);
    command
}

fn read(text: &str) -> Result<Load> {
    if let Some(errors) = text.lines().find(|line| is_error(line)) {
        bail!("the load met errors, so its figures mean nothing: {}", errors.trim());
    }
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.trim().strip_prefix(name))
            .map(str::trim)
            .with_context(|| format!("wrk printed no `{name}`"))
    };
    let requests = text
        .lines()
        .find_map(|line| line.trim().split_once(" requests in ").map(|(count, _)| count))
        .context("wrk printed no count of requests")?;
    Ok(Load {
        requests: requests.parse()?,
        per_second: field("Requests/sec:")?.parse()?,
        p50_micros: micros(field("50%")?)?,
        p99_micros: micros(field("99%")?)?,
    })
}

fn is_error(line: &str) -> bool {
    let line = line.trim();
    line.starts_with("Socket errors:") || line.starts_with("Non-2xx")
}

/// `12.30us`, `1.20ms` or `2.00s`.
fn micros(text: &str) -> Result<f64> {
    let (number, factor) = if let Some(number) = text.strip_suffix("us") {
        (number, 1.0)
    } else if let Some(number) = text.strip_suffix("ms") {
        (number, 1e3)
    } else if let Some(number) = text.strip_suffix('s') {
        (number, 1e6)
    } else {
        bail!("wrk printed a time without a unit: {text}");
    };
    Ok(number.parse::<f64>()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "Running 2s test @ http://127.0.0.1:1/\n  2 threads and 64 connections\n  Latency Distribution\n     \
        50%  640.00us\n     75%    1.00ms\n     90%    2.00ms\n     99%    4.50ms\n  181234 requests in 2.01s, 30.11MB read\n\
        Requests/sec:  90166.17\nTransfer/sec:     14.98MB\n";

    #[test]
    fn figures_are_read() {
        let load = read(GOOD).unwrap();
        assert_eq!(load, Load { requests: 181_234.0, per_second: 90_166.17, p50_micros: 640.0, p99_micros: 4500.0 });
        assert_eq!(micros("1.50s").unwrap().to_string(), "1500000");
    }

    #[test]
    fn figures_of_failed_requests_are_refused() {
        for line in ["  Socket errors: connect 0, read 3, write 0, timeout 0", "  Non-2xx or 3xx responses: 7"] {
            assert!(read(&format!("{GOOD}{line}\n")).is_err());
        }
        assert!(read("unable to connect").is_err());
    }
}
