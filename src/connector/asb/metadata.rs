//! `metadata.yaml`: what the backup service says of one namespace of one backup. It is written last: without it there is no
//! backup.

use jiff::Timestamp as Time;
use serde::{Deserialize, Serialize};

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
    /// When the backup ended, if it says so.
    pub finished: Option<i64>,
    /// Bytes of the files.
    pub bytes: u64,
    /// Files.
    pub files: u64,
    /// Secondary indexes in them.
    pub indexes: u64,
    /// UDF modules in them.
    pub modules: u64,
    /// How the files are compressed, if they are and it says so.
    pub compression: Option<String>,
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
    finished: Option<String>,
    #[serde(default)]
    byte_count: u64,
    #[serde(default)]
    file_count: u64,
    #[serde(default)]
    secondary_index_count: u64,
    #[serde(default)]
    udf_count: u64,
    #[serde(default)]
    compression: Option<String>,
    #[serde(default)]
    encryption: Option<String>,
}

/// What is written, in the order in which the backup service has it.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Said<'a> {
    created: String,
    finished: String,
    from: String,
    namespace: &'a str,
    record_count: u64,
    byte_count: u64,
    file_count: u64,
    secondary_index_count: u64,
    udf_count: u64,
    compression: &'a str,
    encryption: &'a str,
}

impl Metadata {
    /// The text of a file.
    ///
    /// # Errors
    /// In words, for times that no calendar has.
    pub fn text(&self) -> Result<String, String> {
        let time = |millis: i64| match millis {
            0 => Ok("0001-01-01T00:00:00Z".to_owned()),
            _ => Time::from_millisecond(millis).map(|time| time.to_string()).map_err(|error| error.to_string()),
        };
        let said = Said {
            created: time(self.created)?,
            finished: time(self.finished.unwrap_or(self.created))?,
            from: time(self.from)?,
            namespace: &self.namespace,
            record_count: self.records.unwrap_or(0),
            byte_count: self.bytes,
            file_count: self.files,
            secondary_index_count: self.indexes,
            udf_count: self.modules,
            compression: self.compression.as_deref().unwrap_or("NONE"),
            encryption: self.encryption.as_deref().unwrap_or("NONE"),
        };
        let text = serde_saphyr::to_string(&said).map_err(|error| error.to_string())?;
        // The backup service writes times as YAML's own, which are not quoted.
        let is_time = |line: &&str| ["created: ", "finished: ", "from: "].iter().any(|name| line.starts_with(name));
        let lines = text.lines().map(|line| if is_time(&line) { line.replace('"', "") } else { line.to_owned() });
        Ok(lines.map(|line| line + "\n").collect())
    }

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
        let some = |mode: Option<String>| mode.filter(|mode| !mode.eq_ignore_ascii_case("none") && !mode.is_empty());
        Ok(Self {
            created: millis(&told.created)?,
            from: told.from.as_deref().map_or(Ok(0), millis)?,
            namespace: told.namespace,
            records: told.record_count,
            finished: told.finished.as_deref().map(millis).transpose()?.filter(|finished| *finished > 0),
            bytes: told.byte_count,
            files: told.file_count,
            indexes: told.secondary_index_count,
            modules: told.udf_count,
            compression: some(told.compression),
            encryption: some(told.encryption),
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
    fn what_is_written_is_read_again() {
        let metadata = Metadata {
            created: 1_729_436_400_123,
            from: 1_729_436_300_000,
            namespace: "no: #yaml".to_owned(),
            records: Some(42),
            finished: Some(1_729_436_401_000),
            bytes: 1 << 40,
            files: 4096,
            indexes: 5,
            modules: 2,
            compression: Some("ZSTD".to_owned()),
            encryption: None,
        };
        let text = metadata.text().unwrap();
        assert!(text.starts_with("created: 2024-10-20T15:00:00.123Z\n"), "{text}");
        assert_eq!(Metadata::parse(text.as_bytes()).unwrap(), metadata);
        let full = Metadata { from: 0, ..metadata };
        assert!(full.text().unwrap().contains("from: 0001-01-01T00:00:00Z\n"));
        assert_eq!(Metadata::parse(full.text().unwrap().as_bytes()).unwrap(), full);
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
