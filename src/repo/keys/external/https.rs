//! HTTPS requests to services that keep keys: few and small, tried again while it is worth it.

use crate::repo::storage::wait;
use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use reqsign_core::HttpSend;
use std::{io, net::IpAddr, time::Duration};

const CONNECT: Duration = Duration::from_secs(15);
const ANSWER: Duration = Duration::from_secs(30);
const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// More than any answer about one key has.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// A client of such services.
#[derive(Debug, Clone)]
pub(super) struct Https(reqwest::Client);

impl Https {
    pub fn new() -> Result<Self, String> {
        // A redirect would take credentials along to whoever is named.
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .redirect(reqwest::redirect::Policy::none())
            .build();
        client.map(Self).map_err(|error| error.to_string())
    }

    async fn once(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let said = |error: reqwest::Error| root_cause(&error.without_url());
        let request = reqwest::Request::try_from(request).map_err(said)?;
        let mut answer = self.0.execute(request).await.map_err(said)?;
        let mut head = Response::builder().status(answer.status());
        for (name, value) in answer.headers() {
            head = head.header(name, value);
        }
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(said)? {
            if body.len() + piece.len() > MAX_ANSWER_BYTES {
                return Err(format!("it answered with more than {MAX_ANSWER_BYTES} bytes"));
            }
            body.extend_from_slice(&piece);
        }
        head.body(body.into()).map_err(|error| error.to_string())
    }

    /// Sends, again if nothing answered or the service was busy.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..TRIES {
            match self.once(request.clone()).await {
                Ok(answer)
                    if answer.status() != StatusCode::TOO_MANY_REQUESTS && !answer.status().is_server_error() =>
                {
                    return Ok(answer);
                }
                _ => tokio::time::sleep(pause).await,
            }
            pause *= 2;
        }
        self.once(request).await
    }

    /// Sends and gives the JSON document that is answered; another status than 200 is an error in the service's words.
    pub async fn ask(&self, request: Request<Bytes>) -> Result<serde_json::Value, String> {
        let answer = self.send(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(format!("it answered {}: {}", answer.status(), reason(answer.body())));
        }
        serde_json::from_slice(answer.body()).map_err(|error| format!("its answer is no JSON: {error}"))
    }
}

/// What went wrong, without the layers around it.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// What a refusal says, in one short line.
fn reason(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line: String = text.chars().map(|char| if char.is_control() { ' ' } else { char }).take(500).collect();
    line.trim().to_owned()
}

impl HttpSend for Https {
    async fn http_send(&self, request: Request<Bytes>) -> reqsign_core::Result<Response<Bytes>> {
        self.send(request).await.map_err(reqsign_core::Error::unexpected)
    }
}

/// A text in an answer.
pub(super) fn member<'a>(answer: &'a serde_json::Value, path: &[&str]) -> Result<&'a str, String> {
    let found = path.iter().try_fold(answer, |at, name| at.get(name)).and_then(serde_json::Value::as_str);
    found.ok_or_else(|| format!("its answer has no `{}`", path.join(".")))
}

/// Runs requests to their end.
pub(super) fn run<T: Send + 'static>(
    work: impl Future<Output = Result<T, String>> + Send + 'static,
) -> Result<T, String> {
    wait(async { work.await.map_err(io::Error::other) }).map_err(|error| error.to_string())
}

/// Refuses an address that credentials would travel to in the clear; this host's own may be asked so.
pub(super) fn safe(address: &str) -> Result<Uri, String> {
    let uri: Uri = address.parse().map_err(|_| format!("{address} is no address"))?;
    let host = uri.host().ok_or_else(|| format!("{address} names no host"))?;
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let is_here = name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        Some("http") if is_here => Ok(uri),
        _ => Err(format!("{address}: credentials go by https only")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_sent_nowhere_in_the_clear() {
        for good in ["https://vault.example.com:8200", "http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"] {
            assert!(safe(good).is_ok(), "{good}");
        }
        for bad in ["http://vault.example.com", "http://127.0.0.1.example.com", "ftp://x", "vault", "https://"] {
            assert!(safe(bad).is_err(), "{bad}");
        }
    }
}
