use super::*;
use tokio::task::JoinSet;

/// Whether the broker serves somebody else.
async fn serves(lab: &Lab) {
    let response: ApiVersionsResponse = lab.client().await.call(0, &ApiVersionsRequest::default()).await;
    assert_eq!(response.error_code, ErrorCode::NONE);
}

/// Resident memory of this process in bytes; nothing where the system does not say.
fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(statm.split(' ').nth(1)?.parse::<u64>().ok()? * 4096)
}

#[tokio::test]
async fn bytes_that_are_no_request_end_their_connection_alone() {
    let lab = Lab::start().await;
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff",
        b"\x00\x00\x00\x00",
        b"\x00\x00\x00\x02\x00\x12",
        // Metadata whose topics claim to be 2^31 - 1.
        b"\x00\x00\x00\x0e\x00\x03\x00\x01\x00\x00\x00\x01\xff\xff\x7f\xff\xff\xff",
        // A client id longer than the frame.
        b"\x00\x00\x00\x0a\x00\x12\x00\x00\x00\x00\x00\x01\x7f\xff",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ] {
        let mut client = lab.client().await;
        client.stream.write_all(bytes).await.unwrap();
        assert_eq!(client.frame().await, None, "{bytes:?}");
    }
    serves(&lab).await;
}

#[tokio::test]
async fn a_request_in_small_pieces_is_still_one() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let frame = request_frame(&ApiVersionsRequest::default(), 0, 1, None).unwrap().concat();
    for byte in frame {
        client.stream.write_all(&[byte]).await.unwrap();
        client.stream.flush().await.unwrap();
    }
    let response: ApiVersionsResponse = client.receive_of(0, 1).await;
    assert_eq!(response.error_code, ErrorCode::NONE);
}

