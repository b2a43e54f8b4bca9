//! HTTP to the registry, one request at a time: no cache, no retry, no background work. Everything that comes
//! back is sorted into values, answers about the id (data faults) and everything else (system faults).

use std::collections::HashSet;
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, Request, Response, StatusCode, header};
use reqwest_middleware::Next;
use schema_registry_converter::async_impl::schema_registry::{self as src, SrSettings};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{RawError, RegisteredSchema, SchemaType};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cache::Miss;
use crate::config::{Auth, Config, ConfigError};
use crate::{Reference, Resolved, SchemaId, SubjectVersion};

/// The registry's code for "there is no schema with this id".
const SCHEMA_NOT_FOUND: u32 = 40403;

const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// Why a request brought no usable answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The registry understood the request and said no.
    #[error("the registry refused the request: {message} (error code {code})")]
    Refused {
        /// Confluent's `error_code`: the HTTP status, or the status and two further digits.
        code: u32,
        /// The registry's own words.
        message: String,
    },
    /// No registry could be reached, it failed, or what it sent is no answer of a registry.
    #[error("the registry is not available: {0}")]
    Unavailable(String),
}

/// A builder of HTTP clients for these addresses: TLS is that of rustls, and certificates are believed as the system
/// believes them. Its authorities take a while to read, so where every address is plain http, they are not.
pub fn http_client<'u>(urls: impl IntoIterator<Item = &'u str>) -> reqwest::ClientBuilder {
    // Whoever comes first installs the cryptography of the process; all of Weir installs the same.
    drop(rustls::crypto::ring::default_provider().install_default());
    let builder = reqwest::Client::builder();
    if urls.into_iter().all(|url| url.starts_with("http://")) { builder.tls_certs_only([]) } else { builder }
}

pub(crate) struct Client {
    pub(crate) settings: SrSettings,
    http: reqwest::Client,
    config: Config,
}

impl Client {
    pub(crate) fn new(config: Config) -> Result<Self, ConfigError> {
        // System proxies are left out because reqwest would read them from the environment.
        let builder = || http_client(config.urls.iter().map(String::as_str)).no_proxy().timeout(config.timeout);
        let mut settings = SrSettings::new_builder(config.urls[0].clone());
        for url in &config.urls[1..] {
            settings.add_url(url.clone());
        }
        match &config.auth {
            Auth::None => {}
            Auth::Basic(user, password) => {
                settings.set_basic_authorization(user, Some(password));
            }
            Auth::Token(token) => {
                settings.set_token_authorization(token);
            }
        }
        // schema_registry_converter reads bodies of any size; the middleware sees them first.
        settings.with_middleware(BodyLimit(config.max_body)).no_proxy().set_timeout(config.timeout);
        let settings = settings.build_with(builder()).map_err(|e| ConfigError::Client(e.to_string()))?;
        let http = builder().build().map_err(|e| ConfigError::Client(e.to_string()))?;
        Ok(Client { settings, http, config })
    }

    /// The schema of an id, with everything it refers to, compiled.
    pub(crate) async fn schema(&self, id: SchemaId) -> Result<Arc<Resolved>, Miss> {
        let found = match id {
            SchemaId::Id(id) => src::get_schema_by_id(id, &self.settings).await,
            SchemaId::Guid(_) => src::get_schema_by_guid(&id.guid_text(), &self.settings).await,
        };
        let found = found.map_err(|e| miss(from_src(&e)))?;
        if found.schema_type != SchemaType::Avro {
            return Err(Miss::Unusable(format!("its type is {:?}, not Avro", found.schema_type).into()));
        }
        let references: Vec<Reference> = found.references.iter().map(Reference::from).collect();
        let texts = self.referenced(&references).await?;
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let schema = weir_avro::Schema::parse_with_references(&found.schema, &texts)
            .map_err(|e| Miss::Unusable(e.to_string().into()))?;
        Ok(Arc::new(Resolved { id, schema: Arc::new(schema), text: found.schema, references }))
    }

