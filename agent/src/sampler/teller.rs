//! Tells how samples are taken, or why not: in health, in a metric and in the log, each time that it changes.

use forebay_shared::Timestamp;
use forebay_shared::health::{Health, State};

use super::{Taken, Unreadable};
use crate::metrics::Metrics;

pub(super) struct Teller {
    /// Without a sample the agent still does its other work, and the pod must stay ready: a container that is sought
    /// may come yet. What was named by hand and can't be read is a mistake.
    without: State,
    told: Option<(State, &'static str, String)>,
}

impl Teller {
    pub(super) fn new(is_sought: bool) -> Self {
        Self { without: if is_sought { State::Degraded } else { State::Failed }, told: None }
    }

    pub(super) fn tell(
        &mut self,
        taken: &Result<Taken, Unreadable>,
        at: Timestamp,
        health: &Health,
        metrics: &Metrics,
    ) {
        let (state, source, why) = match taken {
            Ok(Taken { how, note: None, .. }) => (State::Ok, *how, ""),
            Ok(Taken { how, note: Some(note), .. }) => (State::Degraded, *how, note.as_str()),
            Err(Unreadable(why)) => (self.without, "none", why.as_str()),
        };
        if self.told.as_ref().is_some_and(|(s, h, w)| (*s, *h, w.as_str()) == (state, source, why)) {
            return;
        }
        if self.told.as_ref().is_none_or(|(_, told, _)| *told != source) {
            metrics.sampler_source.clear();
            metrics.sampler_source.get_or_create(&[("source", source)]).set(1);
        }
        match (taken, why) {
            (Ok(_), "") => tracing::info!(source, "sampling"),
            (Ok(_), _) => tracing::warn!(source, why, "sampling, but not as well as could be"),
            (Err(_), _) => tracing::warn!(why, "cannot sample; trying on"),
        }
        let detail = match (taken, why) {
            (Ok(_), "") => source.to_owned(),
            (Ok(_), _) => format!("{source}: {why}"),
            (Err(_), _) => why.to_owned(),
        };
        health.set("sampler", state, detail, at);
        self.told = Some((state, source, why.to_owned()));
    }
}
