//! Where a server is and how one logs in, found where libpq looks: the URL, a service file, the environment, a password file.

use crate::connector::{ConnectorError, SourceUrl};
use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};
use zeroize::Zeroizing;

/// Parameters of libpq that we know, and the variables that give them.
const KNOWN: [(&str, &str); 22] = [
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("dbname", "PGDATABASE"),
    ("passfile", "PGPASSFILE"),
    ("service", "PGSERVICE"),
    ("options", "PGOPTIONS"),
    ("application_name", "PGAPPNAME"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
    ("keepalives", ""),
    ("keepalives_idle", ""),
    ("keepalives_interval", ""),
    ("keepalives_count", ""),
    ("tcp_user_timeout", ""),
];

/// How TLS is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SslMode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// A server, a database and a login.
#[derive(Clone)]
pub(super) struct Address {
    values: BTreeMap<&'static str, String>,
    password: Option<Zeroizing<String>>,
    url: String,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Address").field("url", &self.shown()).finish_non_exhaustive()
    }
}

/// The environment and files that are looked at.
pub(super) struct Surroundings<'a> {
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
    pub(super) home: Option<PathBuf>,
}

impl Address {
    /// Reads a URL; gives what of its query is not libpq's, too.
    pub(super) fn of(url: &SourceUrl) -> Result<(Self, Vec<(String, String)>), ConnectorError> {
        let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        Self::find(url, &Surroundings { variable: &variable, home: env::var_os("HOME").map(PathBuf::from) })
    }

    pub(super) fn find(
        url: &SourceUrl,
        around: &Surroundings<'_>,
    ) -> Result<(Self, Vec<(String, String)>), ConnectorError> {
        let wrong = |reason: String| ConnectorError::Url { url: url.to_string(), reason };
        let mut values = authority(&url.written).map_err(wrong)?;
        let mut others = Vec::new();
        for (name, value) in &url.options {
            match KNOWN.iter().find(|(known, _)| known == name) {
                Some((known, _)) => {
                    values.insert(known, value.clone());
                }
                None if name == "ssl" && value == "true" => {
                    values.insert("sslmode", "require".to_owned());
                }
                None => others.push((name.clone(), value.clone())),
            }
        }
        let service = values.get("service").cloned().or_else(|| (around.variable)("PGSERVICE"));
        if let Some(service) = service {
            for (name, value) in read_service(&service, around)? {
                let (known, _) = KNOWN.iter().find(|(known, _)| *known == name).ok_or_else(|| {
                    wrong(format!("the service {service} has the parameter `{name}`, which is not known"))
                })?;
                values.entry(known).or_insert(value);
            }
        }
        for (known, variable) in KNOWN.iter().filter(|(_, variable)| !variable.is_empty()) {
            if let Some(value) = (around.variable)(variable) {
                values.entry(known).or_insert(value);
            }
        }
        values.retain(|_, value| !value.is_empty());
        let password = values.remove("password").map(Zeroizing::new);
        let mut address = Self { values, password, url: url.scheme.clone() };
        address.fill_defaults(around);
        address.check().map_err(wrong)?;
        if address.password.is_none() {
            address.password = address.password_from_file(around)?;
        }
        Ok((address, others))
    }

    fn fill_defaults(&mut self, around: &Surroundings<'_>) {
        if !self.values.contains_key("host") && !self.values.contains_key("hostaddr") {
            let socket = ["/var/run/postgresql", "/tmp"].into_iter().find(|dir| Path::new(dir).is_dir());
            self.values.insert("host", socket.unwrap_or("localhost").to_owned());
        }
        if !self.values.contains_key("user") {
            let user = (around.variable)("USER").or_else(|| (around.variable)("LOGNAME"));
            self.values.insert("user", user.unwrap_or_else(|| "postgres".to_owned()));
        }
        let user = self.values.get("user").cloned().unwrap_or_default();
        self.values.entry("dbname").or_insert(user);
    }

