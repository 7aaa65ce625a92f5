//! `WebDAV`: a put under a temporary name, then `MOVE` with `Overwrite: F`.
//!
//! Servers look whether the target is taken and then rename: two moves at the same moment may both be answered by success, and
//! the second replaces what the first had made. Making a folder is one step everywhere (`mkdir`), so whoever wants a name first
//! makes the folder `tmp/claim-HASH-0/`, and only who made it moves. Who finds it taken waits for the object. A claim whose owner
//! was killed is passed over after [`PATIENCE`] by making the next number's; the condition of the move still holds then.

use super::temporary_name;
use crate::repo::storage::{
    Created,
    failure::{Secrets, io_error},
    local::TEMPORARY,
};
use data_encoding::HEXLOWER;
use http::{Request, StatusCode, header};
use opendal::{
    Buffer, Operator,
    raw::{Operation, percent_encode_path},
};
use std::{
    collections::HashSet,
    io::{self, ErrorKind},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long a claim may stand without its object: a move takes one request.
const PATIENCE: Duration = Duration::from_mins(1);

/// How many claims of one name may have been left behind.
const CLAIMS: u32 = 3;

/// Moves objects to their names.
pub(in crate::repo::storage) struct Mover {
    /// `https://host/prefix/`, percent-encoded.
    base: String,
    authorization: Option<String>,
    folders: Mutex<HashSet<String>>,
}

impl Mover {
    pub fn new(config: &std::collections::BTreeMap<String, String>) -> Self {
        let text = |key: &str| config.get(key).map_or("", String::as_str);
        let root = text("root").trim_matches('/');
        let path = if root.is_empty() { "/".to_owned() } else { format!("/{root}/") };
        let base = format!("{}{}", text("endpoint").trim_end_matches('/'), percent_encode_path(&path));
        let authorization = match (config.get("token"), config.get("username")) {
            (Some(token), _) => Some(format!("Bearer {token}")),
            (None, Some(user)) => {
                let pair = format!("{user}:{}", text("password"));
                Some(format!("Basic {}", data_encoding::BASE64.encode(pair.as_bytes())))
            }
            (None, None) => None,
        };
        Self { base, authorization, folders: Mutex::default() }
    }

    /// `is_claimed`: whether racing creators may come with different bytes, so that only one may win.
    pub async fn create(
        self: Arc<Self>,
        operator: Operator,
        name: String,
        bytes: bytes::Bytes,
        is_claimed: bool,
        secrets: Arc<Secrets>,
    ) -> io::Result<Created> {
        let failed = |error| io_error(error, &secrets);
        let temporary = temporary_name()?;
        operator.write(&temporary, bytes).await.map_err(failed)?;
        let moved = if is_claimed {
            self.claim_and_move(&operator, &temporary, &name, &secrets).await
        } else {
            self.move_to(&operator, &temporary, &name, &secrets).await
        };
        if !matches!(moved, Ok(Created::New)) {
            // What stays is swept after a day.
            let _ = operator.delete(&temporary).await;
        }
        moved
    }

    async fn claim_and_move(
        &self,
        operator: &Operator,
        from: &str,
        to: &str,
        secrets: &Secrets,
    ) -> io::Result<Created> {
        let claim = |number: u32| {
            let hash = blake3::hash(to.as_bytes());
            format!("{TEMPORARY}claim-{}-{number}/", HEXLOWER.encode(&hash.as_bytes()[..16]))
        };
        let (mut number, mut since, mut pause) = (0, Instant::now(), Duration::from_millis(20));
        while !self.make_claim(operator, &claim(number), secrets).await? {
            match operator.stat(to).await {
                Ok(_) => return Ok(Created::Exists),
                Err(error) if error.kind() == opendal::ErrorKind::NotFound => {}
                Err(error) => return Err(io_error(error, secrets)),
            }
            if since.elapsed() > PATIENCE {
                (number, since) = (number + 1, Instant::now());
                if number == CLAIMS {
                    let words = format!("{to} is claimed again and again and never there");
                    return Err(io::Error::new(ErrorKind::TimedOut, words));
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
        let moved = self.move_to(operator, from, to, secrets).await;
        for number in 0..=number {
            // Without the right to delete it stays beside its object, where it stops nobody.
            let _ = operator.delete(&claim(number)).await;
        }
        moved
    }

    /// Whether the claim is ours.
    async fn make_claim(&self, operator: &Operator, claim: &str, secrets: &Secrets) -> io::Result<bool> {
        let answer = self.send(operator, "MKCOL", claim, &[], secrets).await?;
        match answer.as_u16() {
            201 => Ok(true),
            // A server that loses the race with itself may call it anything; asked again it says 405.
            405 | 409 | 423 | 500 => Ok(false),
            _ => Err(refused("MKCOL", answer)),
        }
    }

    /// Sends a request without a body.
    async fn send(
        &self,
        operator: &Operator,
        method: &str,
        name: &str,
        headers: &[(&str, &str)],
        secrets: &Secrets,
    ) -> io::Result<StatusCode> {
        let mut request = Request::builder().method(method).uri(format!("{}{}", self.base, percent_encode_path(name)));
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.extension(Operation::Write).body(Buffer::new()).map_err(io::Error::other)?;
        let answer = operator.context().http_transport().send(request).await;
        Ok(answer.map_err(|error| io_error(error, secrets))?.status())
    }

    async fn move_to(&self, operator: &Operator, from: &str, to: &str, secrets: &Secrets) -> io::Result<Created> {
        self.make_folder(operator, to, secrets).await?;
        let destination = format!("{}{}", self.base, percent_encode_path(to));
        let headers = [("Destination", destination.as_str()), ("Overwrite", "F")];
        match self.send(operator, "MOVE", from, &headers, secrets).await? {
            StatusCode::PRECONDITION_FAILED => Ok(Created::Exists),
            StatusCode::CREATED | StatusCode::NO_CONTENT => Ok(Created::New),
            status => {
                self.folders.lock().unwrap_or_else(PoisonError::into_inner).clear();
                Err(refused("MOVE", status))
            }
        }
    }

    async fn make_folder(&self, operator: &Operator, name: &str, secrets: &Secrets) -> io::Result<()> {
        let Some((folder, _)) = name.rsplit_once('/') else { return Ok(()) };
        let folder = format!("{folder}/");
        if self.folders.lock().unwrap_or_else(PoisonError::into_inner).contains(&folder) {
            return Ok(());
        }
        operator.create_dir(&folder).await.map_err(|error| io_error(error, secrets))?;
        self.folders.lock().unwrap_or_else(PoisonError::into_inner).insert(folder);
        Ok(())
    }
}

fn refused(method: &str, status: StatusCode) -> io::Error {
    let kind = match status.as_u16() {
        401 | 403 | 405 | 501 => ErrorKind::PermissionDenied,
        429 => ErrorKind::WouldBlock,
        // 409: a folder above went meanwhile; 423: somebody else is at work on it.
        507 => ErrorKind::StorageFull,
        // Another success, such as 207, says of a MOVE that it was none in part.
        200..=299 | 408 | 409 | 423 | 500..=599 => ErrorKind::TimedOut,
        _ => ErrorKind::Other,
    };
    io::Error::new(kind, format!("{method} was answered by {status}"))
}
