//! `weir completions`: the completions of a shell, made from the arguments themselves.

use clap::CommandFactory;

use crate::args::{Completions, Weir};
use crate::output::Out;
use crate::{Exit, Failure};

/// Prints the completions.
///
/// # Errors
/// [`Failure`] when stdout cannot be written.
pub fn run(arguments: &Completions) -> Result<Exit, Failure> {
    // clap_complete panics where its writer fails; a buffer does not fail.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Weir::command(), "weir", &mut script);
    let mut out = Out::new();
    out.text(&String::from_utf8_lossy(&script))?;
    out.flush()?;
    Ok(Exit::Done)
}