    /// Texts of all schemas reached through references, each once, what is referred to before what refers.
    pub(crate) async fn referenced(&self, references: &[Reference]) -> Result<Vec<String>, Miss> {
        let mut texts = Vec::new();
        let mut seen = HashSet::new();
        // A depth-first walk with an own stack: on the way down a reference is a question, on the way up a text.
        let mut stack: Vec<Step> = references.iter().rev().cloned().map(Step::Fetch).collect();
        while let Some(step) = stack.pop() {
            let reference = match step {
                Step::Keep(text) => {
                    texts.push(text);
                    continue;
                }
                Step::Fetch(reference) => reference,
            };
            if !seen.insert((reference.subject.clone(), reference.version)) {
                continue;
            }
            if seen.len() > self.config.max_references {
                return Err(Miss::Unusable(
                    format!("it has more than {} references", self.config.max_references).into(),
                ));
            }
            let found: Referenced = self.referenced_version(&reference).await.map_err(|e| match e {
                RequestError::Refused { code, .. } if code / 100 == 404 => Miss::Unusable(
                    format!("it refers to '{}' version {}, which does not exist", reference.subject, reference.version)
                        .into(),
                ),
                other => miss(other),
            })?;
            stack.push(Step::Keep(found.schema));
            stack.extend(found.references.unwrap_or_default().into_iter().rev().map(Step::Fetch));
        }
        Ok(texts)
    }

    /// Not through schema_registry_converter: it cannot ask for soft-deleted versions, which records already
    /// written may still need.
    async fn referenced_version(&self, reference: &Reference) -> Result<Referenced, RequestError> {
        let path = format!("/subjects/{}/versions/{}?deleted=true", escape(&reference.subject), reference.version);
        self.call(Method::GET, &path, None).await
    }

    /// Subjects and versions an id is registered under, soft-deleted ones left out.
    ///
    /// Not through schema_registry_converter: it has no call for `/schemas/ids/{id}/versions` nor for
    /// `/schemas/guids/{guid}/ids`.
    pub(crate) async fn members(&self, id: SchemaId) -> Result<Arc<[SubjectVersion]>, Miss> {
        let id = match id {
            SchemaId::Id(id) => id,
            SchemaId::Guid(_) => {
                let path = format!("/schemas/guids/{}/ids", id.guid_text());
                let ids: Vec<ContextId> = self.call(Method::GET, &path, None).await.map_err(miss)?;
                ids.first().ok_or(Miss::NoSuchId)?.id
            }
        };
        let path = format!("/schemas/ids/{id}/versions");
        let versions: Vec<SubjectVersion> = self.call(Method::GET, &path, None).await.map_err(miss)?;
        Ok(versions.into())
    }

    /// One request, tried at every address until one gives an answer.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, RequestError> {
        let mut outcome = Err(RequestError::Unavailable("no address".to_owned()));
        for url in &self.config.urls {
            outcome = self.call_one(method.clone(), &format!("{url}{path}"), body).await;
            if !matches!(outcome, Err(RequestError::Unavailable(_))) {
                break;
            }
        }
        outcome
    }

    async fn call_one<T: DeserializeOwned>(
        &self,
        method: Method,
        url: &str,
        body: Option<&Value>,
    ) -> Result<T, RequestError> {
        let unavailable = |reason: String| RequestError::Unavailable(reason);
        let mut request = self.http.request(method, url).header(header::ACCEPT, CONTENT_TYPE);
        request = match &self.config.auth {
            Auth::None => request,
            Auth::Basic(user, password) => request.basic_auth(user, Some(password)),
            Auth::Token(token) => request.bearer_auth(token),
        };
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, CONTENT_TYPE).body(body.to_string());
        }
        let response = request.send().await.map_err(|e| unavailable(causes(&e)))?;
        let status = response.status();
        let body = read(response, self.config.max_body).await.map_err(unavailable)?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|e| unavailable(format!("its answer is not readable: {e}")));
        }
        match serde_json::from_slice::<RawError>(&body) {
            Ok(error) if is_refusal(status) => Err(RequestError::Refused {
                code: error.error_code,
                message: error.message.chars().take(2000).collect(),
            }),
            _ => Err(unavailable(format!("it answered with status {status}"))),
        }
    }
}

enum Step {
    Fetch(Reference),
    Keep(String),
}

#[derive(Deserialize)]
struct Referenced {
    schema: String,
    references: Option<Vec<Reference>>,
}

#[derive(Deserialize)]
struct ContextId {
    id: u32,
}

