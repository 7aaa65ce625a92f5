//! Where a repository is: a URI and options, checked against what each service knows, without any secret in it.

use super::{StorageOptions, failure::Secrets, local, service::Service, spelling::of_another_tool};
use std::{collections::BTreeMap, path::Path};

/// A place that was named, understood.
pub(super) enum Location {
    /// A local folder.
    Local(String),
    /// A place behind a service.
    Service(ServicePlace),
}

/// A place behind a service.
pub(super) struct ServicePlace {
    pub service: Service,
    /// What `OpenDAL` is told.
    pub config: BTreeMap<String, String>,
    /// The same for objects that hold data, where that differs.
    pub data_config: Option<BTreeMap<String, String>>,
    /// A PEM file of further authorities.
    #[allow(dead_code, reason = "only services over HTTP ask for it")]
    pub ca_file: Option<String>,
    /// A proxy's URL.
    #[allow(dead_code, reason = "only services over HTTP ask for it")]
    pub proxy: Option<String>,
    /// What names the place, and nothing else: neither credentials nor options.
    pub canonical: String,
    /// What must never be shown.
    pub secrets: Secrets,
}

/// What follows the scheme.
struct Parts {
    user: Option<String>,
    authority: String,
    path: String,
    options: Vec<(String, String)>,
}

impl Location {
    /// Understands a location; says in words why it cannot.
    pub fn parse(text: &str, given: &StorageOptions) -> Result<Self, String> {
        let options = given.options.as_slice();
        if let Some(right) = of_another_tool(text) {
            return Err(right);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Self::local(text, options);
        };
        let scheme = scheme.to_ascii_lowercase();
        if matches!(scheme.as_str(), "fs" | "file") {
            let parts = Parts::parse(rest)?;
            if !parts.authority.is_empty() || parts.user.is_some() {
                return Err("a local path begins with three slashes: file:///path".to_owned());
            }
            if !parts.options.is_empty() {
                return Err("local folders have no options".to_owned());
            }
            return Self::local(&format!("/{}", parts.path), options);
        }
        let Some(service) = Service::of_scheme(&scheme) else {
            if matches!(scheme.as_str(), "ssh" | "scp") {
                let place = rest.rsplit('@').next().unwrap_or(rest);
                return Err(format!(
                    "in this program that is written sftp://{place}, with the user in front of the host"
                ));
            }
            return Err(format!(
                "`{scheme}` is not a service that this program is built with; it has {}",
                Service::schemes().join(", ")
            ));
        };
        ServicePlace::new(service, &Parts::parse(rest)?, given).map(Self::Service)
    }

    fn local(path: &str, options: &[(String, String)]) -> Result<Self, String> {
        if let Some((key, _)) = options.first() {
            return Err(format!("local folders have no options, and `{key}` was given"));
        }
        let root = local::canonical(Path::new(path)).map_err(|error| error.to_string())?;
        Ok(Self::Local(root.to_str().ok_or("the path is not UTF-8")?.to_owned()))
    }
}

impl Parts {
    fn parse(rest: &str) -> Result<Self, String> {
        let (place, query) = rest.split_once('?').map_or((rest, None), |(place, query)| (place, Some(query)));
        if place.contains('#') {
            return Err("a location has no `#` part; in a path it is written %23".to_owned());
        }
        let (authority, path) = place.split_once('/').unwrap_or((place, ""));
        let (user, authority) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        if user.is_some_and(|user| user.contains(':')) {
            return Err(
                "a password has no place in a URL; see docs/storage.md for where each service takes it".to_owned()
            );
        }
        let mut options = Vec::new();
        for pair in query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            options.push((decode(key)?, decode(value)?));
        }
        let path = decode(path)?;
        let path: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        if path.iter().any(|part| matches!(*part, "." | "..")) {
            return Err("`.` and `..` have no place in a prefix".to_owned());
        }
        Ok(Self { user: user.map(decode).transpose()?, authority: decode(authority)?, path: path.join("/"), options })
    }
}

