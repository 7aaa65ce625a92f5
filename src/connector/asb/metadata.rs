//! `metadata.yaml`: what the backup service says of one namespace of one backup. It is written last: without it there is no
//! backup.

use jiff::Timestamp as Time;
use serde::Deserialize;

/// The longest that is read.
const MAX_BYTES: usize = 64 << 10;

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// When the backup began, in milliseconds since 1970-01-01 UTC.
    pub created: i64,
    /// Since when records of an increment changed; 0 for a full backup.
    pub from: i64,
    /// The namespace.
    pub namespace: String,
    /// Records, if it says how many.
    pub records: Option<u64>,
    /// Whether the files are encrypted, if it says so.
    pub encryption: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Told {
    created: String,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    record_count: Option<u64>,
    #[serde(default)]
    encryption: Option<String>,
}

impl Metadata {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// In words.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err("it is longer than 64 KiB".to_owned());
        }
        let text = std::str::from_utf8(text).map_err(|_| "it is no text".to_owned())?;
        let told: Told = serde_saphyr::from_str(text).map_err(|error| {
            let said = error.to_string();
            said.lines().next().unwrap_or("it is no YAML").to_owned()
        })?;
        let millis = |text: &str| -> Result<i64, String> {
            let time: Time = text.trim().parse().map_err(|_| format!("`{text}` is no time"))?;
            // What never was begins at year 1 there.
            Ok(time.as_millisecond().max(0))
        };
        Ok(Self {
            created: millis(&told.created)?,
            from: told.from.as_deref().map_or(Ok(0), millis)?,
            namespace: told.namespace,
            records: told.record_count,
            encryption: told.encryption.filter(|mode| !mode.eq_ignore_ascii_case("none") && !mode.is_empty()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_service_writes_is_read() {
        let text = "created: 2024-10-20T15:00:00.123Z\nfrom: 0001-01-01T00:00:00Z\nfinished: 2024-10-20T15:00:01Z\n\
                    namespace: source-ns1\nrecord-count: 42\nbyte-count: 480000\nfile-count: 1\nsecondary-index-count: 5\n\
                    udf-count: 2\ncompression: ZSTD\nencryption: NONE\n";
        let metadata = Metadata::parse(text.as_bytes()).unwrap();
        assert_eq!((metadata.created, metadata.from), (1_729_436_400_123, 0));
        assert_eq!(
            (metadata.namespace.as_str(), metadata.records, metadata.encryption),
            ("source-ns1", Some(42), None)
        );
        let bare = Metadata::parse(b"created: \"2024-10-20T15:00:00+02:00\"\nencryption: AES256\n").unwrap();
        assert_eq!((bare.records, bare.encryption.as_deref()), (None, Some("AES256")));
    }

    #[test]
    fn what_is_none_is_refused() {
        for bad in [
            "",
            "created: soon\n",
            "from: 2024-10-20T15:00:00Z\n",
            "created: [",
            "\u{0}",
            "created: {a: b}\n",
            "record-count: -1\ncreated: 2024-10-20T15:00:00Z\n",
        ] {
            assert!(Metadata::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(Metadata::parse(&vec![b' '; MAX_BYTES + 1]).is_err());
    }
}
