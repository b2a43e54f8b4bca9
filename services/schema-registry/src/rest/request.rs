//! What every request to the API brings and must bring: content types, path, query and body, brought into the
//! registry's own terms before a route sees them.

use std::collections::HashMap;

use axum::extract::{FromRequest, FromRequestParts, MatchedPath, Path, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;

use super::Api;
use crate::fault::Fault;
use crate::record::Guid;
use crate::store::{Filter, Wanted};
use crate::subject;

/// Types of bodies, the preferred one first.
const MEDIA_TYPES: [&str; 3] =
    ["application/vnd.schemaregistry.v1+json", "application/vnd.schemaregistry+json", "application/json"];
const MEDIA_TYPES_TEXT: &str =
    "application/vnd.schemaregistry.v1+json, application/vnd.schemaregistry+json or application/json";
/// Longest subject name in bytes.
const MAX_SUBJECT: usize = 1024;

/// What is asked of one who did not say who he is (RFC 7617).
const CHALLENGE: &str = "Basic realm=\"schema-registry\", charset=\"UTF-8\"";

/// Users, content types in and out, and the count of requests, for every route alike.
pub(super) async fn frame(State(api): State<Api>, path: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let route = path.map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let accepted = accepted(request.headers());
    let admitted = match &api.users {
        Some(users) => users.admit(request.headers()).await,
        None => true,
    };
    let mut response = match accepted {
        _ if !admitted => Fault::Unauthorized.into_response(),
        None => Fault::NotAcceptable(MEDIA_TYPES_TEXT).into_response(),
        Some(_) if !sends_json(request.method(), request.headers()) => {
            Fault::BadMediaType(MEDIA_TYPES_TEXT).into_response()
        }
        Some(_) => next.run(request).await,
    };
    let media_type = accepted.unwrap_or(MEDIA_TYPES[0]);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    if !admitted {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
    }
    api.counters.requests.get_or_create(&[("route", route), ("code", response.status().as_str().to_owned())]).inc();
    response
}

/// The first of our types that the client takes, weights left aside.
fn accepted(headers: &HeaderMap) -> Option<&'static str> {
    let mut ranges = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    if ranges.peek().is_none() {
        return Some(MEDIA_TYPES[0]);
    }
    ranges.flat_map(|ranges| ranges.split(',')).find_map(|range| {
        let range = range.split(';').next().unwrap_or_default().trim();
        if matches!(range, "*/*" | "application/*" | "") {
            return Some(MEDIA_TYPES[0]);
        }
        MEDIA_TYPES.into_iter().find(|media_type| range.eq_ignore_ascii_case(media_type))
    })
}

fn sends_json(method: &Method, headers: &HeaderMap) -> bool {
    let Some(media_type) = headers.get(header::CONTENT_TYPE) else { return true };
    let media_type = media_type.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    !matches!(*method, Method::POST | Method::PUT)
        || media_type.eq_ignore_ascii_case("application/octet-stream")
        || MEDIA_TYPES.iter().any(|known| media_type.eq_ignore_ascii_case(known))
}

