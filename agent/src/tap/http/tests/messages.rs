//! Heads, framing and connections.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::harness::*;
use crate::tap::http::MOST_BUFFERED;

/// A component that keeps each head it is sent, and answers as told.
async fn answering(answer: &'static str) -> (std::net::SocketAddr, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let (heads, heard) = tokio::sync::mpsc::unbounded_channel();
    let address = component(move |mut connection| {
        let heads = heads.clone();
        async move {
            loop {
                let head = connection.head().await;
                let length = head.to_ascii_lowercase();
                let length = length.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
                connection.exactly(length.map_or(0, |length| length.parse().unwrap())).await;
                if heads.send(head).is_err() {
                    return;
                }
                connection.send(answer).await;
            }
        }
    })
    .await;
    (address, heard)
}

#[tokio::test]
async fn a_head_passes_as_it_is_but_for_what_concerns_one_connection() {
    let (target, mut heads) = answering(
        "HTTP/1.1 203 Fine By Me\r\nContent-Length: 2\r\nX-Odd-CASE: 1\r\nKeep-Alive: timeout=9\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\nok",
    )
    .await;
    let tapped = Tapped::http(target);
    let mut client = tapped.connect().await;
    client
        .send(
            "POST /a%20b?c=d HTTP/1.1\r\nhoST: front.example:81\r\nX-Odd-CASE: 1\r\nConnection: keep-alive, x-hop\r\n\
             X-Hop: 1\r\nTE: trailers, gzip\r\nForwarded: for=_x\r\nContent-Length: 3\r\n\r\nabc",
        )
        .await;
    let answer = client.head().await;
    assert_eq!(answer, "HTTP/1.1 203 Fine By Me\r\nContent-Length: 2\r\nX-Odd-CASE: 1\r\n\r\n");
    assert_eq!(client.exactly(2).await, b"ok");
    let head = heads.recv().await.unwrap();
    let mut lines: Vec<&str> = head.trim_end().lines().collect();
    assert_eq!(lines.remove(0), "POST /a%20b?c=d HTTP/1.1");
    lines.sort_unstable();
    let mut right =
        ["hoST: front.example:81", "X-Odd-CASE: 1", "TE: trailers", "Forwarded: for=_x", "Content-Length: 3"];
    right.sort_unstable();
    assert_eq!(lines, right);
}

#[tokio::test]
async fn an_absolute_target_and_that_of_options_pass_as_they_are() {
    let (target, mut heads) = answering("HTTP/1.1 204 No Content\r\n\r\n").await;
    let tapped = Tapped::http(target);
    let mut client = tapped.connect().await;
    for line in ["GET http://other.example/x?y HTTP/1.1", "OPTIONS * HTTP/1.1"] {
        client.send(format!("{line}\r\nHost: other.example\r\n\r\n")).await;
        assert!(client.head().await.starts_with("HTTP/1.1 204"));
        assert!(heads.recv().await.unwrap().starts_with(line));
    }
}

