//! The way of HTTP requests: time limits, `Retry-After`, counts, and a look at answers that no object store gives.
//!
//! What stands between us and a service answers in its place: a page to sign in at, with status 200. As a listing it would be one
//! without entries, as the answer to a put a success; both lose data, so neither is believed.

use super::{failure::Secrets, service::Service, traffic::Meter};
use futures::{Stream, stream};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use opendal::{Buffer, Error, ErrorKind, HttpBody, HttpTransport, Result, raw::Operation};
use opendal_http_transport_reqwest::ReqwestTransport;
use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, SystemTime},
};
use tokio::time::{Instant, Sleep};

const CONNECT: Duration = Duration::from_secs(15);
/// From a request's last byte to its answer's first.
const FIRST_BYTE: Duration = Duration::from_mins(1);
/// Between two pieces of an answer.
const PROGRESS: Duration = Duration::from_mins(1);
/// A line slower than this gives no backup.
const SLOWEST_BYTES_PER_SECOND: u64 = 128 * 1024;
/// A server that wants more patience than this is asked again sooner.
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(2);

/// The last answer that came while somebody listened: what of it `OpenDAL` does not pass on.
#[allow(dead_code, reason = "not every service is listened to")]
pub(super) struct Heard {
    /// Where the request went.
    pub address: Uri,
    pub headers: HeaderMap,
}

/// As much of an error's page as is shown.
const MAX_WORDS: usize = 300;

/// What an answer that is no good one means, with its words.
#[allow(dead_code, reason = "not every service is asked what `OpenDAL` has no words for")]
pub(super) fn refusal(status: StatusCode, body: &str, secrets: &Secrets) -> io::Error {
    let text = body.chars().take(MAX_WORDS).collect::<String>();
    let kind = match status {
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => io::ErrorKind::PermissionDenied,
        StatusCode::NOT_FOUND => io::ErrorKind::NotFound,
        StatusCode::TOO_MANY_REQUESTS => io::ErrorKind::TimedOut,
        status if status.is_server_error() => io::ErrorKind::TimedOut,
        _ => io::ErrorKind::Unsupported,
    };
    io::Error::new(kind, secrets.hide(&format!("{status}: {text}")))
}

tokio::task_local! {
    static HEARD: Arc<Mutex<Option<Heard>>>;
}

/// Does some work, listening to the answers that it gets.
#[allow(dead_code, reason = "not every service is listened to")]
pub(super) async fn hearing<T>(work: impl Future<Output = T>) -> (T, Option<Heard>) {
    let heard = Arc::new(Mutex::new(None));
    let done = HEARD.scope(Arc::clone(&heard), work).await;
    let last = heard.lock().unwrap_or_else(PoisonError::into_inner).take();
    (done, last)
}

/// The time that sending so many bytes may take, beside what waiting for the answer may.
pub(super) fn time_for(bytes: u64) -> Duration {
    FIRST_BYTE + Duration::from_secs(bytes / SLOWEST_BYTES_PER_SECOND)
}

/// How HTTP requests are made.
pub(super) struct Transport {
    client: ReqwestTransport,
    meter: Arc<Meter>,
    /// Before this no request is begun.
    not_before: Mutex<Option<Instant>>,
    /// An object of ours is never a web page. Objects of others may be.
    refuses_pages: bool,
    service: Service,
}

impl Transport {
    pub fn new(
        ca_file: Option<&str>,
        proxy: Option<&str>,
        refuses_pages: bool,
        service: Service,
        meter: Arc<Meter>,
        secrets: &Secrets,
    ) -> std::result::Result<Self, String> {
        let mut client = reqwest::Client::builder().connect_timeout(CONNECT);
        if let Some(path) = ca_file {
            let pem = std::fs::read(path).map_err(|error| format!("ca-file {path}: {error}"))?;
            let authorities = reqwest::Certificate::from_pem_bundle(&pem);
            let authorities = authorities.map_err(|error| format!("ca-file {path}: {error}"))?;
            if authorities.is_empty() {
                return Err(format!("ca-file {path} holds no certificate"));
            }
            client = client.tls_certs_merge(authorities);
        }
        if let Some(proxy) = proxy {
            let proxy = reqwest::Proxy::all(proxy).map_err(|error| secrets.hide(&format!("the proxy: {error}")))?;
            client = client.proxy(proxy);
        }
        let client = client.build().map_err(|error| secrets.hide(&error.to_string()))?;
        Ok(Self { client: ReqwestTransport::new(client), meter, not_before: Mutex::default(), refuses_pages, service })
    }

    async fn wait_for_our_turn(&self) {
        let until = *self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = until {
            tokio::time::sleep_until(until).await;
        }
    }

