//! The client against a real HTTP server that can be told to misbehave.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall stop")]

mod server;

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use server::{Fault, Server};
use tokio::runtime::Handle;
use weir_registry::{Answer, Compatibility, Config, Reference, Registry, RequestError, Resolution, SchemaId};

const ORDER: &str = r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"long"}]}"#;

fn config(server: &Server) -> Config {
    let mut config = Config::new([server.url()]);
    config.timeout = Duration::from_millis(300);
    config.backoff = Duration::from_millis(5);
    config.cool_down = Duration::from_millis(20);
    config.requests_per_second = NonZeroU32::new(1000).unwrap();
    config
}

fn registry(config: Config) -> Registry {
    Registry::new(config, Handle::current()).unwrap()
}

/// Asks until `done`, the way a worker does: look, wait for a change, look again.
async fn until(registry: &Registry, id: SchemaId, done: fn(&Resolution) -> bool) -> Resolution {
    let registry = registry.clone();
    let wait = move || {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let seen = registry.changes();
            let answer = registry.resolve(id);
            if done(&answer) {
                return answer;
            }
            assert!(Instant::now() < deadline, "still {answer:?}");
            registry.wait(seen, Duration::from_millis(100));
        }
    };
    tokio::task::spawn_blocking(wait).await.unwrap()
}

fn settled(answer: &Resolution) -> bool {
    !matches!(answer, Answer::Pending)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_however_many_threads_ask() {
    let server = Server::start().await;
    server.add(7, ORDER);
    let registry = registry(config(&server));
    assert_eq!(registry.resolve(SchemaId::Id(7)).map_name(), Answer::Pending);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    registry.resolve(SchemaId::Id(7));
                }
            });
        }
    });
    let Answer::Ready(resolved) = until(&registry, SchemaId::Id(7), settled).await else { panic!() };
    assert_eq!((resolved.text.as_str(), resolved.schema.len()), (ORDER, 2));
    assert_eq!(server.requests(), 1);
}

