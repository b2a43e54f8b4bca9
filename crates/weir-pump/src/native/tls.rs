//! TLS on a socket that never blocks: whom to trust, who we are, and bytes in and out.
//!
//! Files are looked at whenever a connection is made, and read again when they have changed.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufRead as _, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::der::SecretDocument;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::frames::{Buffers, Frames};
use super::link::Broken;
use super::security::Secret;

/// Bytes that wait encrypted for the socket.
const AHEAD: usize = 256 << 10;

/// Where PEM comes from, with the name of the property that said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    File(&'static str, PathBuf),
    Text(&'static str, Secret),
}

/// Whose certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Roots {
    System,
    Given(Source),
}

/// Who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) certificate: Source,
    pub(super) key: Source,
    pub(super) password: Option<Secret>,
}

/// How a broker and a client recognise each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trust {
    pub(super) roots: Roots,
    pub(super) identity: Option<Identity>,
    /// Whether the broker's certificate is looked at, at all.
    pub(super) verify: bool,
    /// Whether it must bear the name that was connected to.
    pub(super) verify_name: bool,
}

/// A certificate or key that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{property} {reason}")]
pub(super) struct Unusable {
    pub(super) property: &'static str,
    pub(super) reason: String,
}

impl Source {
    fn property(&self) -> &'static str {
        match self {
            Source::File(property, _) | Source::Text(property, _) => property,
        }
    }

    fn path(&self) -> Option<&Path> {
        match self {
            Source::File(_, path) => Some(path),
            Source::Text(..) => None,
        }
    }

    fn unusable(&self, reason: impl Into<String>) -> Unusable {
        let place = self.path().map_or_else(String::new, |path| format!("{}: ", path.display()));
        Unusable { property: self.property(), reason: format!("{place}{}", reason.into()) }
    }

    fn read(&self) -> Result<Vec<u8>, Unusable> {
        match self {
            Source::File(_, path) => fs::read(path).map_err(|error| self.unusable(error.to_string())),
            Source::Text(_, text) => Ok(text.reveal().as_bytes().to_vec()),
        }
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, Unusable> {
        let text = self.read()?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        match found {
            Ok(found) if found.is_empty() => Err(self.unusable("holds no certificate in PEM")),
            Ok(found) => Ok(found),
            Err(error) => Err(self.unusable(format!("is no PEM: {error}"))),
        }
    }
}

impl Identity {
    fn key(&self) -> Result<PrivateKeyDer<'static>, Unusable> {
        const BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
        const END: &str = "-----END ENCRYPTED PRIVATE KEY-----";
        let unusable = |reason: &str| self.key.unusable(reason);
        let text = self.key.read()?;
        let text = std::str::from_utf8(&text).map_err(|_| unusable("is no PEM"))?;
        if text.contains("Proc-Type: 4,ENCRYPTED") {
            return Err(unusable("is encrypted in OpenSSL's old form; convert it with openssl pkcs8 -topk8"));
        }
        let Some(begin) = text.find(BEGIN) else {
            return PrivateKeyDer::from_pem_slice(text.as_bytes())
                .map_err(|_| unusable("holds no private key in PEM (PKCS#8, PKCS#1 or SEC1)"));
        };
        let password = self.password.as_ref().ok_or_else(|| unusable("is encrypted; set ssl.key.password"))?;
        let end = text[begin..].find(END).ok_or_else(|| unusable("is no PEM: it ends within the key"))?;
        let (_, document) = SecretDocument::from_pem(&text[begin..begin + end + END.len()])
            .map_err(|error| unusable(&format!("is no PEM: {error}")))?;
        let key = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes())
            .and_then(|key| key.decrypt(password.reveal()))
            .map_err(|error| unusable(&format!("cannot be decrypted with ssl.key.password: {error}")))?;
        Ok(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec())))
    }
}

/// What a file was when it was read.
type Stamp = Option<(SystemTime, u64, u64)>;