/// Whether of two canonical locations the first is the second, or one below it.
#[must_use]
pub fn is_within(place: &str, other: &str) -> bool {
    let parts = |text: &str| {
        let (path, endpoint) = text.split_once('?').unwrap_or((text, ""));
        (path.trim_end_matches('/').to_owned(), endpoint.to_owned())
    };
    let ((place, endpoint), (other, other_endpoint)) = (parts(place), parts(other));
    let below = place.strip_prefix(&*other);
    endpoint == other_endpoint && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Undoes percent-encoding. A piece that is not well encoded may be a secret typed in haste: it is not repeated.
fn decode(text: &str) -> Result<String, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digits = bytes.next().zip(bytes.next()).map(|(high, low)| [high, low]);
        let decoded = digits.and_then(|digits| data_encoding::HEXLOWER_PERMISSIVE.decode(&digits).ok());
        out.extend_from_slice(&decoded.ok_or("a `%` in it is followed by no two hexadecimal digits")?);
    }
    String::from_utf8(out).map_err(|_| "it is not UTF-8 once it is decoded".to_owned())
}

impl ServicePlace {
    fn new(service: Service, parts: &Parts, given: &StorageOptions) -> Result<Self, String> {
        let mut options: BTreeMap<String, String> = BTreeMap::new();
        for (key, value) in parts.options.iter().chain(&given.options) {
            let key = key.to_ascii_lowercase().replace('_', "-");
            if let Some(where_to) = service.secret(&key) {
                return Err(format!("`{key}` is a secret and has no place in a URL or an option: {where_to}"));
            }
            if !service.options().iter().any(|(name, _)| *name == key) {
                let known: Vec<&str> = service.options().iter().map(|(name, _)| *name).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(format!("{} has no option `{key}`; it has {known}", service.name()));
            }
            options.insert(key, value.clone());
        }
        let (ca_file, proxy) = (options.remove("ca-file"), options.remove("proxy"));
        if proxy.as_ref().is_some_and(|proxy| proxy.contains('@')) {
            return Err("a proxy's credentials have no place in an option: set HTTPS_PROXY".to_owned());
        }
        let data_class = options.remove("storage-class");
        let metadata_class = options.remove("metadata-storage-class");
        let mut config = BTreeMap::new();
        for (key, value) in options {
            let target = service.options().iter().find(|(name, _)| *name == key).map_or("", |(_, target)| *target);
            Service::set(&mut config, &key, target, value)?;
        }
        if !parts.path.is_empty() {
            config.insert("root".to_owned(), format!("/{}", parts.path));
        }
        let mut secrets = Secrets::of_environment();
        for (key, value) in &given.credentials {
            secrets.add(value);
            config.insert(key.clone(), value.clone());
        }
        service.complete(&mut config, parts.user.as_deref(), &parts.authority, &mut secrets)?;
        let mut data_config = None;
        if let Some(class) = &data_class {
            data_config = Some(with_class(&config, class));
        }
        if let Some(class) = &metadata_class {
            config = with_class(&config, class);
        }
        let canonical = service.canonical(&config, parts.user.as_deref(), &parts.authority, &parts.path);
        Ok(Self { service, config, data_config, ca_file, proxy, canonical, secrets })
    }
}