#[tokio::test]
async fn connections_are_kept_on_both_sides_and_requests_in_a_row_are_answered_in_their_order() {
    let connections = std::sync::Arc::new(AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&connections);
    let target = component(move |mut connection| {
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            loop {
                let head = connection.head().await;
                let path = head.split(' ').nth(1).unwrap().to_owned();
                connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len())).await;
            }
        }
    })
    .await;
    let tapped = Tapped::http(target);
    // The health check's look is one of them.
    until(|| (tapped.health.parts().values().next()?.detail.is_empty()).then_some(())).await;
    let looked = connections.load(Ordering::Relaxed);
    let mut client = tapped.connect().await;
    client.send((0..5).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: x\r\n\r\n")).collect::<String>()).await;
    for n in 0..5 {
        client.head().await;
        assert_eq!(client.exactly(2).await, format!("/{n}").as_bytes());
    }
    let mut other = tapped.connect().await;
    other.send("GET /9 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    other.head().await;
    assert_eq!(connections.load(Ordering::Relaxed) - looked, 1, "one connection for all of it");
}

#[tokio::test]
async fn a_client_of_http_1_0_is_served_to_the_end_of_its_connection() {
    let (target, mut heads) =
        answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").await;
    let tapped = Tapped::http(target);
    let mut client = tapped.connect().await;
    client.send("POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi").await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\nabcde"), "{answer}");
    assert!(heads.recv().await.unwrap().starts_with("POST / HTTP/1.0\r\n"));
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_in_step() {
    let target = component(|mut connection| async move {
        loop {
            let head = connection.head().await;
            connection
                .send(match head.split(' ').next().unwrap() {
                    "HEAD" => "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n",
                    "PUT" => "HTTP/1.1 204 No Content\r\n\r\n",
                    _ => "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
                })
                .await;
        }
    })
    .await;
    let tapped = Tapped::http(target);
    let mut client = tapped.connect().await;
    for (method, status, field) in [
        ("HEAD", "200", "Content-Length: 1234"),
        ("GET", "304", "ETag: \"a\""),
        ("PUT", "204", ""),
        ("HEAD", "200", ""),
    ] {
        client.send(format!("{method} / HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        let head = client.head().await;
        assert!(head.contains(status) && head.contains(field), "{method}: {head}");
    }
    let mut other = tapped.connect().await;
    other.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    other.head().await;
    assert_eq!(tapped.tap.open(), 0, "requests without a body are no batches");
    tapped.recorded(0).await;
}

#[tokio::test]
async fn large_heads_pass_both_ways_and_larger_ones_are_refused() {
    let (echoed, _) = echo().await;
    let tapped = Tapped::http(echoed);
    let mut client = tapped.connect().await;
    let large = "v".repeat(72 << 10);
    client.send(format!("GET / HTTP/1.1\r\nHost: x\r\nContent-Type: {large}\r\n\r\n")).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains(&large), "{}", &head[..100]);
    let (target, mut heads) = answering("HTTP/1.1 204 No Content\r\n\r\n").await;
    let tapped = Tapped::http(target);
    let mut client = tapped.connect().await;
    let many: String = (0..200).map(|n| format!("x-{n}: {n}\r\n")).collect();
    client.send(format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n")).await;
    client.head().await;
    assert_eq!(heads.recv().await.unwrap().lines().count(), 203);
    let mut client = tapped.connect().await;
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Large: {}\r\n\r\n", "v".repeat(MOST_BUFFERED));
    let _ = tokio::io::AsyncWriteExt::write_all(&mut client.0, head.as_bytes()).await;
    assert!(client.rest().await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn a_message_with_two_lengths_is_refused_and_a_tunnel_too() {
    let (target, mut heads) = answering("HTTP/1.1 204 No Content\r\n\r\n").await;
    let tapped = Tapped::http(target);
    for (request, status) in [
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "400"),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "400"),
        ("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n", "501"),
    ] {
        let mut client = tapped.connect().await;
        client.send(request).await;
        let answer = client.head().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
    }
    assert!(heads.try_recv().is_err(), "the component saw none of them");
}

#[tokio::test]
async fn of_a_length_and_chunks_only_the_chunks_are_passed_on() {
    let target = component(|mut connection| async move {
        let head = connection.head().await.to_ascii_lowercase();
        assert!(head.contains("transfer-encoding: chunked") && !head.contains("content-length"), "{head}");
        let body = connection.read_until("0\r\n\r\n").await;
        assert_eq!(body, "3\r\nabc\r\n0\r\n\r\n");
        connection.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    })
    .await;
    let tapped = Tapped::http(target);
    let mut client = tapped.connect().await;
    client
        .send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        .await;
    assert!(client.head().await.starts_with("HTTP/1.1 204"));
}

#[tokio::test]
async fn an_upgrade_is_spliced_and_its_bytes_are_told_as_exchanges() {
    let target = component(|mut connection| async move {
        let head = connection.head().await.to_ascii_lowercase();
        assert!(head.contains("upgrade: websocket") && head.contains("connection: upgrade"), "{head}");
        connection
            .send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x01hello")
            .await;
        let frame = connection.exactly(5).await;
        connection.send(frame).await;
        assert_eq!(connection.rest().await, "");
    })
    .await;
    let tapped = Tapped::http(target);
    let mut client = tapped.connect().await;
    client.send("GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n").await;
    let head = client.head().await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101") && head.contains("upgrade: websocket"), "{head}");
    assert_eq!(client.exactly(6).await, b"\x01hello");
    client.send("abcde").await;
    assert_eq!(client.exactly(5).await, b"abcde");
    drop(client);
    assert_eq!(tapped.recorded(1).await.arrivals[0].characteristics.data_volume.bytes, 5);
}

#[tokio::test]
async fn an_upgrade_to_h2c_is_ignored_as_a_server_may() {
    let (target, mut heads) = answering("HTTP/1.1 204 No Content\r\n\r\n").await;
    let tapped = Tapped::http(target);
    let mut client = tapped.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 204"));
    let head = heads.recv().await.unwrap().to_ascii_lowercase();
    assert!(!head.contains("upgrade") && !head.contains("settings"), "{head}");
}

#[tokio::test]
async fn who_waits_for_100_continue_is_told_by_the_component() {
    let target = component(|mut connection| async move {
        connection.head().await;
        let mut early = [0; 1];
        assert!(connection.0.try_read(&mut early).is_err(), "no body before it is asked for");
        connection.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        assert_eq!(connection.exactly(4).await, b"body");
        connection.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    })
    .await;
    let tapped = Tapped::http(target);
    let mut client = tapped.connect().await;
    client.send("PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await;
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("body").await;
    assert!(client.head().await.starts_with("HTTP/1.1 204"));
    assert_eq!(tapped.recorded(1).await.arrivals[0].characteristics.data_volume.bytes, 4);
}

#[tokio::test]
async fn a_body_that_the_component_does_not_want_is_not_asked_for() {
    let target = component(|mut connection| async move {
        connection.head().await;
        connection.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno").await;
        assert_eq!(connection.rest().await, "", "no byte of the body comes");
    })
    .await;
    let tapped = Tapped::http(target);
    let mut client = tapped.connect().await;
    client.send("PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 417"));
    assert_eq!(client.exactly(2).await, b"no");
    assert_eq!(client.rest().await, "", "nobody knows if the body comes now: the connection ends");
    assert_eq!(tapped.ends(1).await[0].outcome, forebay_shared::Outcome::Failed);
}

#[tokio::test]
async fn a_component_that_does_not_know_100_continue_gets_the_body_all_the_same() {
    let target = component(|mut connection| async move {
        connection.head().await;
        assert_eq!(connection.exactly(4).await, b"body");
        connection.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    })
    .await;
    let tapped = Tapped::http(target);
    let mut client = tapped.connect().await;
    client.send("PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 100"), "after a second");
    client.send("body").await;
    assert!(client.head().await.starts_with("HTTP/1.1 204"));
}

#[tokio::test]
async fn other_informational_responses_are_left_out_and_the_final_one_comes() {
    let (target, _heads) = answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    )
    .await;
    let tapped = Tapped::http(target);
    let mut client = tapped.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 204"));
}
