//! `/api/v1/events`: ticks, decisions and new models as server-sent events.

use std::convert::Infallible;

use axum::extract::State;
use axum::response::sse::{self, KeepAlive, Sse};
use futures_util::{Stream, StreamExt};
use tokio_stream::wrappers::BroadcastStream;

use super::Api;

pub(super) async fn stream(State(shared): Api) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    // A browser that lags misses events, and reads the state anew with the next tick.
    let events = BroadcastStream::new(shared.events.subscribe()).filter_map(async |event| event.ok());
    // Open for as long as the browser likes, so a shutdown has to end it.
    let events = events.take_until(shared.stop.clone().cancelled_owned());
    Sse::new(events.map(|event| Ok(sse::Event::default().event(event.name).data(event.data))))
        .keep_alive(KeepAlive::default())
}
