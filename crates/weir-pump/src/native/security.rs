//! How a cluster is reached: librdkafka's client properties, as far as the native lane honours them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::sasl::{Sasl, Unsecured};
use super::scram::Hash;
use super::tls::{Connector, Identity, Roots, Source, Trust};

/// What must not be seen: it has no way into a log.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(String);

impl Secret {
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Secret {
        Secret(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A client property that the native lane cannot honour.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{property} {reason}")]
pub struct Unserved {
    /// Its name.
    pub property: String,
    /// Why; never its value, which may be a secret.
    pub reason: String,
}

/// Where a cluster is and how it is reached.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub(super) bootstrap: String,
    pub(super) client_id: String,
    /// `None` for plain text.
    pub(super) trust: Option<Arc<Trust>>,
    /// `None` where nobody asks who we are.
    pub(super) sasl: Option<Arc<Sasl>>,
}

/// Properties that decide how a connection is made, and in what way the native lane does it: other values are refused.
const FIXED: &[(&str, &[&str])] = &[
    ("plugin.library.paths", &[""]),
    ("client.dns.lookup", &["use_all_dns_ips"]),
    ("broker.address.family", &["any"]),
];

const TLS: &[&str] = &[
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.key.location",
    "ssl.key.pem",
    "ssl.key.password",
    "ssl.endpoint.identification.algorithm",
    "enable.ssl.certificate.verification",
];

impl Cluster {
    /// Takes `bootstrap` (`host:port`, several separated by commas) and client properties by librdkafka's names. Files that
    /// they name are read once, to see that they can be; later on they are read again when they have changed.
    ///
    /// What only tunes librdkafka's queues and threads has no meaning here and is passed over.
    ///
    /// # Errors
    /// [`Unserved`] with the first property that decides how a broker is reached and is not honoured.
    pub fn new<'p>(
        bootstrap: &str,
        properties: impl IntoIterator<Item = (&'p str, &'p str)>,
    ) -> Result<Cluster, Unserved> {
        let given: BTreeMap<&str, &str> = properties.into_iter().collect();
        for (name, values) in FIXED {
            if given.get(name).is_some_and(|value| !values.contains(value)) {
                return Err(unserved(name, "is not honoured by the native lane"));
            }
        }
        let protocol = given.get("security.protocol").map_or("plaintext".to_owned(), |name| name.to_ascii_lowercase());
        let (tls, sasl) = match protocol.as_str() {
            "plaintext" => (false, false),
            "ssl" => (true, false),
            "sasl_plaintext" => (false, true),
            "sasl_ssl" => (true, true),
            _ => return Err(unserved("security.protocol", "is none that is known")),
        };
        let sasl = if sasl { Some(Arc::new(mechanism(&given)?)) } else { None };
        let trust = if tls { Some(Arc::new(trust(&given)?)) } else { None };
        if let Some(trust) = &trust {
            Connector::new(Arc::clone(trust)).load().map_err(|error| unserved(error.property, error.reason))?;
        }
        Ok(Cluster {
            bootstrap: bootstrap.to_owned(),
            client_id: (*given.get("client.id").unwrap_or(&"weir")).to_owned(),
            trust,
            sasl,
        })
    }
}

fn unserved(property: &str, reason: impl Into<String>) -> Unserved {
    Unserved { property: property.to_owned(), reason: reason.into() }
}

fn mechanism(given: &BTreeMap<&str, &str>) -> Result<Sasl, Unserved> {
    // One property with two names; where both are given librdkafka takes the one that is set last.
    let (name, mechanism) = ["sasl.mechanisms", "sasl.mechanism"]
        .into_iter()
        .find_map(|name| Some((name, *given.get(name)?)))
        .unwrap_or(("sasl.mechanisms", "GSSAPI"));
    let needed = |name: &str| match given.get(name) {
        Some(value) if !value.is_empty() => Ok(*value),
        _ => Err(unserved(name, format!("is not set, and {mechanism} needs it"))),
    };
    let user = |name: &str| {
        let user = needed(name)?;
        if user.contains('\0') { Err(unserved(name, "holds a NUL")) } else { Ok(user.to_owned()) }
    };
    match mechanism {
        "PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512" => {
            let user = user("sasl.username")?;
            let password = Secret::from(needed("sasl.password")?);
            Ok(match mechanism {
                "PLAIN" => Sasl::Plain { user, password },
                "SCRAM-SHA-256" => Sasl::Scram { hash: Hash::Sha256, user, password },
                _ => Sasl::Scram { hash: Hash::Sha512, user, password },
            })
        }
        "OAUTHBEARER" => {
            let bearer = given.iter().filter(|(name, _)| {
                name.starts_with("sasl.oauthbearer.") || name.starts_with("enable.sasl.oauthbearer.")
            });
            for (name, value) in bearer {
                match *name {
                    "sasl.oauthbearer.config" => {}
                    "enable.sasl.oauthbearer.unsecure.jwt" if is_true(value) => {}
                    "sasl.oauthbearer.method" if *value == "default" => {}
                    _ => {
                        return Err(unserved(
                            name,
                            "is not honoured by the native lane, which gets no token from an OIDC provider and makes only \
                             unsecured ones (enable.sasl.oauthbearer.unsecure.jwt=true)",
                        ));
                    }
                }
            }
            if !given.contains_key("enable.sasl.oauthbearer.unsecure.jwt") {
                return Err(unserved(
                    "enable.sasl.oauthbearer.unsecure.jwt",
                    "is not true, and the native lane makes no other tokens for OAUTHBEARER",
                ));
            }
            let config = needed("sasl.oauthbearer.config")?;
            let config = Unsecured::parse(config).map_err(|reason| unserved("sasl.oauthbearer.config", reason))?;
            Ok(Sasl::Bearer(config))
        }
        _ => Err(unserved(
            name,
            format!("asks for {mechanism}; the native lane has PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER"),
        )),
    }
}

fn trust(given: &BTreeMap<&str, &str>) -> Result<Trust, Unserved> {
    let unknown = |name: &str| (name.starts_with("ssl.") || name.starts_with("ssl_")) && !TLS.contains(&name);
    if let Some(name) = given.keys().find(|name| unknown(name)) {
        return Err(unserved(name, "is not honoured by the native lane"));
    }
    let source = |location: &'static str, pem: &'static str| match (given.get(location), given.get(pem)) {
        (_, Some(text)) if !text.is_empty() => Some(Source::Text(pem, Secret::from(*text))),
        (Some(path), _) if !path.is_empty() => Some(Source::File(location, PathBuf::from(path))),
        _ => None,
    };
    let roots = match source("ssl.ca.location", "ssl.ca.pem") {
        None => Roots::System,
        Some(Source::File(_, path)) if path.as_os_str() == "probe" => Roots::System,
        Some(source) => Roots::Given(source),
    };
    let certificate = source("ssl.certificate.location", "ssl.certificate.pem");
    let identity = match (certificate, source("ssl.key.location", "ssl.key.pem")) {
        (None, None) => None,
        (Some(certificate), Some(key)) => {
            let password = given.get("ssl.key.password").filter(|password| !password.is_empty());
            Some(Identity { certificate, key, password: password.map(|password| Secret::from(*password)) })
        }
        (Some(_), None) => {
            return Err(unserved("ssl.key.location", "is not set, and a client certificate needs its key"));
        }
        (None, Some(_)) => {
            return Err(unserved("ssl.certificate.location", "is not set, and a client key needs its certificate"));
        }
    };
    let verify = given.get("enable.ssl.certificate.verification").is_none_or(|value| is_true(value));
    let verify_name = given.get("ssl.endpoint.identification.algorithm").is_none_or(|value| *value != "none");
    Ok(Trust { roots, identity, verify, verify_name })
}

/// As librdkafka reads it.
fn is_true(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "true" | "t" | "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    type Properties<'p> = &'p [(&'p str, &'p str)];

    #[test]
    fn properties_are_honoured_or_refused_by_name() {
        let check = |properties: Properties<'_>, expect: Result<(bool, Option<&str>), &str>| {
            let found = Cluster::new("b:1", properties.iter().copied());
            match (found, expect) {
                (Ok(cluster), Ok((tls, mechanism))) => {
                    assert_eq!(cluster.trust.is_some(), tls, "{properties:?}");
                    assert_eq!(cluster.sasl.map(|sasl| sasl.mechanism()), mechanism, "{properties:?}");
                }
                (Err(error), Err(expect)) => assert!(error.to_string().starts_with(expect), "{error} {expect}"),
                (found, expect) => panic!("{properties:?}: {found:?} {expect:?}"),
            }
        };
        let user = [("sasl.username", "me"), ("sasl.password", "hidden")];
        let with = |more: &[(&'static str, &'static str)]| [more, &user].concat();
        let plain = ("security.protocol", "SASL_PLAINTEXT");
        check(&[], Ok((false, None)));
        check(&[("linger.ms", "1"), ("ssl.keystore.location", "x")], Ok((false, None)));
        check(&[("security.protocol", "SSL"), ("enable.ssl.certificate.verification", "false")], Ok((true, None)));
        check(&with(&[plain, ("sasl.mechanism", "PLAIN")]), Ok((false, Some("PLAIN"))));
        check(&with(&[plain, ("sasl.mechanisms", "SCRAM-SHA-256")]), Ok((false, Some("SCRAM-SHA-256"))));
        check(&with(&[plain, ("sasl.mechanism", "SCRAM-SHA-512")]), Ok((false, Some("SCRAM-SHA-512"))));
        check(&with(&[plain]), Err("sasl.mechanisms asks for GSSAPI"));
        check(&[plain, ("sasl.mechanism", "PLAIN")], Err("sasl.username is not set"));
        check(&[plain, ("sasl.mechanism", "PLAIN"), ("sasl.username", "me")], Err("sasl.password is not set"));
        let bearer = [plain, ("sasl.mechanism", "OAUTHBEARER"), ("sasl.oauthbearer.config", "principal=me")];
        let unsecured = ("enable.sasl.oauthbearer.unsecure.jwt", "true");
        check(&bearer, Err("enable.sasl.oauthbearer.unsecure.jwt"));
        check(&[&bearer[..], &[unsecured]].concat(), Ok((false, Some("OAUTHBEARER"))));
        let oidc = ("sasl.oauthbearer.method", "oidc");
        check(&[&bearer[..], &[unsecured, oidc]].concat(), Err("sasl.oauthbearer.method"));
        let ssl = ("security.protocol", "ssl");
        check(&[ssl, ("ssl.keystore.location", "x")], Err("ssl.keystore.location"));
        check(&[ssl, ("ssl.cipher.suites", "x")], Err("ssl.cipher.suites"));
        check(&[ssl, ("ssl.ca.location", "/not/there")], Err("ssl.ca.location"));
        check(&[ssl, ("ssl.certificate.pem", "x")], Err("ssl.key.location is not set"));
        check(&[ssl, ("ssl.key.pem", "x")], Err("ssl.certificate.location is not set"));
        check(&[ssl, ("ssl.ca.pem", "no pem")], Err("ssl.ca.pem"));
        check(&[("client.dns.lookup", "resolve_canonical_bootstrap_servers_only")], Err("client.dns.lookup"));
    }

    #[test]
    fn no_secret_is_shown() {
        let properties = [
            ("security.protocol", "sasl_plaintext"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", "me"),
            ("sasl.password", "hidden"),
        ];
        let shown = format!("{:?}", Cluster::new("b:1", properties).unwrap());
        assert!(shown.contains("me") && !shown.contains("hidden"), "{shown}");
    }
}
