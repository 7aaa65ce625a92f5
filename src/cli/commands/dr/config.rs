//! The settings of the document: the environment before the file, the file before what is usual. Unknown names are refused.

use crate::cli::exit::{CliError, Failure, usage};
use serde::Deserialize;
use std::{collections::BTreeMap, path::Path};

/// A setting: its name in the file, its variable, what is usual.
struct Known(&'static str, &'static str, Option<&'static str>);

const KNOWN: [Known; 26] = [
    Known("enabled", "BACKUP_ENABLED", Some("true")),
    Known("schedule", "BACKUP_SCHEDULE", None),
    Known("retention_days", "BACKUP_RETENTION_DAYS", None),
    Known("storage_backend", "BACKUP_STORAGE", Some("local")),
    Known("storage_path", "BACKUP_PATH", Some("/tmp/backups")),
    Known("compression", "BACKUP_COMPRESSION", Some("true")),
    Known("compression_level", "BACKUP_COMPRESSION_LEVEL", Some("1")),
    Known("encryption", "BACKUP_ENCRYPTION", Some("true")),
    Known("parallel_workers", "BACKUP_PARALLEL_WORKERS", None),
    Known("batch_size", "BACKUP_BATCH_SIZE", None),
    Known("s3.bucket", "BACKUP_S3_BUCKET", None),
    Known("s3.region", "BACKUP_S3_REGION", None),
    Known("s3.prefix", "BACKUP_S3_PREFIX", None),
    Known("s3.endpoint", "BACKUP_S3_ENDPOINT", None),
    Known("gcs.bucket", "BACKUP_GCS_BUCKET", None),
    Known("gcs.prefix", "BACKUP_GCS_PREFIX", None),
    Known("azure.account", "BACKUP_AZURE_ACCOUNT", None),
    Known("azure.container", "BACKUP_AZURE_CONTAINER", None),
    Known("azure.prefix", "BACKUP_AZURE_PREFIX", None),
    Known("retention_policy.daily", "BACKUP_RETENTION_DAILY", None),
    Known("retention_policy.weekly", "BACKUP_RETENTION_WEEKLY", None),
    Known("retention_policy.monthly", "BACKUP_RETENTION_MONTHLY", None),
    Known("retention_policy.yearly", "BACKUP_RETENTION_YEARLY", None),
    Known("aws_access_key_id", "AWS_ACCESS_KEY_ID", None),
    Known("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY", None),
    Known("config", "BACKUP_CONFIG", None),
];

/// What only the environment may say.
const NOT_IN_FILES: [&str; 3] = ["aws_access_key_id", "aws_secret_access_key", "config"];
/// What is never shown.
const SECRET: [&str; 2] = ["aws_access_key_id", "aws_secret_access_key"];

/// A setting that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) value: String,
    /// The variable, the file, or `default`.
    pub(super) origin: String,
}

/// Settings by their names in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Settings(BTreeMap<&'static str, Setting>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    backup: serde_json::Map<String, serde_json::Value>,
}

