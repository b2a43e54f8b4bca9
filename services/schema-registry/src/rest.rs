//! Confluent's REST API: routes, what they take and what they answer. Reads are answered from memory, changes go
//! through the log; what a change comes to is decided in [`crate::decide`].

mod compatibility;
mod request;
mod settings;

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde_json::{Map, Value, json};

use crate::auth::Users;
use crate::decide::{self, Decision, Registered};
use crate::fault::Fault;
use crate::log::Log;
use crate::metrics::Counters;
use crate::schema::{SchemaRequest, TYPES};
use crate::store::{Content, Filter, Store};
use crate::subject::{self, Prefix};
use compatibility::{check_all, check_one};
use request::{Params, Segments, Sent, frame};
use settings::{delete_config, delete_context, delete_mode, get_config, get_mode, list_contexts, put_config, put_mode};

/// What all routes need.
#[derive(Clone)]
pub(crate) struct Api {
    pub log: Log,
    pub max_body: usize,
    pub counters: Counters,
    pub users: Option<Arc<Users>>,
}

type Answer = Result<Json<Value>, Fault>;

/// What runs here, in the form of Confluent's answer; there is no commit to name.
fn version() -> Value {
    json!({ "version": concat!("weir-", env!("CARGO_PKG_VERSION")), "commitId": "" })
}

/// All routes of the API.
pub(crate) fn router(api: Api) -> Router {
    Router::new()
        .route("/", get(|| async { Json(json!({})) }).post(|| async { Json(json!({})) }))
        .route("/subjects", get(list_subjects))
        .route("/subjects/{subject}", post(look_up).delete(delete_subject))
        .route("/subjects/{subject}/metadata", get(latest_with_metadata))
        .route("/subjects/{subject}/versions", get(list_versions).post(register))
        .route("/subjects/{subject}/versions/{version}", get(get_version).delete(delete_version))
        .route("/subjects/{subject}/versions/{version}/schema", get(get_version_text))
        .route("/subjects/{subject}/versions/{version}/referencedby", get(referenced_by))
        .route("/schemas", get(list_schemas))
        .route("/schemas/types", get(|| async { Json(json!(TYPES)) }))
        .route("/schemas/ids/{id}", get(schema_by_id))
        .route("/schemas/ids/{id}/schema", get(text_by_id))
        .route("/schemas/ids/{id}/subjects", get(subjects_of_id))
        .route("/schemas/ids/{id}/versions", get(versions_of_id))
        .route("/schemas/guids/{guid}", get(schema_by_guid))
        .route("/schemas/guids/{guid}/ids", get(ids_of_guid))
        .route("/contexts", get(list_contexts))
        .route("/contexts/{context}", delete(delete_context))
        .route("/v1/metadata/version", get(|| async { Json(version()) }))
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

/// The text in the form that the query asks for with `format`: as it is kept, or a Protobuf file descriptor where that
/// is what is kept.
fn text<'a>(content: &'a Content, params: &Params) -> Result<&'a str, Fault> {
    let base64 = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/' | b'=');
    match params.text("format") {
        "" | "default" => Ok(&content.schema),
        "resolved" if content.schema_type == "AVRO" && content.references.is_empty() => Ok(&content.schema),
        "serialized" if content.schema_type == "PROTOBUF" && content.schema.bytes().all(base64) => Ok(&content.schema),
        other => Err(Fault::Unsupported(format!("format '{other}' of this schema"))),
    }
}

fn answered<T>(decision: Decision<T>, view: impl FnOnce(&T) -> Value) -> Decision<Value> {
    Decision { answer: view(&decision.answer), records: decision.records }
}

// --- Subjects --------------------------------------------------------------------------------------------------

async fn list_subjects(State(api): State<Api>, params: Params) -> Answer {
    // Without a prefix this lists all contexts; `/schemas` lists the default one.
    let prefix = if params.has("subjectPrefix") { Prefix::parse(params.text("subjectPrefix")) } else { Prefix::ALL };
    api.log.read(|store| Ok(Json(json!(params.page(store.subjects(prefix, params.filter()))))))
}

async fn list_versions(State(api): State<Api>, params: Params, segments: Segments) -> Answer {
    let subject = segments.subject();
    let versions = api.log.find(|store| {
        if store.versions(subject, params.filter()).is_empty() {
            return Err(Fault::SubjectNotFound(subject.to_owned()));
        }
        let negative = params.is("deletedAsNegative");
        let versions = store.of(subject, if negative { Filter::All } else { params.filter() });
        let sign = |deleted: bool| if negative && deleted { -1 } else { 1 };
        Ok(versions.map(|(number, version)| sign(version.deleted) * i64::from(number)).collect::<Vec<_>>())
    });
    Ok(Json(json!(params.page(versions.await?))))
}

async fn get_version(State(api): State<Api>, params: Params, segments: Segments) -> Answer {
    let found = find_version(&api, &params, &segments).await?;
    text(&found.content, &params)?;
    Ok(Json(found.view(&OF_VERSION)))
}

async fn get_version_text(State(api): State<Api>, params: Params, segments: Segments) -> Result<String, Fault> {
    let found = find_version(&api, &params, &segments).await?;
    text(&found.content, &params).map(str::to_owned)
}

async fn find_version(api: &Api, params: &Params, segments: &Segments) -> Result<Registered, Fault> {
    let ask = |store: &Store| {
        anywhere(store, segments.subject(), |subject| {
            let (number, version) = store.version(subject, segments.wanted(), params.filter())?;
            Ok(Registered::of(subject, number, version))
        })
    };
    api.log.find(ask).await
}

