//! Where the configuration comes from, and how it gets back there: a file, or a URL that is only read.

use super::{Config, Finding, lean, located::Located};
use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};
use thiserror::Error;

/// The longest that is read.
const MAX_BYTES: u64 = 16 << 20;

/// What is wrong with a configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// It cannot be read or written.
    #[error("{operation} {place}: {reason}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        place: String,
        /// Why it failed.
        reason: String,
    },
    /// It is no configuration.
    #[error("{place}{}: {reason}", at(*line))]
    Syntax {
        /// Whose text it is.
        place: String,
        /// On which line.
        line: Option<u64>,
        /// Why not.
        reason: String,
    },
    /// It makes no sense: everything that is wrong.
    #[error("{}", all(place, findings))]
    Wrong {
        /// Whose text it is.
        place: String,
        /// What is wrong, each with its line.
        findings: Vec<(Option<u64>, Finding)>,
    },
}

fn at(line: Option<u64>) -> String {
    line.map_or_else(String::new, |line| format!(":{line}"))
}

fn all(place: &str, findings: &[(Option<u64>, Finding)]) -> String {
    let lines: Vec<String> =
        findings.iter().map(|(line, finding)| format!("{place}{}: {finding}", at(*line))).collect();
    lines.join("\n")
}

/// Where a configuration comes from.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    place: String,
    path: Option<PathBuf>,
}

impl ConfigFile {
    /// A path, or a URL that begins with `http://` or `https://`.
    #[must_use]
    pub fn at(place: &str) -> Self {
        let is_url = place.starts_with("http://") || place.starts_with("https://");
        let path = (!is_url).then(|| PathBuf::from(place));
        Self { place: place.to_owned(), path }
    }

    /// Whether changes can be written back.
    #[must_use]
    pub const fn is_writable(&self) -> bool {
        self.path.is_some()
    }

    /// As it was given.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Reads and checks it.
    ///
    /// # Errors
    /// [`ConfigError`] with everything that is wrong.
    pub fn load(&self) -> Result<Config, ConfigError> {
        let text = match &self.path {
            Some(path) => read(path),
            None => download(&self.place),
        };
        let failed = |reason| ConfigError::Io { operation: "reading", place: self.place.clone(), reason };
        parse(&text.map_err(failed)?, &self.place)
    }

    /// Writes it, all of it or nothing. A service that was given a URL keeps changes in memory.
    ///
    /// # Errors
    /// [`ConfigError::Io`].
    pub fn save(&self, config: &Config) -> Result<(), ConfigError> {
        let Some(path) = &self.path else {
            tracing::warn!("{} is only read: this change holds until it is read again", self.place);
            return Ok(());
        };
        let failed = |reason: String| ConfigError::Io { operation: "writing", place: self.place.clone(), reason };
        let mut json = lean(config);
        if let Some(fields) = json.as_object_mut() {
            fields.retain(|_, value| value.as_object().is_none_or(|section| !section.is_empty()));
        }
        let text = serde_saphyr::to_string(&json).map_err(|error| failed(error.to_string()))?;
        // What cannot be read back is not written.
        parse(&text, &self.place)?;
        write(path, text.as_bytes()).map_err(|error| failed(error.to_string()))
    }
}

fn read(path: &Path) -> Result<String, String> {
    let words = |error: std::io::Error| error.to_string();
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(words)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(words)?;
    as_text(bytes)
}

fn as_text(bytes: Vec<u8>) -> Result<String, String> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("it is longer than {MAX_BYTES} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "it is no UTF-8 text".to_owned())
}

#[cfg(feature = "http")]
fn download(url: &str) -> Result<String, String> {
    let answer = crate::service::web::request("GET", url, None)?;
    as_text(answer)
}

#[cfg(not(feature = "http"))]
fn download(_: &str) -> Result<String, String> {
    Err("this program was built without HTTP (feature `http`)".to_owned())
}

