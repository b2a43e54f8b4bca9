//! `weir view`: what becomes of a view's query, and the tests in its file.

use std::path::{Path, PathBuf};

use serde_json::json;
use weir_contract::{Diagnostic, Severity};
use weir_view::{Plan, Relation, ViewFile, plan_all};

use crate::args::{View, ViewArgs, ViewCommand};
use crate::contracts::{load_all, read, search};
use crate::output::{Out, count, say};
use crate::{Exit, Failure};

/// How a view file's name ends.
const ENDING: &str = ".view.yaml";

/// Runs `weir view plan` or `weir view test`.
///
/// # Errors
/// [`Failure::Usage`] for a file or a folder that is not there.
pub fn run(arguments: &View) -> Result<Exit, Failure> {
    match &arguments.command {
        ViewCommand::Plan(arguments) => plan(arguments),
        ViewCommand::Test(arguments) => test(arguments),
    }
}

fn plan(arguments: &ViewArgs) -> Result<Exit, Failure> {
    let (found, view) = load(arguments)?;
    let mut out = Out::new();
    report(&mut out, &found, arguments.json)?;
    let Some((_, plan)) = view else {
        out.flush()?;
        return Ok(Exit::No);
    };
    if arguments.json {
        out.json(&plan.json())?;
    } else {
        out.line(plan.text().trim_end())?;
        out.line(format_args!("{:<14}{}", "schema", plan.schema))?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

fn test(arguments: &ViewArgs) -> Result<Exit, Failure> {
    let (found, view) = load(arguments)?;
    let mut out = Out::new();
    report(&mut out, &found, arguments.json)?;
    let Some((file, plan)) = view else {
        out.flush()?;
        return Ok(Exit::No);
    };
    let mut failed = 0;
    for test in &file.tests {
        let why = test.run(&plan).err();
        failed += u64::from(why.is_some());
        if arguments.json {
            out.json(&json!({"test": test.name, "line": test.place.line, "passed": why.is_none(), "why": why}))?;
        } else {
            match why {
                None => out.line(format_args!("passed: {}", test.name))?,
                Some(why) => {
                    out.line(format_args!("failed: {} ({}:{})\n{why}", test.name, file.file, test.place.line))?
                }
            }
        }
    }
    out.flush()?;
    say(format_args!("{}, {failed} failed", count(file.tests.len() as u64, "test")));
    Ok(if failed > 0 { Exit::No } else { Exit::Done })
}

fn report(out: &mut Out, found: &[Diagnostic], as_json: bool) -> Result<(), Failure> {
    for finding in found {
        let Diagnostic { file, line, column, severity, code, message } = finding;
        if as_json {
            out.json(&json!({"file": file, "line": line, "column": column, "severity": severity.to_string(), "code": code, "message": message}))?;
        } else {
            out.line(finding)?;
        }
    }
    Ok(())
}

/// What is wrong, and the view with its plan where it has one.
type Loaded = (Vec<Diagnostic>, Option<(ViewFile, Plan)>);

/// The view, planned over all contracts and views of the folders, and what is wrong with it or with what it reads.
fn load(arguments: &ViewArgs) -> Result<Loaded, Failure> {
    let mut found = Vec::new();
    let mut products = Vec::new();
    for file in load_all(&arguments.contracts)? {
        if let (Some(contract), Some(compiled)) = (&file.contract, &file.compiled) {
            products.extend(Relation::of_contract(contract, compiled));
        }
        found.extend(file.diagnostics.into_iter().filter(|finding| finding.severity == Severity::Error));
    }
    let mut paths: Vec<PathBuf> = Vec::new();
    for folder in arguments.contracts.iter().filter(|path| path.is_dir()) {
        search(folder, ENDING, &mut paths)?;
    }
    let same = |a: &Path, b: &Path| a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b);
    paths.retain(|path| !same(path, &arguments.view));
    paths.sort();
    paths.insert(0, arguments.view.clone());
    let mut files = Vec::new();
    let mut own = false;
    for (i, path) in paths.iter().enumerate() {
        let name = path.display().to_string();
        let text = read(path).map_err(|why| Failure::Usage(format!("{name}: {why}; name a view file")))?;
        let (file, diagnostics) = weir_view::read(&text, &name);
        own |= i == 0 && file.is_some();
        files.extend(file);
        found.extend(diagnostics);
    }
    let (plans, diagnostics) = plan_all(products, &files);
    found.extend(diagnostics);
    let first = files.into_iter().zip(plans).next().filter(|_| own);
    Ok((found, first.and_then(|(file, plan)| Some((file, plan?)))))
}
