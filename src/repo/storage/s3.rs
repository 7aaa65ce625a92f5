//! What `OpenDAL` has no words for at S3: locks and classes of objects. Addresses are those of its own requests; only the
//! signature is ours.

mod class;

pub(super) use class::standing_in;

use super::{
    failure::Secrets,
    hold::{LockMode, ObjectHold},
    location::ServicePlace,
    traffic::Meter,
    transport::{Heard, Transport, refusal},
};
use crate::record::Timestamp;
use data_encoding::{BASE64, HEXLOWER};
use http::{HeaderMap, Method, Request, Uri};
use opendal::{Buffer, HttpTransporter};
use reqsign_aws_v4::{
    AssumeRoleCredentialProvider, Credential, DefaultCredentialProvider, RequestSigner, StaticCredentialProvider,
};
use reqsign_core::{Context, OsEnv, ProvideCredentialChain, Signer, hash::hex_sha256};
use reqsign_file_read_tokio::TokioFileRead;
use std::{
    io::{self, ErrorKind},
    sync::Arc,
};

/// 9999-01-01T00:00:00Z, which every calendar can show.
const LAST_MILLIS: i64 = 253_370_764_800_000;

/// Signs and makes requests for one place, by the credentials that `OpenDAL` uses for it.
pub(super) struct Requests {
    /// `None` for who signs nothing.
    signer: Option<Signer<Credential>>,
    transport: HttpTransporter,
    secrets: Secrets,
    bucket: String,
    /// Whether the bucket is part of the host's name.
    is_virtual: bool,
    /// What all of the repository's keys begin with.
    key_prefix: String,
    /// Headers by which what is put is encrypted.
    encryption: Vec<(&'static str, String)>,
}

impl Requests {
    pub fn of(place: &ServicePlace, meter: &Arc<Meter>) -> Result<Self, String> {
        let (ca_file, proxy) = (place.ca_file.as_deref(), place.proxy.as_deref());
        let transport = Transport::new(ca_file, proxy, false, place.service, Arc::clone(meter), &place.secrets)?;
        let transport = HttpTransporter::new(transport);
        let of = |key: &str| place.config.get(key).filter(|value| !value.is_empty());
        let is_signed = of("skip_signature").is_none_or(|value| value != "true");
        let signer = is_signed.then(|| signer(&of, &transport));
        let root = of("root").map_or("", String::as_str).trim_matches('/');
        let encryption = [
            ("x-amz-server-side-encryption", "server_side_encryption"),
            ("x-amz-server-side-encryption-aws-kms-key-id", "server_side_encryption_aws_kms_key_id"),
        ];
        Ok(Self {
            signer,
            transport,
            secrets: place.secrets.clone(),
            bucket: of("bucket").cloned().unwrap_or_default(),
            is_virtual: of("enable_virtual_host_style").is_some_and(|value| value == "true"),
            key_prefix: if root.is_empty() { String::new() } else { format!("{root}/") },
            encryption: encryption.into_iter().filter_map(|(name, key)| Some((name, of(key)?.clone()))).collect(),
        })
    }

    /// Locks the object at this address.
    pub async fn lock(&self, address: &Uri, until: Timestamp, mode: LockMode) -> io::Result<()> {
        let mode = match mode {
            LockMode::Governance => "GOVERNANCE",
            LockMode::Compliance => "COMPLIANCE",
        };
        let until = jiff::Timestamp::from_millisecond(until.as_millis()).map_err(io::Error::other)?;
        let body = format!(
            "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>{mode}</Mode><RetainUntilDate>{}</RetainUntilDate></Retention>",
            until.strftime("%Y-%m-%dT%H:%M:%SZ")
        );
        self.send(Self::with_body(Request::put(format!("{address}?retention")), body)?).await.map(|_| ())
    }

    /// A request with a document, and with the digests that go with one.
    fn with_body(request: http::request::Builder, body: String) -> io::Result<Request<Buffer>> {
        let hash = hex_sha256(body.as_bytes());
        let checksum = HEXLOWER.decode(hash.as_bytes()).map_err(io::Error::other)?;
        request
            .header("content-type", "application/xml")
            .header("x-amz-sdk-checksum-algorithm", "SHA256")
            .header("x-amz-checksum-sha256", BASE64.encode(&checksum))
            .header("x-amz-content-sha256", hash)
            .body(Buffer::from(body))
            .map_err(io::Error::other)
    }

    /// Signs a request and gives its answer, whatever it is.
    async fn answer(&self, request: Request<Buffer>) -> io::Result<http::Response<Buffer>> {
        let (mut head, body) = request.into_parts();
        let words = |error: String| self.secrets.hide(&error);
        match &self.signer {
            Some(signer) => {
                signer.sign(&mut head, None).await.map_err(|error| io::Error::other(words(error.to_string())))?;
            }
            None if matches!(head.method, Method::GET | Method::HEAD) => {}
            None => return Err(io::Error::new(ErrorKind::PermissionDenied, "nothing is changed without credentials")),
        }
        let answer = self.transport.send(Request::from_parts(head, body)).await;
        answer.map_err(|error| io::Error::new(ErrorKind::TimedOut, words(error.to_string())))
    }

