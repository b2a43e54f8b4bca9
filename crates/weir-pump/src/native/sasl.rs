//! Who the worker is, told to a broker by SASL: PLAIN (RFC 4616), SCRAM (RFC 5802) and OAUTHBEARER (RFC 7628).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::scram::{Hash, Scram};
use super::security::Secret;

/// How a worker proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sasl {
    Plain { user: String, password: Secret },
    Scram { hash: Hash, user: String, password: Secret },
    Bearer(Unsecured),
}

/// What an unsecured token says (RFC 7515, appendix A.5): for tests and closed networks, as librdkafka makes it from
/// `sasl.oauthbearer.config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unsecured {
    pub(super) principal_claim: String,
    pub(super) principal: String,
    pub(super) scope_claim: String,
    pub(super) scopes: Vec<String>,
    /// How long a token is good for, in seconds.
    pub(super) life: u32,
    /// SASL extensions (KIP-342).
    pub(super) extensions: Vec<(String, String)>,
}

/// One authentication.
pub(super) enum Exchange {
    /// Everything is said with the first message.
    Said,
    Scram(Box<Scram>),
    /// What the broker says of a token it does not take; it wants one more message before it ends the exchange.
    Refused(String),
}

impl Sasl {
    /// The name of the mechanism.
    pub(super) fn mechanism(&self) -> &'static str {
        match self {
            Sasl::Plain { .. } => "PLAIN",
            Sasl::Scram { hash: Hash::Sha256, .. } => "SCRAM-SHA-256",
            Sasl::Scram { hash: Hash::Sha512, .. } => "SCRAM-SHA-512",
            Sasl::Bearer(_) => "OAUTHBEARER",
        }
    }

    /// Begins an authentication with its first message. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// Where the system gives no random bytes.
    pub(super) fn start(&self, now: u64) -> Result<(Exchange, Bytes), String> {
        match self {
            Sasl::Plain { user, password } => {
                Ok((Exchange::Said, Bytes::from(format!("\0{user}\0{}", password.reveal()))))
            }
            Sasl::Scram { hash, user, password } => {
                let mut random = [0; 24];
                SystemRandom::new().fill(&mut random).map_err(|_| "the system gives no random bytes")?;
                let scram = Scram::new(*hash, user, password, STANDARD.encode(random));
                let first = Bytes::from(scram.first());
                Ok((Exchange::Scram(Box::new(scram)), first))
            }
            Sasl::Bearer(unsecured) => {
                let extensions: String =
                    unsecured.extensions.iter().map(|(name, value)| format!("{name}={value}\x01")).collect();
                let token = unsecured.token(now);
                Ok((Exchange::Said, Bytes::from(format!("n,,\x01auth=Bearer {token}\x01{extensions}\x01"))))
            }
        }
    }
}

impl Exchange {
    /// The answer to a message of the broker; `None` when the authentication is complete.
    ///
    /// # Errors
    /// Why it has failed.
    pub(super) fn answer(&mut self, message: &[u8]) -> Result<Option<Bytes>, String> {
        match self {
            Exchange::Said if message.is_empty() => Ok(None),
            Exchange::Said => {
                let why = String::from_utf8_lossy(&message[..message.len().min(300)]).into_owned();
                *self = Exchange::Refused(why);
                Ok(Some(Bytes::from_static(b"\x01")))
            }
            Exchange::Scram(scram) => {
                let answer = scram.answer(message).map_err(|error| error.to_string())?;
                Ok(answer.map(Bytes::from))
            }
            Exchange::Refused(why) => Err(format!("refused: {why}")),
        }
    }
}