#[tokio::test]
async fn many_requests_at_once_are_answered_in_order() {
    let lab = Lab::start().await;
    let client = lab.client().await;
    let mut frames = Vec::new();
    for correlation in 0..5000 {
        frames.extend(request_frame(&ApiVersionsRequest::default(), 0, correlation, None).unwrap().concat());
    }
    let (mut reader, mut writer) = client.stream.into_split();
    let writing = tokio::spawn(async move { writer.write_all(&frames).await.map(|()| writer) });
    let mut buffer = BytesMut::new();
    let mut next = 0_i32;
    while next < 5000 {
        let read = timeout(PATIENCE, reader.read_buf(&mut buffer)).await.unwrap().unwrap();
        assert_ne!(read, 0);
        while let Some(frame) = split_frame(&mut buffer, 1 << 20).unwrap() {
            assert_eq!(frame[..4], next.to_be_bytes());
            next += 1;
        }
    }
    writing.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_request_that_does_not_arrive_ends_its_connection() {
    let lab = Lab::with(|config| config.limits.transfer = Duration::from_millis(200)).await;
    for bytes in [&b"\x00"[..], b"\x00\x00\x10\x00\x00\x12", b"\x06\x00\x00\x00"] {
        let mut client = lab.client().await;
        client.stream.write_all(bytes).await.unwrap();
        assert_eq!(client.frame().await, None);
    }
    serves(&lab).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let lab = Lab::with(|config| config.limits.idle = Duration::from_millis(200)).await;
    let mut client = lab.client().await;
    let _: ApiVersionsResponse = client.call(0, &ApiVersionsRequest::default()).await;
    assert_eq!(client.frame().await, None);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let lab = Lab::with(|config| config.limits.connections = 2).await;
    let (mut one, mut two) = (lab.client().await, lab.client().await);
    for client in [&mut one, &mut two] {
        let _: ApiVersionsResponse = client.call(0, &ApiVersionsRequest::default()).await;
    }
    assert_eq!(lab.client().await.frame().await, None);
    drop(one);
    // One more try for each time the broker has not yet noticed; each is refused quickly.
    for attempt in 0.. {
        assert!(attempt < 10_000, "the place of a closed connection is never free");
        let mut again = lab.client().await;
        again.stream.write_all(&request_frame(&ApiVersionsRequest::default(), 0, 1, None).unwrap().concat()).await.ok();
        if again.frame().await.is_some() {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_idle_connections_cost_little() {
    let lab = Lab::start().await;
    let before = resident();
    let mut clients = Vec::new();
    for _ in 0..2000 {
        let mut client = lab.client().await;
        let _: ApiVersionsResponse = client.call(0, &ApiVersionsRequest::default()).await;
        client.buffer = BytesMut::new();
        clients.push(client);
    }
    serves(&lab).await;
    let (Some(before), Some(after)) = (before, resident()) else {
        eprintln!("skipped: the system does not say how much memory is used");
        return;
    };
    // Both ends of each connection are in this process.
    let each = after.saturating_sub(before) / 2000;
    assert!(each < 32 << 10, "{each} bytes for each idle connection");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_senders_of_large_requests_get_no_more_than_the_common_memory() {
    const BUDGET: usize = 4 << 20;
    let lab = Lab::with(|config| config.limits.request_memory = BUDGET).await;
    let mut client = lab.client().await;
    client.create("orders", 1, &[]).await;
    let before = resident();
    let mut slow = JoinSet::new();
    for _ in 0..100 {
        let address = lab.broker.address();
        slow.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // Claims 64 MiB and brings one; whatever the broker does not take stays in the sockets.
            let mut bytes = vec![0_u8; 1 << 20];
            bytes[..4].copy_from_slice(&(64_i32 << 20).to_be_bytes());
            let _ = timeout(Duration::from_secs(5), stream.write_all(&bytes)).await;
            let mut end = [0];
            let _ = timeout(PATIENCE, stream.read(&mut end)).await;
        });
    }
    // Others are served all the while, small requests and large ones.
    let large = "x".repeat(200_000);
    for count in 0..5 {
        let done = client.produce("orders", 0, batch(&[&large])).await;
        assert_eq!((done.error_code, done.base_offset), (ErrorCode::NONE, count));
        serves(&lab).await;
    }
    if let (Some(before), Some(after)) = (before, resident()) {
        // A hundred clients' own megabytes are in this process as well.
        let grown = after.saturating_sub(before);
        assert!(grown < (100 << 20) + 8 * BUDGET as u64, "{grown} bytes");
    }
    slow.abort_all();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_do_not_read_get_no_more_than_the_common_memory() {
    let lab = Lab::with(|config| {
        config.limits.response_memory = 2 << 20;
        config.limits.transfer = Duration::from_secs(2);
    })
    .await;
    let mut client = lab.client().await;
    client.create("orders", 1, &[]).await;
    let large = "x".repeat(500_000);
    for _ in 0..8 {
        assert_eq!(client.produce("orders", 0, batch(&[&large])).await.error_code, ErrorCode::NONE);
    }
    let mut request = fetch_request(&[("orders", 0, 0)], Duration::ZERO);
    request.topics[0].partitions[0].partition_max_bytes = 50 << 20;
    let mut deaf = Vec::new();
    for _ in 0..30 {
        let mut client = lab.client().await;
        client.send(12, &request).await;
        deaf.push(client);
    }
    let part = client.fetch("orders", 0, 7, Duration::ZERO).await;
    assert_eq!(values(&part.records.unwrap()), [large]);
}

#[tokio::test]
async fn a_client_that_goes_away_while_it_waits_is_noticed() {
    let lab = Lab::with(|config| config.limits.connections = 2).await;
    let mut client = lab.client().await;
    client.create("orders", 1, &[]).await;
    for _ in 0..5 {
        loop {
            let mut waiting = lab.client().await;
            let request = fetch_request(&[("orders", 0, 0)], PATIENCE);
            for piece in request_frame(&request, 12, 1, None).unwrap() {
                waiting.stream.write_all(&piece).await.ok();
            }
            // Refused as long as the one before it counts: then the connection is closed at once.
            if timeout(Duration::from_millis(50), waiting.frame()).await.is_err() {
                break;
            }
        }
    }
}
