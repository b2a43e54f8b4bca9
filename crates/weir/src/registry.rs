//! The schema registry for a command: `weir_registry`, waited for, with failures that have an exit code.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Runtime;
use weir_registry::{Answer, Auth, Compatibility, Config, Registered, RequestError, Resolution, Resolved, SchemaId};

use crate::Failure;
use crate::args::RegistryArgs;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(6);
/// How often the schema of an id is asked for.
const ATTEMPTS: u32 = 2;

/// A client of the registry at one address, for one thread that may wait.
pub struct Registry {
    address: String,
    client: weir_registry::Registry,
    runtime: Runtime,
}

/// The credentials in a file, if one is named.
///
/// # Errors
/// [`Failure::Usage`] when it cannot be read or does not hold a user and a password.
pub fn credentials(file: Option<&Path>) -> Result<Auth, Failure> {
    Auth::read(file).map_err(|error| Failure::Usage(format!("--registry-credentials {error}")))
}

impl Registry {
    /// The registry that a command line names.
    ///
    /// # Errors
    /// [`Failure::Usage`] when the address or the file of credentials cannot be used.
    pub fn of(arguments: &RegistryArgs) -> Result<Registry, Failure> {
        Registry::new(&arguments.registry, credentials(arguments.registry_credentials.as_deref())?)
    }

    /// Nothing is asked yet.
    ///
    /// # Errors
    /// [`Failure::Usage`] when `address` is no http or https URL.
    pub fn new(address: &str, auth: Auth) -> Result<Registry, Failure> {
        // The one thread fetches in the background what the command's own thread waits for.
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().context("no runtime")?;
        let mut config = Config::new([address]);
        (config.timeout, config.attempts, config.auth) = (TIMEOUT, ATTEMPTS, auth);
        let client = weir_registry::Registry::new(config, runtime.handle().clone())
            .map_err(|error| Failure::Usage(format!("--registry: {error}")))?;
        Ok(Registry { address: address.trim_end_matches('/').to_owned(), client, runtime })
    }

    /// Its base URL, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.address
    }

    /// The client itself, for who must not wait.
    pub fn client(&self) -> &weir_registry::Registry {
        &self.client
    }

    /// The schema of an id, or why there is none: the registry says so in its own words, or the schema is unusable.
    ///
    /// # Errors
    /// [`Failure::Unreachable`] when the registry does not answer.
    pub fn resolve(&self, id: SchemaId) -> Result<Result<Arc<Resolved>, String>, Failure> {
        // What is known already needs no runtime.
        let answer = match self.client.resolve(id) {
            Resolution::Pending => self.runtime.block_on(self.client.resolved(id)),
            answer => answer,
        };
        match answer {
            Answer::Ready(resolved) => Ok(Ok(resolved)),
            Answer::NoSuchId => Ok(Err(format!("schema id {id} is not registered"))),
            Answer::Unusable(reason) => Ok(Err(format!("the schema of id {id} cannot be used: {reason}"))),
            Answer::Unavailable(reason) => Err(self.unreachable(&reason)),
            Answer::Pending => Err(self.unreachable("no answer")),
        }
    }

    /// The version of a subject that holds exactly this schema, if there is one.
    ///
    /// # Errors
    /// [`Failure::Unreachable`] when the registry does not answer, [`Failure::Other`] when it refuses.
    pub fn look_up(&self, subject: &str, schema: &str) -> Result<Option<Registered>, Failure> {
        self.wait(self.client.look_up(subject, schema, &[]))
    }

    /// Registers a schema; one that is already there keeps its id.
    ///
    /// # Errors
    /// As [`Registry::look_up`].
    pub fn register(&self, subject: &str, schema: &str) -> Result<Registered, Failure> {
        self.wait(self.client.register(subject, schema, &[]))
    }

    /// All versions of a subject, oldest first; none where it does not exist.
    ///
    /// # Errors
    /// As [`Registry::look_up`].
    pub fn versions(&self, subject: &str) -> Result<Vec<Registered>, Failure> {
        self.wait(self.client.versions(subject))
    }

    /// The compatibility level the subject has by itself, if it has one; that of all others for `None`.
    ///
    /// # Errors
    /// As [`Registry::look_up`].
    pub fn level(&self, subject: Option<&str>) -> Result<Option<Compatibility>, Failure> {
        self.wait(self.client.compatibility(subject))
    }

    /// Sets the compatibility level of a subject.
    ///
    /// # Errors
    /// As [`Registry::look_up`].
    pub fn set_level(&self, subject: &str, level: Compatibility) -> Result<(), Failure> {
        self.wait(self.client.set_compatibility(Some(subject), level))
    }

    fn wait<T>(&self, request: impl Future<Output = Result<T, RequestError>>) -> Result<T, Failure> {
        self.runtime.block_on(request).map_err(|error| match error {
            RequestError::Unavailable(reason) => self.unreachable(&reason),
            RequestError::Refused { code, message } => {
                Failure::other(format!("the schema registry at {} refuses: {message} ({code})", self.address))
            }
        })
    }

    /// The failure of a registry that does not answer.
    pub fn unreachable(&self, reason: &str) -> Failure {
        let address = &self.address;
        Failure::Unreachable(format!(
            "the schema registry at {address} cannot be reached ({reason}); start it or correct --registry, or \
             --registry-credentials where it asks for a password"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_must_be_a_url() {
        for address in ["127.0.0.1:8081", "", "ftp://host"] {
            let failure = Registry::new(address, Auth::None).err().unwrap();
            assert_eq!(failure.exit(), crate::Exit::Usage, "{address}: {failure}");
        }
    }

    #[test]
    fn a_file_of_credentials_must_be_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let check = |path: &Path, part: &str| {
            let failure = credentials(Some(path)).unwrap_err();
            assert!(failure.exit() == crate::Exit::Usage && failure.to_string().contains(part), "{failure}");
        };
        check(Path::new("/nowhere/at/all"), "--registry-credentials /nowhere/at/all");
        check(file.path(), "user:password");
    }

    #[test]
    fn a_registry_that_is_away_is_named_with_its_address() {
        // A port that was free a moment ago: nobody listens there.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let registry = Registry::new(&format!("http://127.0.0.1:{port}/"), Auth::None).unwrap();
        let address = format!("the schema registry at http://127.0.0.1:{port} cannot be reached");
        for failure in [registry.versions("s").unwrap_err(), registry.resolve(SchemaId::Id(1)).unwrap_err()] {
            assert_eq!(failure.exit(), crate::Exit::Unreachable);
            assert!(failure.to_string().starts_with(&address), "{failure}");
        }
    }
}
