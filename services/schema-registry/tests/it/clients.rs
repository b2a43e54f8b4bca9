//! Clients as they are: schema_registry_converter through weir-registry, and confluent-kafka's Python client.

use std::process::Command;
use std::sync::Arc;

use tokio::runtime::Handle;
use weir_registry::{Answer, Compatibility, Config, Reference, RequestError, SchemaId};

use crate::support::Registry;

const LINE: &str = r#"{"type":"record","name":"Line","namespace":"shop","fields":[{"name":"qty","type":"int"}]}"#;
const CART: &str =
    r#"{"type":"record","name":"Cart","namespace":"shop","fields":[{"name":"line","type":"shop.Line"}]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn schema_registry_converter() {
    let Some(registry) = Registry::start("converter").await else { return };
    let client = weir_registry::Registry::new(Config::new([registry.url()]), Handle::current()).unwrap();
    assert_eq!(client.resolved(SchemaId::Id(1)).await.map_unit(), Answer::NoSuchId);
    assert_eq!(client.latest("cart/eu value").await.unwrap(), None);
    let line = client.register("line", LINE, &[]).await.unwrap();
    let reference = [Reference { name: "shop.Line".into(), subject: "line".into(), version: 1 }];
    assert_eq!(client.check_compatibility("cart/eu value", CART, &reference).await.unwrap(), Vec::<String>::new());
    let cart = client.register("cart/eu value", CART, &reference).await.unwrap();
    assert_eq!((line.id, cart.id, cart.version), (1, 2, Some(1)));
    assert_eq!(client.latest("cart/eu value").await.unwrap().unwrap().references, reference);
    assert_eq!(client.look_up("cart/eu value", CART, &reference).await.unwrap().unwrap().id, 2);
    assert_eq!(client.look_up("line", "\"int\"", &[]).await.unwrap(), None);
    let Answer::Ready(resolved) = client.resolved(SchemaId::Id(2)).await else { panic!() };
    assert_eq!(resolved.references, reference);
    let guid = registry.get("/schemas/ids/2").await.1["guid"].as_str().unwrap().replace('-', "");
    let guid = SchemaId::Guid(u128::from_str_radix(&guid, 16).unwrap().to_be_bytes());
    let Answer::Ready(by_guid) = client.resolved(guid).await else { panic!() };
    assert_eq!(by_guid.text, resolved.text);
    for id in [guid, SchemaId::Id(2)] {
        crate::support::until("membership", async || client.belongs(id, "cart/eu value") == Answer::Ready(true)).await;
        crate::support::until("membership", async || client.belongs(id, "line") == Answer::Ready(false)).await;
    }
    client.set_compatibility(Some("line"), Compatibility::FullTransitive).await.unwrap();
    assert_eq!(client.compatibility(Some("line")).await.unwrap(), Some(Compatibility::FullTransitive));
    assert_eq!(client.compatibility(None).await.unwrap(), Some(Compatibility::Backward));
    assert_eq!(client.check_compatibility("line", "\"int\"", &[]).await.unwrap().len(), 2);
    assert!(matches!(client.register("line", "\"int\"", &[]).await, Err(RequestError::Refused { code: 409, .. })));
    assert_eq!(client.subjects().await.unwrap(), ["cart/eu value", "line"]);
    registry.stop().await;
}

trait MapUnit {
    fn map_unit(self) -> Answer<()>;
}

impl MapUnit for Answer<Arc<weir_registry::Resolved>> {
    fn map_unit(self) -> Answer<()> {
        match self {
            Answer::Ready(_) => Answer::Ready(()),
            Answer::NoSuchId => Answer::NoSuchId,
            Answer::Unusable(reason) => Answer::Unusable(reason),
            Answer::Pending => Answer::Pending,
            Answer::Unavailable(reason) => Answer::Unavailable(reason),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn confluent_kafka_for_python() {
    let Some(python) = weir_testkit::python() else { return };
    let Some(registry) = Registry::start("python").await else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/python/clients.py");
    let url = registry.url();
    let run = move || Command::new(python).args([script, &url]).output().unwrap();
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "ok");
    registry.stop().await;
}
