//! Confluent's REST API: routes, what they take and what they answer. Reads are answered from memory, changes go
//! through the log; what a change comes to is decided in [`crate::decide`].

mod request;

use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::decide::{self, Decision, Registered, SchemaRequest};
use crate::fault::Fault;
use crate::log::Log;
use crate::metrics::Counters;
use crate::record::ConfigValue;
use crate::store::{Content, Filter, Level, Mode, Store, Wanted};
use request::{Params, Segments, Sent, frame};

/// What all routes need.
#[derive(Clone)]
pub(crate) struct Api {
    pub log: Log,
    pub max_body: usize,
    pub counters: Counters,
}

type Answer = Result<Json<Value>, Fault>;

/// All routes of the API.
pub(crate) fn router(api: Api) -> Router {
    Router::new()
        .route("/", get(|| async { Json(json!({})) }))
        .route("/subjects", get(list_subjects))
        .route("/subjects/{subject}", post(look_up).delete(delete_subject))
        .route("/subjects/{subject}/versions", get(list_versions).post(register))
        .route("/subjects/{subject}/versions/{version}", get(get_version).delete(delete_version))
        .route("/subjects/{subject}/versions/{version}/schema", get(get_version_text))
        .route("/subjects/{subject}/versions/{version}/referencedby", get(referenced_by))
        .route("/schemas", get(list_schemas))
        .route("/schemas/types", get(|| async { Json(json!(["AVRO"])) }))
        .route("/schemas/ids/{id}", get(schema_by_id))
        .route("/schemas/ids/{id}/schema", get(text_by_id))
        .route("/schemas/ids/{id}/subjects", get(subjects_of_id))
        .route("/schemas/ids/{id}/versions", get(versions_of_id))
        .route("/schemas/guids/{guid}", get(schema_by_guid))
        .route("/schemas/guids/{guid}/ids", get(ids_of_guid))
        .route("/config", get(get_config).put(put_config).delete(delete_config))
        .route("/config/{subject}", get(get_config).put(put_config).delete(delete_config))
        .route("/mode", get(get_mode).put(put_mode).delete(delete_mode))
        .route("/mode/{subject}", get(get_mode).put(put_mode).delete(delete_mode))
        .route("/compatibility/subjects/{subject}/versions", post(check_all))
        .route("/compatibility/subjects/{subject}/versions/{version}", post(check_one))
        .method_not_allowed_fallback(|| async { Fault::BadMethod })
        .fallback(|| async { Fault::NoRoute })
        .layer(from_fn_with_state(api.clone(), frame))
        .with_state(api)
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let (status, code) = self.code();
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(json!({ "error_code": code, "message": self.to_string() }))).into_response()
    }
}

// --- What is answered ------------------------------------------------------------------------------------------

/// The content of a schema and where it was found, with the attributes that are asked for, in this order, and
/// without those that are empty.
fn view(content: &Content, subject: &str, version: u32, deleted: bool, attributes: &[&str]) -> Value {
    let mut view = Map::new();
    for attribute in attributes {
        let value = match *attribute {
            "subject" => json!(subject),
            "version" => json!(version),
            "id" => json!(content.id),
            "guid" => json!(content.guid.to_string()),
            "schemaType" => json!(content.schema_type),
            "references" if !content.references.is_empty() => json!(content.references),
            "metadata" => json!(content.metadata),
            "ruleSet" => json!(content.rule_set),
            "schema" => json!(content.schema),
            "deleted" if deleted => json!(true),
            _ => Value::Null,
        };
        if !value.is_null() {
            view.insert((*attribute).to_owned(), value);
        }
    }
    Value::Object(view)
}

const OF_VERSION: [&str; 10] =
    ["subject", "version", "id", "guid", "schemaType", "references", "metadata", "ruleSet", "schema", "deleted"];
const OF_ID: [&str; 8] = ["subject", "version", "guid", "schemaType", "schema", "references", "metadata", "ruleSet"];
const OF_REGISTRATION: [&str; 8] =
    ["id", "version", "guid", "schemaType", "references", "metadata", "ruleSet", "schema"];

impl Registered {
    fn view(&self, attributes: &[&str]) -> Value {
        view(&self.content, &self.subject, self.version, self.deleted, attributes)
    }
}