/// Asks for a subject and, where its name has no context, then for the same name in the other contexts. If nothing is
/// found anywhere, the first answer stands.
fn anywhere<T>(store: &Store, subject: &str, ask: impl Fn(&str) -> Result<T, Fault>) -> Result<T, Fault> {
    let first = match ask(subject) {
        Err(fault @ (Fault::SubjectNotFound(_) | Fault::VersionNotFound(_) | Fault::SchemaNotFound)) => fault,
        answer => return answer,
    };
    store.spellings(subject).skip(1).find_map(|subject| ask(&subject).ok()).ok_or(first)
}

/// The newest version whose metadata has all the properties that the query names with `key` and `value`.
async fn latest_with_metadata(State(api): State<Api>, params: Params, segments: Segments) -> Answer {
    let subject = segments.subject();
    let wanted: Vec<(&str, &str)> = params.all("key").zip(params.all("value")).collect();
    let found = api.log.find(|store| {
        let mut versions = store.of(subject, params.filter()).rev().peekable();
        versions.peek().ok_or_else(|| Fault::SubjectNotFound(subject.to_owned()))?;
        let fits = |content: &Content| {
            let properties = content.metadata.as_ref().and_then(|metadata| metadata["properties"].as_object());
            let properties = properties?;
            wanted.iter().all(|(key, value)| properties.get(*key).is_some_and(|v| v == value)).then_some(())
        };
        let found = versions.find(|(_, version)| fits(&version.content).is_some());
        found.map(|(number, version)| Registered::of(subject, number, version)).ok_or(Fault::SchemaNotFound)
    });
    let found = found.await?;
    text(&found.content, &params)?;
    Ok(Json(found.view(&OF_VERSION)))
}

async fn referenced_by(State(api): State<Api>, params: Params, segments: Segments) -> Answer {
    let ids = api.log.find(|store| {
        anywhere(store, segments.subject(), |subject| {
            let (number, _) = store.version(subject, segments.wanted(), Filter::All)?;
            Ok(store.referenced_by(subject, number, params.filter()))
        })
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
    let found = api.log.find(|store| {
        anywhere(store, segments.subject(), |subject| {
            decide::look_up(store, subject, &request, params.is("normalize"), params.filter())
        })
    });
    let found = found.await?;
    text(&found.content, &params)?;
    Ok(Json(found.view(&OF_VERSION)))
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
    let (prefix, rule_type) = (Prefix::parse(params.text("subjectPrefix")), params.text("ruleType"));
    let has_rule = |content: &Content| {
        let lists = content.rule_set.as_ref().and_then(Value::as_object).into_iter().flat_map(Map::values);
        lists.filter_map(Value::as_array).flatten().any(|rule| rule["type"] == rule_type)
    };
    api.log.read(|store| {
        let mut found: Vec<_> = store.all(prefix, params.filter()).collect();
        if params.is("latestOnly") {
            found.reverse();
            found.dedup_by_key(|(subject, ..)| *subject);
            found.reverse();
        }
        found.retain(|(.., version)| rule_type.is_empty() || has_rule(&version.content));
        let views = params
            .page(found)
            .into_iter()
            .map(|(subject, number, version)| view(&version.content, subject, number, version.deleted, &OF_VERSION));
        Ok(Json(views.collect()))
    })
}

async fn schema_by_id(State(api): State<Api>, params: Params, segments: Segments) -> Answer {
    let wanted = subject::normalized(params.text("subject"));
    let found = api.log.find(|store| {
        let (subject, number, version) = store.meant(segments.id, &wanted).ok_or(Fault::SchemaNotFound)?;
        text(&version.content, &params)?;
        let mut answer = view(&version.content, subject, number, false, &OF_ID);
        if params.is("fetchMaxId") {
            answer["maxId"] = json!(store.max_id(subject::context(subject)));
        }
        Ok(answer)
    });
    found.await.map(Json)
}

async fn text_by_id(State(api): State<Api>, params: Params, segments: Segments) -> Result<String, Fault> {
    let wanted = subject::normalized(params.text("subject"));
    let ask = |store: &Store| {
        let (.., version) = store.meant(segments.id, &wanted).ok_or(Fault::SchemaNotFound)?;
        text(&version.content, &params).map(str::to_owned)
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
    let wanted = subject::normalized(params.text("subject"));
    let name = subject::split(&wanted).1;
    api.log.read(|store| {
        let (meant, ..) = store.meant(segments.id, &wanted).ok_or(Fault::SchemaNotFound)?;
        let uses = store.uses(subject::context(meant), segments.id, params.filter());
        let uses = uses.filter(|(subject, ..)| name.is_empty() || subject::split(subject).1 == name);
        let mut uses: Vec<_> = uses.map(|(subject, number, _)| (subject.to_owned(), number)).collect();
        uses.sort();
        Ok(uses)
    })
}

async fn schema_by_guid(State(api): State<Api>, params: Params, segments: Segments) -> Answer {
    let found = api.log.find(|store| {
        let (context, id) = segments.guid.and_then(|guid| store.ids_of(guid).next()).ok_or(Fault::SchemaNotFound)?;
        let (content, subject, version) = store.by_id(context, id).ok_or(Fault::SchemaNotFound)?;
        text(content, &params)?;
        Ok(view(content, subject, version, false, &OF_ID[2..]))
    });
    found.await.map(Json)
}

async fn ids_of_guid(State(api): State<Api>, segments: Segments) -> Answer {
    let find = |store: &Store| {
        let ids = segments.guid.into_iter().flat_map(|guid| store.ids_of(guid));
        let ids: Vec<Value> = ids.map(|(context, id)| json!({ "context": context, "id": id })).collect();
        if ids.is_empty() { Err(Fault::SchemaNotFound) } else { Ok(ids) }
    };
    Ok(Json(json!(api.log.find(find).await?)))
}