    fn check(&self) -> Result<(), String> {
        self.ssl_mode()?;
        self.ports()?;
        if self.get("channel_binding").is_some_and(|value| value == "require") {
            return Err("channel binding is not there".to_owned());
        }
        self.config().map(|_| ())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The database.
    pub(super) fn database(&self) -> &str {
        self.get("dbname").unwrap_or_default()
    }

    fn hosts(&self) -> Vec<&str> {
        self.get("host").or_else(|| self.get("hostaddr")).unwrap_or_default().split(',').collect()
    }

    fn ports(&self) -> Result<Vec<u16>, String> {
        let hosts = self.hosts().len();
        let given: Vec<&str> = self.get("port").unwrap_or_default().split(',').collect();
        let ports: Result<Vec<u16>, String> = given
            .iter()
            .map(|port| match *port {
                "" => Ok(5432),
                port => port.parse().map_err(|_| format!("`{port}` is no port")),
            })
            .collect();
        let mut ports = ports?;
        match ports.as_slice() {
            [one] => ports = vec![*one; hosts],
            many if many.len() != hosts => return Err("there are as many ports as hosts, or one".to_owned()),
            _ => {}
        }
        Ok(ports)
    }

    /// The server and database, without who logs in: what stays the same.
    pub(super) fn identity(&self) -> String {
        let ports = self.ports().unwrap_or_default();
        let hosts = self.hosts().into_iter().zip(ports).map(|(host, port)| match port {
            5432 => host.to_owned(),
            port => format!("{host}:{port}"),
        });
        format!("{}/{}", hosts.collect::<Vec<_>>().join(","), self.database())
    }

    /// Whether its name means something only on this host.
    pub(super) fn is_local(&self) -> bool {
        self.hosts().iter().all(|host| host.starts_with('/') || ["localhost", "127.0.0.1", "::1", ""].contains(host))
    }

    /// As a URL without the password, for messages.
    pub(super) fn shown(&self) -> String {
        format!("{}://{}", self.url, self.identity())
    }

    pub(super) fn ssl_mode(&self) -> Result<SslMode, String> {
        Ok(match self.get("sslmode").unwrap_or("prefer") {
            "disable" => SslMode::Disable,
            "prefer" => SslMode::Prefer,
            "require" => SslMode::Require,
            "verify-ca" => SslMode::VerifyCa,
            "verify-full" => SslMode::VerifyFull,
            other => {
                return Err(format!("sslmode is disable, prefer, require, verify-ca or verify-full, not `{other}`"));
            }
        })
    }

    /// A file of certificates or keys: as given, or the usual one in the home directory if it is there.
    pub(super) fn ssl_file(&self, name: &str, usual: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from).or_else(|| {
            let home = env::var_os("HOME")?;
            Some(Path::new(&home).join(".postgresql").join(usual)).filter(|path| path.exists())
        })
    }

    /// The client's own idea of it.
    pub(super) fn config(&self) -> Result<postgres::Config, String> {
        let mut config = postgres::Config::new();
        let hosts = self.get("host").map(|hosts| hosts.split(',').collect::<Vec<_>>());
        for host in hosts.iter().flatten() {
            config.host(if host.is_empty() { "localhost" } else { host });
        }
        for addr in self.get("hostaddr").into_iter().flat_map(|list| list.split(',')) {
            config.hostaddr(addr.parse().map_err(|_| format!("`{addr}` is no address"))?);
        }
        for port in self.ports()? {
            config.port(port);
        }
        config.user(self.get("user").unwrap_or_default()).dbname(self.database());
        if let Some(password) = &self.password {
            config.password(password.as_str());
        }
        if let Some(options) = self.get("options") {
            config.options(options);
        }
        config.application_name(self.get("application_name").unwrap_or("rekeep"));
        let seconds = |name: &str| -> Result<Option<u64>, String> {
            let wrong = |text: &str| format!("{name}: `{text}` is no number");
            self.get(name).map(|text| text.parse().map_err(|_| wrong(text))).transpose()
        };
        if let Some(patience) = seconds("connect_timeout")?.filter(|patience| *patience > 0) {
            config.connect_timeout(Duration::from_secs(patience));
        }
        config.keepalives(seconds("keepalives")?.unwrap_or(1) != 0);
        config.keepalives_idle(Duration::from_secs(seconds("keepalives_idle")?.unwrap_or(60)));
        if let Some(interval) = seconds("keepalives_interval")? {
            config.keepalives_interval(Duration::from_secs(interval));
        }
        if let Some(count) = seconds("keepalives_count")? {
            config.keepalives_retries(count as u32);
        }
        if let Some(millis) = seconds("tcp_user_timeout")? {
            config.tcp_user_timeout(Duration::from_millis(millis));
        }
        match self.get("target_session_attrs") {
            None | Some("any") => {}
            Some("read-write" | "primary") => {
                config.target_session_attrs(postgres::config::TargetSessionAttrs::ReadWrite);
            }
            Some("read-only" | "standby") => {
                config.target_session_attrs(postgres::config::TargetSessionAttrs::ReadOnly);
            }
            Some(other) => return Err(format!("target_session_attrs is any, read-write or read-only, not `{other}`")),
        }
        let is_socket = self.hosts().iter().all(|host| host.starts_with('/'));
        config.ssl_mode(match self.ssl_mode()? {
            _ if is_socket => postgres::config::SslMode::Disable,
            SslMode::Disable => postgres::config::SslMode::Disable,
            SslMode::Prefer => postgres::config::SslMode::Prefer,
            _ => postgres::config::SslMode::Require,
        });
        Ok(config)
    }

