//! A connection against a broker of the test's own, which may be anything but honest.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use weir_testkit::certificates::{Authority, Identity};
use weir_testkit::wait_for;
use weir_wire::messages::*;
use weir_wire::{ApiKey, ErrorCode, Message, Reader, Text, read_request_header, response_frame};

use super::super::net::{Answer, Net, Role};
use super::super::security::Cluster;

const LONG: Duration = Duration::from_secs(20);

/// What a broker says of itself after a connection.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// The certificate of the client.
    Client(Option<Vec<u8>>),
    /// One authentication that it believed.
    Believed,
}

#[derive(Clone)]
struct Server {
    tls: Option<Arc<ServerConfig>>,
    /// Whether it hangs up after the first bytes.
    hangs_up: bool,
    lifetime: i64,
    /// The last version of TxnOffsetCommit that it offers.
    offsets: i16,
}

fn tls(identity: &Identity, clients: Option<&Authority>) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    Arc::new(builder.with_single_cert(chain, key).unwrap())
}

/// Serves one connection after the other, each by its own thread, for as long as the test runs.
fn serve(server: Server) -> (SocketAddr, Receiver<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (server, tell) = (server.clone(), tell.clone());
            let Ok(mut stream) = stream else { return };
            thread::spawn(move || {
                if server.hangs_up {
                    // The beginning of what the client says is read, so that the end is no reset.
                    drop(stream.read(&mut [0; 64]));
                    return;
                }
                drop(match server.tls.clone() {
                    None => talk(stream, &server, &tell),
                    Some(config) => {
                        let connection = ServerConnection::new(config).unwrap();
                        let mut stream = StreamOwned::new(connection, stream);
                        stream.flush().and_then(|()| {
                            while stream.conn.is_handshaking() {
                                stream.conn.complete_io(&mut stream.sock)?;
                            }
                            let client = stream.conn.peer_certificates().map(|chain| chain[0].to_vec());
                            drop(tell.send(Seen::Client(client)));
                            talk(stream, &server, &tell)
                        })
                    }
                });
            });
        }
    });
    (address, told)
}

/// A broker that offers SASL PLAIN to `me` with the password `right`, and metadata.
fn talk(mut stream: impl Read + Write, server: &Server, tell: &Sender<Seen>) -> std::io::Result<()> {
    fn say<M: Message>(stream: &mut impl Write, body: &M, version: i16, correlation: i32) -> std::io::Result<()> {
        for piece in response_frame(body, version, correlation).unwrap() {
            stream.write_all(&piece)?;
        }
        stream.flush()
    }
    loop {
        let mut size = [0; 4];
        stream.read_exact(&mut size)?;
        let Some(size) = usize::try_from(i32::from_be_bytes(size)).ok().filter(|size| *size <= 1 << 20) else {
            return Ok(());
        };
        let mut frame = vec![0; size];
        stream.read_exact(&mut frame)?;
        let mut reader = Reader::new(Bytes::from(frame));
        let Ok(header) = read_request_header(&mut reader) else { return Ok(()) };
        let (version, correlation) = (header.api_version, header.correlation_id);
        match ApiKey::try_from(header.api_key) {
            Ok(ApiKey::ApiVersions) => {
                let keys = [ApiKey::SaslHandshake, ApiKey::SaslAuthenticate, ApiKey::Metadata];
                let mut keys =
                    keys.map(|key| ApiVersion { api_key: key.number(), min_version: 0, max_version: 2 }).to_vec();
                keys.push(ApiVersion {
                    api_key: ApiKey::TxnOffsetCommit.number(),
                    min_version: 0,
                    max_version: server.offsets,
                });
                let answer = ApiVersionsResponse { api_keys: keys, ..Default::default() };
                say(&mut stream, &answer, version, correlation)?;
            }
            Ok(ApiKey::SaslHandshake) => {
                let request = SaslHandshakeRequest::read(&mut reader, version).unwrap();
                let offered = *request.mechanism == *"PLAIN";
                let error_code = if offered { ErrorCode::NONE } else { ErrorCode::UNSUPPORTED_SASL_MECHANISM };
                let answer = SaslHandshakeResponse { error_code, mechanisms: vec![Text::from_static("PLAIN")] };
                say(&mut stream, &answer, version, correlation)?;
            }
            Ok(ApiKey::SaslAuthenticate) => {
                let request = SaslAuthenticateRequest::read(&mut reader, version).unwrap();
                let mut answer =
                    SaslAuthenticateResponse { session_lifetime_ms: server.lifetime, ..Default::default() };
                if *request.auth_bytes != *b"\0me\0right" {
                    answer.error_code = ErrorCode::SASL_AUTHENTICATION_FAILED;
                    answer.error_message = Some(Text::from_static("Invalid username or password"));
                }
                say(&mut stream, &answer, version, correlation)?;
                if !answer.error_code.is_none() {
                    return Ok(());
                }
                drop(tell.send(Seen::Believed));
            }
            _ => say(&mut stream, &MetadataResponse::default(), version, correlation)?,
        }
    }
}