impl Unsecured {
    fn token(&self, now: u64) -> String {
        let quoted = |text: &str| format!("\"{text}\"");
        let mut claims = format!(
            "{{{}:{},\"iat\":{now},\"exp\":{}",
            quoted(&self.principal_claim),
            quoted(&self.principal),
            now + u64::from(self.life)
        );
        if !self.scopes.is_empty() {
            let scopes: Vec<String> = self.scopes.iter().map(|scope| quoted(scope)).collect();
            claims += &format!(",{}:[{}]", quoted(&self.scope_claim), scopes.join(","));
        }
        claims.push('}');
        format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(claims))
    }

    /// Reads what librdkafka takes: `principal=… [principalClaimName=…] [scope=a,b] [scopeClaimName=…] [lifeSeconds=…]
    /// [extension_<name>=…]`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Unsecured, String> {
        let mut parsed = Unsecured {
            principal_claim: "sub".to_owned(),
            principal: String::new(),
            scope_claim: "scope".to_owned(),
            scopes: Vec::new(),
            life: 3600,
            extensions: Vec::new(),
        };
        for pair in text.split_ascii_whitespace() {
            let (name, value) = pair.split_once('=').ok_or("has a part that is not name=value")?;
            if value.is_empty() || value.contains(['"', '\\', '\x01']) || value.contains(char::is_control) {
                return Err(format!("has no usable value for {name}"));
            }
            match name {
                "principalClaimName" => value.clone_into(&mut parsed.principal_claim),
                "principal" => value.clone_into(&mut parsed.principal),
                "scopeClaimName" => value.clone_into(&mut parsed.scope_claim),
                "scope" => parsed.scopes = value.split(',').map(str::to_owned).collect(),
                "lifeSeconds" => {
                    parsed.life = value.parse().map_err(|_| "has a lifeSeconds that is no number of seconds")?;
                }
                _ => match name.strip_prefix("extension_") {
                    Some(name) if !name.is_empty() && name != "auth" => {
                        parsed.extensions.push((name.to_owned(), value.to_owned()));
                    }
                    _ => return Err(format!("has {name}, which means nothing")),
                },
            }
        }
        if parsed.principal.is_empty() {
            return Err("has no principal".to_owned());
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_is_what_the_mechanism_asks_for() {
        let password = Secret::from("pw");
        let first = |sasl: Sasl| sasl.start(1_000).unwrap().1;
        assert_eq!(first(Sasl::Plain { user: "me".to_owned(), password }), "\0me\0pw");
        let config = "principal=me scope=a,b lifeSeconds=60 extension_logicalCluster=lkc";
        let bearer = first(Sasl::Bearer(Unsecured::parse(config).unwrap()));
        let bearer = std::str::from_utf8(&bearer).unwrap();
        let token = bearer.strip_prefix("n,,\x01auth=Bearer ").unwrap();
        let token = token.strip_suffix("\x01logicalCluster=lkc\x01\x01").unwrap();
        let parts: Vec<Vec<u8>> = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
        let expect: [&[u8]; 3] =
            [br#"{"alg":"none"}"#, br#"{"sub":"me","iat":1000,"exp":1060,"scope":["a","b"]}"#, b""];
        assert_eq!(parts, expect);
    }

    #[test]
    fn a_refused_token_is_told_with_the_brokers_words() {
        let (mut exchange, _) = Sasl::Bearer(Unsecured::parse("principal=me").unwrap()).start(0).unwrap();
        assert_eq!(exchange.answer(br#"{"status":"invalid_token"}"#), Ok(Some(Bytes::from_static(b"\x01"))));
        assert!(exchange.answer(b"").unwrap_err().contains("invalid_token"));
    }

    #[test]
    fn what_makes_no_token_is_told() {
        for (config, expect) in [
            ("", "has no principal"),
            ("principal", "not name=value"),
            ("principal=", "no usable value"),
            ("principal=a\"b", "no usable value"),
            ("principal=a lifeSeconds=x", "lifeSeconds"),
            ("principal=a nonsense=1", "nonsense"),
            ("principal=a extension_auth=1", "extension_auth"),
        ] {
            let error = Unsecured::parse(config).unwrap_err();
            assert!(error.contains(expect), "{config}: {error}");
        }
    }
}
