//! `GET …/history`: live rows as the page shows them, or any range in steps, as JSON or CSV.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use forebay_shared::problem::Problem;
use forebay_shared::{ComponentId, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Api;
use super::components::{ComponentPath, blocking, internal, known, with};
use crate::app::Shared;
use crate::history::{Aggregate, Gap, Metric, Ranged, Resolution, Rolled};

/// Steps told where the request does not say how many.
const STEPS: u64 = 1000;
/// The most steps of a page.
const MOST_STEPS: u64 = 10_000;
/// Gaps told, the newest; the number of frames is of all.
const MOST_GAPS: usize = 100;
/// The longest range of a page that is summed up from single frames.
const FROM_FRAMES_MS: u64 = 6 * 3_600_000;
/// The most samples and batches that a page is summed up from, of all pods: some 2 s.
const FROM_EVENTS: u64 = 500_000;
/// Steps to choose from where the request tells none.
const USUAL_STEPS: [u64; 7] = [15_000, 60_000, 300_000, 900_000, 3_600_000, 21_600_000, 86_400_000];

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Parameters {
    from: Option<String>,
    to: Option<String>,
    step: Option<String>,
    aggregate: Option<String>,
    columns: Option<String>,
    limit: Option<String>,
    page: Option<String>,
    format: Option<String>,
}

/// A request, checked.
#[derive(Debug, PartialEq)]
struct Request {
    from: u64,
    to: u64,
    step_ms: u64,
    /// Summed up from single frames, rather than from roll-ups.
    from_frames: bool,
    aggregate: Aggregate,
    columns: Vec<Column>,
    limit: u64,
    page: u64,
    csv: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Column {
    Metric(Metric),
    OldestWait,
    OomKills,
}

impl Column {
    fn all() -> Vec<Self> {
        Metric::ALL.into_iter().map(Self::Metric).chain([Self::OldestWait, Self::OomKills]).collect()
    }

    fn name(self) -> &'static str {
        match self {
            Self::Metric(metric) => metric.name(),
            Self::OldestWait => "oldestWaitSeconds",
            Self::OomKills => "oomKills",
        }
    }

    /// The longest wait is the longest, and kills are their number, whatever is asked for.
    fn value(self, row: &Rolled, aggregate: Aggregate, step_ms: u64) -> Option<f64> {
        match (self, aggregate) {
            (Self::OldestWait, _) => row.sums.oldest_wait_ms.map(|wait| wait / 1000.0),
            (Self::OomKills, _) => row.sums.oom_kills,
            (Self::Metric(metric), Aggregate::Mean) => row.sums.mean(metric, step_ms),
            (Self::Metric(metric), Aggregate::Sum) => row.sums.total(metric),
            (Self::Metric(metric), Aggregate::Max) => row.peaks.max[metric as usize],
            (Self::Metric(metric), Aggregate::P95) => row.peaks.p95[metric as usize],
        }
    }
}

pub(super) async fn history(
    State(shared): Api,
    Path(path): Path<ComponentPath>,
    headers: HeaderMap,
    Query(parameters): Query<Parameters>,
) -> Result<Response, Problem> {
    let id = known(&shared, path)?;
    let accepts_csv = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(prefers_csv);
    if is_live(&parameters) && !accepts_csv {
        return live(&shared, &id, &parameters);
    }
    let resolve = |from, step_ms, aggregate| shared.history.resolution(Timestamp(from), step_ms, aggregate);
    let request = Request::read(&parameters, accepts_csv, Timestamp::now(), resolve)?;
    let (from, to) = request.span();
    let of = id.clone();
    let (step_ms, aggregate, from_frames) = (request.step_ms, request.aggregate, request.from_frames);
    let read = move |shared: &Shared| {
        let range = Timestamp(from)..Timestamp(to);
        let events = if from_frames { shared.history.events(&of, &range)? } else { 0 };
        if events > FROM_EVENTS {
            return Ok(Err(events));
        }
        let ranged = shared.history.range(&of, range.clone(), step_ms, aggregate)?;
        Ok(Ok((ranged, shared.history.gaps(&of, range, MOST_GAPS)?)))
    };
    let (ranged, gaps) = blocking(&shared, read).await?.map_err(|events| too_many(&request, events))?;
    let next = (to < request.to).then(|| next_page(&id, &parameters, &request));
    Ok(if request.csv { csv(&request, &ranged, next) } else { json(&id, &request, (&ranged, &gaps), next) })
}

fn too_many(request: &Request, events: u64) -> Problem {
    let detail = format!(
        "steps of {} s are summed up one by one from {events} samples and batches of this page, {FROM_EVENTS} at most: \
         expected a smaller `limit`, or a step of n x 15s (of n x 1min for max and p95), which is kept summed up",
        request.step_ms / 1000
    );
    Problem::bad("step", detail)
}

fn prefers_csv(accept: &str) -> bool {
    accept.split(',').next().is_some_and(|first| first.trim().starts_with("text/csv"))
}

/// Nothing but a time: the rows that the planner has in memory.
fn is_live(parameters: &Parameters) -> bool {
    let Parameters { step, aggregate, columns, limit, page, format, .. } = parameters;
    [step, aggregate, columns, limit, page, format].iter().all(|parameter| parameter.is_none())
}

fn live(shared: &Arc<Shared>, id: &ComponentId, parameters: &Parameters) -> Result<Response, Problem> {
    let (from, to) = times(parameters)?;
    let to = to.map_or_else(Timestamp::now, Timestamp);
    let view = with(shared, id, |component| component.history_view(from.map(Timestamp), to));
    let mut body = serde_json::to_value(view).map_err(internal)?;
    body["componentID"] = json!(id);
    Ok(Json(body).into_response())
}

fn number(name: &str, text: &Option<String>, expected: &str) -> Result<Option<u64>, Problem> {
    let parse =
        |text: &String| text.parse().map_err(|_| Problem::bad(name, format!("`{}`: expected {expected}", short(text))));
    text.as_ref().map(parse).transpose()
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

fn times(parameters: &Parameters) -> Result<(Option<u64>, Option<u64>), Problem> {
    let expected = "milliseconds since the epoch";
    let (from, to) = (number("from", &parameters.from, expected)?, number("to", &parameters.to, expected)?);
    match (from, to) {
        (Some(from), Some(to)) if from > to => Err(Problem::bad("from", format!("{from} is after `to`, {to}"))),
        times => Ok(times),
    }
}

impl Request {
    /// `resolve` tells how a range from a time on, in steps of a length, can be told: pages are cut where those steps are.
    fn read(
        parameters: &Parameters,
        accepts_csv: bool,
        now: Timestamp,
        resolve: impl Fn(u64, u64, Aggregate) -> Resolution,
    ) -> Result<Self, Problem> {
        let (from, to) = times(parameters)?;
        let to = to.unwrap_or(now.0);
        let from = from.unwrap_or(to.saturating_sub(86_400_000));
        if from > to {
            return Err(Problem::bad("from", format!("{from} is after `to`, {to}")));
        }
        let limit = number("limit", &parameters.limit, "a number of steps, 1 to 10000")?.unwrap_or(STEPS);
        if !(1..=MOST_STEPS).contains(&limit) {
            return Err(Problem::bad("limit", format!("{limit}: expected a number of steps, 1 to {MOST_STEPS}")));
        }
        let step_ms = match &parameters.step {
            Some(text) => step(text)?,
            None => {
                let fits = |step: &u64| (to - from) / step < limit;
                USUAL_STEPS.into_iter().find(fits).unwrap_or(86_400_000)
            }
        };
        let format = parameters.format.as_deref();
        let csv = match format {
            None => accepts_csv,
            Some("csv") => true,
            Some("json") => false,
            Some(other) => return Err(Problem::bad("format", format!("`{}`: expected csv or json", short(other)))),
        };
        let page = number("page", &parameters.page, "the number of a page, from 0 on")?.unwrap_or(0);
        let aggregate = aggregate(parameters.aggregate.as_deref())?;
        let Resolution { step_ms, of_ms } = resolve(from, step_ms, aggregate);
        let from_frames = of_ms < 15_000;
        if from_frames && step_ms > FROM_FRAMES_MS {
            let detail = format!(
                "{} s: expected n x 15s (n x 1min for max and p95), or {} s at most",
                step_ms / 1000,
                FROM_FRAMES_MS / 1000
            );
            return Err(Problem::bad("step", detail));
        }
        let request = Self {
            from: from / step_ms * step_ms,
            to,
            step_ms,
            from_frames,
            aggregate,
            columns: columns(parameters.columns.as_deref())?,
            limit: if from_frames { limit.min(FROM_FRAMES_MS / step_ms) } else { limit },
            page,
            csv,
        };
        if request.span().0 >= request.to && page > 0 {
            return Err(Problem::bad("page", format!("{page} is beyond the end of the range")));
        }
        Ok(request)
    }

    /// What the page is of.
    fn span(&self) -> (u64, u64) {
        let length = self.limit * self.step_ms;
        let from = self.from.saturating_add(self.page.saturating_mul(length));
        (from, from.saturating_add(length).min(self.to))
    }
}

/// A duration such as `15s`, or a number of seconds.
fn step(text: &str) -> Result<u64, Problem> {
    let expected = "expected a whole number of seconds, 1 to 86400, such as 15s or 5min";
    let bad = || Problem::bad("step", format!("`{}`: {expected}", short(text)));
    let step = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => humantime::parse_duration(text).map_err(|_| bad())?,
    };
    let ms = u64::try_from(step.as_millis()).map_err(|_| bad())?;
    if ms % 1000 == 0 && (1000..=86_400_000).contains(&ms) { Ok(ms) } else { Err(bad()) }
}

fn aggregate(text: Option<&str>) -> Result<Aggregate, Problem> {
    Ok(match text {
        None | Some("mean") => Aggregate::Mean,
        Some("max") => Aggregate::Max,
        Some("p95") => Aggregate::P95,
        Some("sum") => Aggregate::Sum,
        Some(other) => {
            return Err(Problem::bad("aggregate", format!("`{}`: expected mean, max, p95 or sum", short(other))));
        }
    })
}

fn columns(text: Option<&str>) -> Result<Vec<Column>, Problem> {
    let all = Column::all();
    let Some(text) = text else { return Ok(all) };
    let named = |name: &str| {
        all.iter().copied().find(|column| column.name() == name).ok_or_else(|| {
            let names: Vec<_> = all.iter().map(|column| column.name()).collect();
            Problem::bad("columns", format!("`{}`: expected some of {}", short(name), names.join(",")))
        })
    };
    let columns: Vec<Column> = text.split(',').map(named).collect::<Result<_, _>>()?;
    match columns.iter().enumerate().find(|(at, column)| columns[..*at].contains(column)) {
        Some((_, twice)) => Err(Problem::bad("columns", format!("`{}` is named twice: expected once", twice.name()))),
        None => Ok(columns),
    }
}

fn next_page(id: &ComponentId, parameters: &Parameters, request: &Request) -> String {
    // By its time rather than its number: what is told coarser by the time that it is asked for still follows.
    let mut query =
        format!("from={}&to={}&step={}&limit={}", request.span().1, request.to, request.step_ms / 1000, request.limit);
    // All of them were read: nothing in them needs to be escaped.
    for (name, value) in [("aggregate", &parameters.aggregate), ("columns", &parameters.columns)] {
        if let Some(value) = value {
            query += &format!("&{name}={value}");
        }
    }
    if request.csv {
        query += "&format=csv";
    }
    format!("/api/v1/components/{id}/history?{query}")
}

fn json(
    id: &ComponentId,
    request: &Request,
    (ranged, (gaps, missing)): (&Ranged, &(Vec<Gap>, u64)),
    next: Option<String>,
) -> Response {
    let step_ms = ranged.resolution.step_ms;
    let mut columns = Map::new();
    columns.insert("at".into(), ranged.rows.iter().map(|(at, _)| Value::from(at.0)).collect());
    for column in &request.columns {
        let values = ranged.rows.iter().map(|(_, row)| Value::from(column.value(row, request.aggregate, step_ms)));
        columns.insert(column.name().into(), values.collect());
    }
    let (from, to) = request.span();
    Json(json!({
        "componentID": id, "from": from, "to": to, "stepSeconds": step_ms as f64 / 1000.0,
        "resolutionSeconds": ranged.resolution.of_ms as f64 / 1000.0, "aggregate": request.aggregate,
        "columns": columns, "damagedBlocks": ranged.damaged_blocks,
        "missingFrames": missing, "gaps": gaps.iter().map(gap).collect::<Vec<_>>(), "page": request.page, "next": next,
    }))
    .into_response()
}

/// The frames that never came, before one that was closed at that time.
fn gap(gap: &Gap) -> Value {
    json!({
        "before": gap.at, "podUid": gap.pod_uid, "boot": gap.boot.to_string(),
        "fromSequence": gap.sequences.start, "toSequence": gap.sequences.end,
    })
}

fn csv(request: &Request, ranged: &Ranged, next: Option<String>) -> Response {
    let step_ms = ranged.resolution.step_ms;
    let names: Vec<_> = request.columns.iter().map(|column| column.name()).collect();
    let mut text = format!("at,{}\r\n", names.join(","));
    for (at, row) in &ranged.rows {
        text += &at.0.to_string();
        for column in &request.columns {
            text.push(',');
            if let Some(value) = column.value(row, request.aggregate, step_ms) {
                text += &value.to_string();
            }
        }
        text += "\r\n";
    }
    let mut response = ([(header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present")], text).into_response();
    let link = next.and_then(|next| HeaderValue::from_str(&format!("<{next}>; rel=\"next\"")).ok());
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn read(query: &str) -> Result<Request, Problem> {
        let uri = format!("http://host/history?{query}").parse().unwrap();
        let Query(parameters) = Query::<Parameters>::try_from_uri(&uri).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let history = crate::history::History::open(&directory.path().join("history.db")).unwrap();
        Request::read(&parameters, false, NOW, |from, step, of| history.resolution(Timestamp(from), step, of))
    }

    #[test]
    fn a_parameter_that_is_wrong_is_named_with_what_would_be_right() {
        for (query, field, says) in [
            ("from=yesterday", "from", "milliseconds"),
            ("from=2&to=1", "from", "after `to`"),
            ("step=0", "step", "1 to 86400"),
            ("step=1500ms", "step", "whole number of seconds"),
            ("step=2days", "step", "such as 15s"),
            ("aggregate=median", "aggregate", "mean, max, p95 or sum"),
            ("columns=usageCores,gpu", "columns", "`gpu`: expected some of usageCores"),
            ("columns=waiting,usageCores,waiting", "columns", "`waiting` is named twice"),
            ("step=21601", "step", "21601 s: expected n x 15s"),
            ("limit=0", "limit", "1 to 10000"),
            ("limit=many", "limit", "number of steps"),
            ("page=-1", "page", "from 0 on"),
            ("page=9", "page", "beyond the end"),
            ("format=xml", "format", "csv or json"),
        ] {
            let problem = read(query).unwrap_err();
            assert_eq!((problem.status, problem.field.as_deref()), (400, Some(field)), "{query}");
            assert!(problem.detail.contains(says), "{query}: {}", problem.detail);
        }
    }

    #[test]
    fn a_range_is_a_day_in_steps_that_fit_a_page_where_nothing_is_told() {
        let request = read("limit=1000").unwrap();
        assert_eq!((request.to - request.from, request.step_ms), (86_400_000, 300_000));
        assert_eq!(request.columns.len(), 12);
    }

    #[test]
    fn pages_follow_each_other_without_a_gap() {
        let mut at = NOW.0 - 86_400_000;
        for page in 0.. {
            let request = read(&format!("step=60&limit=500&page={page}")).unwrap();
            assert_eq!(request.span().0, at);
            at = request.span().1;
            if at == request.to {
                assert_eq!(page, 2);
                break;
            }
        }
        let request = read("step=1&limit=10000&aggregate=max").unwrap();
        assert_eq!(request.span().1 - request.span().0, 10_000_000);
        // Six hours from single frames at most, whatever makes it so.
        for (query, limit) in [("step=5", 4320), ("step=16", 1350), ("step=45&aggregate=p95", 480), ("step=45", 10_000)]
        {
            assert_eq!(read(&format!("{query}&limit=10000")).unwrap().limit, limit, "{query}");
        }
    }

    #[test]
    fn pages_of_steps_that_are_told_coarser_are_cut_where_those_begin() {
        let Query(mut parameters) =
            Query::<Parameters>::try_from_uri(&"http://host/?from=1700000015000&step=15&limit=5".parse().unwrap())
                .unwrap();
        let minutes = |_, _, _| Resolution { step_ms: 60_000, of_ms: 60_000 };
        let mut ends = Vec::new();
        for page in ["0", "1", "2"] {
            parameters.page = Some(page.into());
            let request = Request::read(&parameters, false, NOW, minutes).unwrap();
            ends.push(request.span());
        }
        let start = 1_700_000_015_000 / 60_000 * 60_000;
        assert_eq!(ends, [0, 1, 2].map(|page| (start + page * 300_000, start + (page + 1) * 300_000)));
        let id = "demo/Deployment.apps/parse/app".parse().unwrap();
        parameters.page = None;
        let next = next_page(&id, &parameters, &Request::read(&parameters, false, NOW, minutes).unwrap());
        assert!(next.ends_with(&format!("?from={}&to={}&step=60&limit=5", start + 300_000, NOW.0)), "{next}");
    }
}
