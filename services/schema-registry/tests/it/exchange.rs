//! The topic as others write and read it: records made by hand in Confluent's form, and ours byte for byte.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::json;
use weir_kafka::{Admin, ClusterConfig, NewTopic, Outgoing, Read, ReadOptions, Reader, TransactionalWriter, Writer};
use weir_testkit::kafka::Cluster;
use weir_testkit::wait_for;

use crate::support::{Registry, record};

fn cluster() -> Option<ClusterConfig> {
    Some(ClusterConfig::new(&Cluster::shared()?.bootstrap(), [("client.id", "test")]).unwrap())
}

fn create(cluster: &ClusterConfig, topic: &str) {
    let wanted = NewTopic::new(topic, 1).set("cleanup.policy", "compact");
    Admin::new(cluster).unwrap().create_topic(&wanted).unwrap();
}

/// Writes records as Confluent's producer would, without a transaction; an empty value is a tombstone.
fn write(cluster: &ClusterConfig, topic: &str, records: &[(&str, &str)]) {
    let mut writer = Writer::open(cluster, 100).unwrap();
    for (key, value) in records {
        let value = (!value.is_empty()).then_some(value.as_bytes());
        let record = Outgoing { topic, partition: Some(0), key: Some(key.as_bytes()), value, ..Outgoing::default() };
        writer.write(&record).unwrap();
    }
}

fn read(cluster: &ClusterConfig, topic: &str) -> Vec<(String, String)> {
    read_with(cluster, topic, ReadOptions::default())
}

