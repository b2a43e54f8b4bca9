//! Where the registry is and how much may be asked of it. Raw settings become a valid [`Config`] here; nothing
//! in this crate reads the environment, and a file only where [`Auth::read`] is asked to.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;
use std::{fmt, fs};

/// How requests prove who sends them.
#[derive(Clone, Default)]
pub enum Auth {
    /// No credentials are sent.
    #[default]
    None,
    /// HTTP Basic authentication: user (or API key) and password (or API secret).
    Basic(String, String),
    /// A bearer token.
    Token(String),
}

impl Auth {
    /// Credentials as a file has them: one line of `user:password`; white space around it is left out.
    ///
    /// # Errors
    /// [`ConfigError::Credentials`], which does not show the text.
    pub fn basic(text: &str) -> Result<Auth, ConfigError> {
        let line = text.trim();
        match line.split_once(':') {
            Some((user, password)) if !user.is_empty() && !line.chars().any(char::is_control) => {
                Ok(Auth::Basic(user.to_owned(), password.to_owned()))
            }
            _ => Err(ConfigError::Credentials),
        }
    }

    /// The credentials in a file, as [`Auth::basic`] takes them; [`Auth::None`] where none is named.
    ///
    /// # Errors
    /// [`ConfigError::File`], which does not show the text.
    pub fn read(file: Option<&Path>) -> Result<Auth, ConfigError> {
        let Some(file) = file else { return Ok(Auth::None) };
        let failed = |reason: String| ConfigError::File { path: file.display().to_string(), reason };
        let text = fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
        Auth::basic(&text).map_err(|error| failed(error.to_string()))
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Auth::None => "None",
            Auth::Basic(..) => "Basic(..)",
            Auth::Token(_) => "Token(..)",
        })
    }
}

/// Settings of a [`Registry`](crate::Registry) client. [`Config::new`] gives defaults that suit a service.
#[derive(Clone, Debug)]
pub struct Config {
    /// Base addresses of instances of one registry, tried in order for every request.
    pub urls: Vec<String>,
    /// Credentials, the same for all addresses.
    pub auth: Auth,
    /// Limit for one HTTP request, from connecting to the last byte of the body.
    pub timeout: Duration,
    /// Attempts per fetch before its id counts as unavailable for [`Config::cool_down`]; at least 1.
    pub attempts: u32,
    /// Pause before the second attempt; doubled for each further one.
    pub backoff: Duration,
    /// How long an id stays unavailable after its attempts are used up; then the next question asks again.
    pub cool_down: Duration,
    /// Most HTTP requests per second for fetching, whatever the number of unknown ids.
    pub requests_per_second: NonZeroU32,
    /// Most ids being fetched at one time; further ids stay pending until there is room.
    pub in_flight: usize,
    /// Most schemas kept. A schema id never changes its meaning, so these do not expire.
    pub capacity: usize,
    /// Most negative and failed answers kept.
    pub negative_capacity: usize,
    /// How long "no such id" and "unusable schema" are believed.
    pub negative_ttl: Duration,
    /// How long the subjects of an id are believed before they are fetched again in the background.
    pub membership_ttl: Duration,
    /// How long "this id is not registered under that subject" is believed.
    pub membership_negative_ttl: Duration,
    /// Largest response body accepted, in bytes.
    pub max_body: usize,
    /// Most schemas reached from one schema through references.
    pub max_references: usize,
}