    /// What a program of the server's own needs to reach the same database: variables, the password among them.
    pub(super) fn environment(&self) -> Vec<(&'static str, String)> {
        let known = KNOWN.iter().filter(|(_, variable)| !variable.is_empty());
        let values = known.filter_map(|(name, variable)| Some((*variable, self.values.get(name)?.clone())));
        let values = values.filter(|(variable, _)| !["PGSERVICE", "PGPASSFILE"].contains(variable));
        values.chain(self.password.iter().map(|password| ("PGPASSWORD", password.to_string()))).collect()
    }

    fn password_from_file(&self, around: &Surroundings<'_>) -> Result<Option<Zeroizing<String>>, ConnectorError> {
        let usual = || around.home.as_ref().map(|home| home.join(".pgpass"));
        let Some(path) = self.get("passfile").map(PathBuf::from).or_else(usual) else { return Ok(None) };
        let Ok(text) = fs::read_to_string(&path) else { return Ok(None) };
        let text = Zeroizing::new(text);
        if is_open_to_others(&path) {
            let reason = "others may read it: chmod 600".to_owned();
            return Err(ConnectorError::Usage { object: path.display().to_string(), reason });
        }
        let port = self.ports().ok().and_then(|ports| ports.first().copied()).unwrap_or(5432).to_string();
        let host =
            self.hosts().first().map_or("localhost", |host| if host.starts_with('/') { "localhost" } else { host });
        let wanted = [host, &port, self.database(), self.get("user").unwrap_or_default()];
        Ok(text.lines().find_map(|line| password_of(line, &wanted)))
    }
}

#[cfg(unix)]
fn is_open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_open_to_others(_: &Path) -> bool {
    false
}

/// The password of a line of a password file, if the line is about this server, database and user.
fn password_of(line: &str, wanted: &[&str; 4]) -> Option<Zeroizing<String>> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ':' if fields.len() < 5 => fields.push(String::new()),
            '\\' => fields.last_mut()?.push(chars.next()?),
            c => fields.last_mut()?.push(c),
        }
    }
    let password = fields.pop()?;
    let fits = fields.len() == 4 && fields.iter().zip(wanted).all(|(field, wanted)| field == "*" || field == wanted);
    (fits && !password.is_empty()).then(|| Zeroizing::new(password))
}

/// What a service file says of a service.
fn read_service(service: &str, around: &Surroundings<'_>) -> Result<Vec<(String, String)>, ConnectorError> {
    let own = (around.variable)("PGSERVICEFILE").map(PathBuf::from);
    let own = own.or_else(|| around.home.as_ref().map(|home| home.join(".pg_service.conf")));
    let system = (around.variable)("PGSYSCONFDIR").unwrap_or_else(|| "/etc/postgresql-common".to_owned());
    let files = own.into_iter().chain([Path::new(&system).join("pg_service.conf")]);
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        if let Some(found) = section(&text, service) {
            return Ok(found);
        }
    }
    Err(ConnectorError::Missing { object: format!("the service `{service}` in pg_service.conf") })
}

fn section(text: &str, service: &str) -> Option<Vec<(String, String)>> {
    let mut found: Option<Vec<(String, String)>> = None;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            if found.is_some() {
                break;
            }
            found = (name == service).then(Vec::new);
        } else if let (Some(found), Some((name, value))) = (found.as_mut(), line.split_once('=')) {
            found.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    found
}