fn read_with(cluster: &ClusterConfig, topic: &str, options: ReadOptions) -> Vec<(String, String)> {
    let mut reader = Reader::open(cluster, topic, options).unwrap();
    let mut records = Vec::new();
    loop {
        match reader.next(Duration::from_secs(30)).unwrap() {
            Read::Record(record) => {
                let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap_or_default()).unwrap();
                records.push((text(record.key), text(record.value)));
            }
            Read::CaughtUp => return records,
            Read::Idle => panic!("the topic did not end"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_confluent_wrote() {
    let Some(cluster) = cluster() else { return };
    create(&cluster, "exchange-theirs");
    write(
        &cluster,
        "exchange-theirs",
        &[
            (r#"{"keytype":"NOOP","magic":0}"#, ""),
            (r#"{"keytype":"CONFIG","subject":null,"magic":0}"#, r#"{"compatibilityLevel":"FULL"}"#),
            (
                r#"{"keytype":"SCHEMA","subject":"a","version":1,"magic":1}"#,
                r#"{"subject":"a","version":1,"id":5,"schema":"\"int\"","deleted":false}"#,
            ),
            (
                r#"{"keytype":"SCHEMA","subject":"a","version":2,"magic":1}"#,
                r#"{"subject":"a","version":2,"id":6,"md5":"AAAAAAAAAAAAAAAAAAAAAA==","schemaType":"AVRO","metadata":{"properties":{"owner":"x"}},"schema":"\"long\"","deleted":false,"offset":3,"ts":123}"#,
            ),
            (
                r#"{"keytype":"SCHEMA","subject":"b","version":1,"magic":1}"#,
                r#"{"subject":"b","version":1,"id":7,"schemaType":"JSON","schema":"{}","deleted":false}"#,
            ),
            (r#"{"keytype":"DELETE_SUBJECT","subject":"b","magic":0}"#, r#"{"subject":"b","version":1}"#),
            // An id of another context is another id; one given twice and what nobody understands are left out.
            (
                r#"{"keytype":"SCHEMA","subject":":.other:a","version":1,"magic":1}"#,
                r#"{"subject":":.other:a","version":1,"id":1,"schema":"\"bytes\"","deleted":false}"#,
            ),
            (
                r#"{"keytype":"SCHEMA","subject":"c","version":1,"magic":1}"#,
                r#"{"subject":"c","version":1,"id":5,"schema":"\"string\"","deleted":false}"#,
            ),
            (
                r#"{"keytype":"CONTEXT","tenant":"default","context":".other","magic":0}"#,
                r#"{"tenant":"default","context":".other"}"#,
            ),
            (
                r#"{"keytype":"CONFIG","subject":"a","magic":0}"#,
                r#"{"subject":"a","compatibilityLevel":"NONE","alias":"z"}"#,
            ),
            (r#"{"keytype":"MODE","subject":"d","magic":0}"#, r#"{"subject":"d","mode":"READONLY"}"#),
            (r#"{"keytype":"MODE","subject":"e","magic":0}"#, r#"{"subject":"e","mode":"READONLY_OVERRIDE"}"#),
            ("nonsense", "nonsense"),
        ],
    );
    let Some(registry) = Registry::start("exchange-theirs").await else { return };
    assert_eq!(registry.get("/subjects?deleted=true").await.1, json!([":.other:a", "a", "b"]));
    assert_eq!(registry.get("/subjects").await.1, json!([":.other:a", "a"]));
    assert_eq!(registry.get("/contexts").await.1, json!([".", ".other"]));
    assert_eq!(registry.get("/schemas/ids/1?subject=:.other:").await.1["schema"], "\"bytes\"");
    assert_eq!(registry.get("/config").await.1, json!({ "compatibilityLevel": "FULL" }));
    assert_eq!(registry.get("/config/a").await.1, json!({ "alias": "z", "compatibilityLevel": "NONE" }));
    assert_eq!(registry.get("/mode/d").await.1, json!({ "mode": "READONLY" }));
    assert_eq!(registry.get("/mode/e").await.1, json!({ "mode": "READONLY_OVERRIDE" }));
    assert_eq!(registry.get("/schemas/ids/5/versions").await.1, json!([{ "subject": "a", "version": 1 }]));
    let (_, second) = registry.get("/subjects/a/versions/2").await;
    assert_eq!(
        (&second["guid"], &second["metadata"]["properties"]["owner"]),
        (&json!("00000000-0000-0000-0000-000000000000"), &json!("x"))
    );
    assert_eq!(registry.get("/schemas/ids/7").await.1["schemaType"], "JSON");
    assert_eq!(registry.get("/schemas/ids/1").await.0, 404);
    // What they registered keeps its id, and new ids follow theirs.
    assert_eq!(registry.post("/subjects/z/versions", &json!({ "schema": "\"int\"" })).await.1["id"], 5);
    assert_eq!(
        registry.post("/subjects/z/versions", &json!({ "schema": "{\"type\":\"int\",\"x\":1}" })).await.1["id"],
        8
    );
    // They go on writing after us.
    write(
        &cluster,
        "exchange-theirs",
        &[(
            r#"{"keytype":"SCHEMA","subject":"y","version":1,"magic":1}"#,
            r#"{"subject":"y","version":1,"id":9,"schemaType":"AVRO","schema":"\"bytes\"","deleted":false}"#,
        )],
    );
    assert_eq!(registry.get("/schemas/ids/9").await.1["schema"], "\"bytes\"");
    registry.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_as_we_write_it() {
    let Some(registry) = Registry::start("exchange-ours").await else { return };
    let cluster = cluster().unwrap();
    let int = json!({ "schema": "\"int\"" });
    registry.post("/subjects/a/versions", &int).await;
    let reference = json!([{ "name": "A", "subject": "r", "version": 1 }]);
    registry.post("/subjects/r/versions", &record("A", 0)).await;
    registry
        .post(
            "/subjects/b/versions",
            &json!({ "schema": "\"A\"", "references": reference, "metadata": { "properties": { "k": "v" } } }),
        )
        .await;
    registry.put("/config", &json!({ "compatibility": "FULL" })).await;
    registry.put("/config/a", &json!({ "compatibility": "NONE" })).await;
    registry.put("/mode/a", &json!({ "mode": "READWRITE" })).await;
    registry.delete("/subjects/b/versions/1").await;
    registry.delete("/subjects/a").await;
    registry.delete("/subjects/a?permanent=true").await;
    // A context is named before its first schema, and its ids are kept with the others when a schema goes.
    registry.post("/subjects/:.x:j/versions", &json!({ "schema": " { } ", "schemaType": "JSON" })).await;
    registry.delete("/subjects/:.x:j").await;
    registry.delete("/subjects/:.x:j?permanent=true").await;
    registry.delete("/contexts/:.x:").await;
    let expect = [
        (
            r#"{"keytype":"SCHEMA","subject":"a","version":1,"magic":1}"#,
            r#"{"subject":"a","version":1,"id":1,"schemaType":"AVRO","schema":"\"int\"","deleted":false}"#,
        ),
        (
            r#"{"keytype":"SCHEMA","subject":"r","version":1,"magic":1}"#,
            r#"{"subject":"r","version":1,"id":2,"schemaType":"AVRO","schema":"{\"type\":\"record\",\"name\":\"A\",\"fields\":[]}","deleted":false}"#,
        ),
        (
            r#"{"keytype":"SCHEMA","subject":"b","version":1,"magic":1}"#,
            r#"{"subject":"b","version":1,"id":3,"schemaType":"AVRO","references":[{"name":"A","subject":"r","version":1}],"metadata":{"properties":{"k":"v"}},"schema":"\"A\"","deleted":false}"#,
        ),
        (r#"{"keytype":"CONFIG","magic":0}"#, r#"{"compatibilityLevel":"FULL"}"#),
        (r#"{"keytype":"CONFIG","subject":"a","magic":0}"#, r#"{"subject":"a","compatibilityLevel":"NONE"}"#),
        (r#"{"keytype":"MODE","subject":"a","magic":0}"#, r#"{"subject":"a","mode":"READWRITE"}"#),
        (
            r#"{"keytype":"SCHEMA","subject":"b","version":1,"magic":1}"#,
            r#"{"subject":"b","version":1,"id":3,"schemaType":"AVRO","references":[{"name":"A","subject":"r","version":1}],"metadata":{"properties":{"k":"v"}},"schema":"\"A\"","deleted":true}"#,
        ),
        (r#"{"keytype":"DELETE_SUBJECT","subject":"a","magic":0}"#, r#"{"subject":"a","version":1}"#),
        (r#"{"keytype":"NOOP","magic":0}"#, r#"{"maxId":3}"#),
        (r#"{"keytype":"SCHEMA","subject":"a","version":1,"magic":1}"#, ""),
        (r#"{"keytype":"MODE","subject":"a","magic":0}"#, ""),
        (r#"{"keytype":"CONFIG","subject":"a","magic":0}"#, ""),
        (
            r#"{"keytype":"CONTEXT","tenant":"default","context":".x","magic":0}"#,
            r#"{"tenant":"default","context":".x"}"#,
        ),
        (
            r#"{"keytype":"SCHEMA","subject":":.x:j","version":1,"magic":1}"#,
            r#"{"subject":":.x:j","version":1,"id":1,"schemaType":"JSON","schema":"{}","deleted":false}"#,
        ),
        (r#"{"keytype":"DELETE_SUBJECT","subject":":.x:j","magic":0}"#, r#"{"subject":":.x:j","version":1}"#),
        (r#"{"keytype":"NOOP","magic":0}"#, r#"{"maxId":3,"contexts":{".x":1}}"#),
        (r#"{"keytype":"SCHEMA","subject":":.x:j","version":1,"magic":1}"#, ""),
        (r#"{"keytype":"NOOP","magic":0}"#, r#"{"maxId":3,"contexts":{".x":1}}"#),
        (r#"{"keytype":"CONTEXT","tenant":"default","context":".x","magic":0}"#, ""),
    ];
    let expect: Vec<(String, String)> = expect.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    assert_eq!(read(&cluster, "exchange-ours"), expect);
    registry.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_would_lose_schemas_is_refused() {
    let Some(cluster) = cluster() else { return };
    let admin = Admin::new(&cluster).unwrap();
    admin.create_topic(&NewTopic::new("unfit", 1).set("cleanup.policy", "delete")).unwrap();
    let registry = Registry::open(crate::support::config(cluster.bootstrap(), "unfit")).await;
    crate::support::until("the reason", async || {
        registry.get("/health/ready").await.1["reasons"]["kafka"].as_str().unwrap().contains("cleanup.policy=compact")
    })
    .await;
    assert_eq!(registry.get("/subjects").await.1["error_code"], 50003);
    admin.alter_configs("unfit", &BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())])).unwrap();
    registry.ready().await;
    registry.stop().await;
}

/// Apache Kafka that is killed can forget the end of a transaction, whose records then show with the producer's next one. Here
/// somebody else's does so.
#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_shows_late_keeps_its_id() {
    let Some(cluster) = cluster() else { return };
    let Some(registry) = Registry::start("exchange-late").await else { return };
    let topic = "exchange-late";
    assert_eq!(registry.post("/subjects/a/versions", &record("A", 1)).await.1["id"], 1);
    let (show, shown) = mpsc::channel::<()>();
    let late = record("B", 1)["schema"].clone();
    let (key, value) = (
        r#"{"keytype":"SCHEMA","subject":"b","version":1,"magic":1}"#,
        json!({"subject": "b", "version": 1, "id": 2, "schema": late, "deleted": false}).to_string(),
    );
    let hidden = std::thread::spawn({
        let cluster = cluster.clone();
        move || {
            let mut writer = TransactionalWriter::open(&cluster, "exchange-late", Duration::from_secs(60)).unwrap();
            writer.begin().unwrap();
            let (key, value) = (Some(key.as_bytes()), Some(value.as_bytes()));
            writer.send(&Outgoing { topic, partition: Some(0), key, value, ..Outgoing::default() }).unwrap();
            shown.recv().unwrap();
            writer.commit().unwrap();
        }
    });
    let written = |subject: &str| {
        let options = ReadOptions { uncommitted: true, ..ReadOptions::default() };
        let name = format!("\"subject\":\"{subject}\"");
        read_with(&cluster, topic, options).iter().any(|(key, _)| key.contains(&name))
    };
    wait_for(Duration::from_secs(30), "the hidden record", || written("b"));
    let body = record("C", 1);
    let (answer, ()) = tokio::join!(registry.post("/subjects/c/versions", &body), async {
        tokio::task::block_in_place(|| {
            wait_for(Duration::from_secs(30), "the record behind it", || written("c"));
            show.send(()).unwrap();
        });
    });
    hidden.join().unwrap();
    assert_eq!((answer.0, &answer.1["id"]), (200, &json!(3)), "{answer:?}");
    let (b, c) = (registry.get("/schemas/ids/2").await.1, registry.get("/schemas/ids/3").await.1);
    assert_eq!((&b["schema"], &c["schema"]), (&late, &body["schema"]));
}
