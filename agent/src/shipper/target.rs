//! Where the aggregator is: its URL, in the parts that a request needs.

use std::fmt;

use anyhow::{Context as _, bail, ensure};
use axum::http::{HeaderValue, Uri};

const PATH: &str = "/api/v1/observations";

/// `POST observations` at an aggregator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) tls: bool,
    /// A name or an address; no brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The `Host` header.
    pub(crate) authority: HeaderValue,
    pub(crate) path: Uri,
    url: String,
}

impl Target {
    /// From the URL of the aggregator.
    pub(crate) fn of_aggregator(url: &str) -> anyhow::Result<Self> {
        let expected = || format!("--aggregator is `{url}`: expected a URL such as https://forebay:9400");
        let uri: Uri = url.parse().with_context(expected)?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => bail!(expected()),
        };
        let authority = uri.authority().with_context(expected)?;
        // A user and a password would go nowhere.
        ensure!(!authority.as_str().contains('@') && uri.query().is_none() && !url.contains('#'), expected());
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        ensure!(!host.is_empty(), expected());
        let told = authority.as_str().len() > authority.host().len();
        let port = match authority.port_u16() {
            Some(port) => port,
            None if told => bail!(expected()),
            None => {
                if tls {
                    443
                } else {
                    80
                }
            }
        };
        let path = format!("{}{PATH}", uri.path().trim_end_matches('/'));
        Ok(Self {
            tls,
            host,
            port,
            authority: HeaderValue::from_str(authority.as_str()).with_context(expected)?,
            url: format!("{}://{authority}{path}", if tls { "https" } else { "http" }),
            path: path.parse().with_context(expected)?,
        })
    }

    /// Nothing of what is sent leaves the machine.
    pub(crate) fn is_loopback(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        address.map_or(self.host == "localhost", |address| address.to_canonical().is_loopback())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gives_what_a_request_needs() {
        let target = Target::of_aggregator("https://forebay.ops.svc/west/").unwrap();
        assert_eq!((target.tls, target.host.as_str(), target.port), (true, "forebay.ops.svc", 443));
        assert_eq!(
            (target.authority.as_bytes(), target.path.path()),
            (&b"forebay.ops.svc"[..], "/west/api/v1/observations")
        );
        let target = Target::of_aggregator("http://[::1]:9400").unwrap();
        assert_eq!((target.tls, target.host.as_str(), target.port), (false, "::1", 9400));
        assert_eq!(target.to_string(), "http://[::1]:9400/api/v1/observations");
        for (url, loopback) in [("http://localhost", true), ("http://127.1.2.3:1", true), ("http://forebay", false)] {
            assert_eq!(Target::of_aggregator(url).unwrap().is_loopback(), loopback, "{url}");
        }
    }

    #[test]
    fn what_is_no_url_of_an_aggregator_is_refused_with_what_would_be_right() {
        for bad in [
            "forebay:9400",
            "ftp://forebay",
            "http://",
            "https://:9400",
            "http://a/?x=1",
            "http://a/#x",
            "http://u:p@a/",
            "http://a:99999",
            "http://a:",
            "http://a b",
            "/path",
            "",
        ] {
            let error = Target::of_aggregator(bad).unwrap_err().to_string();
            assert!(error.contains(bad) && error.contains("https://forebay:9400"), "{error}");
        }
    }
}
