//! Several instances on one topic.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use weir_kafka::Admin;
use weir_testkit::kafka::Cluster;

use crate::support::{Registry, config, record, until};

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_never_give_one_id_to_two_schemas() {
    let Some(a) = Registry::start("two").await else { return };
    let Some(b) = Registry::start("two").await else { return };
    let (instances, done) = ([Arc::new(a), Arc::new(b)], Arc::new(AtomicBool::new(false)));
    let mut writers = Vec::new();
    for (n, instance) in instances.iter().enumerate() {
        for worker in 0..2 {
            let (instance, done) = (instance.clone(), done.clone());
            writers.push(tokio::spawn(async move {
                let mut given = Vec::new();
                for round in 0.. {
                    // Half of the schemas are the same for all, so that both instances register them at once.
                    let name = if round % 2 == 0 { format!("Shared{round}") } else { format!("R{n}_{worker}_{round}") };
                    let (status, answer) =
                        instance.post(&format!("/subjects/{name}/versions"), &record(&name, 1)).await;
                    assert!(status == 200 || answer["error_code"] == 50002, "{status} {answer}");
                    if status == 200 {
                        assert_eq!(answer["version"], 1);
                        given.push((answer["id"].as_u64().unwrap(), answer["schema"].as_str().unwrap().to_owned()));
                    }
                    if done.load(Ordering::Relaxed) {
                        return given;
                    }
                }
                given
            }));
        }
    }
    let fenced = async |registry: &Registry| {
        let (_, Value::String(page)) = registry.get("/metrics").await else { panic!() };
        let line = page.lines().find(|line| line.starts_with("weir_registry_fenced_total")).map(str::to_owned);
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
    };
    until("each instance to lose the log to the other", async || {
        fenced(&instances[0]).await >= 3 && fenced(&instances[1]).await >= 3
    })
    .await;
    done.store(true, Ordering::Relaxed);
    let mut schemas: BTreeMap<u64, String> = BTreeMap::new();
    for writer in writers {
        for (id, schema) in writer.await.unwrap() {
            assert_eq!(schemas.entry(id).or_insert_with(|| schema.clone()), &schema, "id {id}");
        }
    }
    // Dense, and the same to both.
    for id in 1..=*schemas.keys().next_back().unwrap() {
        let (status, answer) = instances[0].get(&format!("/schemas/ids/{id}")).await;
        assert_eq!(status, 200, "id {id}: {answer}");
        assert_eq!(instances[1].get(&format!("/schemas/ids/{id}")).await.1, answer);
        if let Some(schema) = schemas.get(&id) {
            assert_eq!(answer["schema"], **schema);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_at_a_time_is_decided_one_after_the_other_and_written_together() {
    let Some(registry) = Registry::start("together").await else { return };
    registry.post("/subjects/first/versions", &record("First", 1)).await;
    let registry = Arc::new(registry);
    // Three ask for the same schema, under one subject and under another; every fourth for one that does not fit its subject.
    let ask = |n: usize| {
        let registry = registry.clone();
        tokio::spawn(async move {
            let (subject, body) = match n % 4 {
                0 => ("first".to_owned(), json!({ "schema": r#"{"type": "fixed", "name": "First", "size": 1}"# })),
                1 => (format!("other{n}"), record(&format!("Same{}", n / 4), 2)),
                _ => (format!("subject{}", n / 4), record(&format!("Same{}", n / 4), 2)),
            };
            (n, registry.post(&format!("/subjects/{subject}/versions"), &body).await)
        })
    };
    let asked: Vec<_> = (0..160).map(ask).collect();
    let mut ids: BTreeMap<usize, u64> = BTreeMap::new();
    for asked in asked {
        let (n, (status, answer)) = asked.await.unwrap();
        if n % 4 == 0 {
            assert_eq!((status, &answer["error_code"]), (409, &json!(409)), "{answer}");
            continue;
        }
        assert_eq!((status, &answer["version"]), (200, &json!(1)), "{answer}");
        let id = answer["id"].as_u64().unwrap();
        assert_eq!(*ids.entry(n / 4).or_insert(id), id, "one schema has one id");
    }
    let mut given: Vec<u64> = ids.into_values().collect();
    given.sort_unstable();
    assert_eq!(given, (2..=41).collect::<Vec<_>>(), "dense, and each for one schema");
    // Each transaction leaves one marker behind its records: 81 records would have 81.
    let kafka = config(&Cluster::shared().unwrap().bootstrap(), "together").cluster;
    let end: i64 = Admin::new(&kafka).unwrap().offsets("together").unwrap().iter().map(|o| o.end).sum();
    assert!((82..150).contains(&end), "{end} offsets for 81 records and their transactions");
    Arc::try_unwrap(registry).unwrap_or_else(|_| panic!("somebody still asks")).stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_instance_confirmed_none_denies() {
    let Some(a) = Registry::start("seen").await else { return };
    let Some(b) = Registry::start("seen").await else { return };
    for n in 1..=8 {
        let (_, answer) = a.post("/subjects/s/versions", &record("S", n)).await;
        let id = answer["id"].as_u64().unwrap();
        assert_eq!(b.get(&format!("/schemas/ids/{id}")).await.0, 200);
        let path = format!("/schemas/ids/{id}/versions");
        assert_eq!(b.get(&path).await.1, json!([{ "subject": "s", "version": n }]));
        let (_, answer) = a.post("/subjects/t/versions", &record("S", n)).await;
        assert_eq!(answer["id"].as_u64().unwrap(), id);
        assert_eq!(b.get(&path).await.1.as_array().unwrap().len(), 2);
    }
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_finds_everything() {
    let Some(first) = Registry::start("restart").await else { return };
    for n in 1..=3 {
        first.post("/subjects/s/versions", &record("S", n)).await;
    }
    first.put("/config/s", &json!({ "compatibility": "FULL" })).await;
    first.delete("/subjects/s/versions/3").await;
    first.delete("/subjects/s/versions/3?permanent=true").await;
    let before = first.get("/schemas?deleted=true").await;
    first.stop().await;
    let Some(second) = Registry::start("restart").await else { return };
    assert_eq!(second.get("/schemas?deleted=true").await, before);
    assert_eq!(second.get("/config/s").await.1["compatibilityLevel"], "FULL");
    assert_eq!(second.post("/subjects/s/versions", &record("S", 9)).await.1["id"], 4);
    second.stop().await;
}
