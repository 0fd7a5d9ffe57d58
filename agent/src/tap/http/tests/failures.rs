//! Components that are down, slow or break off; clients that go; the end of the agent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::Request;
use forebay_shared::Outcome;
use forebay_shared::health::State;

use super::harness::*;

#[tokio::test]
async fn a_target_that_is_down_is_a_502_and_the_batch_never_started() {
    let tapped = Tapped::http(nowhere().await);
    let mut client = tapped.connect().await;
    for _ in 0..2 {
        client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\na,b\n1,2\n").await;
        let head = client.head().await.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 502") && head.contains("retry-after: 1"), "{head}");
        assert!(head.contains("application/problem+json"), "{head}");
        let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap().parse().unwrap();
        let problem: serde_json::Value = serde_json::from_slice(&client.exactly(length).await).unwrap();
        assert!(problem["detail"].as_str().unwrap().contains("does not listen"), "{problem}");
    }
    let ends = tapped.ends(2).await;
    assert!(ends.iter().all(|end| end.outcome == Outcome::Failed && end.started_at.is_none()));
    assert_eq!(tapped.health.parts().values().next().unwrap().state, State::Degraded);
    assert!(tapped.health.ready());
}

#[tokio::test]
async fn a_tcp_tap_closes_where_its_target_is_down() {
    let tapped = Tapped::start(&format!("tcp=127.0.0.1:0->{}", nowhere().await), Duration::from_secs(5));
    let mut client = tapped.connect().await;
    assert_eq!(client.rest().await, "");
    assert_eq!(tapped.health.parts().values().next().unwrap().state, State::Degraded);
}

#[tokio::test]
async fn a_target_that_is_down_answers_http_2_too_and_the_next_stream_tries_again() {
    let target = nowhere().await;
    let tapped = Tapped::http(target);
    let mut client = http2(tapped.address).await;
    let request = || Request::post(format!("http://{target}/")).body(full("abc")).unwrap();
    assert_eq!(within(client.send_request(request())).await.unwrap().status().as_u16(), 502);
    let listener = tokio::net::TcpListener::bind(target).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service =
                hyper::service::service_fn(async |_| Ok::<_, hyper::Error>(axum::http::Response::new(full("up"))));
            let builder = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
            tokio::spawn(builder.serve_connection(hyper_util::rt::TokioIo::new(stream), service));
        }
    });
    let (status, body, _) = whole(within(client.send_request(request())).await.unwrap()).await;
    assert_eq!((status, &body[..]), (200, &b"up"[..]));
}

#[tokio::test]
async fn a_component_that_breaks_off_before_it_answers_is_a_502_and_after_it_a_cut_answer() {
    let target = component(|mut connection| async move {
        let head = connection.head().await;
        connection.exactly(1).await;
        if head.starts_with("POST /late") {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
        }
    })
    .await;
    let tapped = Tapped::http(target);
    let mut client = tapped.connect().await;
    client.send("POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx").await;
    assert!(client.head().await.starts_with("HTTP/1.1 502"));
    let mut client = tapped.connect().await;
    client.send("POST /late HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200"));
    assert_eq!(client.rest().await, "half", "and then the connection ends");
    assert!(tapped.ends(2).await.iter().all(|end| end.outcome == Outcome::Failed && end.started_at.is_some()));
}

#[tokio::test]
async fn a_request_on_a_kept_connection_that_was_closed_is_sent_again_over_a_fresh_one() {
    let answered = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&answered);
    // Each connection answers once and closes, without saying so before.
    let target = component(move |mut connection| {
        let count = Arc::clone(&count);
        async move {
            connection.head().await;
            connection.exactly(3).await;
            count.fetch_add(1, Ordering::Relaxed);
            connection.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        }
    })
    .await;
    let tapped = Tapped::http(target);
    let mut client = tapped.connect().await;
    for n in 1..=20 {
        client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc").await;
        assert!(client.head().await.starts_with("HTTP/1.1 204"), "request {n}");
        // The close is seen, as it is between requests of people and machines.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(answered.load(Ordering::Relaxed), 20, "none was sent twice");
}

