//! How a command ends: the exit codes and what a failure says. It prints nothing itself.

use std::io;
use std::process::ExitCode;

/// The exit codes of `weir`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, and the answer is yes.
    Done,
    /// Done, and the answer is no: lint errors, events that break their contract, records that failed.
    No,
    /// The cluster differs from what was asked.
    Differs,
    /// Wrong usage: arguments, or files they name that are not there.
    Usage,
    /// A service cannot be reached.
    Unreachable,
    /// Anything else.
    Other,
}

impl Exit {
    /// The number the process ends with. 64, 69 and 70 are those of `sysexits.h`.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::No => 1,
            Exit::Differs => 3,
            Exit::Usage => 64,
            Exit::Unreachable => 69,
            Exit::Other => 70,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// Why a command could not do what it was asked. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The arguments make no sense, or name something that is not there.
    #[error("{0}")]
    Usage(String),
    /// Kafka or the registry does not answer.
    #[error("{0}")]
    Unreachable(String),
    /// The reader of stdout has gone. It has all it wanted: a quiet end.
    #[error("stdout is closed")]
    Closed,
    /// The answer is no, and the text says why nothing was done.
    #[error("{0}")]
    No(String),
    /// Anything else, with its causes.
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

impl Failure {
    /// The exit code that stands for this failure.
    pub fn exit(&self) -> Exit {
        match self {
            Failure::Usage(_) => Exit::Usage,
            Failure::Unreachable(_) => Exit::Unreachable,
            Failure::Closed => Exit::Done,
            Failure::No(_) => Exit::No,
            Failure::Other(_) => Exit::Other,
        }
    }

    /// A failure of neither the user nor a service.
    pub fn other(text: impl Into<String>) -> Failure {
        Failure::Other(anyhow::Error::msg(text.into()))
    }
}

/// For errors of stdout: a closed pipe is a quiet end, anything else is not.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::Other(anyhow::Error::new(error).context("stdout cannot be written")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_its_code() {
        let check = |failure: Failure, code: u8, text: &str| {
            assert_eq!(failure.exit().code(), code);
            assert_eq!(failure.to_string(), text);
        };
        check(Failure::Usage("no such file".into()), 64, "no such file");
        check(Failure::Unreachable("Kafka".into()), 69, "Kafka");
        check(Failure::No("broken".into()), 1, "broken");
        check(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)), 0, "stdout is closed");
        let full = io::Error::from(io::ErrorKind::StorageFull);
        check(Failure::from(full), 70, "stdout cannot be written: no storage space");
        check(Failure::other("the schema is none"), 70, "the schema is none");
    }
}
