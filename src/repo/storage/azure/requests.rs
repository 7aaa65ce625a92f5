//! Tiers of blobs at Azure: listing them, moving, bringing back. Requests that `OpenDAL` has no words for; only the signature is ours.

use super::super::{
    Listed, ThawTier,
    failure::Secrets,
    location::ServicePlace,
    traffic::Meter,
    transport::{Transport, refusal},
};
use http::{Method, Request};
use opendal::{Buffer, HttpTransporter};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqsign_azure_storage::{Credential, DefaultCredentialProvider, RequestSigner, StaticCredentialProvider};
use reqsign_core::{Context, OsEnv, ProvideCredentialChain, Signer};
use reqsign_file_read_tokio::TokioFileRead;
use serde::Deserialize;
use std::{
    io::{self, ErrorKind},
    sync::Arc,
};

/// The version of the service's interface that `OpenDAL` speaks too.
const VERSION: &str = "2022-11-02";

/// What a path keeps as it is.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What a listing's page says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default)]
    blobs: Blobs,
    #[serde(default)]
    next_marker: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Blobs {
    #[serde(default, rename = "Blob")]
    blobs: Vec<Blob>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Blob {
    name: String,
    properties: Properties,
}

#[derive(Debug, Deserialize)]
struct Properties {
    #[serde(rename = "Content-Length")]
    bytes: u64,
    #[serde(default, rename = "AccessTier")]
    tier: Option<String>,
}

/// Objects with their tiers, and where the next page begins.
pub(in crate::repo::storage) struct Tiers {
    pub objects: Vec<(Listed, String)>,
    pub next: Option<String>,
}

/// Signs and makes requests for one place, by the credentials that `OpenDAL` uses for it.
pub(in crate::repo::storage) struct Requests {
    /// `None` for who signs nothing.
    signer: Option<Signer<Credential>>,
    transport: HttpTransporter,
    secrets: Secrets,
    container: String,
    /// What all of the repository's names begin with.
    prefix: String,
}

impl Requests {
    pub fn of(place: &ServicePlace, meter: &Arc<Meter>) -> Result<Self, String> {
        let (ca_file, proxy) = (place.ca_file.as_deref(), place.proxy.as_deref());
        let transport = Transport::new(ca_file, proxy, false, place.service, Arc::clone(meter), &place.secrets)?;
        let transport = HttpTransporter::new(transport);
        let of = |key: &str| place.config.get(key).map(String::as_str).filter(|value| !value.is_empty());
        let context = Context::new().with_file_read(TokioFileRead).with_env(OsEnv).with_http_send(transport.clone());
        let mut chain = ProvideCredentialChain::new().push(DefaultCredentialProvider::new());
        if let (Some(account), Some(key)) = (of("account_name"), of("account_key")) {
            chain = chain.push_front(StaticCredentialProvider::new_shared_key(account, key));
        }
        if let Some(token) = of("sas_token") {
            chain = chain.push_front(StaticCredentialProvider::new_sas_token(token));
        }
        let is_signed = of("skip_signature").is_none_or(|value| value != "true");
        let root = of("root").unwrap_or_default().trim_matches('/');
        let endpoint = of("endpoint").unwrap_or_default().trim_end_matches('/');
        Ok(Self {
            signer: is_signed.then(|| Signer::new(context, chain, RequestSigner::new())),
            transport,
            secrets: place.secrets.clone(),
            container: format!("{endpoint}/{}", of("container").unwrap_or_default()),
            prefix: if root.is_empty() { String::new() } else { format!("{root}/") },
        })
    }

    /// The next page of what lies below a prefix.
    pub async fn tiers(&self, prefix: &str, after: Option<&str>) -> io::Result<Tiers> {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let below = encoded(&format!("{}{prefix}", self.prefix));
        let mut address = format!("{}?restype=container&comp=list&prefix={below}", self.container);
        if let Some(marker) = after {
            address.push_str(&format!("&marker={}", encoded(marker)));
        }
        let body = self.send(Request::get(address)).await?;
        let page = read_page(&body).map_err(|error| {
            io::Error::new(ErrorKind::InvalidData, format!("the listing cannot be understood: {error}"))
        })?;
        let objects = page.blobs.blobs.into_iter().filter_map(|blob| {
            let name = blob.name.strip_prefix(&self.prefix)?.to_owned();
            let tier = blob.properties.tier.unwrap_or_else(|| "Hot".to_owned());
            Some((Listed { name, bytes: blob.properties.bytes }, tier))
        });
        Ok(Tiers { objects: objects.collect(), next: page.next_marker.filter(|marker| !marker.is_empty()) })
    }

    /// Puts a blob into another tier.
    pub async fn move_to(&self, name: &str, tier: &str) -> io::Result<()> {
        self.send(self.tier(name, tier)).await.map(drop)
    }

    /// Asks for an archived blob to become readable: it moves to the hot tier, within hours, and stays there.
    pub async fn thaw(&self, name: &str, haste: ThawTier) -> io::Result<()> {
        let priority = if haste == ThawTier::Expedited { "High" } else { "Standard" };
        match self.send(self.tier(name, "Hot").header("x-ms-rehydrate-priority", priority)).await {
            Err(error) if error.to_string().contains("BlobBeingRehydrated") => Ok(()),
            done => done.map(drop),
        }
    }

    fn tier(&self, name: &str, tier: &str) -> http::request::Builder {
        let path = utf8_percent_encode(&format!("{}{name}", self.prefix), PATH).to_string();
        Request::put(format!("{}/{path}?comp=tier", self.container))
            .header("x-ms-access-tier", tier)
            .header("content-length", "0")
    }

    /// Signs a request; gives the text of the answer, if it is a good one.
    async fn send(&self, request: http::request::Builder) -> io::Result<String> {
        let words = |error: String| self.secrets.hide(&error);
        let request = request.header("x-ms-version", VERSION).body(Buffer::new()).map_err(io::Error::other)?;
        let (mut head, body) = request.into_parts();
        match &self.signer {
            Some(signer) => {
                signer.sign(&mut head, None).await.map_err(|error| io::Error::other(words(error.to_string())))?;
            }
            None if head.method == Method::GET => {}
            None => return Err(io::Error::new(ErrorKind::PermissionDenied, "nothing is changed without credentials")),
        }
        let answer = self.transport.send(Request::from_parts(head, body)).await;
        let answer = answer.map_err(|error| io::Error::new(ErrorKind::TimedOut, words(error.to_string())))?;
        let text = String::from_utf8_lossy(&answer.body().to_vec()).into_owned();
        if answer.status().is_success() {
            return Ok(text);
        }
        Err(refusal(answer.status(), &text, &self.secrets))
    }
}

/// A page, which may begin with a mark of its byte order.
fn read_page(body: &str) -> Result<Page, quick_xml::DeError> {
    quick_xml::de::from_str(body.trim_start_matches('\u{feff}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_a_listing_is_understood_and_what_is_none_is_an_error() {
        let page = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"https://a/\" ContainerName=\"b\">\
                    <Prefix>r/packs/</Prefix><Blobs><Blob><Name>r/packs/ab/1</Name><Properties><Content-Length>17</Content-Length>\
                    <AccessTier>Archive</AccessTier><ArchiveStatus>rehydrate-pending-to-hot</ArchiveStatus></Properties></Blob>\
                    <Blob><Name>r/packs/ab/2</Name><Properties><Content-Length>3</Content-Length></Properties></Blob></Blobs>\
                    <NextMarker>2!92!x</NextMarker></EnumerationResults>";
        let page = read_page(page).unwrap();
        let found: Vec<_> =
            page.blobs.blobs.iter().map(|it| (&*it.name, it.properties.bytes, it.properties.tier.as_deref())).collect();
        assert_eq!(found, [("r/packs/ab/1", 17, Some("Archive")), ("r/packs/ab/2", 3, None)]);
        assert_eq!(page.next_marker.as_deref(), Some("2!92!x"));
        let last = read_page("<EnumerationResults><Blobs /><NextMarker /></EnumerationResults>").unwrap();
        assert!(last.blobs.blobs.is_empty() && last.next_marker.is_none_or(|marker| marker.is_empty()));
        assert!(read_page("<html><body>").is_err());
    }
}
