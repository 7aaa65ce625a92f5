//! `WebDAV`: a put under a temporary name, then `MOVE` with `Overwrite: F`, which servers carry out as one step.

use super::temporary_name;
use crate::repo::storage::{
    Created,
    failure::{Secrets, io_error},
};
use http::{Request, StatusCode, header};
use opendal::{
    Buffer, Operator,
    raw::{Operation, percent_encode_path},
};
use std::{
    collections::HashSet,
    io::{self, ErrorKind},
    sync::{Arc, Mutex, PoisonError},
};

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

    pub async fn create(
        self: Arc<Self>,
        operator: Operator,
        name: String,
        bytes: bytes::Bytes,
        secrets: Arc<Secrets>,
    ) -> io::Result<Created> {
        let failed = |error| io_error(error, &secrets);
        let temporary = temporary_name()?;
        operator.write(&temporary, bytes).await.map_err(failed)?;
        let moved = self.move_to(&operator, &temporary, &name, &secrets).await;
        if !matches!(moved, Ok(Created::New)) {
            // What stays is swept after a day.
            let _ = operator.delete(&temporary).await;
        }
        moved
    }

    async fn move_to(&self, operator: &Operator, from: &str, to: &str, secrets: &Secrets) -> io::Result<Created> {
        self.make_folder(operator, to, secrets).await?;
        let mut request = Request::builder().method("MOVE").uri(format!("{}{}", self.base, percent_encode_path(from)));
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request
            .header("Destination", format!("{}{}", self.base, percent_encode_path(to)))
            .header("Overwrite", "F")
            .extension(Operation::Write)
            .body(Buffer::new())
            .map_err(io::Error::other)?;
        let answer =
            operator.context().http_transport().send(request).await.map_err(|error| io_error(error, secrets))?;
        match answer.status() {
            StatusCode::PRECONDITION_FAILED => Ok(Created::Exists),
            status if status.is_success() => Ok(Created::New),
            status => {
                self.folders.lock().unwrap_or_else(PoisonError::into_inner).clear();
                let kind = match status.as_u16() {
                    401 | 403 => ErrorKind::PermissionDenied,
                    429 => ErrorKind::WouldBlock,
                    // 409: a folder above went meanwhile; 423: somebody else is at work on it.
                    507 => ErrorKind::StorageFull,
                    409 | 423 | 500..=599 => ErrorKind::TimedOut,
                    _ => ErrorKind::Other,
                };
                Err(io::Error::new(kind, format!("MOVE was answered by {status}")))
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
