//! Routes that ask what registering a schema would break, without registering it.

use axum::Json;
use axum::extract::State;
use serde_json::json;

use super::request::{Params, Segments, Sent};
use super::{Answer, Api};
use crate::fault::Fault;
use crate::schema::{SchemaRequest, Verdict, compare, prepare};
use crate::store::{Filter, Level, Wanted};

pub(super) async fn check_all(
    State(api): State<Api>,
    params: Params,
    segments: Segments,
    Sent(request): Sent<SchemaRequest>,
) -> Answer {
    check(&api, &params, &segments, &request, false).await
}

pub(super) async fn check_one(
    State(api): State<Api>,
    params: Params,
    segments: Segments,
    Sent(request): Sent<SchemaRequest>,
) -> Answer {
    check(&api, &params, &segments, &request, true).await
}

async fn check(api: &Api, params: &Params, segments: &Segments, request: &SchemaRequest, one: bool) -> Answer {
    let (subject, verbose) = (segments.subject(), params.is("verbose"));
    let verdict = api.log.find(|store| {
        let candidate = match prepare(store, subject, request, params.is("normalize"), Filter::Live) {
            Err(fault @ (Fault::InvalidSchema(_) | Fault::InvalidRules(_))) if verbose => {
                return Ok(Verdict { problems: vec![fault.to_string()], notes: Vec::new() });
            }
            candidate => candidate?,
        };
        let mut level = store.level(subject);
        let mut earlier: Vec<_> = store.of(subject, Filter::Live).rev().collect();
        if one {
            level = Level { transitive: true, ..level };
            match segments.wanted() {
                Wanted::Latest => earlier.truncate(1),
                wanted => {
                    earlier = vec![store.version(subject, wanted, Filter::Live).map_err(|_| version_not_found(wanted))?]
                }
            }
        }
        Ok(compare(store, subject, level, &candidate, earlier.into_iter()))
    });
    let Verdict { problems, notes } = verdict.await?;
    let mut answer = json!({ "is_compatible": problems.is_empty() });
    if verbose {
        answer["messages"] = problems.into_iter().chain(notes).collect();
    }
    Ok(Json(answer))
}

fn version_not_found(wanted: Wanted) -> Fault {
    Fault::VersionNotFound(match wanted {
        Wanted::Latest => "latest".to_owned(),
        Wanted::Exactly(number) => number.to_string(),
    })
}
