//! `weir lint`: everything that is wrong with contracts and views at once, and what becomes of the promises.

use std::collections::BTreeMap;

use serde_json::json;
use weir_contract::{Diagnostic, Promise, Severity};

use crate::args::Lint;
use crate::contracts::{ContractFile, load_all};
use crate::output::{Out, count, say};
use crate::{Exit, Failure, views};

/// Prints all findings by place and, where asked to, all promises.
///
/// # Errors
/// [`Failure::Usage`] for paths that hold no contract.
pub fn run(arguments: &Lint) -> Result<Exit, Failure> {
    let named = views::find(&arguments.paths)?;
    let contracts: Vec<_> = arguments.paths.iter().filter(|path| !named.contains(path)).cloned().collect();
    let files = load_all(&contracts)?;
    let (of_views, _) = views::load(&named, &files, Vec::new(), &BTreeMap::new())?;
    let findings: Vec<&Diagnostic> = files.iter().flat_map(|file| &file.diagnostics).chain(&of_views).collect();
    let mut out = Out::new();
    for finding in &findings {
        if arguments.json {
            out.json(&finding_json(finding))?;
        } else {
            out.line(finding)?;
        }
    }
    if arguments.promises {
        for (file, promise) in promises(&files) {
            if arguments.json {
                out.json(&promise_json(&file, promise))?;
            } else {
                out.line(format_args!("{file}:{promise}"))?;
            }
        }
    }
    out.flush()?;
    let number = |severity| findings.iter().filter(|finding| finding.severity == severity).count() as u64;
    let errors = number(Severity::Error);
    let mut what = count(files.len() as u64, "contract");
    if !named.is_empty() {
        what += &format!(" and {}", count(named.len() as u64, "view"));
    }
    say(format_args!("{what}: {}, {}", count(errors, "error"), count(number(Severity::Warning), "warning")));
    Ok(if errors > 0 { Exit::No } else { Exit::Done })
}

fn promises(files: &[ContractFile]) -> impl Iterator<Item = (String, &Promise)> {
    files.iter().flat_map(|file| file.promises.iter().map(|promise| (file.path.display().to_string(), promise)))
}

fn finding_json(finding: &Diagnostic) -> serde_json::Value {
    let Diagnostic { file, line, column, severity, code, message } = finding;
    json!({ "file": file, "line": line, "column": column, "severity": severity.to_string(), "code": code, "message": message })
}

fn promise_json(file: &str, promise: &Promise) -> serde_json::Value {
    let Promise { place, what, how, why } = promise;
    json!({
        "file": file, "line": place.line, "column": place.column,
        "promise": what, "how": how.name(), "why": why,
    })
}
