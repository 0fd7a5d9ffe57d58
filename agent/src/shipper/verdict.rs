//! What an answer of the aggregator means. Pure.

use std::time::{Duration, SystemTime};

use axum::http::StatusCode;
use forebay_shared::problem::AHEAD;
use serde::Deserialize;

/// What is to be done with the frames of a request.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// The first `frames` of them need not be kept: they are durable, `duplicates` of them since before, but for
    /// `too_old`, which are older than what the aggregator keeps.
    Acknowledged { frames: u64, duplicates: u64, too_old: u64 },
    /// Send them again, after that time if the aggregator told one.
    Later { reason: &'static str, after: Option<Duration>, detail: String },
    /// The frame at that index tells of a time that has not come yet, by the aggregator's clock.
    Early { frame: usize, after: Option<Duration>, detail: String },
    /// One of them at least will never be taken: the one at that index, if the aggregator told.
    Refused { frame: Option<usize>, detail: String },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Acknowledgement {
    accepted: u64,
    duplicates: u64,
    #[serde(default)]
    too_old: u64,
}

impl Acknowledgement {
    fn frames(&self) -> u64 {
        self.accepted.saturating_add(self.duplicates).saturating_add(self.too_old)
    }
}

impl Verdict {
    pub(super) fn later(reason: &'static str, detail: impl Into<String>) -> Self {
        Self::Later { reason, after: None, detail: detail.into() }
    }

    /// The verdict of an answer, from its status, `Retry-After` and body.
    pub(super) fn of(status: StatusCode, retry_after: Option<&str>, body: &[u8], now: SystemTime) -> Self {
        let problem = serde_json::from_slice::<Problem>(body).ok();
        let frame = problem.as_ref().and_then(Problem::frame);
        let detail = told(status, problem.as_ref());
        match status {
            StatusCode::OK => acknowledged(body),
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
                Self::Refused { frame, detail }
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::later(
                "unauthorized",
                format!("{detail}; expected a token that the aggregator knows: see --token-file"),
            ),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                let after = retry_after.and_then(|after| wait(after.trim(), now));
                match frame {
                    Some(frame) if detail.contains(AHEAD) => Self::Early { frame, after, detail },
                    _ => Self::Later { reason: "busy", after, detail },
                }
            }
            // The body took the aggregator's patience: fewer frames do not.
            StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => Self::later("timeout", detail),
            _ if status.is_server_error() => Self::later("server", detail),
            _ => Self::later("unexpected", format!("{detail}; expected an aggregator at --aggregator")),
        }
    }
}

/// `Retry-After`: seconds, or a date.
fn wait(after: &str, now: SystemTime) -> Option<Duration> {
    match after.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(httpdate::parse_http_date(after).ok()?.duration_since(now).unwrap_or_default()),
    }
}

fn acknowledged(body: &[u8]) -> Verdict {
    match serde_json::from_slice(body) {
        Ok(told @ Acknowledgement { duplicates, too_old, .. }) if told.frames() > 0 => {
            Verdict::Acknowledged { frames: told.frames(), duplicates, too_old }
        }
        _ => Verdict::later("unexpected", "the aggregator answered 200 without saying how many frames it accepted"),
    }
}

/// A problem document, as far as it matters here.
#[derive(Deserialize)]
struct Problem {
    detail: String,
    field: Option<String>,
}

impl Problem {
    /// The index in `frames[…]`.
    fn frame(&self) -> Option<usize> {
        let (index, _) = self.field.as_ref()?.strip_prefix("frames[")?.split_once(']')?;
        index.parse().ok()
    }
}

/// The status, and the detail of the problem document if there is one.
fn told(status: StatusCode, problem: Option<&Problem>) -> String {
    match problem {
        Some(problem) => format!("the aggregator answered {status}: {}", problem.detail),
        None => format!("the aggregator answered {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, retry_after: Option<&str>, body: &str) -> Verdict {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 60);
        Verdict::of(StatusCode::from_u16(status).unwrap(), retry_after, body.as_bytes(), now)
    }

    #[test]
    fn only_a_whole_acknowledgement_acknowledges() {
        let whole = of(200, None, r#"{"accepted": 3, "duplicates": 2}"#);
        assert_eq!(whole, Verdict::Acknowledged { frames: 5, duplicates: 2, too_old: 0 });
        let old = of(200, None, r#"{"accepted": 0, "duplicates": 0, "tooOld": 4}"#);
        assert_eq!(old, Verdict::Acknowledged { frames: 4, duplicates: 0, too_old: 4 });
        for half in ["", r#"{"accepted": 3, "dupl"#, r#"{"accepted": 0, "duplicates": 0}"#] {
            assert!(matches!(of(200, None, half), Verdict::Later { .. }), "{half}");
        }
    }

    #[test]
    fn a_busy_aggregator_says_when_to_come_back() {
        let Verdict::Later { after, .. } = of(503, Some("7"), "") else { panic!("expected later") };
        assert_eq!(after, Some(Duration::from_secs(7)));
        assert!(matches!(of(429, Some("soon"), ""), Verdict::Later { after: None, .. }));
        for (date, seconds) in [("Sun, 06 Nov 1994 08:49:37 GMT", 60), ("Sun, 06 Nov 1994 08:40:00 GMT", 0)] {
            let Verdict::Later { after, .. } = of(503, Some(date), "") else { panic!("expected later") };
            assert_eq!(after, Some(Duration::from_secs(seconds)));
        }
    }

    #[test]
    fn a_frame_that_is_only_early_is_told_from_an_aggregator_that_is_busy() {
        let early = r#"{"detail": "closedAt: 9 ms is 99 s ahead of the aggregator's clock", "field": "frames[2]"}"#;
        let Verdict::Early { frame, after, .. } = of(503, Some("30"), early) else { panic!("expected early") };
        assert_eq!((frame, after), (2, Some(Duration::from_secs(30))));
        let schema = r#"{"detail": "frame schema 9 is unknown", "field": "frames[0]"}"#;
        assert!(matches!(of(503, Some("30"), schema), Verdict::Later { reason: "busy", .. }));
    }

    #[test]
    fn frames_are_given_up_only_where_they_themselves_are_refused() {
        for status in [400, 413, 422] {
            let problem = r#"{"detail": "frame 7 is bad", "field": "frames[7].arrivals"}"#;
            let Verdict::Refused { frame, detail } = of(status, None, problem) else {
                panic!("expected refused for {status}")
            };
            assert!(frame == Some(7) && detail.contains("frame 7 is bad"));
        }
        for status in [301, 401, 403, 404, 405, 500, 502] {
            assert!(matches!(of(status, None, ""), Verdict::Later { .. }), "{status}");
        }
    }
}