impl Settings {
    /// From a file's text and an environment.
    pub(super) fn read(
        file: Option<(&str, &str)>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Failure> {
        let mut settings = Self::default();
        for Known(name, _, usual) in &KNOWN {
            if let Some(usual) = usual {
                settings.set(name, (*usual).to_owned(), "default");
            }
        }
        if let Some((path, text)) = file {
            settings.add_file(path, text)?;
        }
        for (variable, value) in environment.filter(|(_, value)| !value.is_empty()) {
            match KNOWN.iter().find(|Known(_, known, _)| *known == variable) {
                Some(Known(name, ..)) => settings.set(name, value, &variable),
                None if variable.starts_with("BACKUP_") => {
                    let names: Vec<&str> = KNOWN.iter().map(|Known(_, known, _)| *known).collect();
                    return Err(usage(format!(
                        "the environment sets {variable}, which is none of {}",
                        names.join(", ")
                    )));
                }
                None => {}
            }
        }
        settings.check()?;
        Ok(settings)
    }

    fn set(&mut self, name: &'static str, value: String, origin: &str) {
        self.0.insert(name, Setting { value, origin: origin.to_owned() });
    }

    fn add_file(&mut self, path: &str, text: &str) -> Result<(), Failure> {
        let wrong = |reason: String| usage(format!("{path}: {reason}"));
        let file: File = serde_saphyr::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let mut flat = Vec::new();
        for (name, value) in file.backup {
            match value {
                serde_json::Value::Object(inner) => {
                    flat.extend(inner.into_iter().map(|(inner, value)| (format!("{name}.{inner}"), value)));
                }
                value => flat.push((name, value)),
            }
        }
        for (name, value) in flat {
            let known = KNOWN.iter().find(|Known(known, ..)| *known == name && !NOT_IN_FILES.contains(known));
            let Some(Known(known, ..)) = known else {
                let names: Vec<&str> =
                    KNOWN.iter().map(|Known(name, ..)| *name).filter(|name| !NOT_IN_FILES.contains(name)).collect();
                return Err(wrong(format!("`backup.{name}` is none of {}", names.join(", "))));
            };
            let text = match value {
                serde_json::Value::Null => continue,
                serde_json::Value::String(text) => text,
                serde_json::Value::Bool(_) | serde_json::Value::Number(_) => value.to_string(),
                _ => return Err(wrong(format!("`backup.{name}` is no single value"))),
            };
            self.set(known, text, path);
        }
        Ok(())
    }

    /// All of them: by name, with what may be shown of the value, and the origin.
    pub(super) fn shown(&self) -> impl Iterator<Item = (&'static str, String, &str)> {
        self.0.iter().map(|(name, setting)| {
            let value = if SECRET.contains(name) { HIDDEN.to_owned() } else { without_secrets(&setting.value) };
            (*name, value, setting.origin.as_str())
        })
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|setting| setting.value.as_str())
    }

    fn bad(&self, name: &str, what: &str) -> Failure {
        let setting = &self.0[name];
        usage(format!("{name} = `{}` ({}): {what}", without_secrets(&setting.value), setting.origin))
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, Failure> {
        match self.get(name).map(str::to_ascii_lowercase).as_deref() {
            Some("true" | "yes" | "on" | "1") => Ok(true),
            Some("false" | "no" | "off" | "0") | None => Ok(false),
            Some(_) => Err(self.bad(name, "it is neither true nor false")),
        }
    }

    pub(super) fn number(&self, name: &str, most: u32) -> Result<Option<u32>, Failure> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let number = text.parse().ok().filter(|number| *number <= most);
        number.map(Some).ok_or_else(|| self.bad(name, &format!("it is no number from 0 to {most}")))
    }

    /// Refuses what makes no sense, and what rekeep will not do.
    fn check(&self) -> Result<(), Failure> {
        for name in ["enabled", "compression"] {
            self.flag(name)?;
        }
        if !self.flag("encryption")? {
            return Err(self.bad(
                "encryption",
                "a repository is always encrypted, and a setting that were ignored would be worse than none; leave it out",
            ));
        }
        for name in ["daily", "weekly", "monthly", "yearly"] {
            self.number(&format!("retention_policy.{name}"), 10_000)?;
        }
        self.number("retention_days", 100_000)?;
        self.number("batch_size", u32::MAX)?;
        for name in ["s3.bucket", "s3.prefix", "gcs.bucket", "gcs.prefix", "azure.container", "azure.prefix"] {
            if self.get(name).is_some_and(|value| value.contains('?')) {
                return Err(self.bad(name, "a question mark has no place in it"));
            }
        }
        self.number("compression_level", 22)?;
        if self.number("parallel_workers", 256)? == Some(0) {
            return Err(self.bad("parallel_workers", "it is no number from 1 to 256"));
        }
        if let Some(schedule) = self.get("schedule") {
            check_schedule(schedule).map_err(|what| self.bad("schedule", &what))?;
        }
        self.place().map(drop)
    }

