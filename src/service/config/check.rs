//! What a configuration must say to make sense: names, references, schedules, numbers. Everything that is wrong is found at
//! once.

use super::{
    Cluster, Config, DrillSettings, HIDDEN, Policy, Routine, ServiceSettings, Storage, lean,
    partitions::partitions,
    secret::{check_agent, left_hidden},
};
use crate::{
    ops::drill::SampleSize,
    service::{cron::Schedule, window::Window},
};
use std::{fmt, net::IpAddr};

/// What somebody may be told of.
pub(in crate::service) const EVENTS: [&str; 6] = ["success", "incomplete", "failure", "canceled", "skip", "missing"];

/// Something that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The section, the name, the field.
    pub path: Vec<String>,
    /// What is wrong with it.
    pub words: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.join("."), self.words)
    }
}

/// The longest name.
const MAX_NAME_BYTES: usize = 128;

/// A path of these parts.
pub(super) fn path_of(parts: &[&str]) -> Vec<String> {
    parts.iter().map(|&part| part.to_owned()).collect()
}

struct Check<'a> {
    config: &'a Config,
    found: Vec<Finding>,
}

/// Whatever is wrong.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let mut check = Check { config, found: Vec::new() };
    check.names();
    config.clusters.iter().for_each(|(name, cluster)| check.cluster(name, cluster));
    config.storage.iter().for_each(|(name, storage)| check.storage(name, storage));
    config.policies.iter().for_each(|(name, policy)| check.policy(name, policy));
    config.routines.iter().for_each(|(name, routine)| check.routine(name, routine));
    for (name, place) in &config.repositories {
        if place.location.trim().is_empty() {
            check.say(&["repositories", name, "location"], "it is empty");
        }
    }
    for (name, agent) in &config.secret_agents {
        if let Err(words) = check_agent(agent) {
            check.say(&["secret-agents", name], words);
        }
    }
    check.service(&config.service);
    if let Some(path) = left_hidden(&lean(config)) {
        let words = format!(
            "`{HIDDEN}` is shown in the place of a secret, and there is none here yet: write the secret itself"
        );
        check.found.push(Finding { path, words });
    }
    check.found
}

