//! A broker by itself, for trying clients on it: `cargo run -p weir-broker --example broker -- --listen 127.0.0.1:9092 --data DIR`.
//!
//! Its first line says where it listens. It ends on SIGTERM or ctrl-c. Without `--data` it keeps nothing.

use std::error::Error;
use std::io::{Write, stdout};
use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use weir_broker::{Broker, Config, Data, Flush};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::INFO).init();
    let mut config = Config::new(Data::Ephemeral(std::env::temp_dir()));
    config.listen.set_port(0);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{name} needs a value"));
        match name.as_str() {
            "--listen" => config.listen = value()?.parse()?,
            "--data" => config.data = Data::Folder(PathBuf::from(value()?)),
            "--fsync" => config.flush = Flush::Fsync,
            "--auto-create" => config.auto_create_topics = true,
            "--set" => set(&mut config, &value()?)?,
            _ => return Err(format!("{name} is none of --listen, --data, --fsync, --auto-create and --set").into()),
        }
    }
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let broker = Broker::start(config).await?;
    writeln!(stdout(), "{}", broker.bootstrap())?;
    stdout().flush()?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    broker.stop().await;
    Ok(())
}

/// Takes a setting as it would stand in Kafka's `server.properties`.
fn set(config: &mut Config, property: &str) -> Result<(), Box<dyn Error>> {
    match property.split_once('=').ok_or("write --set name=value")? {
        ("group.min.session.timeout.ms", value) => config.min_session_timeout = Duration::from_millis(value.parse()?),
        // How often Kafka looks for transactions that took too long; here each ends at its own time.
        ("transaction.abort.timed.out.transaction.cleanup.interval.ms", _) => {}
        (name, _) => return Err(format!("--set {name}: not a setting of this broker").into()),
    }
    Ok(())
}
