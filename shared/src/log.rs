//! What the log of both programs shows: `FOREBAY_LOG`, such as `info,forebay::history=debug`; `info` unless it says
//! otherwise.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

/// The variable that filters the log.
const VARIABLE: &str = "FOREBAY_LOG";

/// The filter that `FOREBAY_LOG` asks for. What does not read is told on standard error, and left out.
pub fn filter() -> Targets {
    let text = std::env::var_os(VARIABLE).unwrap_or_default();
    let text = text.to_string_lossy();
    let (filter, wrong) = of(&text);
    if let Some(wrong) = wrong {
        eprintln!("{VARIABLE} is `{wrong}`: expected levels, such as info,forebay::history=debug; it filters by info");
    }
    filter
}

fn of(text: &str) -> (Targets, Option<&str>) {
    let usual = Targets::new().with_default(LevelFilter::INFO);
    match text.parse::<Targets>() {
        _ if text.trim().is_empty() => (usual, None),
        Err(_) => (usual, Some(text)),
        Ok(filter) if filter.default_level().is_none() => (filter.with_default(LevelFilter::INFO), None),
        Ok(filter) => (filter, None),
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn what_is_not_named_is_shown_from_info_on() {
        let (filter, wrong) = of("forebay::history=debug");
        assert!(filter.would_enable("forebay::history", &Level::DEBUG));
        assert!(filter.would_enable("hyper", &Level::INFO) && !filter.would_enable("hyper", &Level::DEBUG));
        assert_eq!(wrong, None);
        assert!(!of("warn").0.would_enable("hyper", &Level::INFO));
        assert!(!of("off").0.would_enable("hyper", &Level::ERROR));
        assert!(of("").0.would_enable("forebay", &Level::INFO));
    }

    #[test]
    fn what_does_not_read_is_told_and_filters_nothing_more_than_usual() {
        let (filter, wrong) = of("forebay=loud");
        assert_eq!(wrong, Some("forebay=loud"));
        assert!(filter.would_enable("forebay", &Level::INFO));
    }
}
