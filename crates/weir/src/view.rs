//! `weir view`: what becomes of a view's query, the tests in its file, and the views of a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context;
use serde_json::{Value as Json, json};
use weir_contract::{Diagnostic, Severity};
use weir_view::{VIEWS_TOPIC, ViewRecord};

use crate::apply::plan::Wanted;
use crate::apply::wanted::add_view;
use crate::apply::{compare_wanted as compare, perform};
use crate::args::{View, ViewArgs, ViewCommand, ViewList, ViewOf, ViewReset, ViewStatus};
use crate::contracts::load_all;
use crate::kafka::{Kafka, PATIENCE};
use crate::output::{Out, ask, count, say};
use crate::registry::Registry;
use crate::views::{self, PlannedView};
use crate::{Exit, Failure};

/// Runs a command on views.
///
/// # Errors
/// [`Failure::Usage`] for a file, a folder or a URL that is none, [`Failure::No`] for a view that is not there or cannot
/// be used, [`Failure::Unreachable`].
pub fn run(arguments: &View) -> Result<Exit, Failure> {
    match &arguments.command {
        ViewCommand::Plan(arguments) => plan(arguments),
        ViewCommand::Test(arguments) => test(arguments),
        ViewCommand::List(arguments) => list(arguments),
        ViewCommand::Status(arguments) => status(arguments),
        ViewCommand::Explain(arguments) => explain(arguments),
        ViewCommand::Reset(arguments) => reset(arguments),
    }
}