type Properties<'p> = &'p [(&'p str, &'p str)];

fn net(address: SocketAddr, properties: Properties<'_>) -> Net<u32> {
    let cluster = Cluster::new(&address.to_string(), properties.iter().copied()).unwrap();
    Net::new(&cluster, 7).unwrap()
}

/// Waits until the connection can be used, or is refused with a reason.
fn connect(net: &mut Net<u32>) -> Result<usize, String> {
    let mut answers: Vec<Answer<u32>> = Vec::new();
    let begin = Instant::now();
    loop {
        if let Some(slot) = net.ready(-1, Role::Control, Instant::now()) {
            return Ok(slot);
        }
        net.wait(Duration::from_millis(50), &mut answers);
        if let Some(reason) = net.refusal().map(str::to_owned).or_else(|| net.take_error()) {
            return Err(reason);
        }
        assert!(begin.elapsed() < LONG, "neither usable nor refused");
    }
}

fn ask(net: &mut Net<u32>, slot: usize, number: u32) {
    net.send(slot, &MetadataRequest::default(), 2, number, LONG, Instant::now());
}

#[test]
fn a_broker_is_trusted_for_its_certificate_and_its_name() {
    let (authority, other) = (Authority::new("one"), Authority::new("other"));
    let (ca, other_ca) = (authority.pem(), other.pem());
    let check = |identity: Identity, properties: Properties<'_>, expect: Result<(), &str>| {
        let (address, _told) =
            serve(Server { tls: Some(tls(&identity, None)), hangs_up: false, lifetime: 0, offsets: 5 });
        let properties = [&[("security.protocol", "ssl")], properties].concat();
        match (connect(&mut net(address, &properties)), expect) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(expect)) => assert!(error.contains(expect), "{error}, not {expect}"),
            (found, expect) => panic!("{properties:?} {found:?} {expect:?}"),
        }
    };
    let known = ("ssl.ca.pem", ca.as_str());
    let no_name = ("ssl.endpoint.identification.algorithm", "none");
    let no_look = ("enable.ssl.certificate.verification", "false");
    check(authority.issue("127.0.0.1"), &[known], Ok(()));
    check(authority.issue("127.0.0.1"), &[("ssl.ca.pem", &other_ca)], Err("UnknownIssuer"));
    check(authority.issue("other.example"), &[known], Err("not valid for name"));
    check(authority.issue("other.example"), &[known, no_name], Ok(()));
    check(other.issue("127.0.0.1"), &[known, no_name], Err("UnknownIssuer"));
    check(authority.issue_expired("127.0.0.1"), &[known], Err("expired"));
    check(authority.issue_expired("127.0.0.1"), &[known, no_name], Err("expired"));
    check(other.issue_expired("other.example"), &[no_look], Ok(()));
}

