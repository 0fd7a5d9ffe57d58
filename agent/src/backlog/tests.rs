use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use axum::Router;
use axum::http::StatusCode;
use axum::response::Redirect;
use axum::routing::get;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use super::*;

const PAGE: &str = "# HELP kafka_consumergroup_lag Current approximate lag\n\
    # TYPE kafka_consumergroup_lag gauge\n\
    kafka_consumergroup_lag{consumergroup=\"a\",partition=\"0\",topic=\"t\"} 40\n\
    kafka_consumergroup_lag{consumergroup=\"a\",partition=\"1\",topic=\"t\"} 2.5e0\n\
    kafka_consumergroup_lag{consumergroup=\"a\",partition=\"2\",topic=\"t\"} -1\n\
    kafka_consumergroup_lag{consumergroup=\"b\",partition=\"0\",topic=\"t\"} 1000\n\
    kafka_consumergroup_lag_sum{consumergroup=\"a\",topic=\"t\"} 9999\n\
    idle 0\n\
    unknown{part=\"a\"} NaN\n\
    unknown{part=\"b\"} 1\n\
    endless +Inf\n\
    wait_seconds{part=\"a\"} 1.5\n\
    wait_seconds{part=\"b\"} 7.25\n";

/// An exporter, and its URL.
async fn exporter(page: impl Into<String>) -> String {
    let page = page.into();
    let routes = Router::new()
        .route("/metrics", get(move || async move { page }))
        .route("/moved", get(|| async { Redirect::permanent("/metrics") }))
        .route("/broken", get(|| async { StatusCode::INTERNAL_SERVER_ERROR }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    url
}

fn source(url: &str, selectors: &str) -> BacklogSource {
    format!("metrics={url}#{selectors}").parse().unwrap()
}

async fn found(url: &str, selectors: &str) -> Result<(u64, Option<Duration>), Failure> {
    let source = source(url, selectors);
    read(&mut Pages::new(source.page.clone()), &source).await
}

#[tokio::test]
async fn the_series_that_match_add_up() {
    let url = format!("{}/metrics", exporter(PAGE).await);
    let lag = "kafka_consumergroup_lag{consumergroup=\"a\"}";
    assert_eq!(found(&url, lag).await.unwrap(), (43, None), "what is not known to wait does not, and parts count");
    assert_eq!(found(&url, "kafka_consumergroup_lag").await.unwrap().0, 1043);
    assert_eq!(found(&url, "idle").await.unwrap().0, 0);
    let age = found(&url, &format!("{lag},age=wait_seconds")).await.unwrap();
    assert_eq!(age, (43, Some(Duration::from_millis(7250))));
}

#[tokio::test]
async fn what_does_not_tell_a_number_is_absent_and_not_zero() {
    let url = format!("{}/metrics", exporter(PAGE).await);
    for selectors in
        ["none", "unknown", "endless", "idle{a=\"b\"}", "idle,age=none", "idle,age=unknown", "idle,age=endless"]
    {
        let failure = found(&url, selectors).await.unwrap_err();
        assert_eq!(failure.reason, "absent", "{selectors}");
    }
    assert_eq!(found(&url, "unknown{part!=\"a\"}").await.unwrap().0, 1);
}

#[tokio::test]
async fn what_cannot_be_read_says_why() {
    let url = exporter("lag 1\n".repeat(page::MOST_BYTES / 6 + 1)).await;
    let failure = found(&format!("{url}/metrics"), "lag").await.unwrap_err();
    assert_eq!(failure.reason, "size");
    let failure = found(&format!("{url}/broken"), "lag").await.unwrap_err();
    assert!(failure.reason == "status" && failure.detail.contains("500"), "{}", failure.detail);
    let failure = found(&format!("{url}/moved"), "lag").await.unwrap_err();
    assert!(failure.reason == "status" && failure.detail.contains("308"), "{}", failure.detail);
    let failure = found("http://127.0.0.1:1/metrics?token=x", "lag").await.unwrap_err();
    assert!(failure.reason == "unreachable" && failure.detail.contains("refused"), "{}", failure.detail);
    let failure = found(&url.replace("http", "https"), "lag").await.unwrap_err();
    assert_eq!(failure.reason, "tls", "{}", failure.detail);
}

async fn until_health(health: &Health, is: impl Fn(&str) -> bool) -> String {
    let wait = async {
        loop {
            if let Some(part) = health.parts().get(PART).filter(|part| is(&part.detail)) {
                return part.detail.clone();
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(60), wait).await.expect("in time")
}

#[tokio::test(start_paused = true)]
async fn an_exporter_that_stalls_is_given_up_and_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/metrics?token=secret", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let (health, (_, metrics), stop) = (Health::default(), Metrics::new(), CancellationToken::new());
    let reading = Reading::default();
    let run = run(source(&url, "lag"), reading.clone(), health.clone(), metrics.clone(), stop.clone());
    let task = tokio::spawn(run);
    let detail = until_health(&health, |detail| detail.contains("no whole answer within 2s")).await;
    assert!(detail.contains("`lag`") && !detail.contains("secret"), "{detail}");
    assert_eq!(metrics.backlog_failures.get_or_create(&[("reason", "timeout")]).get(), 1);
    assert_eq!(reading.backlog(None), None);
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn a_reading_is_the_backlog_with_what_the_taps_know_to_be_in_service() {
    let url = format!("{}/metrics", exporter(PAGE).await);
    let (health, (_, metrics), stop) = (Health::default(), Metrics::new(), CancellationToken::new());
    let reading = Reading::default();
    let source = source(&url, "kafka_consumergroup_lag{consumergroup=\"a\"},age=wait_seconds");
    let task = tokio::spawn(run(source, reading.clone(), health.clone(), metrics.clone(), stop.clone()));
    until_health(&health, str::is_empty).await;
    assert_eq!(health.parts()[PART].state, State::Ok);
    let taps = Backlog { waiting: 5, waiting_bytes: 50, oldest_wait_ms: 9_000_000, in_service: 2 };
    let backlog = reading.backlog(Some(taps)).unwrap();
    assert_eq!((backlog.waiting, backlog.waiting_bytes, backlog.in_service), (43, 0, 2));
    assert!((7250..60_000).contains(&backlog.oldest_wait_ms), "{backlog:?}");
    assert_eq!(metrics.backlog_reads.get(), 1);
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_oldest_waits_on_between_two_readings() {
    let reading = Reading::default();
    let backlog = Backlog { waiting: 3, oldest_wait_ms: 100, ..Backlog::default() };
    *reading.last() = Some((Instant::now(), backlog));
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(reading.backlog(None), Some(Backlog { oldest_wait_ms: 5100, ..backlog }));
}

#[tokio::test]
async fn a_reading_holds_while_three_attempts_fail_and_not_for_good() {
    let fails = Arc::new(AtomicBool::new(false));
    let answer = {
        let fails = Arc::clone(&fails);
        move || async move { if fails.load(Relaxed) { Err(StatusCode::INTERNAL_SERVER_ERROR) } else { Ok("lag 7\n") } }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/metrics", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/metrics", get(answer))).await });
    let (health, (_, metrics), stop) = (Health::default(), Metrics::new(), CancellationToken::new());
    let reading = Reading::default();
    let task = tokio::spawn(run(source(&url, "lag"), reading.clone(), health.clone(), metrics.clone(), stop.clone()));
    until_health(&health, str::is_empty).await;
    fails.store(true, Relaxed);
    // From here on time passes as fast as nobody has anything to do: an attempt may fail by its time, too.
    tokio::time::pause();
    let read_at = reading.last().unwrap().0;
    let mut failed_while_known = 0;
    while let Some(backlog) = reading.backlog(None) {
        assert!(backlog.waiting == 7 && read_at.elapsed() <= HOLDS);
        let failures = metrics.backlog_reads.get() - 1;
        if failures > 0 {
            assert!(!health.parts()[PART].detail.is_empty(), "that it cannot be read is told at once");
        }
        failed_while_known = failures;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(read_at.elapsed() > HOLDS && failed_while_known >= 3, "{failed_while_known}");
    stop.cancel();
    task.await.unwrap();
}
