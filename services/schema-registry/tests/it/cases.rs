//! The REST API by cases: each file of `tests/cases` is a conversation with a fresh registry.

use std::fs;
use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Registry, record};

/// One request with the answer it must get: `GET /path [body]`, then `status body`. In the body a string "*" stands
/// for anything, and a bare number for an error with this code.
async fn check(registry: &Registry, place: &str, request: &str, expect: &str) {
    let (method, rest) = request.split_once(' ').unwrap_or_else(|| panic!("{place}: no path"));
    let (path, body) = rest.split_once(' ').unwrap_or((rest, ""));
    let got = registry.call(method.parse::<Method>().unwrap(), path, body).await;
    let (status, wanted) = expect.split_once(' ').unwrap_or_else(|| panic!("{place}: no expected body"));
    let status: u16 = status.parse().unwrap_or_else(|_| panic!("{place}: no expected status"));
    let mut wanted: Value = serde_json::from_str(wanted).unwrap_or_else(|e| panic!("{place}: {e}"));
    if status >= 400 {
        wanted = json!({ "error_code": wanted, "message": "*" });
    }
    assert!(
        got.0 == status && matches(&got.1, &wanted),
        "{place}: {request}\n expected {expect}\n got {} {}",
        got.0,
        got.1
    );
}

fn matches(got: &Value, wanted: &Value) -> bool {
    match (got, wanted) {
        (_, Value::String(any)) if any == "*" => true,
        (Value::Object(got), Value::Object(wanted)) => {
            got.len() == wanted.len() && wanted.iter().all(|(k, v)| got.get(k).is_some_and(|got| matches(got, v)))
        }
        (Value::Array(got), Value::Array(wanted)) => {
            got.len() == wanted.len() && got.iter().zip(wanted).all(|(got, wanted)| matches(got, wanted))
        }
        _ => got == wanted,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let Some(registry) = Registry::start(&format!("cases-{name}")).await else { return };
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let lines: Vec<(usize, &str)> = lines.collect();
        for pair in lines.chunks(2) {
            let [(number, request), (_, expect)] = pair else { panic!("{name}: a request without an answer") };
            check(&registry, &format!("{name}.case:{}", number + 1), request, expect).await;
        }
        registry.stop().await;
        count += 1;
    }
    assert!(count >= 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn content_types() {
    let Some(registry) = Registry::start("content-types").await else { return };
    let url = format!("{}/subjects", registry.url());
    let http = weir_registry::http_client([]).build().unwrap();
    let check = async |accept: &str, status: u16, expect: &str| {
        let mut request = http.get(&url);
        if !accept.is_empty() {
            request = request.header("accept", accept);
        }
        let response = request.send().await.unwrap();
        let got = response.headers()["content-type"].to_str().unwrap();
        assert_eq!((response.status().as_u16(), got), (status, expect), "{accept}");
    };
    let ours = "application/vnd.schemaregistry.v1+json";
    check("", 200, ours).await;
    check("*/*", 200, ours).await;
    check(ours, 200, ours).await;
    check("text/html, application/json;q=0.9", 200, "application/json").await;
    check("application/vnd.schemaregistry+json", 200, "application/vnd.schemaregistry+json").await;
    check("text/html", 406, ours).await;
    let sent =
        http.post(format!("{url}/a/versions")).header("content-type", "text/plain").body("{}").send().await.unwrap();
    assert_eq!(sent.status(), 415);
    assert_eq!(sent.json::<Value>().await.unwrap()["error_code"], 415);
    registry.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_and_schemas() {
    let Some(registry) = Registry::start("large").await else { return };
    let (status, answer) = registry.post("/subjects/a/versions", &record("A", 25_000)).await;
    assert_eq!((status, &answer["error_code"]), (422, &json!(42209)), "{answer}");
    let (status, answer) = registry.post("/subjects/a/versions", &record("A", 50_000)).await;
    assert_eq!((status, &answer["error_code"]), (413, &json!(413)), "{answer}");
    let (status, _) = registry.post("/subjects/a/versions", &record("A", 2_000)).await;
    assert_eq!(status, 200);
    let subject = "s".repeat(1025);
    let (status, answer) = registry.post(&format!("/subjects/{subject}/versions"), &record("A", 1)).await;
    assert_eq!((status, &answer["error_code"]), (422, &json!(42208)));
    registry.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_happened() {
    let Some(registry) = Registry::start("metrics").await else { return };
    registry.post("/subjects/a/versions", &record("A", 1)).await;
    registry.get("/schemas/ids/9").await;
    let (_, Value::String(page)) = registry.get("/metrics").await else { panic!() };
    for line in [
        r#"weir_registry_requests_total{route="/subjects/{subject}/versions",code="200"} 1"#,
        r#"weir_registry_requests_total{route="/schemas/ids/{id}",code="404"} 1"#,
        r#"weir_registry_log_records_total{outcome="applied"} 1"#,
        "weir_registry_schemas{} 1",
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
    registry.stop().await;
}