/// A setting that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No address was given.
    #[error("no registry address: give at least one, such as http://127.0.0.1:8081")]
    NoUrl,
    /// An address is not an absolute http or https URL.
    #[error("registry address '{url}' is not usable: {reason}; use http://host:port or https://host:port")]
    Url {
        /// The address as given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Credentials are not a user and a password.
    #[error("the registry's credentials must be one line of user:password")]
    Credentials,
    /// The file of the credentials cannot be used.
    #[error("{path}: {reason}")]
    File {
        /// The file as it was named.
        path: String,
        /// Why.
        reason: String,
    },
    /// A limit is zero.
    #[error("registry setting '{0}' must be greater than zero")]
    Zero(&'static str),
    /// The HTTP client could not be built.
    #[error("cannot build the registry's http client: {0}")]
    Client(String),
}

impl Config {
    /// Defaults for the given addresses: 5 s per request, 3 attempts, 50 requests per second, 10,000 schemas.
    pub fn new(urls: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Config {
            urls: urls.into_iter().map(Into::into).collect(),
            auth: Auth::None,
            timeout: Duration::from_secs(5),
            attempts: 3,
            backoff: Duration::from_millis(100),
            cool_down: Duration::from_millis(500),
            requests_per_second: NonZeroU32::MIN.saturating_add(49),
            in_flight: 64,
            capacity: 10_000,
            negative_capacity: 10_000,
            negative_ttl: Duration::from_secs(10),
            membership_ttl: Duration::from_secs(60),
            membership_negative_ttl: Duration::from_secs(1),
            max_body: 4 << 20,
            max_references: 256,
        }
    }

    /// Checks the settings and brings the addresses into the form the client needs: no slash at the end.
    pub(crate) fn checked(mut self) -> Result<Self, ConfigError> {
        if self.urls.is_empty() {
            return Err(ConfigError::NoUrl);
        }
        for url in &mut self.urls {
            let wrong = |reason: &str| ConfigError::Url { url: url.clone(), reason: reason.to_owned() };
            let parsed = reqwest::Url::parse(url).map_err(|e| wrong(&e.to_string()))?;
            if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
                return Err(wrong("it is not an http or https address"));
            }
            if parsed.query().is_some() || parsed.fragment().is_some() {
                return Err(wrong("it has a query or a fragment"));
            }
            if !parsed.username().is_empty() || parsed.password().is_some() {
                return Err(wrong("credentials belong in the settings, not in the address, which is shown"));
            }
            *url = url.trim_end_matches('/').to_owned();
        }
        for (name, is_zero) in [
            ("timeout", self.timeout.is_zero()),
            ("attempts", self.attempts == 0),
            ("in_flight", self.in_flight == 0),
            ("capacity", self.capacity == 0),
            ("negative_capacity", self.negative_capacity == 0),
            ("max_body", self.max_body == 0),
        ] {
            if is_zero {
                return Err(ConfigError::Zero(name));
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(urls: &[&str], expect: Result<&str, &str>) {
        match (Config::new(urls.iter().copied()).checked(), expect) {
            (Ok(config), Ok(url)) => assert_eq!(config.urls[0], url),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (got, _) => panic!("{urls:?}: {got:?}, expected {expect:?}"),
        }
    }

    #[test]
    fn addresses() {
        check(&["http://127.0.0.1:8081/"], Ok("http://127.0.0.1:8081"));
        check(&["https://registry/apis/ccompat/v7"], Ok("https://registry/apis/ccompat/v7"));
        check(&[], Err("no registry address"));
        check(&["127.0.0.1:8081"], Err("not usable"));
        check(&["ftp://registry"], Err("not an http"));
        check(&["http://u:p@registry"], Err("credentials belong"));
        check(&["http://registry?x=1"], Err("query"));
    }

    #[test]
    fn credentials() {
        let check = |text: &str, expect: Option<(&str, &str)>| match (Auth::basic(text), expect) {
            (Ok(Auth::Basic(user, password)), Some(expect)) => assert_eq!((user.as_str(), password.as_str()), expect),
            (Err(error), None) => assert!(!error.to_string().contains("hush"), "{error}"),
            (got, expect) => panic!("{text}: {got:?}, expected {expect:?}"),
        };
        check("user:hush\n", Some(("user", "hush")));
        check("user:hu:sh", Some(("user", "hu:sh")));
        check("user:", Some(("user", "")));
        check("hush", None);
        check(":hush", None);
        check("user:hush\nother:hush", None);
        check("", None);
    }

    #[test]
    fn credentials_do_not_show() {
        let mut config = Config::new(["http://registry"]);
        config.auth = Auth::Basic("user".into(), "hush".into());
        assert!(!format!("{config:?}").contains("hush"));
    }
}
