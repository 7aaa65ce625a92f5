//! Classes of objects at S3: listing them, thawing, moving. Requests that `OpenDAL` has no words for.

use super::{
    super::{Listed, Readiness, Standing, ThawTier, transport::Heard},
    Requests, text,
};
use crate::record::Timestamp;
use http::{HeaderMap, Request, Uri};
use opendal::Buffer;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use std::io;

/// What a listing's page says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default)]
    contents: Vec<Entry>,
    #[serde(default)]
    next_continuation_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    key: String,
    size: u64,
    #[serde(default)]
    storage_class: Option<String>,
}

/// Objects with their classes, and where the next page begins.
pub(in crate::repo::storage) struct Classes {
    pub objects: Vec<(Listed, String)>,
    pub next: Option<String>,
}

impl Requests {
    /// The next page of what lies below a prefix, which is the repository's own with something behind it.
    pub async fn classes(&self, config: &Uri, prefix: &str, after: Option<&str>) -> io::Result<Classes> {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let key = format!("{}{prefix}", self.key_prefix);
        let mut address = format!("{}?list-type=2&max-keys=1000&prefix={}", self.bucket_of(config)?, encoded(&key));
        if let Some(token) = after {
            address.push_str(&format!("&continuation-token={}", encoded(token)));
        }
        let request = Request::get(address).body(Buffer::new()).map_err(io::Error::other)?;
        let (_, body) = self.send(request).await?;
        let page: Page = quick_xml::de::from_str(&body).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("the listing cannot be understood: {error}"))
        })?;
        let objects = page.contents.into_iter().filter_map(|entry| {
            let name = entry.key.strip_prefix(&self.key_prefix)?.to_owned();
            Some((Listed { name, bytes: entry.size }, entry.storage_class.unwrap_or_else(|| "STANDARD".to_owned())))
        });
        Ok(Classes { objects: objects.collect(), next: page.next_continuation_token.filter(|token| !token.is_empty()) })
    }

    /// The bucket's region, as the service says it whatever region is asked.
    pub async fn region(&self, config: &Uri) -> io::Result<Option<String>> {
        let request = Request::head(self.bucket_of(config)?).body(Buffer::new()).map_err(io::Error::other)?;
        let answer = self.answer(request).await?;
        let region = text(answer.headers(), "x-amz-bucket-region").filter(|region| !region.is_empty());
        match answer.status() {
            status if status.is_server_error() || status.as_u16() == 429 => {
                Err(io::Error::new(io::ErrorKind::TimedOut, status.to_string()))
            }
            _ => Ok(region.map(str::to_owned)),
        }
    }

    /// Where the bucket is, by where an object in the repository's own folder is.
    fn bucket_of(&self, config: &Uri) -> io::Result<String> {
        let address = config.to_string();
        let names = 1 + self.key_prefix.matches('/').count();
        let mut rest = address.as_str();
        for _ in 0..names {
            rest = rest.rsplit_once('/').ok_or_else(|| io::Error::other("the bucket's address is not known"))?.0;
        }
        Ok(format!("{rest}/"))
    }

    /// Asks for an object at this address to be made readable.
    pub async fn thaw(&self, address: &Uri, class: &str, days: u16, tier: ThawTier) -> io::Result<()> {
        // What a service moves by itself it also keeps readable by itself.
        let days = if class == "INTELLIGENT_TIERING" { String::new() } else { format!("<Days>{days}</Days>") };
        let body = format!(
            "<RestoreRequest xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{days}<GlacierJobParameters><Tier>{}</Tier>\
             </GlacierJobParameters></RestoreRequest>",
            tier.as_str()
        );
        let request = Self::with_body(Request::post(format!("{address}?restore")), body)?;
        match self.send(request).await {
            Err(error) if error.to_string().contains("RestoreAlreadyInProgress") => Ok(()),
            done => done.map(|_| ()),
        }
    }

    /// Puts the object at this address into another class, where it lies.
    pub async fn move_to_class(&self, address: &Uri, class: &str) -> io::Result<()> {
        let path = address.path();
        let from = if self.is_virtual { format!("/{}{path}", self.bucket) } else { path.to_owned() };
        let mut request = Request::put(address.to_string())
            .header("x-amz-copy-source", from)
            .header("x-amz-metadata-directive", "COPY")
            .header("x-amz-storage-class", class);
        // A copy is encrypted as it says, not as what it was made of.
        for (name, value) in &self.encryption {
            request = request.header(*name, value);
        }
        let (_, body) = self.send(request.body(Buffer::new()).map_err(io::Error::other)?).await?;
        // It answers 200 before it has copied.
        if body.contains("<CopyObjectResult") {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("it was not moved: {body}")))
    }
}