/// What a fault makes of an id that the registry has.
async fn check(fault: Fault, expect: impl Fn(&Resolution) -> bool) {
    let server = Server::start().await;
    server.add(1, ORDER);
    server.set(fault);
    let registry = registry(config(&server));
    let answer = until(&registry, SchemaId::Id(1), settled).await;
    assert!(expect(&answer), "{fault:?}: {answer:?}");
    if matches!(answer, Answer::Unavailable(_)) {
        assert!(registry.trouble().is_some(), "{fault:?}");
        server.set(Fault::None);
        let answer = until(&registry, SchemaId::Id(1), |answer| !answer.is_transient()).await;
        assert!(matches!(answer, Answer::Ready(_)), "after {fault:?}: {answer:?}");
        assert_eq!(registry.trouble(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_world_are_not_faults_of_the_record() {
    let away =
        |part: &'static str| move |answer: &Resolution| matches!(answer, Answer::Unavailable(r) if r.contains(part));
    check(Fault::Status(503), away("503")).await;
    check(Fault::Status(500), away("500")).await;
    check(Fault::Status(429), away("429")).await;
    check(Fault::Status(401), away("401")).await;
    // A 404 that no registry wrote: a wrong address, an ingress without its backend.
    check(Fault::Status(404), away("404")).await;
    check(Fault::Json(404, r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#), away("404")).await;
    check(Fault::Json(200, "<html>welcome</html>"), away("parse")).await;
    check(Fault::Json(200, r#"{"id":1}"#), away("schema")).await;
    check(Fault::Hang, away("timed out")).await;
    check(Fault::Drip, away("timed out")).await;
    check(Fault::Huge, away("larger than 4194304 bytes")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_about_the_id_are_faults_of_the_record() {
    check(Fault::Json(404, r#"{"error_code":40403,"message":"x"}"#), |a| matches!(a, Answer::NoSuchId)).await;
    check(Fault::Json(200, r#"{"schema":"{\"type\":\"recor\"}"}"#), |a| matches!(a, Answer::Unusable(_))).await;
    check(Fault::Json(200, r#"{"schemaType":"JSON","schema":"{}"}"#), |a| matches!(a, Answer::Unusable(_))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_not_there() {
    let server = Server::start().await;
    let config = config(&server);
    server.stop().await;
    let registry = registry(config);
    let answer = until(&registry, SchemaId::Id(1), settled).await;
    assert!(matches!(&answer, Answer::Unavailable(r) if r.contains("refused")), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_address_serves_when_the_first_is_gone() {
    let (gone, server) = (Server::start().await, Server::start().await);
    server.add(1, ORDER);
    let mut config = config(&server);
    config.urls.insert(0, gone.url());
    gone.stop().await;
    let registry = registry(config);
    assert!(matches!(registry.resolved(SchemaId::Id(1)).await, Answer::Ready(_)));
    assert!(registry.latest("orders-value").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_ids_keeps_to_the_budget_and_lets_known_ids_flow() {
    let server = Server::start().await;
    server.add(1, ORDER);
    let mut config = config(&server);
    config.requests_per_second = NonZeroU32::new(20).unwrap();
    config.negative_capacity = 100;
    let registry = registry(config);
    until(&registry, SchemaId::Id(1), settled).await;
    let started = Instant::now();
    let flood = {
        let registry = registry.clone();
        move || {
            for id in 2..1_000_000 {
                registry.resolve(SchemaId::Id(id));
                assert!(matches!(registry.resolve(SchemaId::Id(1)), Answer::Ready(_)));
            }
        }
    };
    tokio::task::spawn_blocking(flood).await.unwrap();
    let budget = 20 + 20 * (started.elapsed().as_secs() as usize + 2);
    assert!(server.requests() <= budget, "{} requests, {budget} allowed", server.requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_registered_later_is_found_once_the_miss_is_forgotten() {
    let server = Server::start().await;
    let mut config = config(&server);
    config.negative_ttl = Duration::from_millis(50);
    let registry = registry(config);
    assert_eq!(registry.resolved(SchemaId::Id(1)).await.map_name(), Answer::NoSuchId);
    server.add(1, ORDER);
    until(&registry, SchemaId::Id(1), |answer| matches!(answer, Answer::Ready(_))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guids_and_references() {
    let server = Server::start().await;
    let line = r#"{"type":"record","name":"shop.Line","fields":[{"name":"qty","type":"int"}]}"#;
    let cart =
        r#"{"type":"record","name":"shop.Cart","fields":[{"name":"line","type":"Line"},{"name":"b","type":"Basket"}]}"#;
    let basket = r#"{"type":"record","name":"shop.Basket","fields":[{"name":"line","type":"Line"}]}"#;
    server.add_version("shop/line v", 1, line, &[]);
    server.add_version("basket", 1, basket, &[("shop.Line", "shop/line v", 1)]);
    let guid = *b"\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef";
    let references = [("shop.Line", "shop/line v", 1), ("shop.Basket", "basket", 1)];
    server.add_guid("01234567-89ab-cdef-0123-456789abcdef", 3, cart, &references);
    let registry = registry(config(&server));
    let Answer::Ready(resolved) = registry.resolved(SchemaId::Guid(guid)).await else { panic!() };
    assert_eq!(resolved.references.len(), 2);
    assert!(resolved.schema.describe(resolved.schema.root()).contains("Cart"));
    let broken = *b"\x99\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef";
    server.add_guid("99234567-89ab-cdef-0123-456789abcdef", 4, cart, &[("shop.Line", "nowhere", 1)]);
    let answer = registry.resolved(SchemaId::Guid(broken)).await;
    assert!(matches!(&answer, Answer::Unusable(r) if r.contains("'nowhere' version 1")), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn membership_of_a_subject() {
    let server = Server::start().await;
    server.add(1, ORDER);
    server.set_members(1, &["a-value", "b-value"]);
    let mut config = config(&server);
    config.membership_negative_ttl = Duration::from_millis(30);
    let registry = registry(config);
    let belongs = async |subject: &'static str, expect: bool| {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let seen = registry.changes();
            match registry.belongs(SchemaId::Id(1), subject) {
                Answer::Ready(got) if got == expect => return,
                answer => assert!(Instant::now() < deadline, "{subject}: {answer:?}"),
            }
            let registry = registry.clone();
            tokio::task::spawn_blocking(move || registry.wait(seen, Duration::from_millis(10))).await.unwrap();
        }
    };
    belongs("a-value", true).await;
    belongs("c-value", false).await;
    server.set_members(1, &["a-value", "c-value"]);
    belongs("c-value", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn administration() {
    let server = Server::start().await;
    let registry = registry(config(&server));
    let reference = [Reference { name: "shop.Line".into(), subject: "line".into(), version: 1 }];
    let registered = registry.register("orders/eu value", ORDER, &reference).await.unwrap();
    assert_eq!(registered.id, 42);
    assert_eq!(server.last_request(), "POST /subjects/orders%2Feu%20value/versions");
    assert!(server.last_body().contains(r#""references":[{"name":"shop.Line","subject":"line","version":1}]"#));
    assert_eq!(registry.compatibility(Some("orders")).await.unwrap(), None);
    registry.set_compatibility(Some("orders"), Compatibility::FullTransitive).await.unwrap();
    assert_eq!(registry.compatibility(Some("orders")).await.unwrap(), Some(Compatibility::FullTransitive));
    assert_eq!(registry.check_compatibility("orders", ORDER, &[]).await.unwrap(), ["it lost a field"]);
    server.set(Fault::Json(409, r#"{"error_code":409,"message":"incompatible"}"#));
    let refused = RequestError::Refused { code: 409, message: "incompatible".into() };
    assert_eq!(registry.register("orders", ORDER, &[]).await.unwrap_err(), refused);
    assert_eq!(registry.check_compatibility("orders", ORDER, &[]).await.unwrap_err(), refused);
    server.set(Fault::Status(502));
    assert!(matches!(registry.register("orders", ORDER, &[]).await, Err(RequestError::Unavailable(_))));
}

/// Answers without what cannot be compared.
trait MapName {
    fn map_name(self) -> Answer<()>;
}

impl MapName for Resolution {
    fn map_name(self) -> Answer<()> {
        match self {
            Answer::Ready(_) => Answer::Ready(()),
            Answer::NoSuchId => Answer::NoSuchId,
            Answer::Unusable(reason) => Answer::Unusable(reason),
            Answer::Pending => Answer::Pending,
            Answer::Unavailable(reason) => Answer::Unavailable(reason),
        }
    }
}
