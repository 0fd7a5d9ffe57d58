//! With other people's programs on either side, where they are installed: nginx as the component, curl and nghttp as
//! clients.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use super::harness::*;

/// Runs a program; nothing, with a line that says so, if it is not installed.
async fn output(program: &str, arguments: &[&str]) -> Option<(bool, Vec<u8>)> {
    let run =
        Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).output();
    match within(run).await {
        Ok(output) => Some((output.status.success(), output.stdout)),
        Err(error) => {
            eprintln!("skipped: {program}: {error}");
            None
        }
    }
}

fn random(bytes: usize) -> Vec<u8> {
    let mut random = vec![0; bytes];
    fastrand::fill(&mut random);
    random
}

#[tokio::test]
async fn curl_gets_back_what_it_sends_over_either_version() {
    let (target, _) = echo().await;
    let tapped = Tapped::http(target);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("body");
    let url = format!("http://{}/", tapped.address);
    let mut batches = 0;
    for bytes in [1, 70_000, 3_000_000] {
        let sent = random(bytes);
        std::fs::write(&file, &sent).unwrap();
        let body = format!("@{}", file.display());
        for more in [
            &["--http1.1"][..],
            &["--http1.1", "-H", "Expect: 100-continue"],
            &["--http1.1", "-H", "Transfer-Encoding: chunked"],
            &["--http1.0"],
            &["--http2-prior-knowledge"],
        ] {
            let all = [&["-sS", "--max-time", "10", "--data-binary", &body, &url][..], more].concat();
            let Some((ok, got)) = output("curl", &all).await else { return };
            assert!(ok && got == sent, "{more:?}: {} of {bytes} bytes", got.len());
            batches += 1;
        }
    }
    tapped.recorded(batches).await;
}

#[tokio::test]
async fn nghttp_posts_over_http_2() {
    let (target, _) = echo().await;
    let tapped = Tapped::http(target);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("body");
    let sent = "{\"a\":1}\n".repeat(40_000);
    std::fs::write(&file, &sent).unwrap();
    let (file, url) = (file.display().to_string(), format!("http://{}/", tapped.address));
    let Some((ok, got)) = output("nghttp", &["-d", &file, &url]).await else { return };
    assert!(ok && got == sent.as_bytes());
    let vector = tapped.recorded(1).await.arrivals[0].characteristics;
    assert_eq!((vector.data_volume.records, vector.estimated), (Some(40_000), false));
}

/// nginx that stores what is PUT, and gives it back.
fn nginx(dir: &std::path::Path, address: SocketAddr) -> Option<Child> {
    let at = dir.display();
    let user = std::fs::metadata("/root").and_then(|_| std::fs::read_dir("/root")).map_or("", |_| "user root;");
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {at}/{kind};"))
        .concat();
    let config = format!(
        "{user} daemon off; worker_processes 1; pid {at}/pid; error_log {at}/error;
         events {{ }}
         http {{ access_log off; client_max_body_size 0; {temporary}
           server {{ listen {address}; location / {{ root {at}/store; dav_methods PUT; }} }} }}"
    );
    std::fs::create_dir(dir.join("store")).unwrap();
    std::fs::write(dir.join("conf"), config).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-c").arg(dir.join("conf")).arg("-p").arg(dir).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().inspect_err(|error| eprintln!("skipped: nginx: {error}")).ok()
}

#[tokio::test]
async fn nginx_stores_what_was_sent_and_gives_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let target = nowhere().await;
    let Some(mut nginx) = nginx(dir.path(), target) else { return };
    let tapped = Tapped::http(target);
    let up = async {
        while tokio::net::TcpStream::connect(target).await.is_err() {
            if let Ok(Some(_)) = nginx.try_wait() {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        true
    };
    if !within(up).await {
        return eprintln!("skipped: nginx does not start here, or has no WebDAV");
    }
    let http = reqwest::Client::new();
    let mut batches = 0;
    for bytes in [1, 9_000, 700_000] {
        let sent = random(bytes);
        let url = format!("http://{}/{bytes}", tapped.address);
        let put = within(http.put(&url).body(sent.clone()).send()).await.unwrap();
        assert!(put.status().is_success(), "{}", put.status());
        batches += 1;
        let got = within(http.get(&url).send()).await.unwrap().bytes().await.unwrap();
        assert!(got == sent);
        let head = within(http.head(&url).send()).await.unwrap();
        assert_eq!(head.headers()["content-length"], bytes.to_string().as_str());
    }
    tapped.recorded(batches).await;
    // The master ends its worker with it; killed, it would leave it behind.
    if let Some(pid) = nginx.id() {
        output("kill", &["-QUIT", &pid.to_string()]).await;
        let _ = within(nginx.wait()).await;
    }
}