/// What the answer to a question for an object's length says of its class.
pub(in crate::repo::storage) fn standing_in(heard: &Heard, bytes: u64) -> Standing {
    let headers = &heard.headers;
    let class = text(headers, "x-amz-storage-class").unwrap_or("STANDARD").to_owned();
    let is_cold =
        matches!(class.as_str(), "GLACIER" | "DEEP_ARCHIVE") || text(headers, "x-amz-archive-status").is_some();
    let readiness = match thawed(headers) {
        Some(readiness) if is_cold => readiness,
        None if is_cold => Readiness::Archived,
        _ => Readiness::Readable,
    };
    Standing { bytes, class, readiness }
}

/// `ongoing-request="false", expiry-date="Fri, 21 Dec 2012 00:00:00 GMT"`.
fn thawed(headers: &HeaderMap) -> Option<Readiness> {
    let said = text(headers, "x-amz-restore")?;
    if said.contains("ongoing-request=\"true\"") {
        return Some(Readiness::Thawing);
    }
    let until = said.split("expiry-date=\"").nth(1).and_then(|rest| rest.split('"').next());
    let until = until.and_then(|text| jiff::fmt::rfc2822::parse(text).ok());
    Some(Readiness::Thawed(until.map(|time| Timestamp::from_millis(time.timestamp().as_millisecond()))))
}

#[cfg(test)]
mod tests {
    use super::{super::tests::heard, *};

    #[test]
    fn an_answer_says_whether_an_object_can_be_read() {
        let of = |headers: &[(&'static str, &str)]| standing_in(&heard(headers), 5).readiness;
        let (class, restore) = ("x-amz-storage-class", "x-amz-restore");
        assert_eq!(of(&[]), Readiness::Readable);
        assert_eq!(of(&[(class, "GLACIER_IR")]), Readiness::Readable);
        assert_eq!(of(&[(class, "DEEP_ARCHIVE")]), Readiness::Archived);
        assert_eq!(of(&[(class, "GLACIER"), (restore, "ongoing-request=\"true\"")]), Readiness::Thawing);
        let until = "ongoing-request=\"false\", expiry-date=\"Fri, 21 Dec 2012 00:00:00 GMT\"";
        let thawed = Readiness::Thawed(Some(Timestamp::from_millis(1_356_048_000_000)));
        assert_eq!(of(&[(class, "GLACIER"), (restore, until)]), thawed);
        assert_eq!(of(&[(class, "GLACIER"), (restore, "ongoing-request=\"false\"")]), Readiness::Thawed(None));
        assert_eq!(of(&[(class, "INTELLIGENT_TIERING")]), Readiness::Readable);
        let archived = [(class, "INTELLIGENT_TIERING"), ("x-amz-archive-status", "ARCHIVE_ACCESS")];
        assert_eq!(of(&archived), Readiness::Archived);
    }

    #[test]
    fn a_page_of_a_listing_is_understood_and_what_is_none_is_an_error() {
        let page = "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name>\
                    <IsTruncated>true</IsTruncated><NextContinuationToken>a/b+c=</NextContinuationToken><Contents><Key>r/packs/ab/1</Key>\
                    <LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>17</Size><StorageClass>GLACIER</StorageClass></Contents>\
                    <Contents><Key>r/packs/ab/2</Key><Size>3</Size></Contents></ListBucketResult>";
        let page: Page = quick_xml::de::from_str(page).unwrap();
        assert_eq!(page.next_continuation_token.as_deref(), Some("a/b+c="));
        assert_eq!((page.contents[0].size, page.contents[0].storage_class.as_deref()), (17, Some("GLACIER")));
        assert_eq!((page.contents[1].key.as_str(), page.contents[1].storage_class.as_deref()), ("r/packs/ab/2", None));
        assert!(quick_xml::de::from_str::<Page>("<html><body>").is_err());
        assert!(quick_xml::de::from_str::<Page>("<a><Contents><Key>x</Key><Size>-1</Size></Contents></a>").is_err());
    }
}