fn config_view(config: &ConfigValue) -> Value {
    let mut view = config.others.clone();
    if let Some(normalize) = config.normalize {
        view.insert("normalize".to_owned(), json!(normalize));
    }
    if let Some(level) = &config.compatibility_level {
        view.insert("compatibilityLevel".to_owned(), json!(level));
    }
    Value::Object(view)
}

fn mode_view(mode: Mode) -> Value {
    json!({ "mode": mode.name() })
}

fn answered<T>(decision: Decision<T>, view: impl FnOnce(&T) -> Value) -> Decision<Value> {
    Decision { answer: view(&decision.answer), records: decision.records }
}

// --- Subjects --------------------------------------------------------------------------------------------------

async fn list_subjects(State(api): State<Api>, params: Params) -> Answer {
    let prefix = prefix(&params);
    api.log.read(|store| Ok(Json(json!(params.page(store.subjects(&prefix, params.filter()))))))
}

/// The wanted start of subject names, without Confluent's names for "all contexts" and the default one.
fn prefix(params: &Params) -> String {
    let prefix = params.text("subjectPrefix");
    let prefix = prefix.strip_prefix(":*:").or_else(|| prefix.strip_prefix(":.:")).unwrap_or(prefix);
    prefix.to_owned()
}

async fn list_versions(State(api): State<Api>, params: Params, segments: Segments) -> Answer {
    let versions = api.log.find(|store| {
        let versions = store.versions(segments.subject(), params.filter());
        let known = !versions.is_empty();
        known.then_some(versions).ok_or_else(|| Fault::SubjectNotFound(segments.subject().to_owned()))
    });
    Ok(Json(json!(params.page(versions.await?))))
}

async fn get_version(State(api): State<Api>, params: Params, segments: Segments) -> Answer {
    find_version(&api, &params, &segments).await.map(|found| Json(found.view(&OF_VERSION)))
}

async fn get_version_text(State(api): State<Api>, params: Params, segments: Segments) -> Result<String, Fault> {
    find_version(&api, &params, &segments).await.map(|found| found.content.schema.clone())
}

async fn find_version(api: &Api, params: &Params, segments: &Segments) -> Result<Registered, Fault> {
    let ask = |store: &Store| {
        let (number, version) = store.version(segments.subject(), segments.wanted(), params.filter())?;
        Ok(Registered::of(segments.subject(), number, version))
    };
    api.log.find(ask).await
}

async fn referenced_by(State(api): State<Api>, params: Params, segments: Segments) -> Answer {
    let ids = api.log.find(|store| {
        let (number, _) = store.version(segments.subject(), segments.wanted(), Filter::All)?;
        Ok(store.referenced_by(segments.subject(), number, params.filter()))
    });
    Ok(Json(json!(params.page(ids.await?))))
}

async fn register(
    State(api): State<Api>,
    params: Params,
    segments: Segments,
    Sent(request): Sent<SchemaRequest>,
) -> Answer {
    let (subject, normalize) = (segments.subject().to_owned(), params.is("normalize"));
    let decide = move |store: &Store| {
        decide::register(store, &subject, &request, normalize).map(|d| answered(d, |r| r.view(&OF_REGISTRATION)))
    };
    api.log.write(decide).await.map(Json)
}

async fn look_up(
    State(api): State<Api>,
    params: Params,
    segments: Segments,
    Sent(request): Sent<SchemaRequest>,
) -> Answer {
    let subject = segments.subject();
    let found = api.log.find(|store| {
        if store.versions(subject, params.filter()).is_empty() {
            return Err(Fault::SubjectNotFound(subject.to_owned()));
        }
        let candidate = decide::prepare(store, subject, &request, params.is("normalize"), params.filter())?;
        let (number, version) =
            decide::find(store, subject, &candidate, params.filter()).ok_or(Fault::SchemaNotFound)?;
        Ok(Registered::of(subject, number, version))
    });
    Ok(Json(found.await?.view(&OF_VERSION)))
}

async fn delete_subject(State(api): State<Api>, params: Params, segments: Segments) -> Answer {
    let permanent = params.is("permanent");
    let decide = move |store: &Store| {
        decide::delete_subject(store, segments.subject(), permanent).map(|d| answered(d, |versions| json!(versions)))
    };
    api.log.write(decide).await.map(Json)
}

async fn delete_version(State(api): State<Api>, params: Params, segments: Segments) -> Answer {
    let permanent = params.is("permanent");
    let decide = move |store: &Store| {
        let decision = decide::delete_version(store, segments.subject(), segments.wanted(), permanent)?;
        Ok(answered(decision, |version| json!(version)))
    };
    api.log.write(decide).await.map(Json)
}

