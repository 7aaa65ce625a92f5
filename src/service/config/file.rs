//! Where the configuration comes from, and how it gets back there: a file, or a URL that is only read.

use super::{Config, Finding, hidden_url, lean, located::Located};
use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
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
    /// Somebody else has written it since it was read, or taken it away.
    #[error("{place} was changed since it was read, or is not there any more: let that count first, or take it back")]
    Changed {
        /// Whose text it is.
        place: String,
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

/// Where a text is.
#[derive(Clone)]
enum From {
    Path(PathBuf),
    /// It may hold a password: never shown.
    Url(String),
}

/// Where a configuration comes from.
#[derive(Clone)]
pub struct ConfigFile {
    /// As it is shown: with `[secret]` in the place of a URL's secrets.
    place: String,
    from: From,
    /// The hash of what was read or written last.
    known: Arc<Mutex<Option<blake3::Hash>>>,
    /// What was doubtful in what was read last, each with its line.
    doubts: Arc<Mutex<Vec<String>>>,
}

impl ConfigFile {
    /// A path, or a URL that begins with `http://` or `https://`.
    #[must_use]
    pub fn at(place: &str) -> Self {
        let is_url = place.starts_with("http://") || place.starts_with("https://");
        let (place, from) = if is_url {
            (hidden_url(place), From::Url(place.to_owned()))
        } else {
            (place.to_owned(), From::Path(PathBuf::from(place)))
        };
        Self { place, from, known: Arc::default(), doubts: Arc::default() }
    }

    /// Whether changes can be written back.
    #[must_use]
    pub const fn is_writable(&self) -> bool {
        matches!(self.from, From::Path(_))
    }

    /// As it was given, without the secrets of a URL.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Reads and checks it.
    ///
    /// # Errors
    /// [`ConfigError`] with everything that is wrong.
    pub fn load(&self) -> Result<Config, ConfigError> {
        self.load_with(&|_| Vec::new(), &|_| Vec::new())
    }

    /// What of that which was read last makes sense and is probably meant otherwise: for people, each with its line.
    #[must_use]
    pub fn doubts(&self) -> Vec<String> {
        self.doubts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same as [`Self::load`], with what somebody else finds wrong and doubtful with it.
    ///
    /// # Errors
    /// [`ConfigError`] with everything that is wrong.
    pub fn load_with(
        &self,
        more: &dyn Fn(&Config) -> Vec<Finding>,
        doubts: &dyn Fn(&Config) -> Vec<Finding>,
    ) -> Result<Config, ConfigError> {
        let text = match &self.from {
            From::Path(path) => read(path),
            From::Url(url) => download(url),
        };
        let failed = |reason| ConfigError::Io { operation: "reading", place: self.place.clone(), reason };
        let text = text.map_err(failed)?;
        let config = checked(&text, &self.place, more)?;
        let doubts: Vec<Finding> = config.doubts().into_iter().chain(doubts(&config)).collect();
        let located = Located::of(&text);
        let words = doubts.iter().map(|doubt| format!("{}{}: {doubt}", self.place, at(located.line(&doubt.path))));
        *self.doubts.lock().unwrap_or_else(PoisonError::into_inner) = words.collect();
        self.keep_in_mind(text.as_bytes());
        Ok(config)
    }

    fn keep_in_mind(&self, bytes: &[u8]) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(blake3::hash(bytes));
    }

    /// Whether a file holds something else than what was read or written last. One that is gone does, too: its disk may not be
    /// mounted, and what would be written in its place nobody would read.
    fn was_changed(&self, path: &Path) -> bool {
        let known = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = || read(path).ok().map(|text| blake3::hash(text.as_bytes()));
        known.is_some_and(|known| now() != Some(known))
    }

    /// Writes it, all of it or nothing. A service that was given a URL keeps changes in memory.
    ///
    /// # Errors
    /// [`ConfigError::Io`]; [`ConfigError::Changed`]: what somebody wrote by hand is not lost.
    pub fn save(&self, config: &Config) -> Result<(), ConfigError> {
        let From::Path(path) = &self.from else {
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
        if self.was_changed(path) {
            return Err(ConfigError::Changed { place: self.place.clone() });
        }
        write(path, text.as_bytes()).map_err(|error| failed(error.to_string()))?;
        self.keep_in_mind(text.as_bytes());
        Ok(())
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
    let path = match std::fs::canonicalize(path) {
        Err(error) if path.is_symlink() => return Err(error),
        real => real.unwrap_or_else(|_| path.to_path_buf()),
    };
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
    checked(text, place, &|_| Vec::new())
}

fn checked(text: &str, place: &str, more: &dyn Fn(&Config) -> Vec<Finding>) -> Result<Config, ConfigError> {
    if text.trim().is_empty() {
        return Err(ConfigError::Syntax { place: place.to_owned(), line: None, reason: "it is empty".to_owned() });
    }
    let config: Config = serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map(|location| u64::from(location.line() as u32));
        let said = error.without_snippet().to_string();
        let reason = in_our_words(said.lines().next().unwrap_or("it is no YAML"));
        ConfigError::Syntax { place: place.to_owned(), line, reason }
    })?;
    let mut findings = config.findings();
    findings.extend(more(&config));
    if findings.is_empty() {
        return Ok(config);
    }
    let located = Located::of(text);
    let findings = findings.into_iter().map(|finding| (located.line(&finding.path), finding)).collect();
    Err(ConfigError::Wrong { place: place.to_owned(), findings })
}

/// What the reader of YAML says, without advice to programmers, and with the range of a number that is none of its kind.
fn in_our_words(said: &str) -> String {
    let (words, place) = said.find(" at line ").map_or((said, ""), |at| said.split_at(at));
    let words =
        match words.split_once(", set DuplicateKeyPolicy").or_else(|| words.split_once("; use from_str_multiple")) {
            Some((words, _)) => words.to_owned(),
            None => match words.strip_prefix("invalid ") {
                Some("u8") => "no whole number from 0 to 255".to_owned(),
                Some("u16") => "no whole number from 0 to 65535".to_owned(),
                Some("u32") => "no whole number from 0 to 4294967295".to_owned(),
                Some("u64" | "usize") => "no whole number from 0 on".to_owned(),
                Some("i32" | "i64") => "no whole number, or one out of range".to_owned(),
                _ => words.to_owned(),
            },
        };
    format!("{words}{place}")
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
        // What somebody writes by hand meanwhile is not lost.
        file.save(&config).unwrap();
        std::fs::write(&path, GOOD.replace("full: 7", "full: 9")).unwrap();
        assert!(matches!(file.save(&config), Err(ConfigError::Changed { .. })));
        let by_hand = file.load().unwrap();
        // Nor is one written in the place of one that is gone.
        std::fs::rename(&path, folder.path().join("away")).unwrap();
        assert!(matches!(file.save(&by_hand), Err(ConfigError::Changed { .. })) && !path.exists());
        std::fs::rename(folder.path().join("away"), &path).unwrap();
        assert_eq!(by_hand.policies["daily"].retention.as_ref().unwrap().full, Some(9));
        file.save(&by_hand).unwrap();
    }

    #[test]
    fn a_routine_names_its_secret_agent_or_has_one_of_its_own() {
        let with = |agent: &str| {
            let routine = format!("backup-policy: daily\n    secret-agent: {agent}\n");
            let agents = "secret-agents:\n  vault: {address: h, port: 3005}\n";
            parse(&format!("{agents}{}", GOOD.replace("backup-policy: daily\n", &routine)), "c.yml")
        };
        let agent = |config: &Config| {
            let (own, name) = config.routines["hourly"].agent();
            (own.map(|own| own.address.clone()), name.map(str::to_owned))
        };
        assert_eq!(agent(&with("vault").unwrap()), (None, Some("vault".to_owned())));
        assert_eq!(agent(&with("{address: other}").unwrap()), (Some("other".to_owned()), None));
        let told = with("valut").unwrap_err().to_string();
        assert!(told.contains("there is no secret agent `valut`") && told.contains("c.yml:"), "{told}");
        assert!(with("{adress: other}").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_one_also_where_it_leads_nowhere() {
        let config = parse(GOOD, "c.yml").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let [link, real] = ["link.yml", "real.yml"].map(|name| folder.path().join(name));
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert!(ConfigFile::at(&link.to_string_lossy()).save(&config).is_err());
        std::fs::write(&real, GOOD).unwrap();
        let file = ConfigFile::at(&link.to_string_lossy());
        file.save(&config).unwrap();
        assert!(link.is_symlink() && !real.is_symlink());
        assert_eq!(ConfigFile::at(&real.to_string_lossy()).load().unwrap(), config);
    }

    #[test]
    fn what_is_said_of_yaml_gives_no_advice_to_programmers() {
        for text in ["a:\n  b: 1\n  b: 2\n", "service: {}\n---\nservice: {}\n", "storage: {}\nstorage: {}\n"] {
            let said = parse(text, "c.yml").unwrap_err().to_string();
            assert!(!said.contains("Policy") && !said.contains("from_str") && said.contains("line"), "{said}");
        }
    }

    #[test]
    fn what_is_doubtful_is_told_with_its_line_and_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.yml");
        let text = |name: &str| {
            let hook = format!("service:\n  webhooks: [{{url: 'https://h.example/x', routines: [{name}]}}]\n");
            GOOD.replace("service:\n", &hook)
        };
        let file = ConfigFile::at(&path.to_string_lossy());
        std::fs::write(&path, text("hourly")).unwrap();
        file.load().unwrap();
        assert_eq!(file.doubts(), Vec::<String>::new());
        std::fs::write(&path, text("houly")).unwrap();
        file.load().unwrap();
        let told = file.doubts();
        assert!(
            told.len() == 1 && told[0].contains("c.yml:2: service.webhooks: ") && told[0].contains("`houly`"),
            "{told:?}"
        );
    }

    #[cfg(feature = "http")]
    #[test]
    fn what_a_url_hides_is_in_no_word_about_it() {
        use std::net::TcpListener;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            for text in [GOOD.to_owned(), GOOD.replace("full: 7", "full: 0"), "a: [".to_owned()] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    head.push(byte[0]);
                }
                let head = String::from_utf8(head).unwrap();
                assert!(
                    head.starts_with("GET /c.yml?token=t0k ") && head.to_lowercase().contains("authorization: basic")
                );
                let length = text.len();
                write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{text}")
                    .unwrap();
            }
        });
        let file = ConfigFile::at(&format!("http://u:s3cret@{at}/c.yml?token=t0k"));
        let shown = format!("http://u:[secret]@{at}/c.yml?token=[secret]");
        assert_eq!(file.place(), shown);
        let config = file.load().unwrap();
        assert!(!file.is_writable() && file.save(&config).is_ok());
        let mut said = vec![file.load().unwrap_err().to_string(), file.load().unwrap_err().to_string()];
        server.join().unwrap();
        // Nobody listens any more, and that is said too.
        said.push(file.load().unwrap_err().to_string());
        assert!(said[2].contains("refused"), "{said:?}");
        for words in said {
            assert!(words.contains(&shown) && !words.contains("s3cret") && !words.contains("t0k"), "{words}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (from, to, line, words) in [
            ("port: 8081", "prot: 8081", 3, "prot"),
            ("port: 8081", "context-path: '/:x'", 3, "context-path"),
            ("port: 8081", "address: nonsense", 3, "address"),
            ("port: 8081", "address: 192.0.2.1", 3, "answered to anybody"),
            ("port: 8081", "disabled: true", 3, "neither"),
            ("  http:", "  logger: { level: LOUD }\n  http:", 2, "LOUD"),
            ("  http:", "  logger: { format: XML }\n  http:", 2, "XML"),
            ("port: 8081", "context-path: '/a b'", 3, "context-path"),
            ("port: 8081", "context-path: '/a/../b'", 3, "context-path"),
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
            ("port: 3000", "port: 70000", 8, "from 0 to 65535"),
            ("parallel: 4", "parallel: 4\n    parallel: 5", 19, "duplicate"),
            ("[source-ns1]", "[source-ns1, source-ns1]", 31, "twice"),
            ("[source-ns1]", "['a?b=c']", 31, "no namespace"),
            ("storage: local\n", "storage: local\n    tenant: ''\n", 31, "tenant"),
            ("/tmp/backups", "\"\"", 15, "path"),
        ] {
            let said = wrong(from, to);
            assert!(said.contains(&format!("c.yml:{line}")) && said.contains(words), "{to}: {said}");
        }
        assert!(parse("", "c.yml").unwrap_err().to_string().contains("empty"));
        assert!(parse("a: &a [*a, *a]\n", "c.yml").is_err());
    }
}
