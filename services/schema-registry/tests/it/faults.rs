//! Kafka away at the start and in the middle, and the process edge.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use weir_testkit::kafka::Cluster;
use weir_testkit::{Process, Signal, free_port, wait_for};

use crate::support::{Registry, config, record, until};

#[tokio::test(flavor = "multi_thread")]
async fn kafka_away_at_the_start() {
    let registry = Registry::open(config(&format!("127.0.0.1:{}", free_port()), "_schemas")).await;
    until("the reason", async || {
        let (status, answer) = registry.get("/health/ready").await;
        status == 503 && answer["reasons"]["kafka"].as_str().unwrap().contains("check that the brokers run")
    })
    .await;
    assert_eq!(registry.get("/health/live").await.0, 200);
    for (status, answer) in [
        registry.get("/subjects").await,
        registry.get("/schemas/ids/1").await,
        registry.post("/subjects/a/versions", &record("A", 1)).await,
    ] {
        assert_eq!((status, &answer["error_code"]), (500, &json!(50003)), "{answer}");
    }
    registry.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_away_in_the_middle() {
    let Some(mut cluster) = Cluster::start() else { return };
    let mut settings = config(&cluster.bootstrap(), "_schemas");
    settings.request_timeout = Duration::from_secs(2);
    let registry = Arc::new(Registry::open(settings).await);
    registry.ready().await;
    // Somebody keeps registering through all of it, new schemas under new subjects, and remembers what was confirmed.
    let (done, confirmed) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let writer = tokio::spawn({
        let (registry, done, confirmed) = (registry.clone(), done.clone(), confirmed.clone());
        async move {
            for n in 0.. {
                let name = format!("W{n}");
                let (status, answer) = registry.post(&format!("/subjects/{name}/versions"), &record(&name, 1)).await;
                match status {
                    200 => confirmed.lock().unwrap().push((answer["id"].as_u64().unwrap(), answer["schema"].clone())),
                    _ => assert_eq!(answer["error_code"], 50002, "{answer}"),
                }
                if done.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
    });
    let count = || confirmed.lock().unwrap().len();
    until("some writes", async || count() >= 10).await;
    cluster.kill();
    until("the registry to notice", async || registry.get("/health/ready").await.0 == 503).await;
    // What is known is still told, what is not known is not denied, and nothing is changed.
    let known = confirmed.lock().unwrap()[0].clone();
    assert_eq!(registry.get(&format!("/schemas/ids/{}", known.0)).await.1["schema"], known.1);
    assert_eq!(registry.get("/schemas/ids/2000000000").await.1["error_code"], 50002);
    assert_eq!(registry.delete("/subjects/W0").await.1["error_code"], 50002);
    cluster.restart();
    registry.ready().await;
    let before = count();
    until("writes to work again", async || count() >= before + 10).await;
    done.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    // Another reader of the log finds all that was confirmed, no id twice, and no gap: what failed left no trace.
    let second = Registry::open(config(&cluster.bootstrap(), "_schemas")).await;
    second.ready().await;
    let confirmed = confirmed.lock().unwrap().clone();
    for (id, schema) in &confirmed {
        assert_eq!(second.get(&format!("/schemas/ids/{id}")).await.1["schema"], *schema, "id {id}");
    }
    let (_, all) = second.get("/schemas?deleted=true").await;
    let mut ids: Vec<u64> = all.as_array().unwrap().iter().map(|version| version["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
    second.stop().await;
}

#[test]
fn wrong_settings_exit_with_64() {
    let check = |arguments: &[&str], code: i32, part: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_schema-registry")).args(arguments).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(part), "{text}");
    };
    check(&["--topic", "a b"], 64, "--topic");
    check(&["--listen", "nowhere"], 64, "--listen");
    check(&["--nonsense"], 64, "--nonsense");
    check(&["--kafka-property", "acks=0"], 64, "acks");
    check(&["--log-format", "xml"], 64, "--log-format");
    check(&["--users", "nowhere"], 64, "--users: nowhere");
    let users = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(users.path(), "alice:hush\n").unwrap();
    check(&["--users", users.path().to_str().unwrap()], 64, "line 1: the hash is not bcrypt's");
    check(&["--help"], 0, "--kafka");
}

#[test]
fn sigterm_ends_the_process_in_time() {
    let Some(cluster) = Cluster::shared() else { return };
    let port = free_port();
    let mut process = Process::spawn(Command::new(env!("CARGO_BIN_EXE_schema-registry")).args([
        "--kafka",
        &cluster.bootstrap(),
        "--topic",
        "process",
        "--listen",
        &format!("127.0.0.1:{port}"),
    ]))
    .unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ready = || runtime.block_on(async { reqwest::get(format!("http://127.0.0.1:{port}/health/ready")).await });
    wait_for(Duration::from_secs(30), "the process to be ready", || ready().is_ok_and(|r| r.status() == 200));
    process.signal(Signal::Terminate);
    assert_eq!(process.wait(Duration::from_secs(10)).code(), Some(0));
}
