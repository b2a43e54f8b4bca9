//! The two ways out of a command: data to stdout, everything else to stderr.
//!
//! Stdout is buffered: a command that prints millions of lines must not write each by itself. Whoever waits for more
//! input flushes first.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use crate::Failure;

/// Stdout, buffered. Dropping it flushes, but only [`Out::flush`] tells of an error.
#[derive(Debug)]
pub struct Out {
    stdout: BufWriter<StdoutLock<'static>>,
}

impl Out {
    /// Takes stdout for this command.
    pub fn new() -> Out {
        Out { stdout: BufWriter::with_capacity(64 * 1024, io::stdout().lock()) }
    }

    /// Writes one line.
    ///
    /// # Errors
    /// [`Failure::Closed`] when nobody reads any more.
    pub fn line(&mut self, text: impl Display) -> Result<(), Failure> {
        Ok(writeln!(self.stdout, "{text}")?)
    }

    /// Writes text as it is.
    ///
    /// # Errors
    /// As [`Out::line`].
    pub fn text(&mut self, text: &str) -> Result<(), Failure> {
        Ok(self.stdout.write_all(text.as_bytes())?)
    }

    /// Writes `value` as one line of JSON.
    ///
    /// # Errors
    /// As [`Out::line`].
    pub fn json(&mut self, value: &impl serde::Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.stdout, value).map_err(io::Error::from)?;
        Ok(self.stdout.write_all(b"\n")?)
    }

    /// Hands everything on to the reader.
    ///
    /// # Errors
    /// As [`Out::line`].
    pub fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.stdout.flush()?)
    }
}

impl Default for Out {
    fn default() -> Out {
        Out::new()
    }
}

/// Says something to the person at the terminal. That nobody listens is no error.
pub fn say(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Asks a question that `y` or `yes` answers with yes. `None` where there is no terminal to ask at.
pub fn ask(question: &str) -> Option<bool> {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return None;
    }
    let _ = write!(io::stderr(), "{question} [y/N] ");
    let _ = io::stderr().flush();
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).ok()?;
    Some(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// `1234567` as `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 event`, `2 events`: a count with the word for it.
pub fn count(number: u64, word: &str) -> String {
    format!("{} {word}{}", thousands(number), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three() {
        for (number, expect) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_469_307, "1,469,307"), (10_000, "10,000")]
        {
            assert_eq!(thousands(number), expect);
        }
        assert_eq!(count(1, "event"), "1 event");
        assert_eq!(count(2000, "event"), "2,000 events");
    }
}