fn with_class(config: &BTreeMap<String, String>, class: &str) -> BTreeMap<String, String> {
    let mut config = config.clone();
    config.insert("default_storage_class".to_owned(), class.to_owned());
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> ServicePlace {
        match Location::parse(text, &StorageOptions::default()) {
            Ok(Location::Service(place)) => place,
            Ok(Location::Local(path)) => panic!("{text} is the local {path}"),
            Err(error) => panic!("{text}: {error}"),
        }
    }

    fn refusal(text: &str) -> String {
        match Location::parse(text, &StorageOptions::default()) {
            Ok(_) => panic!("{text} was taken"),
            Err(error) => error,
        }
    }

    #[cfg(feature = "s3")]
    #[test]
    fn a_bucket_is_named_with_its_options_and_told_apart_by_its_endpoint_alone() {
        let plain = place("s3://bucket/a/b/?region=eu-central-1");
        assert_eq!(plain.canonical, "s3://bucket/a/b");
        for (place, other, is) in [
            ("s3://bucket/a/b", "s3://bucket/a/b", true),
            ("s3://bucket/a/b", "s3://bucket/a", true),
            ("s3://bucket/a/b", "s3://bucket", true),
            ("s3://bucket/ab", "s3://bucket/a", false),
            ("s3://bucket/a", "s3://bucket/a/b", false),
            ("s3://bucket/a?endpoint=http://x", "s3://bucket", false),
            ("s3://bucket/a?endpoint=http://x", "s3://bucket?endpoint=http://x", true),
            ("gcs://bucket/a", "s3://bucket", false),
        ] {
            assert_eq!(is_within(place, other), is, "{place} in {other}");
        }
        assert_eq!(plain.config["root"], "/a/b");
        assert_eq!(plain.config["region"], "eu-central-1");
        let other = place("s3://bucket/a/b?endpoint=http%3A%2F%2F127.0.0.1:9000&region=x&sse=AES256");
        assert_eq!(other.canonical, "s3://bucket/a/b?endpoint=http://127.0.0.1:9000");
        assert_eq!(other.config["server_side_encryption"], "AES256");
        let options = vec![("region".to_owned(), "wins".to_owned())];
        let options = StorageOptions { options, ..StorageOptions::default() };
        let Ok(Location::Service(both)) = Location::parse("s3://bucket?region=x", &options) else { panic!() };
        assert_eq!(both.config["region"], "wins");
        let classes = place("s3://b?region=x&storage-class=GLACIER_IR&metadata-storage-class=STANDARD");
        assert_eq!(classes.data_config.unwrap()["default_storage_class"], "GLACIER_IR");
        assert_eq!(classes.config["default_storage_class"], "STANDARD");
    }

    #[cfg(all(feature = "s3", feature = "azblob", feature = "webdav"))]
    #[test]
    fn secrets_are_refused_and_not_repeated() {
        for (text, secret) in [
            ("s3://bucket/p?region=x&secret_access_key=hunter22", "hunter22"),
            ("s3://bucket/p?region=x&aws-session-token=hunter22", "hunter22"),
            ("s3://id:hunter22@bucket/p", "hunter22"),
            ("azblob://c/p?account-name=a&account_key=hunter22", "hunter22"),
            ("azblob://c/p?sas-token=sv%3Dhunter22", "hunter22"),
            ("webdav://user:hunter22@host/p", "hunter22"),
            ("webdav://host/p?password=hunter22", "hunter22"),
            ("s3://b?region=x&proxy=http://me:hunter22@proxy", "hunter22"),
        ] {
            assert!(!refusal(text).contains(secret), "{}", refusal(text));
        }
        assert!(refusal("s3://b?secret-access-key=x").contains("AWS_SECRET_ACCESS_KEY"));
        assert!(refusal("webdav://host/p?password=x").contains("REKEEP_WEBDAV_PASSWORD"));
    }

    #[test]
    fn what_cannot_be_understood_is_refused_with_what_there_is() {
        let unknown = refusal("nosuch://x");
        assert!(
            unknown.contains("nosuch") && unknown.contains("memory://") && unknown.contains("file://"),
            "{unknown}"
        );
        #[cfg(feature = "s3")]
        {
            let option = refusal("s3://bucket?regoin=x");
            assert!(option.contains("regoin") && option.contains("region"), "{option}");
            assert!(refusal("s3:///prefix?region=x").contains("bucket"));
            assert!(refusal("s3://bucket/a/../b?region=x").contains(".."));
            assert!(refusal("s3://bucket/%zz?region=x").contains('%'));
        }
        #[cfg(feature = "sftp")]
        assert!(refusal("sftp:///path").contains("host"));
        assert!(refusal("file://host/path").contains("three slashes"));
        let options = vec![("region".to_owned(), "x".to_owned())];
        assert!(Location::parse("/tmp", &StorageOptions { options, ..StorageOptions::default() }).is_err());
    }
}