/// Writes a file beside it, makes that durable, and gives it the name. Nobody else may read it.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    // A link stays one: what it leads to is replaced.
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".rekeep-config-").tempfile_in(folder)?;
    file.write_all(bytes)?;
    if let Ok(meta) = std::fs::metadata(&path) {
        file.as_file().set_permissions(meta.permissions())?;
    }
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|error| error.error)?;
    std::fs::File::open(folder)?.sync_all()
}

/// Reads and checks a text.
pub(super) fn parse(text: &str, place: &str) -> Result<Config, ConfigError> {
    if text.trim().is_empty() {
        return Err(ConfigError::Syntax { place: place.to_owned(), line: None, reason: "it is empty".to_owned() });
    }
    let config: Config = serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map(|location| u64::from(location.line() as u32));
        let said = error.without_snippet().to_string();
        let reason = said.lines().next().unwrap_or("it is no YAML").to_owned();
        ConfigError::Syntax { place: place.to_owned(), line, reason }
    })?;
    let findings = config.findings();
    if findings.is_empty() {
        return Ok(config);
    }
    let located = Located::of(text);
    let findings = findings.into_iter().map(|finding| (located.line(&finding.path), finding)).collect();
    Err(ConfigError::Wrong { place: place.to_owned(), findings })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the backup service's documentation shows one.
    const GOOD: &str = "\
service:
  http:
    port: 8081
aerospike-clusters:
  abs-cluster:
    seed-nodes:
      - host-name: 127.0.0.1
        port: 3000
    credentials:
      user: tester
      password: psw
storage:
  local:
    local-storage:
      path: /tmp/backups
backup-policies:
  daily:
    parallel: 4
    retention:
      full: 7
      incremental: 3
    compression:
      mode: ZSTD
      level: 3
backup-routines:
  hourly:
    interval-cron: '@hourly'
    incr-interval-cron: '*/10 * * * * *'
    source-cluster: abs-cluster
    storage: local
    namespaces: [source-ns1]
    backup-policy: daily
";

    fn wrong(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "{from}");
        parse(&GOOD.replace(from, to), "c.yml").unwrap_err().to_string()
    }

    #[test]
    fn a_configuration_of_the_backup_service_is_read_and_written_back() {
        let config = parse(GOOD, "c.yml").unwrap();
        assert_eq!(config.routines["hourly"].namespaces.as_deref().unwrap(), ["source-ns1"]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.yml");
        std::fs::write(&path, GOOD).unwrap();
        let file = ConfigFile::at(&path.to_string_lossy());
        file.save(&config).unwrap();
        assert_eq!(file.load().unwrap(), config);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (from, to, line, words) in [
            ("port: 8081", "prot: 8081", 3, "prot"),
            ("  hourly:\n", "  hourly: [\n", 2, ""),
            ("source-cluster: abs-cluster", "source-cluster: gone", 29, "there is no cluster `gone`"),
            ("storage: local\n", "storage: far\n", 30, "there is no storage `far`"),
            ("backup-policy: daily\n", "backup-policy: no\n", 32, "there is no policy `no`"),
            ("'@hourly'", "'0 0 0 30 2 ?'", 27, "never"),
            ("'@hourly'", "'1 2 3'", 27, "fields"),
            ("port: 3000", "port: 0", 7, "port"),
            ("full: 7", "full: 0", 20, "full"),
            ("incremental: 3", "incremental: 8", 20, "incremental"),
            ("password: psw", "password: psw\n      password-path: /x", 10, "password"),
            ("/tmp/backups", "\"\"", 15, "path"),
        ] {
            let said = wrong(from, to);
            assert!(said.contains(&format!("c.yml:{line}")) && said.contains(words), "{to}: {said}");
        }
        assert!(parse("", "c.yml").unwrap_err().to_string().contains("empty"));
        assert!(parse("a: &a [*a, *a]\n", "c.yml").is_err());
    }
}
