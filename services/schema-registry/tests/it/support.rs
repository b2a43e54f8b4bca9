//! Registries on topics of their own, and HTTP to them.

use std::time::{Duration, Instant};

use reqwest::Method;
use schema_registry::{Config, Service};
use serde_json::Value;
use weir_kafka::ClusterConfig;
use weir_testkit::kafka::Cluster;

pub const DEADLINE: Duration = Duration::from_secs(60);

pub struct Registry {
    service: Service,
    http: reqwest::Client,
}

/// Settings for a registry on the given broker.
pub fn config(bootstrap: &str, topic: &str) -> Config {
    // The end of the log is known after a fetch that brings nothing, so conversations are quicker with a short one.
    let cluster = ClusterConfig::new(bootstrap, [("fetch.wait.max.ms", "10")]).unwrap();
    Config { topic: topic.to_owned(), ..Config::new(cluster) }
}

impl Registry {
    /// A registry on a topic of the shared broker; none where there is no Kafka.
    pub async fn start(topic: &str) -> Option<Registry> {
        let registry = Registry::open(config(&Cluster::shared()?.bootstrap(), topic)).await;
        registry.ready().await;
        Some(registry)
    }

    pub async fn open(config: Config) -> Registry {
        Registry {
            service: Service::start(config).await.unwrap(),
            http: weir_registry::http_client([]).build().unwrap(),
        }
    }

    pub async fn ready(&self) {
        until("the registry to be ready", async || self.get("/health/ready").await.0 == 200).await;
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.service.address())
    }

    pub async fn stop(self) {
        self.service.stop().await;
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.call(Method::GET, path, "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.call(Method::POST, path, &body.to_string()).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        self.call(Method::PUT, path, &body.to_string()).await
    }

    pub async fn delete(&self, path: &str) -> (u16, Value) {
        self.call(Method::DELETE, path, "").await
    }

    pub async fn call(&self, method: Method, path: &str, body: &str) -> (u16, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.url())).timeout(DEADLINE);
        if !body.is_empty() {
            request = request.header("content-type", "application/vnd.schemaregistry.v1+json").body(body.to_owned());
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }
}

/// Waits until the condition holds.
pub async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < DEADLINE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A record schema with as many optional fields as the number says: every one is compatible with every other.
pub fn record(name: &str, fields: usize) -> Value {
    let fields: Vec<Value> =
        (0..fields).map(|n| serde_json::json!({ "name": format!("f{n}"), "type": "int", "default": 0 })).collect();
    let schema = serde_json::json!({ "type": "record", "name": name, "fields": fields });
    serde_json::json!({ "schema": schema.to_string() })
}