/// Makes connections, with certificates as they are now.
pub(super) struct Connector {
    trust: Arc<Trust>,
    seen: Vec<Stamp>,
    config: Option<Arc<ClientConfig>>,
}

impl Connector {
    pub(super) fn new(trust: Arc<Trust>) -> Connector {
        Connector { trust, seen: Vec::new(), config: None }
    }

    fn stamps(&self) -> Vec<Stamp> {
        let roots = match &self.trust.roots {
            Roots::System => None,
            Roots::Given(source) => Some(source),
        };
        let identity = self.trust.identity.iter().flat_map(|identity| [&identity.certificate, &identity.key]);
        let files = roots.into_iter().chain(identity).filter_map(Source::path);
        files
            .map(|path| {
                let found = fs::metadata(path).ok()?;
                Some((found.modified().ok()?, found.len(), found.ino()))
            })
            .collect()
    }

    /// Reads what has changed.
    ///
    /// # Errors
    /// [`Unusable`] with what cannot be used. What was read before stays.
    pub(super) fn load(&mut self) -> Result<(), Unusable> {
        let stamps = self.stamps();
        if self.config.is_some() && self.seen == stamps {
            return Ok(());
        }
        self.config = Some(Arc::new(self.trust.config()?));
        self.seen = stamps;
        Ok(())
    }

    /// A connection that has sent nothing yet.
    ///
    /// # Errors
    /// Why there can be none.
    pub(super) fn connect(&mut self, host: &str) -> Result<Tls, String> {
        if let Err(error) = self.load() {
            // Certificate and key are not replaced in one step: until both are there, the old ones are as good as before.
            if self.config.is_none() {
                return Err(error.to_string());
            }
            tracing::warn!(%error, "what was read before is used on");
        }
        let config = self.config.clone().ok_or("there is no TLS configuration")?;
        let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("{host} is no name for TLS"))?;
        let mut connection = ClientConnection::new(config, name).map_err(|error| error.to_string())?;
        connection.set_buffer_limit(Some(AHEAD));
        Ok(Tls { connection })
    }
}

impl Trust {
    fn config(&self) -> Result<ClientConfig, Unusable> {
        let provider = Arc::new(ring::default_provider());
        let tls = |reason: Error| Unusable { property: "security.protocol", reason: reason.to_string() };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().map_err(tls)?;
        let verifier: Arc<dyn ServerCertVerifier> = if self.verify {
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(self.store()?), provider).build();
            let verifier =
                verifier.map_err(|error| Unusable { property: "ssl.ca.location", reason: error.to_string() })?;
            if self.verify_name { verifier } else { Arc::new(Lenient { chain: Some(verifier), provider: None }) }
        } else {
            Arc::new(Lenient { chain: None, provider: Some(provider) })
        };
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let Some(identity) = &self.identity else { return Ok(builder.with_no_client_auth()) };
        let chain = identity.certificate.certificates()?;
        builder
            .with_client_auth_cert(chain, identity.key()?)
            .map_err(|error| identity.certificate.unusable(format!("does not go with its key: {error}")))
    }

    fn store(&self) -> Result<RootCertStore, Unusable> {
        let found = match &self.roots {
            Roots::System => rustls_native_certs::load_native_certs().certs,
            Roots::Given(Source::File(_, path)) if path.is_dir() => {
                rustls_native_certs::load_certs_from_paths(None, Some(path)).certs
            }
            Roots::Given(source) => source.certificates()?,
        };
        let mut store = RootCertStore::empty();
        let (added, _) = store.add_parsable_certificates(found);
        match &self.roots {
            _ if added > 0 => Ok(store),
            Roots::Given(source) => Err(source.unusable("holds no certificate of an authority")),
            Roots::System => {
                let reason = "is not set, and the system knows no certificate of an authority".to_owned();
                Err(Unusable { property: "ssl.ca.location", reason })
            }
        }
    }
}

