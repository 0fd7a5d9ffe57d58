//! What an answer of the aggregator means. Pure.

use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;

/// What is to be done with the frames of a request.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// The first `frames` of them are durable; `duplicates` of those were before.
    Acknowledged { frames: u64, duplicates: u64 },
    /// Send them again, after that time if the aggregator told one.
    Later { reason: &'static str, after: Option<Duration>, detail: String },
    /// One of them at least will never be taken.
    Refused { detail: String },
}

#[derive(Deserialize)]
struct Acknowledgement {
    accepted: u64,
    duplicates: u64,
}

impl Verdict {
    pub(super) fn later(reason: &'static str, detail: impl Into<String>) -> Self {
        Self::Later { reason, after: None, detail: detail.into() }
    }

    /// The verdict of an answer, from its status, `Retry-After` and body.
    pub(super) fn of(status: StatusCode, retry_after: Option<&str>, body: &[u8]) -> Self {
        match status {
            StatusCode::OK => acknowledged(body),
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
                Self::Refused { detail: told(status, body) }
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::later(
                "unauthorized",
                format!("{}; expected a token that the aggregator knows: see --token-file", told(status, body)),
            ),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                let after = retry_after.and_then(|after| after.trim().parse().ok()).map(Duration::from_secs);
                Self::Later { reason: "busy", after, detail: told(status, body) }
            }
            _ if status.is_server_error() => Self::later("server", told(status, body)),
            _ => Self::later("unexpected", format!("{}; expected an aggregator at --aggregator", told(status, body))),
        }
    }
}

fn acknowledged(body: &[u8]) -> Verdict {
    match serde_json::from_slice(body) {
        Ok(Acknowledgement { accepted, duplicates }) if accepted.saturating_add(duplicates) > 0 => {
            Verdict::Acknowledged { frames: accepted.saturating_add(duplicates), duplicates }
        }
        _ => Verdict::later("unexpected", "the aggregator answered 200 without saying how many frames it accepted"),
    }
}

/// The status, and the detail of the problem document if there is one.
fn told(status: StatusCode, body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Problem {
        detail: String,
    }
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => format!("the aggregator answered {status}: {}", problem.detail),
        Err(_) => format!("the aggregator answered {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, retry_after: Option<&str>, body: &str) -> Verdict {
        Verdict::of(StatusCode::from_u16(status).unwrap(), retry_after, body.as_bytes())
    }

    #[test]
    fn only_a_whole_acknowledgement_acknowledges() {
        let whole = of(200, None, r#"{"accepted": 3, "duplicates": 2}"#);
        assert_eq!(whole, Verdict::Acknowledged { frames: 5, duplicates: 2 });
        for half in ["", r#"{"accepted": 3, "dupl"#, r#"{"accepted": 0, "duplicates": 0}"#] {
            assert!(matches!(of(200, None, half), Verdict::Later { .. }), "{half}");
        }
    }

    #[test]
    fn a_busy_aggregator_says_when_to_come_back() {
        let Verdict::Later { after, .. } = of(503, Some("7"), "") else { panic!("expected later") };
        assert_eq!(after, Some(Duration::from_secs(7)));
        assert!(matches!(of(429, Some("soon"), ""), Verdict::Later { after: None, .. }));
    }

    #[test]
    fn frames_are_given_up_only_where_they_themselves_are_refused() {
        for status in [400, 413, 422] {
            let Verdict::Refused { detail } = of(status, None, r#"{"detail": "frame 0 is bad"}"#) else {
                panic!("expected refused for {status}")
            };
            assert!(detail.contains("frame 0 is bad"));
        }
        for status in [301, 401, 403, 404, 405, 500, 502] {
            assert!(matches!(of(status, None, ""), Verdict::Later { .. }), "{status}");
        }
    }
}
