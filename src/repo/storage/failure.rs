//! What services say when they refuse, in the standard library's words, and without secrets.

use super::{cold::in_archive, environment::variable};
use opendal::ErrorKind as OpendalKind;
use std::io::{self, ErrorKind};

/// Words that must never be shown.
#[derive(Clone, Default)]
pub(super) struct Secrets(Vec<String>);

/// Environment variables that services take secrets from by themselves.
const VARIABLES: [&str; 8] = [
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_CLIENT_SECRET",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
    "ALIBABA_CLOUD_SECURITY_TOKEN",
    "B2_APPLICATION_KEY",
];

/// Parameters of a URL that sign it.
const SIGNATURES: [&str; 6] =
    ["sig=", "X-Amz-Signature=", "X-Amz-Security-Token=", "X-Amz-Credential=", "X-Goog-Signature=", "access_token="];

/// Shorter words would blot out half of each message.
const SHORTEST: usize = 6;

impl Secrets {
    /// Those in the environment.
    pub fn of_environment() -> Self {
        let mut secrets = Self::default();
        for value in VARIABLES.into_iter().filter_map(variable) {
            secrets.add(&value);
        }
        secrets
    }

    /// Another one.
    pub fn add(&mut self, secret: &str) {
        if secret.len() >= SHORTEST {
            self.0.push(secret.to_owned());
        }
    }

    /// A text without them, and without what signs a URL.
    pub fn hide(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            text = text.replace(secret.as_str(), "***");
        }
        for name in SIGNATURES {
            text = without_value(&text, name);
        }
        text
    }
}

fn without_value(text: &str, name: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(name) {
        let (before, after) = rest.split_at(at + name.len());
        out.push_str(before);
        out.push_str("***");
        let end = after.find(['&', '"', '\'', '<', '>', ' ', ',']).unwrap_or(after.len());
        rest = &after[end..];
    }
    out.push_str(rest);
    out
}

/// What is said of a place that answers a greeting of TLS with something else.
const NO_TLS: &str = "the endpoint does not speak TLS: if that is meant, write endpoint=http://HOST:PORT";

/// What people can do about errors that services give by a code.
const HINTS: [(&str, &str); 11] = [
    ("NoSuchBucket", "there is no such bucket"),
    ("ContainerNotFound", "there is no such container"),
    ("PermanentRedirect", "the bucket lies in another region, or at another endpoint"),
    ("AuthorizationHeaderMalformed", "the bucket lies in another region"),
    ("IllegalLocationConstraint", "the bucket lies in another region"),
    ("RequestTimeTooSkewed", "this host's clock is off by more than the service allows: set it"),
    ("ExpiredToken", "the credentials have expired"),
    ("InvalidAccessKeyId", "the service does not know this access key"),
    (
        "failed to load signing credential",
        "no credentials were found: docs/storage.md says where each service takes them from (variables, profiles, files, roles)",
    ),
    ("InvalidContentType", NO_TLS),
    ("SignatureDoesNotMatch", "the secret key is not the access key's"),
];

/// Codes by which services say that an object must be thawed first.
const ARCHIVED: [&str; 3] = ["InvalidObjectState", "BlobArchived", "BlobBeingRehydrated"];

/// An error of `OpenDAL` in the standard library's words; those that may pass become `TimedOut`, a conflict of two
/// requests `ResourceBusy`. Its contexts (addresses, headers) are left out: they may hold signatures.
#[allow(clippy::needless_pass_by_value, reason = "used as a function for map_err")]
pub(super) fn io_error(error: opendal::Error, secrets: &Secrets) -> io::Error {
    let mut text = format!("{}: {}", error.kind(), error.message());
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        text.push_str(&format!(": {inner}"));
        source = inner.source();
    }
    if ARCHIVED.iter().any(|code| text.contains(code)) {
        return in_archive(secrets.hide(&shortened(&text)));
    }
    let hint = HINTS.iter().find(|(code, _)| text.contains(code)).map(|(_, hint)| *hint);
    let is_place = matches!(hint, Some("there is no such bucket" | "there is no such container"));
    let kind = match error.kind() {
        OpendalKind::NotFound if is_place => ErrorKind::Other,
        // It does not pass by trying.
        _ if hint == Some(NO_TLS) => ErrorKind::Other,
        OpendalKind::NotFound => ErrorKind::NotFound,
        OpendalKind::PermissionDenied => ErrorKind::PermissionDenied,
        OpendalKind::RateLimited => ErrorKind::WouldBlock,
        // Amazon wants a multipart upload that met a conflict begun again as a whole, which is what we do.
        OpendalKind::Conflict => ErrorKind::ResourceBusy,
        _ if error.is_temporary() => ErrorKind::TimedOut,
        OpendalKind::AlreadyExists | OpendalKind::ConditionNotMatch => ErrorKind::AlreadyExists,
        OpendalKind::NotADirectory => ErrorKind::NotADirectory,
        OpendalKind::IsADirectory => ErrorKind::IsADirectory,
        OpendalKind::RangeNotSatisfied => ErrorKind::UnexpectedEof,
        OpendalKind::Unsupported => ErrorKind::Unsupported,
        _ => ErrorKind::Other,
    };
    let text = hint.map_or_else(|| text.clone(), |hint| format!("{hint} ({text})"));
    io::Error::new(kind, secrets.hide(&shortened(&text)))
}