/// What a broker before Kafka 2.5 would make of the offsets of a transaction, fences no zombie.
#[test]
fn a_broker_that_is_too_old_is_told_of() {
    for (offsets, fits) in [(5, true), (3, true), (2, false)] {
        let (address, _told) = serve(Server { tls: None, hangs_up: false, lifetime: 0, offsets });
        match connect(&mut net(address, &[])) {
            Ok(_) => assert!(fits, "{offsets}"),
            Err(error) => assert!(!fits && error.contains("older than Kafka 2.5"), "{offsets}: {error}"),
        }
    }
}

#[test]
fn a_client_certificate_that_has_changed_is_read_again() {
    let (authority, folder) = (Authority::new("one"), tempfile::tempdir().unwrap());
    let broker = Server {
        tls: Some(tls(&authority.issue("127.0.0.1"), Some(&authority))),
        hangs_up: false,
        lifetime: 0,
        offsets: 5,
    };
    let (address, told) = serve(broker);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (certificate, key, ca) = (path("client.pem"), path("client.key"), path("ca.pem"));
    std::fs::write(&ca, authority.pem()).unwrap();
    let write = |identity: &Identity| {
        for (path, text) in [(&certificate, &identity.certificate), (&key, &identity.key)] {
            // As a rotation does it: the new file takes the place of the old one.
            std::fs::write(format!("{path}.new"), text).unwrap();
            std::fs::rename(format!("{path}.new"), path).unwrap();
        }
        CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap().to_vec()
    };
    let first = write(&authority.issue("client.one"));
    let properties = [
        ("security.protocol", "ssl"),
        ("ssl.ca.location", ca.as_str()),
        ("ssl.certificate.location", certificate.as_str()),
        ("ssl.key.location", key.as_str()),
    ];
    let mut net = net(address, &properties);
    connect(&mut net).unwrap();
    assert_eq!(told.recv_timeout(LONG), Ok(Seen::Client(Some(first.clone()))));
    let mut again = |role| {
        let mut answers = Vec::new();
        wait_for(LONG, "the next connection", || {
            net.ready(-1, role, Instant::now()).is_some() || {
                net.wait(Duration::from_millis(20), &mut answers);
                false
            }
        });
        told.recv_timeout(LONG).unwrap()
    };
    let second = write(&authority.issue("client.two"));
    assert_eq!(again(Role::Group), Seen::Client(Some(second.clone())));
    // One of two files is there already: the pair of before is used on.
    std::fs::write(&key, "no key").unwrap();
    assert_eq!(again(Role::Fetch), Seen::Client(Some(second)));
    // Nobody comes in without one.
    let (address, _told) = serve(Server {
        tls: Some(tls(&authority.issue("127.0.0.1"), Some(&authority))),
        hangs_up: false,
        lifetime: 0,
        offsets: 5,
    });
    let refused = connect(&mut self::net(address, &properties[..2])).unwrap_err();
    assert!(refused.contains("CertificateRequired"), "{refused}");
}

#[test]
fn an_encrypted_key_is_opened_with_its_password() {
    // openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -passout pass:open
    let (certificate, key) = (include_str!("encrypted.crt"), include_str!("encrypted.key"));
    let check = |password: Option<&str>, expect: Result<(), &str>| {
        let properties = [
            ("security.protocol", "ssl"),
            ("enable.ssl.certificate.verification", "false"),
            ("ssl.certificate.pem", certificate),
            ("ssl.key.pem", key),
        ];
        let password = password.map(|password| ("ssl.key.password", password));
        let found = Cluster::new("b:1", properties.into_iter().chain(password)).map(drop);
        match (found, expect) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(expect)) => assert!(error.to_string().contains(expect), "{error}"),
            (found, expect) => panic!("{found:?} {expect:?}"),
        }
    };
    check(Some("open"), Ok(()));
    check(Some("wrong"), Err("cannot be decrypted"));
    check(None, Err("set ssl.key.password"));
}