impl Check<'_> {
    fn say(&mut self, path: &[&str], words: impl Into<String>) {
        self.found.push(Finding { path: path_of(path), words: words.into() });
    }

    fn names(&mut self) {
        let config = self.config;
        let sections: [(&str, Vec<&String>); 8] = [
            ("aerospike-clusters", config.clusters.keys().collect()),
            ("storage", config.storage.keys().collect()),
            ("backup-policies", config.policies.keys().collect()),
            ("backup-routines", config.routines.keys().collect()),
            ("secret-agents", config.secret_agents.keys().collect()),
            ("repositories", config.repositories.keys().collect()),
            ("service.api-keys", config.service.api_keys.keys().collect()),
            ("service.hooks", config.service.hooks.keys().collect()),
        ];
        for (section, names) in sections {
            for name in names.into_iter().filter(|name| !is_name(name)) {
                self.say(
                    &[section, name],
                    "a name has 1 to 128 bytes, no `/` and no control characters, and is neither `.` nor `..`",
                );
            }
        }
    }

    fn cluster(&mut self, name: &str, cluster: &Cluster) {
        let at = "aerospike-clusters";
        if cluster.seed_nodes.is_empty() {
            self.say(&[at, name, "seed-nodes"], "it needs one at least");
        }
        for node in &cluster.seed_nodes {
            if node.port == 0 {
                self.say(&[at, name, "seed-nodes"], "port 0 is none");
            }
            if node.host_name.is_empty() || node.host_name.contains(|c: char| c.is_whitespace() || "/,@".contains(c)) {
                self.say(&[at, name, "seed-nodes"], format!("`{}` is no host", node.host_name));
            }
        }
        let Some(credentials) = &cluster.credentials else { return };
        let is_given = |text: Option<&str>| text.is_some_and(|text| !text.is_empty());
        let has_password = is_given(credentials.password.as_ref().map(|password| password.0.as_str()));
        let has_path = is_given(credentials.password_path.as_deref());
        if has_password && has_path {
            self.say(&[at, name, "credentials"], "password and password-path are both given");
        }
        if (has_password || has_path) && !is_given(credentials.user.as_deref()) {
            self.say(&[at, name, "credentials"], "a password is given, and no user");
        }
        let modes = ["INTERNAL", "EXTERNAL", "PKI"];
        let mode = credentials.auth_mode.as_deref().filter(|mode| !modes.contains(&mode.to_ascii_uppercase().as_str()));
        if let Some(mode) = mode {
            self.say(&[at, name, "credentials"], format!("auth-mode {mode} is none of INTERNAL, EXTERNAL, PKI"));
        }
        self.agent(&[at, name, "credentials"], credentials.secret_agent_name.as_deref());
    }

    fn agent(&mut self, path: &[&str], name: Option<&str>) {
        if let Some(name) = name.filter(|name| !self.config.secret_agents.contains_key(*name)) {
            self.say(path, format!("there is no secret agent `{name}`"));
        }
    }

    fn storage(&mut self, name: &str, storage: &Storage) {
        let at = "storage";
        if storage.kinds() != 1 {
            let words = "it needs exactly one of local-storage, s3-storage, gcp-storage, azure-storage";
            return self.say(&[at, name], words);
        }
        if storage.local_storage.as_ref().is_some_and(|local| local.path.trim().is_empty()) {
            self.say(&[at, name, "local-storage"], "its path is empty");
        }
        let far = [
            (
                "s3-storage",
                storage.s3_storage.as_ref().map(|it| (it.s3_endpoint_override.as_deref(), it.path.as_deref())),
            ),
            ("gcp-storage", storage.gcp_storage.as_ref().map(|it| (it.endpoint.as_deref(), it.path.as_deref()))),
            (
                "azure-storage",
                storage.azure_storage.as_ref().map(|it| (Some(it.endpoint.as_str()), it.path.as_deref())),
            ),
        ];
        for (kind, said) in far {
            let Some((endpoint, path)) = said else { continue };
            let is_web = |url: &str| ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme));
            if let Some(url) = endpoint.filter(|url| !url.is_empty() && !is_web(url)) {
                self.say(&[at, name, kind], format!("endpoint: `{url}` is no address of http or https"));
            }
            if path.is_some_and(|path| path.split('/').any(|part| part == "..")) {
                self.say(&[at, name, kind], "path leads out of its bucket: `..`");
            }
        }
        if let Some(s3) = &storage.s3_storage {
            if s3.bucket.is_empty() || s3.s3_region.is_empty() {
                self.say(&[at, name, "s3-storage"], "it needs bucket and s3-region");
            }
            self.agent(&[at, name, "s3-storage"], s3.secret_agent_name.as_deref());
        }
        if let Some(gcp) = &storage.gcp_storage {
            if gcp.bucket_name.is_empty() {
                self.say(&[at, name, "gcp-storage"], "it needs bucket-name");
            }
            self.agent(&[at, name, "gcp-storage"], gcp.secret_agent_name.as_deref());
        }
        if let Some(azure) = &storage.azure_storage {
            if azure.client_secret.is_some() || azure.client_id.is_some() || azure.tenant_id.is_some() {
                let words = "tenant-id, client-id, client-secret: give them in the environment (AZURE_TENANT_ID, AZURE_CLIENT_ID, \
                             AZURE_CLIENT_SECRET)";
                self.say(&[at, name, "azure-storage"], words);
            }
            if azure.container_name.is_empty() || azure.endpoint.is_empty() {
                self.say(&[at, name, "azure-storage"], "it needs container-name and endpoint");
            }
            self.agent(&[at, name, "azure-storage"], azure.secret_agent_name.as_deref());
        }
    }

    fn policy(&mut self, name: &str, policy: &Policy) {
        let at = "backup-policies";
        if let Some(retention) = &policy.retention {
            if retention.full == Some(0) {
                self.say(&[at, name, "retention"], "full: one backup at least is kept");
            }
            if let (Some(full), Some(incremental)) = (retention.full, retention.incremental)
                && incremental > full
            {
                self.say(&[at, name, "retention"], "incremental: not of more fulls than are kept");
            }
        }
        if let Some(Err(words)) = policy.encryption.as_ref().map(crate::service::folders::check_mode) {
            self.say(&[at, name, "encryption"], words);
        }
        if policy.parallel == Some(0) || policy.parallel.is_some_and(|parallel| parallel > 256) {
            self.say(&[at, name, "parallel"], "it is from 1 to 256");
        }
        if let Some(compression) = &policy.compression {
            let mode = compression.mode.as_deref().unwrap_or("NONE");
            if !["NONE", "ZSTD"].contains(&mode.to_ascii_uppercase().as_str()) {
                self.say(&[at, name, "compression"], format!("mode {mode} is none of NONE, ZSTD"));
            }
            if compression.level.is_some_and(|level| !(-1..=22).contains(&level)) {
                self.say(&[at, name, "compression"], "level is from -1 to 22");
            }
        }
        if let Some(mode) = policy.incr_mode.as_deref().filter(|mode| !["differential", "cumulative"].contains(mode)) {
            self.say(&[at, name, "incr-mode"], format!("{mode} is none of differential, cumulative"));
        }
        if let Some(verify) =
            policy.verify.as_deref().filter(|verify| !["structure", "data", "restore"].contains(verify))
        {
            self.say(&[at, name, "verify"], format!("{verify} is none of structure, data, restore"));
        }
        let retry = policy.retry_policy.as_ref();
        if retry.and_then(|retry| retry.multiplier).is_some_and(|multiplier| !(1.0..=1000.0).contains(&multiplier)) {
            self.say(&[at, name, "retry-policy"], "multiplier is from 1 to 1000");
        }
        if retry.and_then(|retry| retry.max_retries).is_some_and(|retries| retries > 1000) {
            self.say(&[at, name, "retry-policy"], "max-retries is 1000 at most");
        }
    }

    fn routine(&mut self, name: &str, routine: &Routine) {
        let at = "backup-routines";
        let config = self.config;
        self.agent(&[at, name, "secret-agent"], routine.agent().1);
        match (&routine.source_cluster, &routine.source) {
            (Some(cluster), None) if !config.clusters.contains_key(cluster) => {
                self.say(&[at, name, "source-cluster"], format!("there is no cluster `{cluster}`"));
            }
            (None, Some(url)) if !url.contains(':') => {
                self.say(&[at, name, "source"], format!("`{url}` is no source: write sqlite:FILE or the like"));
            }
            (Some(_), None) | (None, Some(_)) => {}
            _ => self.say(&[at, name], "it needs exactly one of source-cluster and source"),
        }
        match (&routine.storage, &routine.repository) {
            (Some(storage), None) if !config.storage.contains_key(storage) => {
                self.say(&[at, name, "storage"], format!("there is no storage `{storage}`"));
            }
            (None, Some(repository)) if !config.repositories.contains_key(repository) => {
                self.say(&[at, name, "repository"], format!("there is no repository `{repository}`"));
            }
            (Some(_), None) | (None, Some(_)) => {}
            _ => self.say(&[at, name], "it needs exactly one of storage and repository"),
        }
        if let Some(policy) = routine.backup_policy.as_ref().filter(|policy| !config.policies.contains_key(*policy)) {
            self.say(&[at, name, "backup-policy"], format!("there is no policy `{policy}`"));
        }
        if config.keeps_files(routine) {
            self.files(name, routine);
        }
        self.schedules(name, routine);
        self.selection(name, routine);
        for (field, hooks) in [("before", &routine.before), ("after", &routine.after)] {
            for hook in hooks.iter().flatten().filter(|hook| !config.service.hooks.contains_key(*hook)) {
                self.say(&[at, name, field], format!("there is no hook `{hook}`"));
            }
        }
    }

    /// What cannot be had of files.
    fn files(&mut self, name: &str, routine: &Routine) {
        let at = "backup-routines";
        let words = "its storage holds files (format: asb), which are of clusters alone: give it source-cluster";
        if routine.source.is_some() {
            self.say(&[at, name, "source"], words);
        }
        if routine.drill.is_some() {
            self.say(&[at, name, "drill"], "drills are of repositories, and its storage holds files (format: asb)");
        }
        let policy = self.config.policy_of(routine);
        if policy.verify.is_some() {
            let words = "its policy verifies, which is of repositories, and its storage holds files (format: asb)";
            self.say(&[at, name, "backup-policy"], words);
        }
        if let Some(Err(words)) = policy.encryption.as_ref().map(crate::service::folders::check_encryption) {
            self.say(&[at, name, "backup-policy"], words);
        }
    }

    fn schedules(&mut self, name: &str, routine: &Routine) {
        let at = "backup-routines";
        let zone = zone_of(self.config, routine);
        let crons = [
            ("interval-cron", Some(&routine.interval_cron)),
            ("incr-interval-cron", routine.incr_interval_cron.as_ref()),
            ("drill", routine.drill.as_ref().and_then(|drill| drill.interval_cron.as_ref())),
        ];
        for (field, text) in crons {
            // An empty one is none, as the backup service has it; a full must be due some time.
            let Some(text) = text.filter(|text| field == "interval-cron" || !text.is_empty()) else { continue };
            if let Err(words) = Schedule::parse(text, zone) {
                self.say(&[at, name, field], words);
            }
        }
        if let Some(Err(words)) = routine.window.as_deref().map(Window::parse) {
            self.say(&[at, name, "window"], words);
        }
        if routine.max_age == Some(0) {
            self.say(&[at, name, "max-age"], "0: no backup would ever be young enough");
        }
        if routine.jitter.is_some_and(|jitter| jitter > 86_400) {
            self.say(&[at, name, "jitter"], "it is a day at most");
        }
    }

    fn selection(&mut self, name: &str, routine: &Routine) {
        let at = "backup-routines";
        let of_cluster = [
            ("namespaces", routine.namespaces.is_some()),
            ("set-list", routine.set_list.is_some()),
            ("bin-list", routine.bin_list.is_some()),
            ("partition-list", routine.partition_list.is_some()),
            ("node-list", routine.node_list.is_some()),
            ("rack-list", routine.rack_list.is_some()),
            ("filter-exp", routine.filter_exp.is_some()),
        ];
        for (field, _) in of_cluster.iter().filter(|(_, given)| *given && routine.source.is_some()) {
            self.say(&[at, name, field], "it is of clusters: a source has options of its own (source-options)");
        }
        if routine.source_options.is_some() && routine.source.is_none() {
            self.say(&[at, name, "source-options"], "they are of a source, and there is none");
        }
        let given = |list: Option<usize>| list.is_some_and(|count| count > 0);
        let parts = [
            given(routine.node_list.as_ref().map(Vec::len)),
            given(routine.rack_list.as_ref().map(Vec::len)),
            routine.partition_list.is_some(),
        ];
        if parts.iter().filter(|given| **given).count() > 1 {
            self.say(&[at, name], "node-list, rack-list and partition-list exclude each other");
        }
        if let Some(Err(words)) = routine.partition_list.as_deref().map(partitions) {
            self.say(&[at, name, "partition-list"], words);
        }
        if let Some(drill) = &routine.drill {
            self.drill(name, drill);
        }
        let namespaces: Vec<&String> = routine.namespaces.iter().flatten().collect();
        for (number, namespace) in namespaces.iter().enumerate() {
            let is_one = !namespace.is_empty()
                && namespace.len() <= 31
                && !namespace.contains(|c: char| c.is_whitespace() || c.is_control() || "/?#:;,".contains(c));
            if !is_one {
                self.say(&[at, name, "namespaces"], format!("`{namespace}` is no namespace"));
            }
            if namespaces[..number].contains(namespace) {
                self.say(&[at, name, "namespaces"], format!("`{namespace}` stands there twice"));
            }
        }
        if routine.tenant.as_deref().is_some_and(|tenant| !is_name(tenant)) {
            self.say(&[at, name, "tenant"], "it is a name: 1 to 128 bytes, no `/`, no control characters");
        }
        if routine.tags.iter().flatten().any(|tag| tag.trim().is_empty() || tag.contains('=')) {
            self.say(&[at, name, "tags"], "a tag has a name, and no `=`");
        }
    }

    fn drill(&mut self, name: &str, drill: &DrillSettings) {
        let at = ["backup-routines", name, "drill"];
        if let Some(Err(words)) = drill.sample.as_deref().map(str::parse::<SampleSize>) {
            self.say(&at, words);
        }
        if drill.target.as_ref().is_some_and(|target| !target.contains(':')) {
            self.say(&at, "target: it is a URL, such as sqlite:FILE");
        }
        if drill.target.is_none() && drill.target_options.is_some() {
            self.say(&at, "target-options are of a target, and there is none");
        }
        if let Some(hook) = drill.prepare.as_ref().filter(|hook| !self.config.service.hooks.contains_key(*hook)) {
            self.say(&at, format!("prepare: there is no hook `{hook}`"));
        }
        for hook in drill.assertions.iter().filter(|hook| !self.config.service.hooks.contains_key(*hook)) {
            self.say(&at, format!("assertions: there is no hook `{hook}`"));
        }
    }

    fn service(&mut self, settings: &ServiceSettings) {
        let say_zone = settings.backup.as_ref().and_then(|backup| backup.schedule_timezone.as_deref());
        if let Some(Err(words)) = say_zone.map(|zone| crate::service::cron::zone(Some(zone))) {
            self.say(&["service", "backup"], format!("schedule-timezone: {words}"));
        }
        for (name, key) in &settings.api_keys {
            if !crate::service::keys::is_hash(&key.hash) {
                let words = format!("{name}: `hash` is none: `rekeep serve key` makes a key and prints its hash");
                self.say(&["service", "api-keys"], words);
            }
            if let Some(scope) = key.scopes.iter().find(|scope| crate::service::keys::Scope::parse(scope).is_none()) {
                let words =
                    format!("{name}: `{scope}` is no scope: read, backup, restore, delete, configure, admin are");
                self.say(&["service", "api-keys"], words);
            }
            let same = |(other, that): &(&String, &super::KeySettings)| *other < name && that.hash == key.hash;
            if let Some((other, _)) = settings.api_keys.iter().find(same) {
                self.say(&["service", "api-keys"], format!("{name}: its hash is that of `{other}`, too"));
            }
            if key.tenant.as_deref().is_some_and(|tenant| !is_name(tenant)) {
                self.say(&["service", "api-keys"], format!("{name}: `tenant` is a name, and not empty"));
            }
            if key.expires.as_deref().is_some_and(|text| text.parse::<jiff::Timestamp>().is_err()) {
                let words = format!("{name}: `expires` is no time with a zone, such as 2027-01-01T00:00:00Z");
                self.say(&["service", "api-keys"], words);
            }
        }
        if settings.backup.as_ref().is_some_and(|backup| backup.max_parallel == Some(0)) {
            self.say(&["service", "backup"], "max-parallel: no job could begin; it is from 1 on");
        }
        if settings.http.as_ref().is_some_and(|http| http.port == Some(0)) {
            self.say(&["service", "http"], "port 0 is none");
        }
        if settings.http.as_ref().is_some_and(|http| http.max_body_bytes == Some(0)) {
            self.say(&["service", "http"], "max-body-bytes: 0: no change could be asked for any more");
        }
        let ways = [
            ("http", settings.http.as_ref().map(|http| (http.context_path.as_deref(), http.rate.as_ref()))),
            ("https", settings.https.as_ref().map(|https| (https.context_path.as_deref(), https.rate.as_ref()))),
        ];
        for (name, said) in ways {
            let Some((path, rate)) = said else { continue };
            if path.is_some_and(|path| !is_context_path(path)) {
                let words = "context-path begins with `/`, and holds letters of ASCII, digits and `-_.~%@+=,;!$&'()` between others, \
                             as a client sends it; no part is `.` or `..`";
                self.say(&["service", name], words);
            }
            for network in rate.iter().flat_map(|rate| &rate.white_list) {
                if crate::service::http::limit::Network::parse(network).is_none() {
                    self.say(&["service", name], format!("white-list: `{network}` is no address or network"));
                }
            }
        }
        if let Some(https) = settings.https.as_ref().filter(|https| https.disabled != Some(true)) {
            let of_http = settings.http.clone().unwrap_or_default();
            if https.context_path.is_some() && of_http.context_path.is_some_and(|path| Some(path) != https.context_path)
            {
                self.say(&["service", "https"], "context-path is another one than that of http: both answer under one");
            }
            if https.rate.is_some() && of_http.rate.is_some_and(|rate| Some(rate) != https.rate) {
                self.say(
                    &["service", "https"],
                    "rate is another one than that of http: clients are counted once for both",
                );
            }
            if https.cert_file.is_none() || https.key_file.is_none() {
                self.say(&["service", "https"], "it needs cert-file and key-file");
            }
            if https.min_version.as_deref().is_some_and(|version| !["1.2", "1.3"].contains(&version)) {
                self.say(&["service", "https"], "min-version is 1.2 or 1.3");
            }
            let modes = ["none", "request", "require-and-verify"];
            if https.client_auth.as_deref().is_some_and(|mode| !modes.contains(&mode)) {
                self.say(&["service", "https"], "client-auth is none, request or require-and-verify");
            }
            let asks_none = https.client_auth.as_deref().is_none_or(|mode| mode == "none");
            if https.client_crl_file.is_some() && (asks_none || https.client_ca_file.is_none()) {
                self.say(&["service", "https"], "client-crl-file needs client-ca-file and client-auth");
            }
        }
        self.listening(settings);
        let logger = settings.logger.clone().unwrap_or_default();
        if let Some(Err(words)) = logger.level.as_deref().map(crate::service::log::level) {
            self.say(&["service", "logger"], format!("level: {words}"));
        }
        if let Some(Err(words)) = logger.format.as_deref().map(str::parse::<crate::service::log::LogFormat>) {
            self.say(&["service", "logger"], format!("format: {words}"));
        }
        let writer = settings.logger.as_ref().and_then(|logger| logger.file_writer.as_ref());
        if writer.is_some_and(|writer| writer.filename.trim().is_empty()) {
            self.say(&["service", "logger"], "file-writer: it needs filename");
        }
        if let Some(stop) = &settings.stop {
            if stop.within == Some(0) {
                self.say(&["service", "stop"], "within: 0 is no time at all");
            }
            if stop.within.is_some_and(|within| stop.drain.is_some_and(|drain| drain > within)) {
                self.say(&["service", "stop"], "drain is longer than within");
            }
        }
        if let Some(audit) = &settings.audit {
            let config = self.config;
            let words = match (&audit.storage, &audit.repository) {
                (Some(name), None) if !config.storage.contains_key(name) => {
                    Some(format!("there is no storage `{name}`"))
                }
                (Some(name), None) if config.storage[name].is_of_files() => {
                    Some(format!("storage `{name}` holds files (format: asb), and no repository"))
                }
                (None, Some(name)) if !config.repositories.contains_key(name) => {
                    Some(format!("there is no repository `{name}`"))
                }
                (Some(_), None) | (None, Some(_)) => None,
                _ => Some("it needs exactly one of storage and repository".to_owned()),
            };
            if let Some(words) = words {
                self.say(&["service", "audit"], words);
            }
        }
        if let Some(Err(words)) = settings.mail.as_ref().map(crate::service::mail::check) {
            self.say(&["service", "mail"], words);
        }
        for webhook in &settings.webhooks {
            if !webhook.url.starts_with("http://") && !webhook.url.starts_with("https://") {
                self.say(&["service", "webhooks"], format!("`{}` is no address of http or https", webhook.url));
            }
            for event in webhook.on.iter().filter(|event| !EVENTS.contains(&event.as_str())) {
                self.say(&["service", "webhooks"], format!("on: `{event}` is none of {}", EVENTS.join(", ")));
            }
        }
        for (name, hook) in settings.hooks.iter().filter(|(_, hook)| hook.command.is_empty()) {
            let _ = hook;
            self.say(&["service", "hooks"], format!("{name}: it has no command"));
        }
    }
}

