use super::*;
use weir_broker::{FolderError, StartError};

#[tokio::test]
async fn two_brokers_on_one_folder_are_one_too_many() {
    let lab = Lab::start().await;
    let error = Broker::start(config(lab.folder.path())).await.unwrap_err();
    assert!(matches!(&error, StartError::Folder(FolderError::Busy { .. })), "{error}");
    assert!(error.to_string().contains("in use by another broker"), "{error}");
    // The first one goes on, and when it is gone the folder is free.
    lab.client().await.create("orders", 1, &[]).await;
    lab.restart().await.broker.stop().await;
}

#[tokio::test]
async fn a_folder_of_somebody_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis.txt"), "x").unwrap();
    let error = Broker::start(config(folder.path())).await.unwrap_err();
    assert!(error.to_string().contains("thesis.txt"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_the_setting() {
    let lab = Lab::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.listen = lab.broker.address();
    let error = Broker::start(config).await.unwrap_err();
    let StartError::Listen { address, setting, .. } = &error else { panic!("{error}") };
    assert_eq!((*address, *setting), (lab.broker.address(), "--broker-listen"));
    assert!(error.to_string().contains("--broker-listen"), "{error}");
}

#[tokio::test]
async fn a_topic_whose_description_is_broken_is_not_left_out_silently() {
    let lab = Lab::start().await;
    lab.client().await.create("orders", 1, &[]).await;
    lab.broker.stop().await;
    std::fs::write(lab.folder.path().join("topics/orders/topic.json"), "{").unwrap();
    let error = Broker::start(config(lab.folder.path())).await.unwrap_err();
    assert!(error.to_string().contains("orders/topic.json"), "{error}");
}

#[tokio::test]
async fn what_a_killed_broker_had_begun_is_cleared_away() {
    let lab = Lab::start().await;
    lab.client().await.create("orders", 1, &[]).await;
    lab.broker.stop().await;
    for left in ["staging/x", "deleted/y"] {
        std::fs::create_dir_all(lab.folder.path().join(left)).unwrap();
    }
    std::fs::write(lab.folder.path().join("topics/orders/topic.json.new"), "{").unwrap();
    let broker = Broker::start(config(lab.folder.path())).await.unwrap();
    for left in ["staging/x", "deleted/y"] {
        assert!(!lab.folder.path().join(left).exists());
    }
    let mut client = Client::connect(broker.address()).await;
    assert_eq!(client.produce("orders", 0, batch(&["x"])).await.error_code, ErrorCode::NONE);
}

#[tokio::test]
async fn an_ephemeral_broker_leaves_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let mut config = config(parent.path());
    config.data = Data::Ephemeral(parent.path().to_owned());
    let broker = Broker::start(config).await.unwrap();
    let mut client = Client::connect(broker.address()).await;
    client.create("orders", 1, &[]).await;
    client.produce("orders", 0, batch(&["x"])).await;
    broker.stop().await;
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn clients_are_told_what_is_advertised() {
    let lab = Lab::with(|config| config.advertised = Some(("broker.test".to_owned(), 1234))).await;
    let response: MetadataResponse = lab.client().await.call(9, &MetadataRequest::default()).await;
    assert_eq!((&*response.brokers[0].host, response.brokers[0].port), ("broker.test", 1234));
    assert_eq!(lab.broker.bootstrap(), "broker.test:1234");
}
