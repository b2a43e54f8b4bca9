//! Basic authentication: what is open, what is not, and clients that have credentials.

use std::process::Command;
use std::sync::Arc;

use reqwest::{Client, StatusCode};
use schema_registry::{Config, Users};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use weir_registry::{Answer, Auth, RequestError, SchemaId};
use weir_testkit::kafka::Cluster;

use crate::support::{Registry, config};

/// `alice:secret`, as `htpasswd -nbB -C 4` prints it.
const USERS: &str = "# who may\nalice:$2y$04$Q8sZ1nW0pXb6Yf3kJ7mVcuwwG1.arHmbomHbXSmv3fXUxxG4./pkW\n";

fn guarded(topic: &str) -> Option<Config> {
    let users = Some(Arc::new(Users::parse(USERS).unwrap()));
    Some(Config { users, ..config(&Cluster::shared()?.bootstrap(), topic) })
}

#[tokio::test(flavor = "multi_thread")]
async fn only_users_with_the_right_password_are_answered() {
    let Some(settings) = guarded("auth") else { return };
    let registry = Registry::open(settings).await;
    registry.ready().await;
    let http = Client::new();
    let check = async |path: &str, login: Option<(&str, &str)>, status: u16| {
        let request = http.get(format!("{}{path}", registry.url()));
        let request = match login {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        };
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path} {login:?}");
        if answer.status() == StatusCode::UNAUTHORIZED {
            assert!(answer.headers()["www-authenticate"].to_str().unwrap().starts_with("Basic realm="));
            assert_eq!(answer.headers()["content-type"], "application/vnd.schemaregistry.v1+json");
            assert_eq!(answer.json::<Value>().await.unwrap()["error_code"], 401);
        }
    };
    for (path, status) in [("/subjects", 200), ("/schemas/ids/1", 404), ("/nowhere", 404), ("/", 200)] {
        check(path, None, 401).await;
        check(path, Some(("alice", "wrong")), 401).await;
        check(path, Some(("bob", "secret")), 401).await;
        check(path, Some(("alice", "secret")), status).await;
    }
    // Whoever watches the service needs no password, and learns no schema.
    for path in ["/health/live", "/health/ready", "/metrics"] {
        check(path, None, 200).await;
    }
    let (status, answer) = registry.post("/subjects/a/versions", &json!({ "schema": "\"int\"" })).await;
    assert_eq!((status, &answer["error_code"]), (401, &json!(401)));
    registry.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_bring_their_credentials() {
    let Some(settings) = guarded("auth-clients") else { return };
    let registry = Registry::open(settings).await;
    registry.ready().await;
    let client = |auth: Auth| {
        let config = weir_registry::Config { auth, ..weir_registry::Config::new([registry.url()]) };
        weir_registry::Registry::new(config, Handle::current()).unwrap()
    };
    let alice = client(Auth::basic("alice:secret\n").unwrap());
    let id = alice.register("a", "\"int\"", &[]).await.unwrap().id;
    assert_eq!(alice.versions("a").await.unwrap().len(), 1);
    assert!(matches!(alice.resolved(SchemaId::Id(id)).await, Answer::Ready(_)));
    // Credentials that are wrong are the world's fault, not the record's.
    for auth in [Auth::None, Auth::basic("alice:wrong").unwrap()] {
        let stranger = client(auth);
        assert!(matches!(stranger.resolved(SchemaId::Id(id)).await, Answer::Unavailable(_)));
        for refused in [stranger.versions("a").await.map(drop), stranger.subjects().await.map(drop)] {
            assert!(matches!(&refused, Err(RequestError::Unavailable(why)) if why.contains("401")), "{refused:?}");
        }
    }
    if let Some(python) = weir_testkit::python() {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/python/credentials.py");
        let url = registry.url();
        let run = move || Command::new(python).args([script, &url, "alice:secret"]).output().unwrap();
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "ok");
    }
    registry.stop().await;
}