impl Check<'_> {
    /// Where it listens, and to whom: what the next start would refuse.
    fn listening(&mut self, settings: &ServiceSettings) {
        let http = settings.http.clone().unwrap_or_default();
        let https = settings.https.clone().filter(|https| https.disabled != Some(true));
        if http.disabled == Some(true) && https.is_none() {
            self.say(&["service", "http"], "neither http nor https is to be listened on");
        }
        let needs_key = !settings.api_keys.is_empty() || settings.without_authentication == Some(true);
        let needs_certificate =
            https.as_ref().is_some_and(|https| https.client_auth.as_deref() == Some("require-and-verify"));
        let said = [
            ("http", http.address.filter(|_| http.disabled != Some(true)), needs_key),
            ("https", https.and_then(|https| https.address), needs_key || needs_certificate),
        ];
        for (name, address, is_guarded) in said {
            let Some(address) = address.filter(|address| !address.is_empty()) else { continue };
            match address_of(&address) {
                None => self.say(&["service", name], format!("address: `{address}` is no address: write numbers")),
                // In clear that of all networks is that of a file of the backup service, and answers this host alone.
                Some(ip) if !(is_guarded || ip.is_loopback() || name == "http" && ip.is_unspecified()) => {
                    self.say(&["service", name], format!("address: {}", open_to_anybody(ip)));
                }
                Some(_) => {}
            }
        }
    }
}

