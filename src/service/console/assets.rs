//! Style, script and mark: part of the program, named by what they hold so that browsers may keep them.

use super::failure::{Failure, Path};
use axum::{
    http::header,
    response::{IntoResponse as _, Response},
};

const STYLE: &str = include_str!("assets/console.css");
const SCRIPT: &str = include_str!("assets/htmx.min.js");
const LICENSE: &str = include_str!("assets/htmx.LICENSE");
const MARK: &str = include_str!("assets/mark.svg");

/// The first digits of what all of them hold.
pub(super) fn version() -> &'static str {
    static VERSION: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    VERSION.get_or_init(|| {
        let hash = blake3::hash([STYLE, SCRIPT, MARK].concat().as_bytes());
        hash.to_hex().as_str()[..12].to_owned()
    })
}

/// One of them.
pub(super) async fn show(Path(name): Path<String>) -> Result<Response, Failure> {
    let (kind, text) = match name.as_str() {
        "console.css" => ("text/css; charset=utf-8", STYLE),
        "htmx.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "htmx.LICENSE" => ("text/plain; charset=utf-8", LICENSE),
        "mark.svg" => ("image/svg+xml", MARK),
        _ => return Err(Failure::not_found("There is no such file.")),
    };
    let kept = "public, max-age=31536000, immutable";
    Ok(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, kept)], text).into_response())
}
