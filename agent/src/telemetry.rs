//! The agent's log, on standard error.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::args::LogFormat;

/// Starts the log, unless the program has one already.
pub(crate) fn start(format: LogFormat) {
    let lines = tracing_subscriber::fmt::layer().with_writer(stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // A failure means that a log was started before: that one stays.
    let _ = tracing_subscriber::registry().with(lines.with_filter(forebay_shared::log::filter())).try_init();
}