    /// Gives the headers and the text of the answer, if it is a good one.
    async fn send(&self, request: Request<Buffer>) -> io::Result<(HeaderMap, String)> {
        let answer = self.answer(request).await?;
        let body = String::from_utf8_lossy(&answer.body().to_vec()).into_owned();
        if answer.status().is_success() {
            return Ok((answer.headers().clone(), body));
        }
        Err(refusal(answer.status(), &body, &self.secrets))
    }
}

/// Credentials from where `OpenDAL` takes them.
fn signer<'a>(of: &dyn Fn(&str) -> Option<&'a String>, transport: &HttpTransporter) -> Signer<Credential> {
    let context = Context::new().with_file_read(TokioFileRead).with_env(OsEnv).with_http_send(transport.clone());
    let mut default = DefaultCredentialProvider::builder();
    if let Some(profile) = of("profile") {
        default = default.with_profile(profile);
    }
    let mut chain = ProvideCredentialChain::new().push(default.build());
    if let (Some(id), Some(secret)) = (of("access_key_id"), of("secret_access_key")) {
        let fixed = StaticCredentialProvider::new(id, secret);
        let fixed = match of("session_token") {
            Some(token) => fixed.with_session_token(token),
            None => fixed,
        };
        chain = chain.push_front(fixed);
    }
    let region = of("region").map_or("us-east-1", String::as_str);
    if let Some(role) = of("role_arn") {
        let asks = Signer::new(context.clone(), chain, RequestSigner::new("sts", region));
        let mut assumes = AssumeRoleCredentialProvider::new(role.clone(), asks)
            .with_region(region.to_owned())
            .with_regional_sts_endpoint();
        if let Some(id) = of("external_id") {
            assumes = assumes.with_external_id(id.clone());
        }
        if let Some(name) = of("role_session_name") {
            assumes = assumes.with_role_session_name(name.clone());
        }
        chain = ProvideCredentialChain::new().push(assumes);
    }
    Signer::new(context, chain, RequestSigner::new("s3", region))
}

/// What the answer to a question for an object's length says of what holds it.
pub(super) fn hold_in(heard: &Heard, bytes: u64) -> ObjectHold {
    ObjectHold {
        bytes,
        until: text(&heard.headers, "x-amz-object-lock-retain-until-date").map(parse_time),
        mode: text(&heard.headers, "x-amz-object-lock-mode").and_then(|mode| match mode {
            "GOVERNANCE" => Some(LockMode::Governance),
            "COMPLIANCE" => Some(LockMode::Compliance),
            _ => None,
        }),
        legal_hold: text(&heard.headers, "x-amz-object-lock-legal-hold") == Some("ON"),
        is_versioned: text(&heard.headers, "x-amz-version-id").is_some_and(|version| version != "null"),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// A time that cannot be read is later than all others: whoever asks must not take what is held for free.
fn parse_time(text: &str) -> Timestamp {
    let known = text.trim().parse::<jiff::Timestamp>().map(jiff::Timestamp::as_millisecond);
    Timestamp::from_millis(known.unwrap_or(LAST_MILLIS))
}

#[cfg(test)]
pub(in crate::repo::storage) mod tests {
    use super::*;

    pub(in crate::repo::storage) fn heard(headers: &[(&'static str, &str)]) -> Heard {
        let headers = headers.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()));
        Heard { address: Uri::from_static("http://x/y"), headers: headers.collect() }
    }

    #[test]
    fn what_holds_an_object_is_read_and_what_cannot_be_read_holds_it_for_ever() {
        assert_eq!(hold_in(&heard(&[]), 7), ObjectHold { bytes: 7, ..ObjectHold::default() });
        let held = heard(&[
            ("x-amz-object-lock-mode", "COMPLIANCE"),
            ("x-amz-object-lock-retain-until-date", "2027-01-02T03:04:05.678Z"),
            ("x-amz-object-lock-legal-hold", "OFF"),
            ("x-amz-version-id", "abc"),
        ]);
        let held = hold_in(&held, 1);
        assert_eq!((held.mode, held.legal_hold, held.is_versioned), (Some(LockMode::Compliance), false, true));
        assert_eq!(held.until.unwrap().to_string(), "2027-01-02T03:04:05.678Z");
        let odd = heard(&[
            ("x-amz-object-lock-mode", "ETERNAL"),
            ("x-amz-object-lock-retain-until-date", "until the cows come home"),
            ("x-amz-object-lock-legal-hold", "ON"),
            ("x-amz-version-id", "null"),
        ]);
        let odd = hold_in(&odd, 1);
        assert_eq!((odd.mode, odd.legal_hold, odd.is_versioned), (None, true, false));
        assert_eq!(odd.until.unwrap().to_string(), "9999-01-01T00:00:00.000Z");
    }
}
