//! `--tap`: how batches are seen. Several are separated by commas, as in the annotation `forebay.io/tap`.
//!
//! ```text
//! push   dir=/inbox   http=9000->8080   tcp=127.0.0.1:9001->localhost:5432
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, bail, ensure};

const EXPECTED: &str = "expected push, dir=/PATH, http=LISTEN->TARGET or tcp=LISTEN->TARGET, such as http=9000->8080";

/// How batches are seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TapKind {
    /// The component pushes them, or their vectors, over loopback.
    Push,
    /// They are files that appear in a directory.
    Dir(PathBuf),
    /// They are the bodies of HTTP requests, which pass through the agent.
    Http(Route),
    /// They are the exchanges of TCP connections, which pass through the agent; bytes only.
    Tcp(Route),
}

/// Where an inline tap listens, and to what it forwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The address that is bound; `[::]`, for all interfaces, if only a port was given.
    pub listen: SocketAddr,
    /// The component's own addresses on loopback, tried in this order.
    pub target: Vec<SocketAddr>,
    /// `LISTEN->TARGET` as it was given.
    text: String,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for TapKind {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text.split_once('=') {
            None if text == "push" => Ok(Self::Push),
            Some(("dir", path)) => {
                ensure!(path.starts_with('/'), "expected an absolute path, such as dir=/inbox");
                Ok(Self::Dir(path.into()))
            }
            Some(("http", route)) => Ok(Self::Http(route.parse()?)),
            Some(("tcp", route)) => Ok(Self::Tcp(route.parse()?)),
            _ => bail!(EXPECTED),
        }
    }
}

impl FromStr for Route {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (listen, target) = text.split_once("->").context(EXPECTED)?;
        let route = Self { listen: listening(listen.trim())?, target: loopback(target.trim())?, text: text.to_owned() };
        let itself = route.target.iter().any(|target| overlap(route.listen, *target));
        ensure!(!itself, "it would forward to itself: expected two different ports");
        Ok(route)
    }
}

/// The address of LISTEN. Port 0 takes a free one.
fn listening(text: &str) -> anyhow::Result<SocketAddr> {
    if let Ok(port) = text.parse() {
        return Ok(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    }
    text.parse().with_context(|| format!("LISTEN is `{text}`: expected a port or address:port, such as 9000"))
}

/// The addresses of TARGET: the component is in the same pod, so it can only be on loopback.
fn loopback(text: &str) -> anyhow::Result<Vec<SocketAddr>> {
    let expected = || {
        format!(
            "TARGET is `{text}`: expected a port of 127.0.0.1, or a host and port on loopback, such as localhost:8080"
        )
    };
    let addresses = match (text.parse::<u16>(), text.rsplit_once(':')) {
        (Ok(port), _) => vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))],
        (_, Some((host, port))) if host.eq_ignore_ascii_case("localhost") => {
            let port = port.parse().with_context(expected)?;
            vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
        }
        _ => vec![text.parse::<SocketAddr>().with_context(expected)?],
    };
    ensure!(addresses.iter().all(|address| address.ip().is_loopback() && address.port() != 0), expected());
    Ok(addresses)
}

/// Whether a listener on `bound` also takes what is sent to `other`, or they could not both be bound.
fn overlap(bound: SocketAddr, other: SocketAddr) -> bool {
    // Bound with both families: `[::]` stands for all addresses.
    let all = |ip: IpAddr| ip.is_unspecified();
    bound.port() != 0
        && bound.port() == other.port()
        && (bound.ip() == other.ip() || all(bound.ip()) || all(other.ip()))
}

/// Checks that no two of the taps, nor a tap and the agent's own address, want the same port.
pub(super) fn check(taps: &[TapKind], own: SocketAddr) -> anyhow::Result<()> {
    let mut taken = vec![(own, "--listen".to_owned())];
    for tap in taps {
        let (TapKind::Http(route) | TapKind::Tcp(route)) = tap else { continue };
        if let Some((_, by)) = taken.iter().find(|(address, _)| overlap(*address, route.listen)) {
            bail!("--tap {route} listens on port {}, as does {by}: expected a port of its own", route.listen.port());
        }
        taken.push((route.listen, format!("--tap {route}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(text: &str) -> Route {
        text.parse().unwrap()
    }

    #[test]
    fn a_port_listens_on_all_interfaces_and_is_found_on_loopback() {
        assert_eq!("push".parse::<TapKind>().unwrap(), TapKind::Push);
        assert_eq!("dir=/inbox".parse::<TapKind>().unwrap(), TapKind::Dir("/inbox".into()));
        let plain = route("9000->8080");
        assert_eq!(plain.listen, "[::]:9000".parse().unwrap());
        assert_eq!(plain.target, ["127.0.0.1:8080".parse().unwrap()]);
        assert_eq!(plain.to_string(), "9000->8080");
        let full = route("127.0.0.2:9000->[::1]:8080");
        assert_eq!((full.listen, full.target[0]), ("127.0.0.2:9000".parse().unwrap(), "[::1]:8080".parse().unwrap()));
        assert_eq!(route("[::1]:1->localhost:2").target.len(), 2, "either family of localhost");
        assert!(matches!("tcp=9000->8080".parse(), Ok(TapKind::Tcp(_))));
        assert!(matches!("http=0->8080".parse(), Ok(TapKind::Http(_))));
    }

    #[test]
    fn a_bad_route_is_told_with_what_would_be_right() {
        for (bad, right) in [
            ("pull", "expected push"),
            ("push=1", "expected push"),
            ("http", "http=9000->8080"),
            ("http=9000", "http=9000->8080"),
            ("http=9000:8080", "http=9000->8080"),
            ("http=nowhere->8080", "LISTEN is `nowhere`"),
            ("http=70000->8080", "LISTEN is `70000`"),
            ("tcp=9000->0", "TARGET is `0`"),
            ("tcp=9000->example.org:80", "TARGET is `example.org:80`"),
            ("tcp=9000->10.0.0.1:80", "on loopback"),
            ("http=8080->8080", "two different ports"),
            ("http=0.0.0.0:8080->127.0.0.1:8080", "two different ports"),
            ("dir=inbox", "absolute path"),
        ] {
            let error = bad.parse::<TapKind>().unwrap_err().to_string();
            assert!(error.contains(right), "{bad}: {error}");
        }
        assert_ne!(route("127.0.0.2:80->127.0.0.1:80").listen, route("80->81").listen, "two addresses, one port");
    }

    #[test]
    fn a_port_that_two_want_is_an_error_that_names_both() {
        let own = "127.0.0.1:9410".parse().unwrap();
        let check = |taps: &[&str]| check(&taps.iter().map(|tap| tap.parse().unwrap()).collect::<Vec<_>>(), own);
        check(&["http=9000->8080", "tcp=9001->8080", "push"]).unwrap();
        check(&["http=0->8080", "tcp=0->8080"]).unwrap();
        check(&["http=127.0.0.1:9000->80", "tcp=127.0.0.2:9000->80"]).unwrap();
        for (taps, names) in [
            (&["http=9000->8080", "tcp=9000->8081"][..], ["9000->8081", "9000->8080"]),
            (&["http=127.0.0.1:9000->80", "tcp=9000->80"], ["9000->80", "127.0.0.1:9000->80"]),
            (&["http=9410->8080"], ["9410->8080", "--listen"]),
        ] {
            let error = check(taps).unwrap_err().to_string();
            assert!(names.iter().all(|name| error.contains(name)), "{error}");
        }
    }
}
