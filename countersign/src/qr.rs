//! QR codes for terminals.

use anyhow::Context as _;
use qrcode::{Color, EcLevel, QrCode};

const COLUMNS: usize = 80;
/// Of the 24 lines of a terminal one stays free for the prompt below.
const LINES: usize = 23;

/// The text as a QR code in half blocks, two modules to a character, that fits 80 columns and 24 lines. The light modules are drawn, because
/// terminals are mostly dark; the quiet zone is the widest of four to one modules that fits.
pub(crate) fn terminal(text: &str) -> anyhow::Result<String> {
    // Level L: the screen is clean, and each level more makes the code larger.
    let code = QrCode::with_error_correction_level(text, EcLevel::L).context("the text is too long for a QR code")?;
    let width = code.width();
    let fits = |quiet: &usize| width + 2 * quiet <= COLUMNS && (width + 2 * quiet).div_ceil(2) <= LINES;
    let quiet = (1..=4).rev().find(fits).context("the QR code does not fit 80 columns and 24 lines: copy the URL")?;
    let colors = code.to_colors();
    let light = |row: usize, column: usize| {
        let inside = |at: usize| at.checked_sub(quiet).filter(|at| *at < width);
        let module = inside(row).zip(inside(column)).and_then(|(row, column)| colors.get(row * width + column));
        module.is_none_or(|color| *color == Color::Light)
    };
    let size = width + 2 * quiet;
    let mut out = String::new();
    for row in (0..size).step_by(2) {
        for column in 0..size {
            // Below an odd number of rows nothing is drawn.
            out.push(match (light(row, column), row + 1 < size && light(row + 1, column)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        out.push('\n');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str =
        "otpauth://totp/Countersign:bob@db1.example.org?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=Countersign";

    #[test]
    fn an_otpauth_url_fits_a_small_terminal() {
        let drawn = terminal(URL).unwrap();
        assert!(drawn.lines().count() < 24, "{}", drawn.lines().count());
        assert!(drawn.lines().all(|line| line.chars().count() <= 80));
        let long = format!("{URL}&algorithm=SHA1&digits=6");
        assert!(terminal(&long).unwrap().lines().count() < 24);
    }

    #[test]
    fn what_is_drawn_is_the_code_with_a_quiet_zone() {
        let drawn: Vec<Vec<char>> = terminal(URL).unwrap().lines().map(|line| line.chars().collect()).collect();
        let dark = |row: usize, column: usize| {
            let c = drawn[row / 2][column];
            if row.is_multiple_of(2) { matches!(c, '▄' | ' ') } else { matches!(c, '▀' | ' ') }
        };
        let code = QrCode::with_error_correction_level(URL, EcLevel::L).unwrap();
        let quiet = (drawn[0].len() - code.width()) / 2;
        assert!(quiet >= 2, "readers want some light around the code");
        for row in 0..code.width() + 2 * quiet {
            for column in 0..code.width() + 2 * quiet {
                let inside =
                    (quiet..quiet + code.width()).contains(&row) && (quiet..quiet + code.width()).contains(&column);
                let expected = inside && code[(column - quiet, row - quiet)] == Color::Dark;
                assert_eq!(dark(row, column), expected, "{row} {column}");
            }
        }
    }

    #[test]
    fn too_much_text_is_an_error_not_a_mess() {
        assert!(terminal(&"x".repeat(400)).is_err());
        assert!(terminal(&"x".repeat(9000)).is_err());
    }
}