// --- Schemas ---------------------------------------------------------------------------------------------------

async fn list_schemas(State(api): State<Api>, params: Params) -> Answer {
    let prefix = prefix(&params);
    api.log.read(|store| {
        let mut found: Vec<_> = store.all(&prefix, params.filter()).collect();
        if params.is("latestOnly") {
            found.reverse();
            found.dedup_by_key(|(subject, ..)| *subject);
            found.reverse();
        }
        let views = params
            .page(found)
            .into_iter()
            .map(|(subject, number, version)| view(&version.content, subject, number, version.deleted, &OF_VERSION));
        Ok(Json(views.collect()))
    })
}

async fn schema_by_id(State(api): State<Api>, params: Params, segments: Segments) -> Answer {
    let found = api.log.find(|store| {
        let uses = || store.uses(segments.id, Filter::All);
        // The subject only chooses between several that have the id.
        let chosen = uses().find(|(subject, ..)| *subject == params.text("subject")).or_else(|| uses().next());
        let (subject, number, version) = chosen.ok_or(Fault::SchemaNotFound)?;
        let mut answer = view(&version.content, subject, number, false, &OF_ID);
        if params.is("fetchMaxId") {
            answer["maxId"] = json!(store.max_id());
        }
        Ok(answer)
    });
    found.await.map(Json)
}

async fn text_by_id(State(api): State<Api>, segments: Segments) -> Result<String, Fault> {
    let ask = |store: &Store| {
        store.by_id(segments.id).map(|(content, ..)| content.schema.clone()).ok_or(Fault::SchemaNotFound)
    };
    api.log.find(ask).await
}

async fn subjects_of_id(State(api): State<Api>, params: Params, segments: Segments) -> Answer {
    let mut subjects: Vec<String> = uses_of_id(&api, &params, &segments).await?.into_iter().map(|(s, _)| s).collect();
    subjects.dedup();
    Ok(Json(json!(params.page(subjects))))
}

async fn versions_of_id(State(api): State<Api>, params: Params, segments: Segments) -> Answer {
    let uses = uses_of_id(&api, &params, &segments).await?.into_iter();
    let uses = uses.map(|(subject, version)| json!({ "subject": subject, "version": version }));
    Ok(Json(json!(params.page(uses))))
}

/// Always after reading the log to its end: from a list that is too short a reader would conclude that the id must
/// not be used with a subject it was just registered under.
async fn uses_of_id(api: &Api, params: &Params, segments: &Segments) -> Result<Vec<(String, u32)>, Fault> {
    api.log.catch_up().await?;
    api.log.read(|store| {
        if !store.has_id(segments.id) {
            return Err(Fault::SchemaNotFound);
        }
        let wanted = params.text("subject");
        let uses = store.uses(segments.id, params.filter());
        let uses = uses.filter(|(subject, ..)| wanted.is_empty() || *subject == wanted);
        let mut uses: Vec<_> = uses.map(|(subject, number, _)| (subject.to_owned(), number)).collect();
        uses.sort();
        Ok(uses)
    })
}

async fn schema_by_guid(State(api): State<Api>, segments: Segments) -> Answer {
    let found = api.log.find(|store| {
        let id = segments.guid.and_then(|guid| store.id_of(guid)).ok_or(Fault::SchemaNotFound)?;
        let (content, subject, version) = store.by_id(id).ok_or(Fault::SchemaNotFound)?;
        Ok(view(content, subject, version, false, &OF_ID[2..]))
    });
    found.await.map(Json)
}

async fn ids_of_guid(State(api): State<Api>, segments: Segments) -> Answer {
    let find = |store: &Store| segments.guid.and_then(|guid| store.id_of(guid)).ok_or(Fault::SchemaNotFound);
    Ok(Json(json!([{ "context": ".", "id": api.log.find(find).await? }])))
}

// --- Settings --------------------------------------------------------------------------------------------------

async fn get_config(State(api): State<Api>, params: Params, segments: Segments) -> Answer {
    let subject = segments.subject.as_deref();
    api.log.read(|store| match (store.config(subject), subject) {
        (Some(config), _) if !params.is("defaultToGlobal") && config.compatibility_level.is_some() => {
            Ok(Json(config_view(config)))
        }
        (None, Some(subject)) if !params.is("defaultToGlobal") => Err(Fault::ConfigNotSet(subject.to_owned())),
        _ => Ok(Json(config_view(&store.config_in_scope(subject)))),
    })
}

