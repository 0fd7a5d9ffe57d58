//! The page: static files, in the program itself.

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::routing::get;

use crate::app::Shared;

macro_rules! files {
    ($($path:literal $kind:literal $file:literal,)*) => {
        /// Path, content type and content of each file.
        const FILES: &[(&str, &str, &[u8])] = &[$(($path, $kind, include_bytes!(concat!("../page/", $file))),)*];
    };
}

files! {
    "/" "text/html; charset=utf-8" "index.html",
    "/page.css" "text/css; charset=utf-8" "page.css",
    "/page.js" "text/javascript; charset=utf-8" "page.js",
    "/card.js" "text/javascript; charset=utf-8" "card.js",
    "/chart.js" "text/javascript; charset=utf-8" "chart.js",
    "/graph.js" "text/javascript; charset=utf-8" "graph.js",
    "/series.js" "text/javascript; charset=utf-8" "series.js",
    "/tooltip.js" "text/javascript; charset=utf-8" "tooltip.js",
    "/util.js" "text/javascript; charset=utf-8" "util.js",
    "/icon.svg" "image/svg+xml" "icon.svg",
}

pub(super) fn router() -> Router<Arc<Shared>> {
    FILES.iter().fold(Router::new(), |router, (path, kind, content)| {
        let headers = [
            (header::CONTENT_TYPE, *kind),
            (header::CONTENT_SECURITY_POLICY, "default-src 'self'"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::CACHE_CONTROL, "no-cache"),
        ];
        router.route(path, get(async move || (headers, *content)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_the_page_asks_for_is_there() {
        for (path, _, content) in FILES {
            let text = std::str::from_utf8(content).unwrap();
            let asked = text.split(['"', '\'']).filter(|word| {
                let word = word.trim_start_matches('.').trim_start_matches('/');
                !word.contains(['/', ' ', ':', '`', '\n'])
                    && (word.ends_with(".js") || word.ends_with(".css") || word.ends_with(".svg"))
            });
            for word in asked {
                let name = word.trim_start_matches('.').trim_start_matches('/');
                assert!(FILES.iter().any(|(path, ..)| path[1..] == *name), "{path} asks for {word}");
            }
        }
    }
}
