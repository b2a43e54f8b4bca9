//! Everything a request can be answered with besides success, with Confluent's codes.

/// A refused or failed request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the variants mean")]
pub enum Fault {
    #[error("subject '{0}' not found")]
    SubjectNotFound(String),
    #[error("version {0} not found")]
    VersionNotFound(String),
    #[error("schema not found")]
    SchemaNotFound,
    #[error("subject '{0}' was soft-deleted; set permanent=true to delete it for good")]
    SubjectSoftDeleted(String),
    #[error("subject '{0}' must be soft-deleted before it can be deleted for good")]
    SubjectNotSoftDeleted(String),
    #[error("subject '{0}' version {1} was soft-deleted; set permanent=true to delete it for good")]
    VersionSoftDeleted(String, u32),
    #[error("subject '{0}' version {1} must be soft-deleted before it can be deleted for good")]
    VersionNotSoftDeleted(String, u32),
    #[error("subject '{0}' has no compatibility level of its own")]
    ConfigNotSet(String),
    #[error("subject '{0}' has no mode of its own")]
    ModeNotSet(String),
    #[error("schema is incompatible with an earlier version of subject '{subject}': {}", .messages.join("; "))]
    Incompatible { subject: String, messages: Vec<String> },
    #[error("invalid schema: {0}")]
    InvalidSchema(String),
    #[error("'{0}' is no version: use 'latest' or a number from 1 to 2147483647")]
    InvalidVersion(String),
    #[error(
        "'{0}' is no compatibility level: use NONE, BACKWARD, BACKWARD_TRANSITIVE, FORWARD, FORWARD_TRANSITIVE, FULL \
         or FULL_TRANSITIVE"
    )]
    InvalidLevel(String),
    #[error("'{0}' is no mode: use READWRITE, READONLY, IMPORT or, for all contexts, FORWARD")]
    InvalidMode(String),
    #[error("not permitted: {0}")]
    NotPermitted(String),
    #[error("subject '{0}' version {1} is referred to by other schemas")]
    Referenced(String, u32),
    #[error("'{subject}' is no subject name: {reason}")]
    InvalidSubject { subject: String, reason: &'static str },
    #[error("schema is too large: its record takes {size} bytes, the log takes {limit}")]
    TooLarge { size: usize, limit: usize },
    #[error("invalid rule set: {0}")]
    InvalidRules(String),
    #[error("context '{0}' has subjects, soft-deleted ones among them or not; delete them for good first")]
    ContextNotEmpty(String),
    #[error("request needs a user and a password that are right")]
    Unauthorized,
    #[error("request is not readable: {0}")]
    BadRequest(String),
    #[error("there is no such resource")]
    NoRoute,
    #[error("the resource does not take this method")]
    BadMethod,
    #[error("answers come as {0}")]
    NotAcceptable(&'static str),
    #[error("request body is larger than {0} bytes")]
    BodyTooLarge(usize),
    #[error("request body must be {0}")]
    BadMediaType(&'static str),
    #[error("{0} is not supported")]
    Unsupported(String),
    #[error("the log of schemas refused the write: {0}")]
    Store(String),
    #[error("the log of schemas did not answer in time, the change may or may not come through: {0}")]
    Timeout(String),
    #[error("the log of schemas is not read yet: {0}")]
    NotReady(String),
}

impl Fault {
    /// HTTP status and Confluent's `error_code`.
    pub fn code(&self) -> (u16, u32) {
        let code = match self {
            Fault::SubjectNotFound(_) => 40401,
            Fault::VersionNotFound(_) => 40402,
            Fault::SchemaNotFound => 40403,
            Fault::SubjectSoftDeleted(_) => 40404,
            Fault::SubjectNotSoftDeleted(_) => 40405,
            Fault::VersionSoftDeleted(..) => 40406,
            Fault::VersionNotSoftDeleted(..) => 40407,
            Fault::ConfigNotSet(_) => 40408,
            Fault::ModeNotSet(_) => 40409,
            Fault::Incompatible { .. } => 409,
            Fault::InvalidSchema(_) => 42201,
            Fault::InvalidVersion(_) => 42202,
            Fault::InvalidLevel(_) => 42203,
            Fault::InvalidMode(_) => 42204,
            Fault::NotPermitted(_) => 42205,
            Fault::Referenced(..) => 42206,
            Fault::InvalidSubject { .. } => 42208,
            Fault::TooLarge { .. } => 42209,
            Fault::InvalidRules(_) => 42210,
            Fault::ContextNotEmpty(_) => 42211,
            Fault::BadRequest(_) => 400,
            Fault::Unauthorized => 401,
            Fault::NoRoute => 404,
            Fault::BadMethod => 405,
            Fault::NotAcceptable(_) => 406,
            Fault::BodyTooLarge(_) => 413,
            Fault::BadMediaType(_) => 415,
            Fault::Unsupported(_) => 422,
            Fault::Store(_) => 50001,
            Fault::Timeout(_) => 50002,
            Fault::NotReady(_) => 50003,
        };
        let status = if code < 1000 { code } else { code / 100 };
        (status as u16, code)
    }
}
