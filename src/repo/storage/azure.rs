//! What Azure says of where a blob lies, and what is asked of it about that.

mod requests;

pub(super) use requests::Requests;

use super::{Readiness, Standing, transport::Heard};

/// What the answer to a question for a blob's length says of its tier.
pub(super) fn standing_in(heard: &Heard, bytes: u64) -> Standing {
    let text = |name: &str| heard.headers.get(name).and_then(|value| value.to_str().ok());
    let class = text("x-ms-access-tier").unwrap_or("Hot").to_owned();
    let is_pending = text("x-ms-archive-status").is_some_and(|status| status.starts_with("rehydrate-pending"));
    let readiness = match class.as_str() {
        "Archive" if is_pending => Readiness::Thawing,
        "Archive" => Readiness::Archived,
        _ => Readiness::Readable,
    };
    Standing { bytes, class, readiness }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archived_blob_is_told_from_one_that_is_on_its_way_back() {
        let of = |headers: &[(&'static str, &str)]| {
            let headers =
                headers.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()));
            let heard = Heard { address: http::Uri::from_static("http://x/y"), headers: headers.collect() };
            standing_in(&heard, 1).readiness
        };
        assert_eq!(of(&[]), Readiness::Readable);
        assert_eq!(of(&[("x-ms-access-tier", "Cold")]), Readiness::Readable);
        assert_eq!(of(&[("x-ms-access-tier", "Archive")]), Readiness::Archived);
        let pending = [("x-ms-access-tier", "Archive"), ("x-ms-archive-status", "rehydrate-pending-to-hot")];
        assert_eq!(of(&pending), Readiness::Thawing);
    }
}
