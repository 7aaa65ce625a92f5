//! Requests to others over HTTP: a configuration at a URL, webhooks. From threads of the service's own, never from those that
//! answer.

use std::time::Duration;

/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest answer.
const MAX_BYTES: usize = 16 << 20;

/// An error and what it goes back to: without that it says no more than that it failed.
fn with_cause(error: &dyn std::error::Error) -> String {
    let cause = std::iter::successors(error.source(), |error| error.source()).last();
    cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

/// Makes one request; gives the body of an answer that says that it was done.
///
/// # Errors
/// In words.
pub(super) fn request(method: &str, url: &str, body: Option<String>) -> Result<Vec<u8>, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let client = reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none());
        let client = client.build().map_err(|error| error.to_string())?;
        let method = reqwest::Method::from_bytes(method.as_bytes()).map_err(|error| error.to_string())?;
        let mut request = client.request(method, url);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let words = |error: reqwest::Error| with_cause(&error.without_url());
        let mut answer = request.send().await.map_err(words)?;
        if !answer.status().is_success() {
            return Err(format!("the answer is {}", answer.status()));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(words)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_BYTES {
                return Err(format!("the answer is longer than {MAX_BYTES} bytes"));
            }
        }
        Ok(bytes)
    })
}