/// `//USER:PASSWORD@HOST:PORT,…/DATABASE`.
fn authority(place: &str) -> Result<BTreeMap<&'static str, String>, String> {
    let rest = place.strip_prefix("//").ok_or("write postgresql://[USER@]HOST[:PORT]/DATABASE")?;
    let mut values = BTreeMap::new();
    let decode = |part: &str| super::decode(part).ok_or_else(|| format!("`{part}` is not percent-encoded"));
    // The password is not repeated in a message.
    let secret = |part: &str| super::decode(part).ok_or("the password is not percent-encoded");
    let (server, database) =
        match rest.rfind('@').map_or_else(|| rest.find('/'), |at| rest[at..].find('/').map(|s| at + s)) {
            Some(slash) => (&rest[..slash], Some(&rest[slash + 1..])),
            None => (rest, None),
        };
    if let Some(database) = database.filter(|database| !database.is_empty()) {
        values.insert("dbname", decode(database)?);
    }
    let hosts = match server.rsplit_once('@') {
        Some((login, hosts)) => {
            let (user, password) = login.split_once(':').map_or((login, None), |(user, pass)| (user, Some(pass)));
            if !user.is_empty() {
                values.insert("user", decode(user)?);
            }
            if let Some(password) = password {
                values.insert("password", secret(password)?);
            }
            hosts
        }
        None => server,
    };
    if hosts.is_empty() {
        return Ok(values);
    }
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(',') {
        let (name, port) = match host.strip_prefix('[') {
            Some(rest) => {
                let (name, behind) = rest.split_once(']').ok_or_else(|| format!("`{host}` has no closing bracket"))?;
                (name, behind.strip_prefix(':').unwrap_or(""))
            }
            None => host.split_once(':').unwrap_or((host, "")),
        };
        names.push(decode(name)?);
        ports.push(port.to_owned());
    }
    values.insert("host", names.join(","));
    if ports.iter().any(|port| !port.is_empty()) {
        values.insert("port", ports.join(","));
    }
    values.retain(|name, value| *name != "host" || !value.is_empty());
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(url: &str, variables: &[(&str, &str)], home: Option<&Path>) -> Result<Address, ConnectorError> {
        let url = SourceUrl::parse(url).unwrap();
        let variable = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned());
        Address::find(&url, &Surroundings { variable: &variable, home: home.map(Path::to_owned) }).map(|(a, _)| a)
    }

    fn password(address: &Address) -> Option<&str> {
        address.password.as_ref().map(|password| password.as_str())
    }

    #[test]
    fn a_url_is_read_as_libpq_reads_it() {
        let address = find("postgresql://jo%40e:p%2541%3F@h1:1,[::1]:2/d%20b?sslmode=disable", &[], None).unwrap();
        assert_eq!((address.get("user"), password(&address)), (Some("jo@e"), Some("p%41?")));
        assert_eq!(address.identity(), "h1:1,::1:2/d b");
        assert_eq!(address.ssl_mode(), Ok(SslMode::Disable));
        let shown = format!("{address:?} {}", address.shown());
        assert!(!shown.contains("p%41"), "{shown}");
        let socket = find("postgresql://%2Ftmp/x", &[], None).unwrap();
        assert!(socket.is_local());
        for bad in [
            "postgresql:x",
            "postgresql://h:x/d",
            "postgresql://[::1/d",
            "postgresql://h/d?sslmode=allow",
            "postgresql://h1,h2,h3:1/d?port=1,2",
        ] {
            assert!(find(bad, &[], None).is_err(), "{bad}");
        }
        let error = find("postgresql://u:se%zzcret@h/d", &[], None).unwrap_err().to_string();
        assert!(!error.contains("cret"), "{error}");
    }

    #[test]
    fn the_url_goes_before_the_service_before_the_environment() {
        let home = tempfile::tempdir().unwrap();
        fs::write(
            home.path().join(".pg_service.conf"),
            "[a]\nhost=x\n# no\n[b]\nhost = served\nport=7\ndbname=d\n[c]\n",
        )
        .unwrap();
        let variables = [("PGHOST", "env"), ("PGUSER", "eve"), ("PGSERVICE", "b")];
        let address = find("postgresql://:9/?dbname=mine", &variables, Some(home.path())).unwrap();
        assert_eq!(address.identity(), "served:9/mine");
        assert_eq!(address.get("user"), Some("eve"));
        assert!(find("postgresql://?service=none", &[], Some(home.path())).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_password_file_gives_the_first_line_that_fits_and_is_refused_if_others_may_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(".pgpass");
        fs::write(&file, "#x\nother:*:*:*:no\nh:5432:d\\:b:*:a\\:b\\\\\n*:*:*:*:last\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let of = |url: &str| find(url, &[], Some(home.path())).unwrap();
        assert_eq!(password(&of("postgresql://u@h/d%3Ab")), Some("a:b\\"));
        assert_eq!(password(&of("postgresql://u@h/e")), Some("last"));
        assert_eq!(password(&of("postgresql://u:own@h/e")), Some("own"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(find("postgresql://u@h/e", &[], Some(home.path())).is_err());
    }
}