/// An address to listen on.
pub(in crate::service) fn address_of(text: &str) -> Option<IpAddr> {
    let text = if text == "localhost" { "127.0.0.1" } else { text };
    text.trim_matches(['[', ']']).parse().ok()
}

/// What lets others than this host in.
pub(in crate::service) const OPEN_UP: &str = "To answer others, add a key (`rekeep serve key` prints the lines below `service: api-keys:`), or the line \
                       `without-authentication: true` below `service:`";

/// Why an address is not listened on.
pub(in crate::service) fn open_to_anybody(address: IpAddr) -> String {
    format!("{address} would be answered to anybody. {OPEN_UP}")
}

/// Whether a client can send this in front of a path, and a router take it: others would be asked for in vain, or stop the service at
/// its next start.
fn is_context_path(path: &str) -> bool {
    let is_sent = |c: char| c.is_ascii_alphanumeric() || "-_.~%@+=,;!$&'()/".contains(c);
    path.starts_with('/') && path.chars().all(is_sent) && !path.split('/').any(|part| part == "." || part == "..")
}

/// The zone of a routine's schedules, as it is named.
pub(in crate::service) fn zone_of<'c>(config: &'c Config, routine: &'c Routine) -> Option<&'c str> {
    let of_service = || config.service.backup.as_ref().and_then(|backup| backup.schedule_timezone.as_deref());
    routine.schedule_timezone.as_deref().or_else(of_service)
}

/// Whether something may be called so.
pub(in crate::service) fn is_name(name: &str) -> bool {
    // Names become parts of paths, in files and in addresses.
    let is_place = matches!(name.trim(), "" | "." | "..");
    !is_place && name.len() <= MAX_NAME_BYTES && !name.contains('/') && !name.chars().any(char::is_control)
}
