//! The command line as a user has it: the real binary, real files and, where there is one, a real Kafka.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod auth;
mod crash;
mod mesh;
mod offline;
mod replay;
mod up;
mod usage;
mod view;
mod world;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a command left behind.
#[derive(Debug)]
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    #[track_caller]
    fn code(self, expect: i32) -> Ran {
        assert_eq!(self.code, expect, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }
}

/// The binary with these arguments, in the folder of the cases, with nothing of Weir in its environment.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(arguments).current_dir(cases()).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("WEIR_")) {
        command.env_remove(name);
    }
    command
}

fn weir(arguments: &[&str]) -> Ran {
    let output = command(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}
