//! Who gives timestamps that the database does not keep: a `TimeLock` by its HTTP interface, or what the caller brings.

use crate::connector::ConnectorError;
use serde_json::Value as Json;
use std::{fmt, sync::Arc, time::Duration};

const CONNECT: Duration = Duration::from_secs(15);
const ANSWER: Duration = Duration::from_secs(30);

/// Gives a fresh timestamp each time it is called, or says in words why not.
pub type TimestampCommand = Arc<dyn Fn() -> Result<i64, String> + Send + Sync>;

/// Who gives timestamps.
#[derive(Clone)]
pub(super) enum Giver {
    /// The server of this address, for this client.
    Timelock { url: String, client: String },
    /// What the caller brings.
    Command(TimestampCommand),
}

impl fmt::Debug for Giver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Giver {
    /// As it stands in a snapshot's attributes.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Timelock { .. } => "timelock",
            Self::Command(_) => "command",
        }
    }

    /// A timestamp above all that were handed out.
    pub(super) fn fresh(&self) -> Result<i64, ConnectorError> {
        let timestamp = match self {
            Self::Timelock { url, client } => {
                ask(url, client, &["timestamp/fresh-timestamp", "timelock/fresh-timestamp"])
            }
            Self::Command(give) => give(),
        };
        match timestamp {
            Ok(timestamp) if timestamp > 0 => Ok(timestamp),
            Ok(timestamp) => Err(self.failed(&format!("it gave {timestamp}, and a timestamp is greater than 0"))),
            Err(why) => Err(self.failed(&why)),
        }
    }

    /// The timestamp before which no transaction began that is still at work; `None` where that is not told.
    pub(super) fn immutable(&self) -> Result<Option<i64>, ConnectorError> {
        match self {
            Self::Timelock { url, client } => {
                let told = ask(url, client, &["timelock/immutable-timestamp"]);
                told.map(Some).map_err(|why| self.failed(&why))
            }
            Self::Command(_) => Ok(None),
        }
    }

    /// Sees to it that no timestamp up to this one is handed out again; `false` where that cannot be asked for.
    pub(super) fn forward(&self, to: i64) -> Result<bool, ConnectorError> {
        match self {
            Self::Timelock { url, client } => {
                let path = format!("timestamp-management/fast-forward?currentTimestamp={to}");
                post(url, client, &path, None).map_err(|why| self.failed(&why.words))?;
                // It says nothing: only a fresh timestamp proves that it heard.
                let fresh = self.fresh()?;
                if fresh <= to {
                    return Err(self.failed(&format!("it was moved forward to {to}, and then gave {fresh}")));
                }
                Ok(true)
            }
            Self::Command(_) => Ok(false),
        }
    }

    /// Locks the immutable timestamp: it stands from now on where it is told, with a token by which the lock is known. `None`
    /// where nothing can be locked.
    pub(super) fn lock(&self) -> Result<Option<(i64, String)>, ConnectorError> {
        let Self::Timelock { url, client } = self else { return Ok(None) };
        let body = format!(r#"{{"requestId":"{}"}}"#, request_id().map_err(|why| self.failed(&why))?);
        let answer = post(url, client, "timelock/lock-immutable-timestamp", Some(body));
        let answer = answer.map_err(|why| self.failed(&why.words))?;
        let read = serde_json::from_str::<Json>(&answer).ok();
        let locked =
            read.as_ref().and_then(|read| Some((read.get("immutableTimestamp")?.as_i64()?, read.get("lock")?)));
        match locked {
            Some((immutable, token)) if immutable > 0 && token.is_object() => Ok(Some((immutable, token.to_string()))),
            _ => Err(self.failed(&format!("it was asked for a lock, and answered `{}`", short(&answer)))),
        }
    }

    /// Keeps a lock; `false` if it is not held any more.
    pub(super) fn refresh(&self, token: &str) -> Result<bool, ConnectorError> {
        self.about_lock("timelock/refresh-locks", token)
    }

    /// Lets a lock go; `false` if it was not held any more.
    pub(super) fn unlock(&self, token: &str) -> Result<bool, ConnectorError> {
        self.about_lock("timelock/unlock", token)
    }

    /// Whether a lock is among those that are answered.
    fn about_lock(&self, path: &str, token: &str) -> Result<bool, ConnectorError> {
        let Self::Timelock { url, client } = self else { return Ok(false) };
        let answer = post(url, client, path, Some(format!("[{token}]"))).map_err(|why| self.failed(&why.words))?;
        let Ok(Json::Array(held)) = serde_json::from_str::<Json>(&answer) else {
            return Err(self.failed(&format!("it was asked about a lock, and answered `{}`", short(&answer))));
        };
        let own = serde_json::from_str::<Json>(token).unwrap_or_default();
        Ok(held.iter().any(|lock| lock.get("requestId").is_some() && lock.get("requestId") == own.get("requestId")))
    }

    /// For messages.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Timelock { url, .. } => format!("the TimeLock at {}", without_login(url)),
            Self::Command(_) => "the command that gives timestamps".to_owned(),
        }
    }

    fn failed(&self, why: &str) -> ConnectorError {
        ConnectorError::Unreadable { object: self.shown(), reason: why.to_owned() }
    }
}