/// A refusal of a service with the right that lacks, and where: nobody can tell that from the name of one object.
pub(super) fn with_the_right(operation: &str, object: &str, error: io::Error) -> io::Error {
    let text = error.to_string();
    let is_told = HINTS.iter().any(|(_, hint)| text.starts_with(hint));
    if error.kind() != ErrorKind::PermissionDenied || error.raw_os_error().is_some() || is_told {
        return error;
    }
    let right = match operation {
        "reading" => "read objects (s3:GetObject)",
        "creating" => "create objects (s3:PutObject)",
        "deleting" => "delete objects (s3:DeleteObject)",
        "listing" => "list objects (s3:ListBucket)",
        _ => return error,
    };
    let folder = object.split_once('/').map_or_else(|| object.to_owned(), |(folder, _)| format!("{folder}/"));
    io::Error::new(error.kind(), format!("these credentials may not {right} at `{folder}` ({text})"))
}

/// Some services answer with whole pages.
fn shortened(text: &str) -> String {
    const MOST: usize = 1000;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.len() <= MOST {
        return text;
    }
    let end = (0..=MOST).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use opendal::Error;

    #[test]
    fn what_may_pass_is_told_from_what_stands() {
        let kind = |error| io_error(error, &Secrets::default()).kind();
        assert_eq!(kind(Error::new(OpendalKind::ConditionNotMatch, "412")), ErrorKind::AlreadyExists);
        assert_eq!(kind(Error::new(OpendalKind::ConditionNotMatch, "x").set_temporary()), ErrorKind::TimedOut);
        assert_eq!(kind(Error::new(OpendalKind::Conflict, "409")), ErrorKind::ResourceBusy);
        assert_eq!(kind(Error::new(OpendalKind::Unexpected, "x").set_temporary()), ErrorKind::TimedOut);
        assert_eq!(kind(Error::new(OpendalKind::RateLimited, "x").set_temporary()), ErrorKind::WouldBlock);
        assert_eq!(kind(Error::new(OpendalKind::NotFound, "NoSuchKey")), ErrorKind::NotFound);
        let bucket = io_error(Error::new(OpendalKind::NotFound, "ContainerNotFound"), &Secrets::default());
        assert_eq!(bucket.kind(), ErrorKind::Other);
        assert!(bucket.to_string().contains("no such container"), "{bucket}");
        let words = "error sending request: received corrupt message of type InvalidContentType";
        let plain = io_error(Error::new(OpendalKind::Unexpected, words).set_temporary(), &Secrets::default());
        assert!(plain.kind() == ErrorKind::Other && plain.to_string().contains("endpoint=http://"), "{plain}");
        let nobody =
            io_error(Error::new(OpendalKind::Unexpected, "failed to load signing credential"), &Secrets::default());
        assert!(nobody.to_string().contains("no credentials were found"), "{nobody}");
    }

    #[test]
    fn what_must_be_thawed_is_neither_forbidden_nor_a_conflict_that_passes() {
        for (kind, text) in [
            (OpendalKind::PermissionDenied, "<Code>InvalidObjectState</Code>"),
            (OpendalKind::Conflict, "BlobArchived: This operation is not permitted on an archived blob."),
            (OpendalKind::Conflict, "BlobBeingRehydrated"),
        ] {
            let error = io_error(Error::new(kind, text), &Secrets::default());
            assert!(super::super::cold::is_in_archive(&error) && error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn secrets_and_signatures_are_never_shown() {
        let mut secrets = Secrets::default();
        secrets.add("hunter22");
        let error = Error::new(OpendalKind::Unexpected, "key hunter22 is wrong at https://x/y?sv=1&sig=AbC%3D&se=2")
            .with_context("uri", "https://x/y?sig=AbC");
        let text = io_error(error, &secrets).to_string();
        assert!(!text.contains("hunter22") && !text.contains("AbC"), "{text}");
        assert!(text.contains("sig=***&se=2"), "{text}");
    }

    #[test]
    fn a_page_of_html_is_cut() {
        let error = Error::new(OpendalKind::Unexpected, "<p>é</p>".repeat(1000));
        assert!(io_error(error, &Secrets::default()).to_string().len() < 1100);
    }

    #[test]
    fn a_refusal_names_the_right_and_the_place() {
        let refused = || io::Error::new(ErrorKind::PermissionDenied, "PermissionDenied: AccessDenied");
        let told = with_the_right("creating", "packs/ab/abcd", refused());
        assert_eq!(told.kind(), ErrorKind::PermissionDenied);
        let told = told.to_string();
        assert!(
            told.contains("may not create objects (s3:PutObject) at `packs/`") && told.contains("AccessDenied"),
            "{told}"
        );
        let told = with_the_right("listing", "snapshots/", refused()).to_string();
        assert!(told.contains("list objects (s3:ListBucket) at `snapshots/`"), "{told}");
        let told = with_the_right("reading", "rekeep.json", refused()).to_string();
        assert!(told.contains("at `rekeep.json`"), "{told}");
        // What the system says of a file, what is said better already, and other failures stay as they are.
        let of_system = io::Error::from_raw_os_error(13);
        assert_eq!(with_the_right("reading", "index/x", of_system).raw_os_error(), Some(13));
        let expired = io::Error::new(ErrorKind::PermissionDenied, "the credentials have expired (x)");
        assert_eq!(with_the_right("listing", "index/", expired).to_string(), "the credentials have expired (x)");
        let other = io::Error::new(ErrorKind::TimedOut, "late");
        assert_eq!(with_the_right("listing", "index/", other).to_string(), "late");
    }
}