    fn note(&self, response: &Response<HttpBody>) {
        let text = |name: header::HeaderName| response.headers().get(name)?.to_str().ok();
        let now = SystemTime::now();
        if let Some(date) = text(header::DATE).and_then(parse_date) {
            let offset = match date.duration_since(now) {
                Ok(ahead) => i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX),
                Err(behind) => -i64::try_from(behind.duration().as_millis()).unwrap_or(i64::MAX),
            };
            self.meter.clock_is_off_by(offset);
        }
        if !matches!(response.status().as_u16(), 429 | 503) {
            return;
        }
        let after = text(header::RETRY_AFTER).and_then(|text| match text.trim().parse() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => parse_date(text)?.duration_since(now).ok(),
        });
        if let Some(after) = after {
            let until = Instant::now() + after.min(LONGEST_RETRY_AFTER);
            let mut not_before = self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
            *not_before = Some(not_before.map_or(until, |before| before.max(until)));
        }
    }

    /// What a proxy or a wrong address answers, rather than an object store.
    fn check(&self, asked: &Asked, response: &Response<HttpBody>) -> Result<()> {
        let status = response.status();
        if matches!(status.as_u16(), 408 | 425 | 429 | 499) {
            let kind = if status.as_u16() == 429 { ErrorKind::RateLimited } else { ErrorKind::Unexpected };
            return Err(Error::new(kind, format!("the service answered {status}")).set_temporary());
        }
        if let (Some(method), 405 | 501) = (asked.right, status.as_u16()) {
            let words = format!("the server does not allow {method} ({status})");
            return Err(Error::new(ErrorKind::PermissionDenied, words));
        }
        let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !content_type.is_some_and(|value| value.starts_with("text/html")) || !response.status().is_success() {
            return Ok(());
        }
        if self.refuses_pages && asked.is_content {
            return Err(temporary("a web page came in place of an object"));
        }
        // Some servers have a page for what they made (201), none for what is merely well; some call nothing at all a page.
        let is_empty = response.headers().get(header::CONTENT_LENGTH).is_some_and(|length| length == "0");
        if asked.is_change && response.status() == StatusCode::OK && !is_empty {
            return Err(temporary("a web page came in place of an answer"));
        }
        Ok(())
    }

    /// A listing is handed on whole, if it is one.
    async fn checked_listing(&self, response: Response<HttpBody>) -> Result<Response<HttpBody>> {
        let (head, mut body) = response.into_parts();
        let page = body.to_buffer().await?;
        if !self.service.is_listing(&page.to_bytes()) {
            return Err(temporary("what came in place of a listing is none"));
        }
        let size = page.len() as u64;
        Ok(Response::from_parts(head, HttpBody::new(stream::iter([Ok(page)]), Some(size))))
    }
}

/// What matters of a request when its answer is there.
struct Asked {
    /// An object, or what is known of it.
    is_content: bool,
    is_change: bool,
    is_listing: bool,
    /// A method that a server without rights of its own switches off.
    right: Option<&'static str>,
}

impl Asked {
    fn by(request: &Request<Buffer>, kind: &str) -> Self {
        let method = request.method().as_str();
        let is_propfind = method == "PROPFIND";
        Self {
            is_content: matches!(kind, "read" | "stat") && matches!(method, "GET" | "HEAD"),
            is_change: matches!(method, "PUT" | "POST" | "DELETE" | "MOVE" | "MKCOL"),
            is_listing: is_propfind || kind == "list" && method == "GET",
            right: ["PUT", "DELETE"].into_iter().find(|right| *right == method),
        }
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn parse_date(text: &str) -> Option<SystemTime> {
    let time = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(SystemTime::from(time.timestamp()))
}

fn temporary(message: &str) -> Error {
    Error::new(ErrorKind::Unexpected, message).set_temporary()
}

fn kind_of(request: &Request<Buffer>) -> &'static str {
    match request.extensions().get::<Operation>() {
        Some(Operation::Read) => "read",
        Some(Operation::Write) => "write",
        Some(Operation::List) => "list",
        Some(Operation::Stat) => "stat",
        Some(Operation::Delete) => "delete",
        _ => "other",
    }
}

impl HttpTransport for Transport {
    async fn fetch(&self, request: Request<Buffer>) -> Result<Response<HttpBody>> {
        self.wait_for_our_turn().await;
        let (kind, sent) = (kind_of(&request), request.body().len() as u64);
        let asked = Asked::by(&request, kind);
        let is_delete = request.method() == Method::DELETE;
        let address = HEARD.try_with(|_| request.uri().clone()).ok();
        self.meter.count(kind);
        self.meter.sent(sent);
        let answer = tokio::time::timeout(time_for(sent), self.client.fetch(request)).await;
        let response = answer.map_err(|_| temporary("no answer came in time"))??;
        self.note(&response);
        if is_delete && response.headers().get("x-amz-delete-marker").is_some_and(|value| value == "true") {
            self.meter.kept_a_version();
        }
        if let Some(address) = address {
            let heard = Heard { address, headers: response.headers().clone() };
            let _ = HEARD.try_with(|last| *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(heard));
        }
        self.check(&asked, &response)?;
        let meter = Arc::clone(&self.meter);
        let timed = |inner| -> Box<dyn Stream<Item = Result<Buffer>> + Send + Sync + Unpin> {
            Box::new(Timed { inner, clock: Box::pin(tokio::time::sleep(PROGRESS)), meter })
        };
        let response = response.map(|body| body.map_inner(timed));
        if asked.is_listing && response.status().is_success() {
            self.checked_listing(response).await
        } else {
            Ok(response)
        }
    }
}

type Pieces = Box<dyn Stream<Item = Result<Buffer>> + Send + Sync + Unpin>;

/// An answer's body that must make progress.
struct Timed {
    inner: Pieces,
    clock: Pin<Box<Sleep>>,
    meter: Arc<Meter>,
}

impl Stream for Timed {
    type Item = Result<Buffer>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match Pin::new(&mut self.inner).poll_next(context) {
            Poll::Ready(piece) => {
                self.clock.as_mut().reset(Instant::now() + PROGRESS);
                if let Some(Ok(piece)) = &piece {
                    self.meter.received(piece.len() as u64);
                }
                Poll::Ready(piece)
            }
            Poll::Pending if self.clock.as_mut().poll(context).is_ready() => {
                Poll::Ready(Some(Err(temporary("the answer stopped coming"))))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}