#[test]
fn two_that_speak_differently_are_told_so() {
    let authority = Authority::new("one");
    let identity = authority.issue("127.0.0.1");
    let (secure, _told) = serve(Server { tls: Some(tls(&identity, None)), hangs_up: false, lifetime: 0, offsets: 5 });
    let (open, _told) = serve(Server { tls: None, hangs_up: false, lifetime: 0, offsets: 5 });
    let (short, _told) = serve(Server { tls: None, hangs_up: true, lifetime: 0, offsets: 5 });
    let ssl = [("security.protocol", "ssl"), ("enable.ssl.certificate.verification", "false")];
    for (address, properties, expect) in [
        (secure, &[][..], "the listener speaks TLS"),
        (open, &ssl, "closed the connection in the TLS handshake"),
        (short, &ssl, "closed the connection in the TLS handshake"),
        (short, &[], "is it plain text that this listener speaks?"),
    ] {
        let error = connect(&mut net(address, properties)).unwrap_err();
        assert!(error.contains(expect), "{error}, not {expect}");
    }
}

#[test]
fn a_wrong_password_is_told_and_not_tried_at_once() {
    let (address, _told) = serve(Server { tls: None, hangs_up: false, lifetime: 0, offsets: 5 });
    let check = |mechanism: &str, password: &str, expect: Result<(), &str>| {
        let properties = [
            ("security.protocol", "sasl_plaintext"),
            ("sasl.mechanism", mechanism),
            ("sasl.username", "me"),
            ("sasl.password", password),
        ];
        let mut net = net(address, &properties);
        match (connect(&mut net), expect) {
            (Ok(_), Ok(())) => assert_eq!(net.refusal(), None),
            (Err(error), Err(expect)) => {
                assert!(error.contains(expect) && !error.contains("wrong"), "{error}");
                assert!(net.ready(-1, Role::Control, Instant::now()).is_none(), "it backs off");
            }
            (found, expect) => panic!("{found:?} {expect:?}"),
        }
    };
    check("PLAIN", "right", Ok(()));
    check("PLAIN", "wrong", Err("Invalid username or password"));
    check("SCRAM-SHA-512", "right", Err("it offers: PLAIN"));
}

#[test]
fn a_session_is_renewed_before_its_end_and_behind_what_was_asked() {
    let (address, told) = serve(Server { tls: None, hangs_up: false, lifetime: 1_500, offsets: 5 });
    let properties = [
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "me"),
        ("sasl.password", "right"),
    ];
    let mut net = net(address, &properties);
    connect(&mut net).unwrap();
    let (mut asked, mut answered, mut believed) = (0, Vec::new(), 0);
    wait_for(LONG, "three authentications while questions are answered", || {
        for _ in 0..3 {
            if let Some(slot) = net.ready(-1, Role::Control, Instant::now()) {
                ask(&mut net, slot, asked);
                asked += 1;
            }
        }
        let mut answers = Vec::new();
        net.wait(Duration::from_millis(5), &mut answers);
        answered.extend(answers.into_iter().map(|answer| {
            assert!(answer.outcome.is_ok());
            answer.ask
        }));
        believed += told.try_iter().count();
        believed >= 3 && answered.len() == asked as usize
    });
    assert!(answered.iter().copied().eq(0..asked), "in order, each once");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn whatever_a_broker_says_first_is_no_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        sized in any::<bool>(),
        tls in any::<bool>(),
    ) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let said = if sized {
            // A frame with the right number, so that what follows is read as the answer it should be.
            let size = i32::try_from(bytes.len() + 4).unwrap().to_be_bytes();
            [&size[..], &[0; 4], &bytes].concat()
        } else {
            bytes
        };
        let keep: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let kept = Arc::clone(&keep);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten().take(3) {
                drop(stream.write_all(&said));
                drop(stream.shutdown(std::net::Shutdown::Write));
                kept.lock().unwrap().push(stream);
            }
        });
        let properties: Properties<'_> = if tls {
            &[("security.protocol", "ssl"), ("enable.ssl.certificate.verification", "false")]
        } else {
            &[
                ("security.protocol", "sasl_plaintext"),
                ("sasl.mechanism", "SCRAM-SHA-256"),
                ("sasl.username", "me"),
                ("sasl.password", "right"),
            ]
        };
        prop_assert!(connect(&mut net(address, properties)).is_err());
    }
}