/// Percent-encodes a subject for use as one path segment.
pub(crate) fn escape(subject: &str) -> String {
    subject.bytes().fold(String::with_capacity(subject.len()), |mut out, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
        out
    })
}

/// A status with which a registry says no for good. 401, 403, 408 and 429 are about us and the moment.
fn is_refusal(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 404 | 409 | 413 | 422)
}

/// What schema_registry_converter's error means. Only the code inside the body tells a registry's "no such id"
/// from the 404 of a wrong address, so the body decides and not the status.
pub(crate) fn from_src(error: &SRCError) -> RequestError {
    match error.source().and_then(|source| source.downcast_ref::<RawError>()) {
        Some(raw) if raw.error_code > 0 => {
            let status = StatusCode::from_u16(u16::try_from(raw.error_code / 100).unwrap_or_default())
                .or_else(|_| StatusCode::from_u16(u16::try_from(raw.error_code).unwrap_or_default()));
            if raw.error_code != 404 && status.is_ok_and(is_refusal) {
                let message = raw.message.chars().take(2000).collect();
                return RequestError::Refused { code: raw.error_code, message };
            }
            RequestError::Unavailable(format!("it answered with error code {}", raw.error_code))
        }
        _ => RequestError::Unavailable(match error.source() {
            Some(source) => format!("{}: {}", error.error, causes(source)),
            None => error.error.clone(),
        }),
    }
}

/// What an unsuccessful request says about the id it was about.
fn miss(error: RequestError) -> Miss {
    match error {
        RequestError::Refused { code: SCHEMA_NOT_FOUND, .. } => Miss::NoSuchId,
        RequestError::Refused { code, message } => {
            Miss::Unavailable(format!("it answered with error code {code}: {message}").into())
        }
        RequestError::Unavailable(reason) => Miss::Unavailable(reason.into()),
    }
}

/// An error with all its causes in one line; reqwest keeps "connection refused" three levels down.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// Reads a body of at most `limit` bytes, whatever length the response announces.
async fn read(mut response: Response, limit: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| causes(&e))? {
        if chunk.len() > limit - body.len() {
            return Err(format!("its answer is larger than {limit} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Gives schema_registry_converter bodies that are known to be small enough.
struct BodyLimit(usize);

impl reqwest_middleware::Middleware for BodyLimit {
    fn handle<'me, 'ext, 'next, 'out>(
        &'me self,
        request: Request,
        extensions: &'ext mut http::Extensions,
        next: Next<'next>,
    ) -> Pin<Box<dyn Future<Output = reqwest_middleware::Result<Response>> + Send + 'out>>
    where
        'me: 'out,
        'ext: 'out,
        'next: 'out,
        Self: 'out,
    {
        Box::pin(async move {
            let response = next.run(request, extensions).await?;
            let mut head = http::Response::builder().status(response.status());
            if let Some(headers) = head.headers_mut() {
                *headers = response.headers().clone();
            }
            let body = read(response, self.0).await.map_err(BodyError)?;
            let response = head.body(body).map_err(|e| BodyError(e.to_string()))?;
            Ok(Response::from(response))
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct BodyError(String);

impl From<BodyError> for reqwest_middleware::Error {
    fn from(error: BodyError) -> Self {
        reqwest_middleware::Error::middleware(error)
    }
}

impl From<&RegisteredSchema> for crate::Registered {
    fn from(schema: &RegisteredSchema) -> Self {
        crate::Registered {
            id: schema.id,
            version: schema.version,
            schema: schema.schema.clone(),
            references: schema.references.iter().map(Reference::from).collect(),
        }
    }
}

impl From<&schema_registry_converter::schema_registry_common::RegisteredReference> for Reference {
    fn from(r: &schema_registry_converter::schema_registry_common::RegisteredReference) -> Self {
        Reference { name: r.name.clone(), subject: r.subject.clone(), version: r.version }
    }
}

/// The pause before an attempt: none before the first, then the base doubled for each further one, at most 5 s.
pub(crate) fn pause(base: Duration, attempt: u32) -> Duration {
    match attempt {
        0 => Duration::ZERO,
        n => base.saturating_mul(1 << (n - 1).min(16)).min(Duration::from_secs(5)),
    }
}
