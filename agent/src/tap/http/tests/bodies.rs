//! What goes in comes out: random bodies, in random chunks.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, Request};
use hyper::body::{Body, Frame};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;

use super::harness::*;

/// A body of given chunks, and trailers; each chunk comes by itself.
struct Chunks(Vec<Frame<Bytes>>);

impl Chunks {
    fn new(chunks: &[Vec<u8>], trailers: Option<&'static str>) -> Self {
        let mut frames: Vec<_> = chunks.iter().map(|chunk| Frame::data(Bytes::from(chunk.clone()))).collect();
        if let Some(value) = trailers {
            frames.push(Frame::trailers(HeaderMap::from_iter([(
                "x-sum".parse().unwrap(),
                HeaderValue::from_static(value),
            )])));
        }
        frames.reverse();
        Self(frames)
    }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        // A pause before every third chunk, so that chunks do not all come at once.
        if self.0.len().is_multiple_of(3) && fastrand::bool() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.0.pop().map(Ok))
    }
}

fn chunks() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let size = prop_oneof![4 => 0..200usize, 2 => 1000..20_000usize, 1 => 60_000..130_000usize];
    let chunk = (size, any::<u64>()).prop_map(|(size, seed)| {
        let mut chunk = vec![0; size];
        fastrand::Rng::with_seed(seed).fill(&mut chunk);
        chunk
    });
    prop::collection::vec(chunk, 0..8)
}

async fn passes(chunks: Vec<Vec<u8>>, http2_too: bool, known_length: bool) {
    let (target, _) = echo().await;
    let tapped = Tapped::http(target);
    let sent = chunks.concat();
    let request = Request::post(format!("http://{target}/")).header("host", "x");
    let (body, trailers) = if http2_too {
        let mut client = http2(tapped.address).await;
        let request = request.body(Chunks::new(&chunks, Some("h2"))).unwrap();
        let (status, body, trailers) = whole(within(client.send_request(request)).await.unwrap()).await;
        assert_eq!(status, 200);
        (body, trailers)
    } else {
        let io = TokioIo::new(tokio::net::TcpStream::connect(tapped.address).await.unwrap());
        let (mut client, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        let request = match known_length {
            true => request.header("content-length", sent.len()).body(Chunks::new(&chunks, None)),
            false => {
                let request = request.header("te", "trailers").header("trailer", "x-sum");
                request.body(Chunks::new(&chunks, Some("h1")))
            }
        };
        let (status, body, trailers) = whole(within(client.send_request(request.unwrap())).await.unwrap()).await;
        assert_eq!(status, 200);
        (body, trailers)
    };
    assert!(body == sent, "{} of {} bytes", body.len(), sent.len());
    if !known_length || http2_too {
        let sum = trailers.as_ref().and_then(|trailers| trailers.get("x-sum")).map(HeaderValue::as_bytes);
        assert_eq!(sum, Some(if http2_too { &b"h2"[..] } else { b"h1" }));
    }
    let recorded = tapped.recorded(usize::from(!sent.is_empty())).await;
    if let Some(arrival) = recorded.arrivals.first() {
        assert_eq!(arrival.characteristics.data_volume.bytes, sent.len() as u64);
        assert!(!arrival.characteristics.estimated, "it was looked at whole");
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_body_with_its_length_told_leaves_as_it_came(chunks in chunks()) {
        run(passes(chunks, false, true));
    }

    #[test]
    fn a_body_in_chunks_leaves_as_it_came_and_its_trailers_too(chunks in chunks()) {
        run(passes(chunks, false, false));
    }

    #[test]
    fn a_body_over_http_2_leaves_as_it_came_and_its_trailers_too(chunks in chunks()) {
        run(passes(chunks, true, false));
    }

    /// What the component saw of a body that its client broke off is its beginning, and it sees that it is cut.
    #[test]
    fn of_a_body_that_is_broken_off_the_component_gets_the_beginning_and_no_end(sent in 1..200_000usize) {
        run(async move {
            let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
            let target = component(move |mut connection| {
                let told = told.clone();
                async move {
                    let head = connection.head().await;
                    assert!(head.contains("content-length: 300000"), "{head}");
                    told.send(connection.rest().await).unwrap();
                }
            })
            .await;
            let tapped = Tapped::http(target);
            let mut client = tapped.connect().await;
            client.send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 300000\r\n\r\n").await;
            client.send("b".repeat(sent)).await;
            drop(client);
            // The look of the health check is a connection too, which ends without a head.
            let got = within(heard.recv()).await.unwrap();
            assert!(got.len() <= sent && got.bytes().all(|byte| byte == b'b'));
            assert_eq!(tapped.ends(1).await[0].outcome, forebay_shared::Outcome::Failed);
        });
    }
}

#[tokio::test]
async fn a_component_that_reads_slowly_holds_its_client_back() {
    let (go, going) = tokio::sync::watch::channel(false);
    let target = component(move |mut connection| {
        let mut going = going.clone();
        async move {
            connection.head().await;
            within(going.wait_for(|go| *go)).await.unwrap();
            let mut left = 64 << 20;
            while left > 0 {
                left -= connection.exactly(left.min(1 << 16)).await.len();
            }
            connection.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        }
    })
    .await;
    let tapped = Tapped::http(target);
    let mut client = tapped.connect().await;
    client.send(format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", 64 << 20)).await;
    let mut sent = 0;
    // Until nothing more is taken for a while: what the kernel's and the tap's buffers hold.
    let block = vec![b'x'; 1 << 20];
    while let Ok(n) = tokio::time::timeout(
        std::time::Duration::from_millis(300),
        tokio::io::AsyncWriteExt::write(&mut client.0, &block),
    )
    .await
    {
        sent += n.unwrap();
    }
    assert!(sent < 32 << 20, "{sent} bytes were taken for a component that reads none");
    go.send(true).unwrap();
    while sent < 64 << 20 {
        let n = block.len().min((64 << 20) - sent);
        client.send(&block[..n]).await;
        sent += n;
    }
    assert!(client.head().await.starts_with("HTTP/1.1 204"));
    let batch = tapped.recorded(1).await.arrivals[0].characteristics;
    assert_eq!(batch.data_volume.bytes, 64 << 20);
}
