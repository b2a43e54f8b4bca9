//! Several instances on one topic.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::{Registry, record};

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_never_give_one_id_to_two_schemas() {
    const WRITES: usize = 30;
    let Some(a) = Registry::start("two").await else { return };
    let Some(b) = Registry::start("two").await else { return };
    let instances = [Arc::new(a), Arc::new(b)];
    let mut tasks = Vec::new();
    for (n, instance) in instances.iter().enumerate() {
        for worker in 0..2 {
            let instance = instance.clone();
            tasks.push(tokio::spawn(async move {
                let mut given = Vec::new();
                for round in 0..WRITES / 2 {
                    // Half of the schemas are the same for all, so that both instances register them at once.
                    let name = if round % 2 == 0 { format!("Shared{round}") } else { format!("R{n}_{worker}_{round}") };
                    let body = record(&name, 1);
                    let path = format!("/subjects/{name}/versions");
                    // A client tries again after 50002, as the message says.
                    let (status, answer) = instance.post(&path, &body).await;
                    assert!(status == 200 || answer["error_code"] == 50002, "{status} {answer}");
                    if status == 200 {
                        assert_eq!(answer["version"], 1);
                        // What one instance has confirmed, none denies.
                        given.push((answer["id"].as_u64().unwrap(), answer["schema"].as_str().unwrap().to_owned()));
                    }
                }
                given
            }));
        }
    }
    let mut schemas: BTreeMap<u64, String> = BTreeMap::new();
    for task in tasks {
        for (id, schema) in task.await.unwrap() {
            assert_eq!(schemas.entry(id).or_insert_with(|| schema.clone()), &schema, "id {id}");
        }
    }
    assert!(schemas.len() >= WRITES, "only {} were written", schemas.len());
    // Dense, and the same to both.
    let highest = *schemas.keys().next_back().unwrap();
    for id in 1..=highest {
        let (status, answer) = instances[0].get(&format!("/schemas/ids/{id}")).await;
        assert_eq!(status, 200, "id {id}: {answer}");
        assert_eq!(instances[1].get(&format!("/schemas/ids/{id}")).await.1, answer);
        if let Some(schema) = schemas.get(&id) {
            assert_eq!(answer["schema"], **schema);
        }
    }
    let fenced = async |registry: &Registry| {
        let (_, Value::String(page)) = registry.get("/metrics").await else { panic!() };
        let line = page.lines().find(|line| line.starts_with("weir_registry_fenced_total")).map(str::to_owned);
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
    };
    assert!(fenced(&instances[0]).await + fenced(&instances[1]).await > 0, "the instances never met");
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
