//! The three routes, what a service adds, and how the endpoint opens and closes.

use axum::{Router, routing::get};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use weir_telemetry::{Health, Metric, Metrics, Server, ServerError};

const RECORDS: Metric = Metric::new("weir_test_records", "Records by outcome.");
const LAG: Metric = Metric::new("weir_test_lag_records", "Records not read yet.");
const WAIT: Metric = Metric::new("weir_test_wait_seconds", "Time spent waiting.");
const ERRORS: Metric = Metric::new("weir_test_errors", "Errors by code.");

async fn start(health: &Health, metrics: Metrics) -> Server {
    let routes = Router::new().route("/extra", get(|| async { "more" }));
    Server::start("--http", SocketAddr::from(([127, 0, 0, 1], 0)), health.clone(), metrics, routes).await.unwrap()
}

/// Status, headers and body of a GET.
async fn fetch(server: &Server, path: &str) -> (u16, String, String) {
    let (address, path) = (server.address(), path.to_owned());
    tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), head.to_owned(), body.to_owned())
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn metrics_are_openmetrics_text() {
    let mut metrics = Metrics::new();
    let errors = metrics.counter::<[(&str, String); 1]>(ERRORS);
    errors.get_or_create(&[("code", "A\"B\n".to_owned())]).inc_by(3);
    let wait = metrics.histogram::<[(&str, String); 0]>(WAIT, &[0.1, 1.0]);
    wait.get_or_create(&[]).observe(0.5);
    metrics.collect(|samples| {
        samples.counter(
            RECORDS,
            [
                ([("topic", "orders"), ("outcome", "accepted")], 7),
                ([("topic", "orders"), ("outcome", "quarantined")], 1),
            ],
        );
        samples.gauge(LAG, [([("topic", "orders")], 2.0)]);
    });
    let server = start(&Health::new(), metrics).await;
    let (status, head, body) = fetch(&server, "/metrics").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
    let (memory, ours): (Vec<&str>, Vec<&str>) =
        body.lines().partition(|line| line.contains("process_resident_memory_bytes"));
    assert!(memory.len() == 3 && memory[2].split_once(' ').unwrap().1.parse::<f64>().unwrap() > 1e6, "{memory:?}");
    assert_eq!(
        ours,
        r#"# HELP weir_test_errors Errors by code.
# TYPE weir_test_errors counter
weir_test_errors_total{code="A\"B\n"} 3
# HELP weir_test_wait_seconds Time spent waiting.
# TYPE weir_test_wait_seconds histogram
weir_test_wait_seconds_sum{} 0.5
weir_test_wait_seconds_count{} 1
weir_test_wait_seconds_bucket{le="0.1"} 0
weir_test_wait_seconds_bucket{le="1.0"} 1
weir_test_wait_seconds_bucket{le="+Inf"} 1
# HELP weir_test_records Records by outcome.
# TYPE weir_test_records counter
weir_test_records_total{topic="orders",outcome="accepted"} 7
weir_test_records_total{topic="orders",outcome="quarantined"} 1
# HELP weir_test_lag_records Records not read yet.
# TYPE weir_test_lag_records gauge
weir_test_lag_records{topic="orders"} 2.0
# EOF"#
            .lines()
            .collect::<Vec<_>>()
    );
    server.stop().await;
}

#[tokio::test]
async fn readiness_gives_its_reasons() {
    let health = Health::new();
    let server = start(&health, Metrics::new()).await;
    assert_eq!(fetch(&server, "/health/ready").await.2, r#"{"ready":true,"reasons":{}}"#);
    health.set("registry", "no answer from the registry, trying again");
    health.set("kafka", "starting");
    health.set("kafka", "no broker answers");
    let (status, head, body) = fetch(&server, "/health/ready").await;
    assert_eq!(status, 503);
    assert!(head.contains("content-type: application/json"), "{head}");
    assert_eq!(
        body,
        r#"{"ready":false,"reasons":{"kafka":"no broker answers","registry":"no answer from the registry, trying again"}}"#
    );
    assert_eq!(fetch(&server, "/health/live").await.0, 200);
    health.clear("kafka");
    health.clear("never set");
    assert!(!health.is_ready());
    health.clear("registry");
    assert_eq!(fetch(&server, "/health/ready").await.0, 200);
}

#[tokio::test]
async fn a_service_adds_routes() {
    let server = start(&Health::new(), Metrics::new()).await;
    assert_eq!(fetch(&server, "/extra").await.2, "more");
    assert_eq!(fetch(&server, "/nothing").await.0, 404);
}

#[tokio::test]
async fn a_taken_port_names_the_setting() {
    let server = start(&Health::new(), Metrics::new()).await;
    let error: ServerError =
        Server::start("--http", server.address(), Health::new(), Metrics::new(), Router::new()).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("cannot listen on {}: ", server.address())) && text.contains("set --http to"),
        "{text}"
    );
}

#[tokio::test]
async fn stopping_closes_the_port_though_a_client_hangs() {
    let server = start(&Health::new(), Metrics::new()).await;
    let address = server.address();
    let mut hanging = TcpStream::connect(address).unwrap();
    hanging.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
    server.stop().await;
    assert!(TcpStream::connect(address).is_err());
}
