//! What is told of batches.

use std::time::Duration;

use axum::http::Request;
use forebay_shared::{DataType, Outcome};

use super::harness::*;

#[tokio::test]
async fn a_batch_waits_until_the_target_takes_it_and_is_in_service_until_it_is_answered() {
    let (go, going) = tokio::sync::watch::channel(false);
    let target = component(move |mut connection| {
        let mut going = going.clone();
        async move {
            connection.head().await;
            connection.exactly(8).await;
            within(going.wait_for(|go| *go)).await.unwrap();
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        }
    })
    .await;
    let tapped = Tapped::http(target);
    let mut client = tapped.connect().await;
    let before = forebay_shared::Timestamp::now();
    client.send("P").await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    client.send("OST / HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: 8\r\n\r\na,b\n").await;
    client.send("1,2\n").await;
    let backlog = until(|| tapped.tap.backlog(forebay_shared::Timestamp::now()).filter(|b| b.in_service == 1)).await;
    assert_eq!((backlog.waiting, backlog.waiting_bytes), (0, 0));
    go.send(true).unwrap();
    client.head().await;
    let recorded = tapped.recorded(1).await;
    let (arrival, end) = (&recorded.arrivals[0], recorded.progress.last().unwrap());
    assert_eq!(
        (arrival.characteristics.data_type, arrival.characteristics.data_volume.records),
        (DataType::Csv, Some(2))
    );
    let started = end.started_at.unwrap();
    assert!(arrival.arrived_at.since(before) < Duration::from_millis(50), "the first byte of the head counts");
    assert!(started.since(arrival.arrived_at) >= Duration::from_millis(50), "it started once the head was whole");
    assert!(end.finished_at.unwrap() >= started);
    assert_eq!(end.outcome, Outcome::Ok);
}

#[tokio::test]
async fn the_status_of_the_answer_is_the_outcome() {
    let target = component(|mut connection| async move {
        loop {
            let head = connection.head().await;
            connection.exactly(1).await;
            let status = head.split(['/', ' ']).nth(2).unwrap().to_owned();
            connection.send(format!("HTTP/1.1 {status} X\r\nContent-Length: 1\r\n\r\nx")).await;
        }
    })
    .await;
    let tapped = Tapped::http(target);
    let mut client = tapped.connect().await;
    let statuses = ["200", "302", "404", "429", "500", "503"];
    for status in statuses {
        client.send(format!("POST /{status} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")).await;
        assert!(client.head().await.contains(status));
        client.exactly(1).await;
    }
    let outcomes: Vec<_> = tapped.ends(statuses.len()).await.iter().map(|end| end.outcome).collect();
    use Outcome::{Failed, Ok};
    assert_eq!(outcomes, [Ok, Ok, Failed, Failed, Failed, Failed]);
}

#[tokio::test]
async fn a_chunked_body_without_a_byte_is_no_batch() {
    let (target, _) = echo().await;
    let tapped = Tapped::http(target);
    let mut client = tapped.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200"));
    tapped.recorded(0).await;
}

/// A message as gRPC frames it.
fn framed(text: &str) -> Vec<u8> {
    [&[0][..], &(text.len() as u32).to_be_bytes(), text.as_bytes()].concat()
}

#[tokio::test]
async fn each_message_of_a_grpc_stream_is_a_batch() {
    let (target, asked) = echo().await;
    let tapped = Tapped::http(target);
    let mut client = http2(tapped.address).await;
    let stream = ["{\"a\":1}", "{\"b\":2}", ""].map(framed).concat();
    let request = Request::post(format!("http://{target}/pack.Service/Stream"))
        .header("content-type", "application/grpc+json")
        .header("te", "trailers")
        .body(full(stream.clone()))
        .unwrap();
    let (status, body, _) = whole(within(client.send_request(request)).await.unwrap()).await;
    assert!(status == 200 && body == stream);
    assert_eq!(asked.lock().unwrap()[0].headers()["te"], "trailers");
    let mut recorded = tapped.recorded(3).await;
    recorded.arrivals.sort_by_key(|arrival| arrival.batch_id);
    let told: Vec<_> =
        recorded.arrivals.iter().map(|a| (a.characteristics.data_type, a.characteristics.data_volume.bytes)).collect();
    assert_eq!(told, [(DataType::Json, 7), (DataType::Json, 7), (DataType::Empty, 0)]);
    let ends: Vec<_> = recorded.progress.iter().filter(|p| p.outcome == Outcome::Ok).collect();
    assert!(ends.len() == 3 && ends.iter().all(|end| end.started_at.is_some()));
}

#[tokio::test]
async fn tls_is_passed_through_as_bytes() {
    let hello = [0x16, 3, 1, 0, 2, 9, 9];
    let target = component(move |mut connection| async move {
        // The look of the health check ends at once.
        let mut got = [0; 7];
        if tokio::io::AsyncReadExt::read_exact(&mut connection.0, &mut got).await.is_ok() {
            assert_eq!(got, hello);
            connection.send([0x16, 3, 3]).await;
        }
    })
    .await;
    let tapped = Tapped::http(target);
    let mut client = tapped.connect().await;
    client.send(hello).await;
    assert_eq!(client.exactly(3).await, [0x16, 3, 3]);
    drop(client);
    let vector = tapped.recorded(1).await.arrivals[0].characteristics;
    assert_eq!((vector.data_volume.bytes, vector.data_type), (7, DataType::Binary));
}

#[tokio::test]
async fn tcp_exchanges_are_told_by_their_bytes_and_half_a_close_passes() {
    let target = component(|mut connection| async move {
        for _ in 0..2 {
            let mut got = [0; 4];
            if tokio::io::AsyncReadExt::read_exact(&mut connection.0, &mut got).await.is_err() {
                return;
            }
            connection.send("answer").await;
        }
        let last = connection.rest().await;
        connection.send(format!("bye {}", last.len())).await;
    })
    .await;
    let tapped = Tapped::start(&format!("tcp=127.0.0.1:0->{target}"), Duration::from_secs(5));
    let mut client = tapped.connect().await;
    for _ in 0..2 {
        client.send("four").await;
        assert_eq!(client.exactly(6).await, b"answer");
    }
    client.send("x".repeat(100_000)).await;
    tokio::io::AsyncWriteExt::shutdown(&mut client.0).await.unwrap();
    assert_eq!(client.rest().await, "bye 100000");
    let recorded = tapped.recorded(3).await;
    let bytes: Vec<u64> = recorded.arrivals.iter().map(|a| a.characteristics.data_volume.bytes).collect();
    assert_eq!(bytes, [4, 4, 100_000]);
    assert!(recorded.progress.iter().all(|progress| progress.outcome != Outcome::Failed));
    assert!(recorded.arrivals.iter().all(|a| a.characteristics.data_volume.records.is_none()));
}