async fn put_config(State(api): State<Api>, segments: Segments, Sent(request): Sent<Map<String, Value>>) -> Answer {
    let (mut level, mut normalize) = (None, None);
    for (name, value) in request {
        match (name.as_str(), value) {
            (_, Value::Null) => {}
            ("compatibility" | "compatibilityLevel", Value::String(name)) => level = Some(name),
            ("compatibility" | "compatibilityLevel", other) => return Err(Fault::InvalidLevel(other.to_string())),
            ("normalize", Value::Bool(value)) => normalize = Some(value),
            (name, _) => return Err(Fault::Unsupported(name.to_owned())),
        }
    }
    let decide = move |store: &Store| {
        let decision = decide::set_config(store, segments.subject.as_deref(), level.as_deref(), normalize)?;
        Ok(answered(decision, |config| {
            let mut view = config.others.clone();
            view.extend(config.normalize.map(|value| ("normalize".to_owned(), json!(value))));
            view.extend(config.compatibility_level.as_ref().map(|level| ("compatibility".to_owned(), json!(level))));
            Value::Object(view)
        }))
    };
    api.log.write(decide).await.map(Json)
}

async fn delete_config(State(api): State<Api>, segments: Segments) -> Answer {
    let decide = move |store: &Store| {
        decide::delete_config(store, segments.subject.as_deref()).map(|d| answered(d, config_view))
    };
    api.log.write(decide).await.map(Json)
}

async fn get_mode(State(api): State<Api>, params: Params, segments: Segments) -> Answer {
    let subject = segments.subject.as_deref();
    api.log.read(|store| match (store.mode(subject), subject) {
        (Some(mode), _) => Ok(Json(mode_view(mode))),
        (None, Some(subject)) if !params.is("defaultToGlobal") => Err(Fault::ModeNotSet(subject.to_owned())),
        (None, _) => Ok(Json(mode_view(store.mode_in_scope(subject)))),
    })
}

#[derive(Deserialize)]
struct ModeRequest {
    #[serde(default)]
    mode: Option<String>,
}

async fn put_mode(
    State(api): State<Api>,
    params: Params,
    segments: Segments,
    Sent(request): Sent<ModeRequest>,
) -> Answer {
    let (mode, force) = (request.mode.unwrap_or_default(), params.is("force"));
    let decide = move |store: &Store| {
        decide::set_mode(store, segments.subject.as_deref(), &mode, force).map(|d| answered(d, |mode| mode_view(*mode)))
    };
    api.log.write(decide).await.map(Json)
}

async fn delete_mode(State(api): State<Api>, segments: Segments) -> Answer {
    let decide = move |store: &Store| {
        decide::delete_mode(store, segments.subject.as_deref()).map(|d| answered(d, |mode| mode_view(*mode)))
    };
    api.log.write(decide).await.map(Json)
}

// --- Compatibility ---------------------------------------------------------------------------------------------

async fn check_all(
    State(api): State<Api>,
    params: Params,
    segments: Segments,
    Sent(request): Sent<SchemaRequest>,
) -> Answer {
    check(&api, &params, &segments, &request, false).await
}

async fn check_one(
    State(api): State<Api>,
    params: Params,
    segments: Segments,
    Sent(request): Sent<SchemaRequest>,
) -> Answer {
    check(&api, &params, &segments, &request, true).await
}

async fn check(api: &Api, params: &Params, segments: &Segments, request: &SchemaRequest, one: bool) -> Answer {
    let (subject, verbose) = (segments.subject(), params.is("verbose"));
    let messages = api.log.find(|store| {
        let candidate = match decide::prepare(store, subject, request, params.is("normalize"), Filter::Live) {
            Err(fault @ Fault::InvalidSchema(_)) if verbose => return Ok(vec![fault.to_string()]),
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
        Ok(decide::incompatibilities(store, level, &candidate, earlier.into_iter()))
    });
    let messages = messages.await?;
    let mut answer = json!({ "is_compatible": messages.is_empty() });
    if verbose {
        answer["messages"] = json!(messages);
    }
    Ok(Json(answer))
}

fn version_not_found(wanted: Wanted) -> Fault {
    Fault::VersionNotFound(match wanted {
        Wanted::Latest => "latest".to_owned(),
        Wanted::Exactly(number) => number.to_string(),
    })
}