fn plan(arguments: &ViewArgs) -> Result<Exit, Failure> {
    let (found, view) = load(arguments)?;
    let mut out = Out::new();
    report(&mut out, &found, arguments.json)?;
    let Some(PlannedView { plan, .. }) = view else {
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
    let Some(PlannedView { file, plan, .. }) = view else {
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
                    let why = why.trim_end();
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
type Loaded = (Vec<Diagnostic>, Option<PlannedView>);

/// The view, planned over all contracts and views of the folders, and what is wrong with it or with what it reads.
fn load(arguments: &ViewArgs) -> Result<Loaded, Failure> {
    let contracts = load_all(&arguments.contracts)?;
    let errors = contracts.iter().flat_map(|file| &file.diagnostics).filter(|d| d.severity == Severity::Error);
    let mut found: Vec<Diagnostic> = errors.cloned().collect();
    let same = |a: &Path, b: &Path| a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b);
    let mut paths = views::find(&arguments.contracts)?;
    paths.retain(|path| !same(path, &arguments.view));
    paths.insert(0, arguments.view.clone());
    let (diagnostics, views) = views::load(&paths, &contracts, Vec::new(), &BTreeMap::new())?;
    found.extend(diagnostics.into_iter().filter(|finding| finding.severity == Severity::Error));
    let own = arguments.view.display().to_string();
    Ok((found, views.into_iter().find(|view| view.file.file == own)))
}

/// The newest record of a view of the cluster.
fn record(kafka: &Kafka, id: &str) -> Result<ViewRecord, Failure> {
    let records = views::published(kafka)?;
    let Some(record) = records.get(id) else {
        let others = others(id, records.keys().map(String::as_str));
        return Err(Failure::No(format!("there is no view {id} in topic {VIEWS_TOPIC}{others}")));
    };
    ViewRecord::from_json(record).map_err(|error| Failure::No(format!("view {id}: {error}")))
}

/// What there is in place of a view that is not there: the one that was meant, if one is near, or all.
fn others<'n>(id: &str, known: impl Iterator<Item = &'n str> + Clone) -> String {
    let hint = weir_contract::hint(id, known.clone());
    let all: Vec<&str> = known.collect();
    match (hint.is_empty(), all.is_empty()) {
        (_, true) => "; there are none, apply it first".to_owned(),
        (true, false) => format!("; there are {}", all.join(", ")),
        (false, false) => hint,
    }
}

fn list(arguments: &ViewList) -> Result<Exit, Failure> {
    let kafka = Kafka::connect(&arguments.kafka)?;
    let mut out = Out::new();
    for (id, record) in views::published(&kafka)? {
        let (version, generation, topic, why) = match ViewRecord::from_json(&record) {
            Ok(record) => match record.plan() {
                Ok((_, plan)) => (record.version, record.generation, plan.output.topic.clone(), None),
                Err(error) => (record.version, record.generation, String::new(), Some(error.to_string())),
            },
            Err(error) => (String::new(), 0, String::new(), Some(error.to_string())),
        };
        if arguments.json {
            out.json(
                &json!({"view": id, "version": version, "generation": generation, "topic": topic, "refused": why}),
            )?;
        } else {
            let shown = why.map_or(topic, |why| format!("refused: {why}"));
            out.line(format_args!("{id:<34} {version:<9} {shown}"))?;
        }
    }
    out.flush()?;
    Ok(Exit::Done)
}

fn explain(arguments: &ViewOf) -> Result<Exit, Failure> {
    let kafka = Kafka::connect(&arguments.kafka)?;
    let record = record(&kafka, &arguments.view)?;
    let (_, plan) = record.plan().map_err(|error| Failure::No(format!("view {}: {error}", record.id)))?;
    let mut out = Out::new();
    if arguments.json {
        out.json(&plan.json())?;
    } else {
        out.line(format_args!("{:<14}{} version {}", "view", record.id, record.version))?;
        out.line(plan.text().trim_end())?;
        out.line(format_args!("{:<14}{}", "schema", plan.schema))?;
        for (what, topic) in [("quarantine", "quarantine"), ("changelog", "changelog")] {
            out.line(format_args!("{what:<14}{}.{topic}", plan.output.topic))?;
        }
    }
    out.flush()?;
    Ok(Exit::Done)
}

fn status(arguments: &ViewStatus) -> Result<Exit, Failure> {
    let url = format!("{}/views", arguments.router.trim_end_matches('/'));
    if let Err(error) = reqwest::Url::parse(&url) {
        let text = format!("--router {}: {error}; give a URL such as http://127.0.0.1:9465", arguments.router);
        return Err(Failure::Usage(text));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let asked = runtime.block_on(async {
        let client = weir_registry::http_client([url.as_str()]).timeout(PATIENCE).build()?;
        client.get(&url).send().await?.error_for_status()?.json::<Vec<Json>>().await
    });
    let views = asked.map_err(|error| {
        Failure::Unreachable(format!("no router answers at {url} ({error}); start one or correct --router"))
    })?;
    let mut out = Out::new();
    let mut seen = false;
    for view in &views {
        let text = |name: &str| view.get(name).and_then(Json::as_str).unwrap_or_default();
        if arguments.view.as_deref().is_some_and(|wanted| wanted != text("id")) {
            continue;
        }
        seen = true;
        if arguments.json {
            out.json(view)?;
            continue;
        }
        let total = |name: &str| view.pointer(&format!("/total/{name}")).and_then(Json::as_u64).unwrap_or(0);
        let tasks = view.get("tasks").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
        let lag: i64 = tasks.iter().filter_map(|task| task.get("lag")?.as_i64()).sum();
        let waits = tasks.iter().filter_map(|task| task.get("waits")?.as_str()).next();
        let reason = view.pointer("/refused/reason").and_then(Json::as_str);
        let state = match (view.get("blocked").and_then(Json::as_str), reason, waits) {
            (Some(why), ..) => format!("blocked: {why}"),
            (_, Some(why), _) => format!("refused: {why}"),
            (_, _, Some(why)) => format!("waits: {why}"),
            _ => {
                let of = |name: &str| tasks.iter().filter_map(|task| task.get(name)?.as_i64()).collect::<BTreeSet<_>>();
                let stages = of("stage").len() as u64;
                let whole = format!("runs on {}", count(of("partition").len() as u64, "partition"));
                if stages > 1 { format!("{whole} in {}", count(stages, "stage")) } else { whole }
            }
        };
        // The topic of a view that was made anew is not that of its id.
        let topic = Some(text("topic")).filter(|topic| !topic.is_empty() && *topic != text("id"));
        let topic = topic.map_or_else(String::new, |topic| format!(", topic {topic}"));
        out.line(format_args!(
            "{:<34} {:<9} received={} emitted={} quarantined={} late={} lag={lag}  {state}{topic}",
            text("id"),
            text("version"),
            total("received"),
            total("emitted"),
            total("quarantined"),
            total("late"),
        ))?;
    }
    out.flush()?;
    match &arguments.view {
        Some(view) if !seen => {
            let known = views.iter().filter_map(|view| view.get("id")?.as_str());
            Err(Failure::No(format!("the router knows no view {view}{}", others(view, known))))
        }
        _ => Ok(Exit::Done),
    }
}

fn reset(arguments: &ViewReset) -> Result<Exit, Failure> {
    let kafka = Kafka::connect(&arguments.kafka)?;
    let registry = Registry::of(&arguments.registry)?;
    let mut record = record(&kafka, &arguments.view)?;
    record.generation += 1;
    let (file, plan) = record.plan().map_err(|error| Failure::No(format!("view {}: {error}", record.id)))?;
    let view = PlannedView { file, plan, record };
    let mut wanted = Wanted::default();
    add_view(&mut wanted, &view);
    let steps = compare(wanted, &kafka, &registry)?;
    let mut out = Out::new();
    for step in &steps {
        if arguments.json {
            out.json(&step.json())?;
        } else {
            out.line(step)?;
        }
    }
    out.flush()?;
    let question = format!("make view {} anew in topic {}?", view.record.id, view.plan.output.topic);
    if !arguments.yes {
        match ask(&question) {
            Some(true) => {}
            Some(false) => return Err(Failure::No("nothing was changed".to_owned())),
            None => return Err(Failure::Usage("nobody to ask; add --yes".to_owned())),
        }
    }
    perform(&steps, &kafka, &registry)?;
    say(format_args!(
        "view {} is made anew in topic {}; the old topics stay until you delete them, and views that read it go on with them until they are applied again",
        view.record.id, view.plan.output.topic
    ));
    Ok(Exit::Done)
}
