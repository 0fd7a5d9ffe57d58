//! Header fields between two hops: what concerns one connection alone stays on it (RFC 9110, section 7.6.1).
//!
//! Nothing is added: no `Via`, no `X-Forwarded-*`, no `Date`. The tap stands in the component's own pod, and whoever
//! asks or answers sees the same message as without it. `Transfer-Encoding`, `Content-Length` and `Trailer` stay,
//! since the body keeps its framing; hyper writes them anew where HTTP's version changes them.

use axum::http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, Entry, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use axum::http::{HeaderMap, Request, Version};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
/// Fields that `Connection` cannot take away: without them the message would be another one.
const PROTECTED: [HeaderName; 4] = [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, EXPECT];

/// Takes away what concerned the connection that a message came by. An upgrade that is wanted stays.
pub(super) fn strip(headers: &mut HeaderMap, upgrade: bool) {
    if !headers.contains_key(CONNECTION) && !headers.contains_key(TE) && !headers.contains_key(UPGRADE) {
        headers.remove(KEEP_ALIVE);
        headers.remove(PROXY_CONNECTION);
        return;
    }
    let trailers = has_token(headers, &TE, "trailers");
    let named: Vec<HeaderName> = tokens(headers, &CONNECTION).filter_map(|name| name.parse().ok()).collect();
    let stays = |name: &HeaderName| PROTECTED.contains(name) || (upgrade && *name == UPGRADE);
    for name in named.iter().filter(|name| !stays(name)) {
        headers.remove(name);
    }
    for name in [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TE, HTTP2_SETTINGS] {
        headers.remove(name);
    }
    match upgrade {
        true => drop(headers.insert(CONNECTION, HeaderValue::from_static("upgrade"))),
        false => drop(headers.remove(UPGRADE)),
    }
    if trailers {
        // Trailers are passed on, so the peer may send them.
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Whether a request asks to speak something else on its connection. Not h2c: who speaks HTTP/1.1 is served by it, and
/// the upgrade is the server's to ignore; with it, the tap would see no bodies.
pub(super) fn wants_upgrade<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    request.version() == Version::HTTP_11
        && headers.contains_key(UPGRADE)
        && has_token(headers, &CONNECTION, "upgrade")
        && !has_token(headers, &UPGRADE, "h2c")
}

/// Whether a request waits for `100 Continue` before it sends its body.
pub(super) fn expects_continue<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_11 && has_token(request.headers(), &EXPECT, "100-continue")
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|found| found.split(';').next().is_some_and(|t| t.trim().eq_ignore_ascii_case(token)))
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',').map(str::trim))
}

/// HTTP/2 has the host in its pseudo-header; some clients send it as a field too, or instead.
pub(super) fn drop_same_host(headers: &mut HeaderMap, authority: &str) {
    if let Entry::Occupied(host) = headers.entry(HOST)
        && host.get().as_bytes() == authority.as_bytes()
    {
        host.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let mut map = HeaderMap::new();
        for (name, value) in fields.iter().map(field) {
            map.append(name, value);
        }
        map
    }

    #[test]
    fn what_concerns_one_connection_stays_on_it() {
        let mut headers = map(&[
            ("host", "a"),
            ("connection", "close, X-One , host"),
            ("connection", "x-two"),
            ("keep-alive", "timeout=5"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-three", "3"),
            ("te", "gzip, trailers;q=0.5"),
            ("upgrade", "websocket"),
            ("transfer-encoding", "chunked"),
        ]);
        strip(&mut headers, false);
        let left = map(&[("host", "a"), ("x-three", "3"), ("transfer-encoding", "chunked"), ("te", "trailers")]);
        assert_eq!(headers, left);
        let mut plain = map(&[("keep-alive", "timeout=5"), ("accept", "*/*")]);
        strip(&mut plain, false);
        assert_eq!(plain, map(&[("accept", "*/*")]));
    }

    #[test]
    fn an_upgrade_that_is_wanted_is_passed_on_and_h2c_is_not() {
        let ask = |connection: &'static str, upgrade: &'static str| {
            let mut request = Request::new(());
            *request.headers_mut() = map(&[("connection", connection), ("upgrade", upgrade)]);
            request
        };
        let mut request = ask("keep-alive, Upgrade", "websocket");
        assert!(wants_upgrade(&request));
        strip(request.headers_mut(), true);
        assert_eq!(*request.headers(), map(&[("connection", "upgrade"), ("upgrade", "websocket")]));
        assert!(!wants_upgrade(&ask("upgrade, http2-settings", "h2c")));
        assert!(!wants_upgrade(&ask("keep-alive", "websocket")));
    }
}