/// Looks at less than it should, because it was told so: not at the name, or at nothing but that the other side has the key.
#[derive(Debug)]
struct Lenient {
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Option<Arc<CryptoProvider>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is the last that is looked at: everything else is as it should be.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match (&self.chain, &self.provider) {
            (Some(chain), _) => chain.verify_tls12_signature(message, certificate, signature),
            (None, Some(provider)) => {
                verify_tls12_signature(message, certificate, signature, &provider.signature_verification_algorithms)
            }
            (None, None) => Err(Error::General("nothing to verify with".to_owned())),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match (&self.chain, &self.provider) {
            (Some(chain), _) => chain.verify_tls13_signature(message, certificate, signature),
            (None, Some(provider)) => {
                verify_tls13_signature(message, certificate, signature, &provider.signature_verification_algorithms)
            }
            (None, None) => Err(Error::General("nothing to verify with".to_owned())),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        match (&self.chain, &self.provider) {
            (Some(chain), _) => chain.supported_verify_schemes(),
            (None, Some(provider)) => provider.signature_verification_algorithms.supported_schemes(),
            (None, None) => Vec::new(),
        }
    }
}

/// TLS on one connection.
pub(super) struct Tls {
    connection: ClientConnection,
}

impl Tls {
    /// Encrypts what waits, and writes what can be without waiting. Before both sides have proved themselves nothing of it is
    /// taken.
    pub(super) fn write(&mut self, out: &mut VecDeque<Bytes>, stream: &mut impl Write) -> io::Result<()> {
        loop {
            while self.connection.wants_write() {
                match self.connection.write_tls(stream) {
                    Ok(0) => return Err(ErrorKind::WriteZero.into()),
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            if self.connection.is_handshaking() || out.is_empty() {
                return Ok(());
            }
            while let Some(piece) = out.front_mut() {
                match self.connection.writer().write(piece)? {
                    0 if !piece.is_empty() => break,
                    taken if taken < piece.len() => drop(piece.split_to(taken)),
                    _ => drop(out.pop_front()),
                }
            }
        }
    }

    /// Reads and decrypts what is there, and hands out the frames that become whole.
    pub(super) fn read(
        &mut self,
        stream: &mut (impl Read + Write),
        chunk: &mut [u8],
        frames: &mut Frames,
        buffers: &mut Buffers,
        whole: &mut Vec<Bytes>,
    ) -> Result<(), Broken> {
        loop {
            let count = match stream.read(chunk) {
                Ok(0) if self.connection.is_handshaking() => {
                    return Err("the broker closed the connection in the TLS handshake".into());
                }
                Ok(0) => return Err("the broker closed the connection".into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if self.connection.is_handshaking() => {
                    return Err(format!("the broker closed the connection in the TLS handshake: {error}").into());
                }
                Err(error) => return Err(error.to_string().into()),
            };
            let mut sealed = &chunk[..count];
            while !sealed.is_empty() {
                match self.connection.read_tls(&mut sealed) {
                    Ok(0) => return Err("the broker closed the connection".into()),
                    Ok(_) => {}
                    Err(error) => return Err(error.to_string().into()),
                }
                if let Err(error) = self.connection.process_new_packets() {
                    // The other side is told why, if it listens.
                    drop(self.connection.write_tls(stream));
                    let hint = match error {
                        Error::InvalidMessage(_) => "; is TLS what this listener speaks?",
                        _ => "",
                    };
                    return Err(Broken::refused(format!("TLS: {error}{hint}")));
                }
                self.open(frames, buffers, whole)?;
            }
        }
    }

    fn open(&mut self, frames: &mut Frames, buffers: &mut Buffers, whole: &mut Vec<Bytes>) -> Result<(), Broken> {
        let mut reader = self.connection.reader();
        loop {
            let count = match reader.fill_buf() {
                Ok([]) => return Err("the broker closed the connection".into()),
                Ok(plain) => {
                    frames.feed(plain, buffers, |frame| whole.push(frame)).map_err(Broken::impossible)?;
                    plain.len()
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.to_string().into()),
            };
            reader.consume(count);
        }
    }
}