fn without_login(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}{}", &url[..scheme + 3], &url[at + 1..]),
        _ => url.to_owned(),
    }
}

struct Refusal {
    is_not_there: bool,
    words: String,
}

/// Asks for a number; the paths are those of one release after the other.
fn ask(url: &str, client: &str, paths: &[&str]) -> Result<i64, String> {
    let mut last = String::new();
    for path in paths {
        match post(url, client, path, None) {
            Ok(body) => return number(&body),
            Err(refusal) if refusal.is_not_there => last = refusal.words,
            Err(refusal) => return Err(refusal.words),
        }
    }
    Err(last)
}

fn number(body: &str) -> Result<i64, String> {
    body.trim().parse().map_err(|_| format!("it answered `{}`, which is no timestamp", short(body)))
}

fn short(body: &str) -> String {
    body.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(60).collect()
}

/// A random number of the form in which requests are told apart.
fn request_id() -> Result<String, String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| error.to_string())?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = data_encoding::HEXLOWER.encode(&bytes);
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

#[cfg(feature = "http")]
fn post(url: &str, client: &str, path: &str, body: Option<String>) -> Result<String, Refusal> {
    let other = |words: String| Refusal { is_not_there: false, words };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| other(error.to_string()))?;
    let address = format!("{}/{client}/{path}", url.trim_end_matches('/'));
    let root = |error: reqwest::Error| {
        let error = error.without_url();
        let mut cause: &dyn std::error::Error = &error;
        while let Some(next) = cause.source() {
            cause = next;
        }
        other(cause.to_string())
    };
    runtime.block_on(async {
        let asking = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(root)?;
        let mut request = asking.post(&address).header("accept", "application/json");
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let answer = request.send().await.map_err(root)?;
        let status = answer.status();
        let body = answer.text().await.map_err(root)?;
        if status.is_success() {
            return Ok(body);
        }
        let said: String = body.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
        Err(Refusal { is_not_there: status.as_u16() == 404, words: format!("it answered {status}: {}", said.trim()) })
    })
}

#[cfg(not(feature = "http"))]
fn post(_: &str, _: &str, _: &str, _: Option<String>) -> Result<String, Refusal> {
    let _ = (CONNECT, ANSWER);
    Err(Refusal { is_not_there: false, words: "this program was built without HTTP".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering};

    #[test]
    fn what_is_no_timestamp_is_refused() {
        assert_eq!(number("25\n"), Ok(25));
        assert!(number("<html>").is_err() && number("").is_err() && number("1 2").is_err());
        let next = AtomicI64::new(0);
        let giver = Giver::Command(Arc::new(move || Ok(next.fetch_add(1, Ordering::Relaxed))));
        assert!(giver.fresh().is_err(), "0 is none");
        assert_eq!(giver.fresh().ok(), Some(1));
        assert!(!giver.forward(5).unwrap());
    }

    #[test]
    fn a_login_is_not_shown() {
        assert_eq!(without_login("https://u:p@h/x"), "https://h/x");
        assert_eq!(without_login("https://h/x"), "https://h/x");
    }
}