    /// The repository that the settings name.
    pub(super) fn place(&self) -> Result<String, Failure> {
        let need = |name: &str| {
            self.get(name).filter(|value| !value.is_empty()).ok_or_else(|| {
                let variable =
                    KNOWN.iter().find(|Known(known, ..)| *known == name).map_or("", |Known(_, variable, _)| variable);
                let backend = self.get("storage_backend").unwrap_or_default();
                usage(format!("storage_backend is {backend}: set {variable}, or {name} in the file"))
            })
        };
        let join = |scheme: &str, bucket: &str, prefix: Option<&str>| {
            let prefix = prefix.map(|prefix| prefix.trim_matches('/')).filter(|prefix| !prefix.is_empty());
            format!("{scheme}://{bucket}{}", prefix.map_or_else(String::new, |prefix| format!("/{prefix}")))
        };
        let with = |place: String, options: &[(&str, &str)]| {
            let given =
                options.iter().filter_map(|(option, name)| Some(format!("{option}={}", encoded(self.get(name)?))));
            let given: Vec<String> = given.collect();
            if given.is_empty() { place } else { format!("{place}?{}", given.join("&")) }
        };
        match self.get("storage_backend").map(str::to_ascii_lowercase).as_deref() {
            Some("local") => Ok(need("storage_path")?.to_owned()),
            Some("s3") => {
                let place = join("s3", need("s3.bucket")?, self.get("s3.prefix"));
                Ok(with(place, &[("region", "s3.region"), ("endpoint", "s3.endpoint")]))
            }
            Some("gcs") => Ok(join("gcs", need("gcs.bucket")?, self.get("gcs.prefix"))),
            Some("azure") => {
                let place = join("azblob", need("azure.container")?, self.get("azure.prefix"));
                Ok(with(place, &[("account-name", "azure.account")]))
            }
            _ => Err(self.bad("storage_backend", "it is none of local, s3, gcs, azure")),
        }
    }
}

/// Refuses what is no line of a crontab; a scheduler outside goes by it.
fn check_schedule(schedule: &str) -> Result<(), String> {
    if schedule.split_whitespace().count() != 5 {
        return Err("it has not the five fields of a crontab line".to_owned());
    }
    #[cfg(feature = "service")]
    crate::service::cron::Schedule::parse(schedule, None)?;
    Ok(())
}

const HIDDEN: &str = "********";

/// A value as it may be shown: without the password of a login, and without what options that sound like secrets say.
pub(super) fn without_secrets(text: &str) -> String {
    let mut shown = String::new();
    for piece in text.split_inclusive(['?', '&', ';']) {
        let (body, end) = piece.strip_suffix(['?', '&', ';']).map_or((piece, ""), |body| (body, &piece[body.len()..]));
        match body.split_once('=') {
            Some((name, _)) if sounds_secret(name) => shown.push_str(&format!("{name}={HIDDEN}")),
            // What an option says may hold another place with a login, encoded.
            Some((name, value)) if value.contains('%') => {
                let plain = decoded(value);
                let hidden = if plain == value { plain.clone() } else { without_secrets(&plain) };
                shown.push_str(&format!("{name}={}", if hidden == plain { value } else { hidden.as_str() }));
            }
            _ => shown.push_str(&without_login(body)),
        }
        shown.push_str(end);
    }
    shown
}

/// Undoes percent-encoding, as far as it is one.
fn decoded(text: &str) -> String {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((byte, behind)) = rest.split_first() {
        let code = behind.first_chunk::<2>().filter(|_| *byte == b'%');
        let code = code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        out.push(code.unwrap_or(*byte));
        rest = if code.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn sounds_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["secret", "password", "key", "token", "credential", "sig"].iter().any(|word| name.contains(word))
}

fn without_login(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@').map(|(login, host)| (login.split_once(':'), host)) {
        Some((Some((user, _)), host)) => format!("{scheme}://{user}:{HIDDEN}@{host}{path}"),
        _ => text.to_owned(),
    }
}

fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The file and the environment of this process.
pub(super) fn of_process(file: Option<&Path>) -> Result<Settings, Failure> {
    let text = match file {
        None => None,
        Some(path) => {
            let shown = path.display().to_string();
            let text = std::fs::read_to_string(path).map_err(|error| CliError::io("read", shown.clone(), error))?;
            Some((shown, text))
        }
    };
    let environment =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Settings::read(text.as_ref().map(|(path, text)| (path.as_str(), text.as_str())), environment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: Option<&str>, environment: &[(&str, &str)]) -> Result<Settings, String> {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::read(file.map(|text| ("b.yaml", text)), environment).map_err(|failure| failure.to_string())
    }

    const FILE: &str = "backup:\n  enabled: true\n  schedule: \"0 2 * * *\"\n  retention_days: 90\n  storage_backend: \"s3\"\n  \
                        compression: true\n  encryption: true\n  parallel_workers: 4\n  s3:\n    bucket: \"deeplake-prod-backups\"\n    \
                        region: \"us-east-1\"\n    prefix: \"deeplake-backups\"\n  retention_policy:\n    daily: 7\n    weekly: 4\n    \
                        monthly: 12\n    yearly: 5\n";

    #[test]
    fn the_file_of_the_document_names_its_repository_and_the_environment_goes_before_it() {
        let settings = read(Some(FILE), &[]).unwrap();
        assert_eq!(settings.place().unwrap(), "s3://deeplake-prod-backups/deeplake-backups?region=us-east-1");
        let west = [("BACKUP_S3_REGION", "us-west-2"), ("BACKUP_S3_BUCKET", "deeplake-backup-west"), ("PATH", "/bin")];
        let settings = read(Some(FILE), &west).unwrap();
        assert_eq!(settings.place().unwrap(), "s3://deeplake-backup-west/deeplake-backups?region=us-west-2");
        assert_eq!(settings.number("retention_policy.monthly", 99).unwrap(), Some(12));
        assert_eq!(settings.0["s3.region"].origin, "BACKUP_S3_REGION");
        assert_eq!(settings.0["retention_days"].origin, "b.yaml");
        assert_eq!(read(None, &[]).unwrap().place().unwrap(), "/tmp/backups");
    }

    #[test]
    #[cfg(feature = "service")]
    fn a_schedule_is_one_that_is_due() {
        assert!(read(None, &[("BACKUP_SCHEDULE", "0 2 * * MON-FRI")]).is_ok());
        for bad in ["99 2 * * *", "0 0 31 2 *", "a b c d e"] {
            assert!(read(None, &[("BACKUP_SCHEDULE", bad)]).unwrap_err().contains("schedule"), "{bad}");
        }
    }

    #[test]
    fn what_may_be_a_secret_is_shown_nowhere() {
        for (text, shown) in [
            ("s3://b/p?secret-access-key=hush&region=x", "s3://b/p?secret-access-key=********&region=x"),
            ("http://user:hush@h:9/a", "http://user:********@h:9/a"),
            ("http://user@h:9", "http://user@h:9"),
            ("x;AccountKey=hush;y=1", "x;AccountKey=********;y=1"),
            ("azblob://c?account-name=x", "azblob://c?account-name=x"),
            ("s3://b?endpoint=http://u:hush%40h:9&x=1", "s3://b?endpoint=http://u:********@h:9&x=1"),
            ("azblob://c?account-name=x%3BAccountKey%3Dhush", "azblob://c?account-name=x;AccountKey=********"),
            ("s3://b?prefix=50%25%20off&y=%zz", "s3://b?prefix=50%25%20off&y=%zz"),
            ("/plain/path=1", "/plain/path=1"),
        ] {
            assert_eq!(without_secrets(text), shown);
        }
        let settings = read(
            None,
            &[("BACKUP_STORAGE", "S3"), ("BACKUP_S3_BUCKET", "b"), ("BACKUP_S3_ENDPOINT", "http://u:hush@h")],
        )
        .unwrap();
        assert!(settings.shown().all(|(_, value, _)| !value.contains("hush")));
    }

    #[test]
    fn unknown_names_and_values_without_sense_are_refused_and_named() {
        for (file, environment, words) in [
            (Some("backup:\n  enabledd: true\n"), vec![], "backup.enabledd"),
            (Some("backup:\n  s3:\n    buckett: x\n"), vec![], "backup.s3.buckett"),
            (Some("backups:\n  enabled: true\n"), vec![], "backups"),
            (Some("backup: [1]\n"), vec![], "b.yaml"),
            (Some("backup:\n  aws_secret_access_key: x\n"), vec![], "aws_secret_access_key"),
            (Some("backup:\n  enabled: maybe\n"), vec![], "neither true nor false"),
            (None, vec![("BACKUP_RETENTION_DAY", "3")], "BACKUP_RETENTION_DAY"),
            (None, vec![("BACKUP_RETENTION_DAYS", "-3")], "no number"),
            (None, vec![("BACKUP_STORAGE", "tape")], "none of local, s3, gcs, azure"),
            (None, vec![("BACKUP_STORAGE", "s3")], "BACKUP_S3_BUCKET"),
            (None, vec![("BACKUP_ENCRYPTION", "false")], "always encrypted"),
            (None, vec![("BACKUP_SCHEDULE", "daily")], "five fields"),
            (None, vec![("BACKUP_S3_BUCKET", "b?endpoint=http://x")], "question mark"),
            (None, vec![("BACKUP_BATCH_SIZE", "many")], "no number"),
            (None, vec![("BACKUP_PARALLEL_WORKERS", "0")], "from 1 to 256"),
        ] {
            let said = read(file, &environment).unwrap_err();
            assert!(said.contains(words), "{words}: {said}");
        }
    }
}
