//! Backlog: what waits in front of the component where its batches never pass through the pod: a Prometheus metric of
//! the app or of its broker's exporter.
//!
//! ```text
//! --backlog metrics=URL#metric ─► GET, each 5 s, in bounded time and size ─► lines ─► sum of the series ─► Backlog
//! ```
//!
//! Where it is given, it is the backlog: the taps' own is not mixed in, but for what is in service. A reading holds for a
//! few attempts. Then what cannot be read, or reads as NaN, is absent, never zero: condition BacklogUnknown.

mod exposition;
mod oldest;
mod page;
mod selector;

use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use forebay_shared::health::{Health, State};
use forebay_shared::{Backlog, Timestamp};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use self::exposition::{Lines, Series};
use self::oldest::Oldest;
use self::page::Pages;
pub(crate) use self::selector::Selector;
use crate::metrics::Metrics;
use crate::shipper::Target;

/// From one reading to the next: exporters ask their brokers no more often.
const EVERY: Duration = Duration::from_secs(5);
/// The longest that a reading may take.
const WITHIN: Duration = Duration::from_secs(2);
/// A reading holds for so long: three attempts may fail, and the one after them has its time.
const HOLDS: Duration = Duration::from_secs(22);
const PART: &str = "backlog";
const EXPECTED: &str = "expected metrics=URL#metric, such as metrics=http://127.0.0.1:9308/metrics#kafka_consumergroup_lag, \
                        with matchers such as {group=\"a\",topic!=\"b\"} and ,age=METRIC if need be";

/// Where the backlog is read.
#[derive(Clone, Debug, PartialEq)]
pub struct BacklogSource {
    page: Target,
    waiting: Selector,
    /// Tells how long the oldest has waited, seconds.
    age: Option<Selector>,
}

impl FromStr for BacklogSource {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let source = text.strip_prefix("metrics=").and_then(|rest| rest.split_once('#'));
        let (url, selectors) = source.context(EXPECTED)?;
        let page = Target::of_page(url).context(EXPECTED)?;
        let (waiting, rest) = Selector::parse(selectors).context(EXPECTED)?;
        let age = match rest.strip_prefix(",age=") {
            Some(age) => {
                let (age, rest) = Selector::parse(age).context(EXPECTED)?;
                ensure!(rest.is_empty(), EXPECTED);
                Some(age)
            }
            None => {
                ensure!(rest.is_empty(), EXPECTED);
                None
            }
        };
        Ok(Self { page, waiting, age })
    }
}

/// The last reading, shared by who reads and who samples; a clone is the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading(Arc<Mutex<Option<(Instant, Backlog)>>>);

impl Reading {
    /// The backlog now; `in_service` from the taps, as far as they know. The oldest one waits on between two readings.
    pub(crate) fn backlog(&self, taps: Option<Backlog>) -> Option<Backlog> {
        let (read_at, mut backlog) = (*self.last())?;
        let since = read_at.elapsed();
        if since > HOLDS {
            return None;
        }
        if backlog.waiting > 0 {
            backlog.oldest_wait_ms = backlog.oldest_wait_ms.saturating_add(since.as_millis() as u64);
        }
        Some(Backlog { in_service: taps.map_or(0, |taps| taps.in_service), ..backlog })
    }

    fn last(&self) -> MutexGuard<'_, Option<(Instant, Backlog)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why there is no reading: a label for the counter, and words that say what would be right.
#[derive(Debug)]
struct Failure {
    reason: &'static str,
    detail: String,
}

/// Reads the metric until `stop`.
pub(crate) async fn run(
    source: BacklogSource,
    reading: Reading,
    health: Health,
    metrics: Metrics,
    stop: CancellationToken,
) {
    health.set(PART, State::Degraded, "not read yet", Timestamp::now());
    let mut oldest = Oldest::default();
    let mut pages = Pages::new(source.page.clone());
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let read = async {
            let found = timeout(WITHIN, read(&mut pages, &source)).await;
            found.unwrap_or_else(|_| Err(failure("timeout", format!("no whole answer within {WITHIN:?}"))))
        };
        let Some(read) = stop.run_until_cancelled(read).await else { break };
        let now = Instant::now();
        metrics.backlog_reads.inc();
        match read {
            Ok((waiting, age)) => {
                let upper_bound = oldest.observe(now, waiting);
                let wait = age.unwrap_or(upper_bound);
                let backlog = Backlog { waiting, oldest_wait_ms: wait.as_millis() as u64, ..Backlog::default() };
                *reading.last() = Some((now, backlog));
                health.set(PART, State::Ok, "", Timestamp::now());
            }
            Err(failure) => {
                metrics.backlog_failures.get_or_create(&[("reason", failure.reason)]).inc();
                degraded(&health, &source, &failure);
            }
        }
    }
}

/// Logs when it turns bad, not each time.
fn degraded(health: &Health, source: &BacklogSource, failure: &Failure) {
    let detail = format!("cannot read `{}` at {}: {}", source.waiting, source.page, failure.detail);
    if health.parts().get(PART).is_none_or(|part| part.detail != detail) {
        tracing::warn!(detail, "the backlog cannot be read; trying on");
    }
    health.set(PART, State::Degraded, detail, Timestamp::now());
}

/// What waits, and for how long the oldest has, where a metric tells.
async fn read(pages: &mut Pages, source: &BacklogSource) -> Result<(u64, Option<Duration>), Failure> {
    let (mut waiting, mut age) = (Sum::default(), Most::default());
    let mut lines = Lines::default();
    let mut take = |line: &[u8]| {
        let Some(series) = Series::parse(line) else { return };
        if source.waiting.matches(&series) {
            waiting.add(series.value);
        }
        if source.age.as_ref().is_some_and(|age| age.matches(&series)) {
            age.add(series.value);
        }
    };
    pages.get(|chunk| lines.push(chunk, &mut take)).await?;
    lines.end(&mut take);
    let waiting = waiting.total().ok_or_else(|| absent("a number", &source.waiting))?;
    let Some(selector) = &source.age else { return Ok((waiting, None)) };
    Ok((waiting, Some(age.seconds().ok_or_else(|| absent("a number of seconds", selector))?)))
}

fn absent(expected: &str, selector: &Selector) -> Failure {
    failure("absent", format!("no series `{selector}` with {expected}: expected one at least, and none that is NaN"))
}

fn failure(reason: &'static str, detail: impl Into<String>) -> Failure {
    Failure { reason, detail: detail.into() }
}

/// The sum over series. Exporters tell -1 of what they do not know yet: nothing of it is known to wait.
#[derive(Default)]
struct Sum {
    total: f64,
    series: u64,
}

impl Sum {
    fn add(&mut self, value: f64) {
        self.total += if value < 0.0 { 0.0 } else { value };
        self.series += 1;
    }

    fn total(&self) -> Option<u64> {
        (self.series > 0 && self.total.is_finite()).then(|| self.total.ceil() as u64)
    }
}

/// The greatest over series.
#[derive(Default)]
struct Most(Option<f64>);

impl Most {
    fn add(&mut self, value: f64) {
        let most = self.0.get_or_insert(0.0);
        // A NaN stays one.
        if value.is_nan() || value > *most {
            *most = value;
        }
    }

    fn seconds(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.0?).ok()
    }
}

#[cfg(test)]
mod tests;