#[tokio::test]
async fn a_client_that_goes_takes_its_request_along() {
    let (gone, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let target = component(move |mut connection| {
        let gone = gone.clone();
        async move {
            connection.head().await;
            connection.exactly(3).await;
            gone.send("got").unwrap();
            connection.rest().await;
            gone.send("gone").unwrap();
        }
    })
    .await;
    let tapped = Tapped::http(target);
    let mut client = tapped.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc").await;
    assert_eq!(within(heard.recv()).await, Some("got"));
    drop(client);
    assert_eq!(within(heard.recv()).await, Some("gone"));
    assert_eq!(tapped.ends(1).await[0].outcome, Outcome::Failed);
}

/// A component that answers once it is told to.
async fn patient() -> (std::net::SocketAddr, tokio::sync::watch::Sender<bool>) {
    let (go, going) = tokio::sync::watch::channel(false);
    let target = component(move |mut connection| {
        let mut going = going.clone();
        async move {
            loop {
                let post = connection.head().await.starts_with("POST");
                connection.exactly(usize::from(post)).await;
                within(going.wait_for(|go| *go)).await.unwrap();
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
        }
    })
    .await;
    (target, go)
}

#[tokio::test]
async fn at_the_end_what_is_under_way_is_finished_and_idle_connections_are_closed() {
    let (target, go) = patient().await;
    let tapped = Tapped::http(target);
    let (mut busy, mut idle, mut silent) = (tapped.connect().await, tapped.connect().await, tapped.connect().await);
    go.send(true).unwrap();
    idle.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    idle.head().await;
    idle.exactly(2).await;
    go.send(false).unwrap();
    busy.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx").await;
    until(|| (tapped.tap.open() == 1).then_some(())).await;
    tapped.stop.cancel();
    assert_eq!((idle.rest().await, silent.rest().await), (String::new(), String::new()));
    assert!(
        within(async {
            while tokio::net::TcpStream::connect(tapped.address).await.is_ok() {
                tokio::task::yield_now().await;
            }
            true
        })
        .await,
        "no more are accepted"
    );
    assert!(!tapped.serving.is_finished());
    go.send(true).unwrap();
    let head = busy.head().await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200") && head.contains("connection: close"), "{head}");
    assert_eq!(busy.rest().await, "ok");
    within(tapped.serving).await.unwrap();
}

#[tokio::test]
async fn what_is_still_under_way_after_the_grace_is_cut() {
    let (target, _go) = patient().await;
    let tapped = Tapped::start(&format!("http=127.0.0.1:0->{target}"), Duration::from_millis(100));
    let mut busy = tapped.connect().await;
    busy.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx").await;
    until(|| (tapped.tap.open() == 1).then_some(())).await;
    tapped.stop.cancel();
    assert_eq!(busy.rest().await, "");
    within(tapped.serving).await.unwrap();
    assert_eq!(tapped.tap.open(), 0);
    assert_eq!(tapped.metrics.tap_connections.get(), 0);
}

#[tokio::test]
async fn two_bytes_that_may_be_either_version_and_no_more_end_with_their_client() {
    let (target, _) = echo().await;
    let tapped = Tapped::http(target);
    let mut client = tapped.connect().await;
    client.send("PR").await;
    drop(client);
    until(|| (tapped.metrics.tap_connections.get() == 0).then_some(())).await;
}

#[tokio::test]
async fn more_connections_than_there_is_room_for_are_told_so() {
    let (target, _) = echo().await;
    let tapped = Tapped::http(target);
    let mut held = Vec::new();
    // File descriptors of this process may be fewer than the tap allows.
    for _ in 0..crate::tap::inline::MOST_CONNECTIONS {
        match tokio::net::TcpStream::connect(tapped.address).await {
            Ok(stream) => held.push(stream),
            Err(error) => return eprintln!("skipped: {error}"),
        }
    }
    let room = crate::tap::inline::MOST_CONNECTIONS as i64;
    let full = async {
        while tapped.metrics.tap_connections.get() < room && tapped.metrics.tap_refused_connections.get() == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within(full).await;
    if tapped.metrics.tap_connections.get() < room {
        return eprintln!("skipped: too few file descriptors");
    }
    let mut client = tapped.connect().await;
    assert!(client.rest().await.starts_with("HTTP/1.1 503"));
    assert_eq!(tapped.metrics.tap_refused_connections.get(), 1);
    held.pop();
    until(|| (tapped.metrics.tap_connections.get() < room).then_some(())).await;
    let mut client = tapped.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200"));
}