/// The query: what is not there is false, zero or empty.
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    pub(super) fn is(&self, name: &str) -> bool {
        self.text(name).eq_ignore_ascii_case("true")
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    pub(super) fn text(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    /// All values of a parameter that may be there several times.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn filter(&self) -> Filter {
        match (self.is("deletedOnly"), self.is("deleted")) {
            (true, _) => Filter::Deleted,
            (false, true) => Filter::All,
            (false, false) => Filter::Live,
        }
    }

    /// The part of a list that is asked for by `offset` and `limit`.
    pub(super) fn page<T>(&self, items: impl IntoIterator<Item = T>) -> Vec<T> {
        let number = |name: &str| self.text(name).parse::<usize>().ok();
        let limit = number("limit").filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        items.into_iter().skip(number("offset").unwrap_or(0)).take(limit).collect()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Params, Fault> {
        let query = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        query.map(|Query(query)| Params(query)).map_err(|e| Fault::BadRequest(e.to_string()))
    }
}

/// The variable segments of the path.
pub(super) struct Segments {
    subject: Option<String>,
    wanted: Option<Wanted>,
    pub id: u32,
    pub guid: Option<Guid>,
}

impl Segments {
    pub(super) fn subject(&self) -> &str {
        self.subject.as_deref().unwrap_or_default()
    }

    pub(super) fn wanted(&self) -> Wanted {
        self.wanted.unwrap_or(Wanted::Latest)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Segments {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Segments, Fault> {
        let path = segments(parts, state).await?;
        let subject = path.get("subject").map(|subject| subject_name(subject)).transpose()?;
        let wanted = path.get("version").map(|version| version_number(version)).transpose()?;
        let id = match path.get("id") {
            // What is no id cannot be the id of a schema.
            Some(id) => id.parse::<u32>().map_err(|_| Fault::SchemaNotFound)?,
            None => 0,
        };
        Ok(Segments { subject, wanted, id, guid: path.get("guid").and_then(|guid| Guid::parse(guid)) })
    }
}

async fn segments<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<HashMap<String, String>, Fault> {
    let path = Path::<HashMap<String, String>>::from_request_parts(parts, state).await;
    path.map(|Path(path)| path).map_err(|e| Fault::BadRequest(e.to_string()))
}

/// What settings and modes are about: a subject, a context, or, where there is none, the default context.
pub(super) struct Scope(pub Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for Scope {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Scope, Fault> {
        let path = segments(parts, state).await?;
        let Some(text) = path.get("subject") else { return Ok(Scope(None)) };
        match subject::split(text) {
            (subject::DEFAULT, "") => Ok(Scope(None)),
            (_, "") => printable(text, subject::normalized(text)).map(|scope| Scope(Some(scope))),
            _ => subject_name(text).map(|name| Scope(Some(name))),
        }
    }
}

/// A context, as `.name` or `:.name:`.
pub(super) struct Context(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Context {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Context, Fault> {
        let path = segments(parts, state).await?;
        let text = path.get("context").map_or("", String::as_str);
        let name = text.strip_prefix(':').unwrap_or(text);
        let name = name.strip_suffix(':').unwrap_or(name);
        if !name.starts_with('.') || name.contains(':') {
            return Err(invalid_subject(text, "a context is :.name:"));
        }
        printable(text, name.to_owned()).map(Context)
    }
}

fn invalid_subject(subject: &str, reason: &'static str) -> Fault {
    Fault::InvalidSubject { subject: subject.chars().take(100).collect(), reason }
}

fn printable(text: &str, name: String) -> Result<String, Fault> {
    if name.is_empty() || name.len() > MAX_SUBJECT {
        return Err(invalid_subject(text, "it must have 1 to 1024 bytes"));
    }
    if name.chars().any(char::is_control) {
        return Err(invalid_subject(text, "it has a control character"));
    }
    Ok(name)
}

fn subject_name(text: &str) -> Result<String, Fault> {
    let (context, name) = subject::split(text);
    let reason = match name {
        _ if context == subject::GLOBAL => "the global context has no subjects",
        "" => "it must have 1 to 1024 bytes",
        "__GLOBAL" | "__EMPTY" => "it is reserved",
        _ if name.starts_with(':') => "its name must not start with ':', except for a context as in :.context:name",
        _ => return printable(text, subject::qualified(context, name)),
    };
    Err(invalid_subject(text, reason))
}

fn version_number(version: &str) -> Result<Wanted, Fault> {
    match (version, version.parse::<i32>()) {
        ("latest" | "-1", _) => Ok(Wanted::Latest),
        (_, Ok(number @ 1..)) => Ok(Wanted::Exactly(number as u32)),
        _ => Err(Fault::InvalidVersion(version.chars().take(100).collect())),
    }
}

/// A JSON body.
pub(super) struct Sent<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Api> for Sent<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, api: &Api) -> Result<Sent<T>, Fault> {
        let body = request.into_body();
        let body = axum::body::to_bytes(body, api.max_body).await.map_err(|_| Fault::BodyTooLarge(api.max_body))?;
        serde_json::from_slice(&body).map(Sent).map_err(|e| Fault::BadRequest(e.to_string()))
    }
}
