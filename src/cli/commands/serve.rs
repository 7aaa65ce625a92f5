//! `serve`: runs the service until it is told to end.

#[cfg(feature = "sqlite")]
use super::serve_demo::Demo;
use crate::{
    cli::{
        context::{Context, host_name},
        exit::{CliError, Failure, Status, usage},
        interrupt,
    },
    ops::OpsError,
    record::SystemClock,
    service::{
        Service, ServiceError, ServiceOptions,
        config::ConfigFile,
        http, load,
        log::{self, LogFormat},
        make_key,
    },
};
use clap::{Args, Subcommand};
use std::{path::PathBuf, sync::Arc, time::Duration};

/// `serve`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ServeArgs {
    /// The configuration: a file, or a URL that is only read
    #[arg(short, long, value_name = "FILE|URL", env = "REKEEP_SERVICE_CONFIG")]
    pub config: Option<String>,
    /// How logs look: PLAIN or JSON [default: as the configuration says, else PLAIN]
    #[arg(short = 'f', long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// What is logged: TRACE, DEBUG, INFO, WARN or ERROR [default: as the configuration says, else INFO]
    #[arg(short = 'l', long, value_name = "LEVEL", value_parser = log::level)]
    pub log_level: Option<tracing::level_filters::LevelFilter>,
    /// The port to listen on in clear, in the place of the configuration's
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Where jobs and schedules are kept [default: `$XDG_STATE_HOME/rekeep` or `~/.local/state/rekeep`]
    #[arg(long, value_name = "DIR", env = "REKEEP_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Start everything on a temporary repository and a database that changes by itself, and say what to try
    #[cfg(feature = "sqlite")]
    #[arg(long, conflicts_with_all = ["config", "state_dir", "check"])]
    pub demo: bool,
    /// Check the configuration, and do nothing else
    #[arg(long)]
    pub check: bool,
    #[command(subcommand)]
    command: Option<ServeCommand>,
}

/// What else there is.
#[derive(Debug, Subcommand)]
pub enum ServeCommand {
    /// Make a key of the interface; prints it once, and the lines of the configuration that let it in
    Key {
        /// Its name
        name: String,
        /// What it may: read, backup, restore, delete, configure, admin (repeatable)
        #[arg(long = "scope", value_name = "SCOPE", default_value = "read")]
        scopes: Vec<String>,
        /// The only routines it may (repeatable)
        #[arg(long = "routine", value_name = "NAME")]
        routines: Vec<String>,
        /// The only tenant it may
        #[arg(long, value_name = "NAME")]
        tenant: Option<String>,
        /// When it ends: 2027-01-01T00:00:00Z
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
    },
    /// Print the document that describes the interface, in the form of `OpenAPI`
    Openapi,
}

/// What is said where a key was shown to nobody.
const UNSHOWN: &str = "nothing was added anywhere, and the key was shown to nobody: make another one";

/// Between two looks whether to end.
const LOOK_EVERY: Duration = Duration::from_millis(200);

impl From<ServiceError> for CliError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Ops(error) => error.into(),
            ServiceError::Config(_) | ServiceError::Open(_) => OpsError::Usage(error.to_string()).into(),
            error => OpsError::refused(error.kind(), error.to_string()).into(),
        }
    }
}

pub(super) fn run(args: &ServeArgs, context: &Context) -> Result<Status, Failure> {
    match &args.command {
        Some(ServeCommand::Key { name, scopes, routines, tenant, expires }) => {
            return key(name, scopes, routines, tenant.as_deref(), expires.as_deref(), context);
        }
        Some(ServeCommand::Openapi) => {
            let document = http::document().to_pretty_json();
            context.out.line(document.map_err(|error| OpsError::Failed(error.to_string()))?);
            return Ok(Status::Done);
        }
        None => {}
    }
    // As the backup service has it: -v shows the version.
    if context.verbose {
        context.out.line(format_args!("rekeep {}", env!("CARGO_PKG_VERSION")));
        return Ok(Status::Done);
    }
    #[cfg(feature = "sqlite")]
    let demo = args.demo.then(Demo::begin).transpose()?;
    #[cfg(feature = "sqlite")]
    let made = demo.as_ref().map(|demo| demo.config().display().to_string());
    #[cfg(not(feature = "sqlite"))]
    let made: Option<String> = None;
    let config = args.config.clone().or(made);
    let config = config.as_deref().ok_or_else(|| usage("which configuration? Give -c FILE, or --demo"))?;
    let file = ConfigFile::at(config);
    let settings = load(&file, &context.registry).map_err(ServiceError::from)?;
    if args.check {
        http::check_files(&settings)?;
        for words in file.doubts() {
            context.out.line(format_args!("{words}"));
        }
        context.out.line(format_args!("{}: nothing is wrong with it", file.place()));
        return Ok(Status::Done);
    }
    log::begin(settings.service.logger.as_ref(), args.log_format, args.log_level).map_err(usage)?;
    let (mut state, mut cache) = (args.state_dir.clone(), None);
    #[cfg(feature = "sqlite")]
    if let Some(demo) = &demo {
        (state, cache) = (Some(demo.state()), Some(demo.cache()));
    }
    let state = state.map_or_else(state_dir, Ok)?;
    let cache = cache.take().map_or_else(|| context.cache_dir(), Ok)?;
    interrupt::listen();
    let service = Service::start(ServiceOptions {
        file,
        state,
        cache,
        host: host_name(),
        registry: context.registry.clone(),
        clock: Arc::new(SystemClock),
    })?;
    let server = http::serve(&service, args.port).inspect_err(|_| service.stop())?;
    for (scheme, address) in [("http", server.http), ("https", server.https)] {
        if let Some(address) = address {
            tracing::info!(version = env!("CARGO_PKG_VERSION"), "listening on {scheme}://{address}");
        }
    }
    #[cfg(feature = "sqlite")]
    if let (Some(demo), Some(address)) = (&demo, server.http) {
        context.out.line(demo.words(address));
        context.out.flush();
    }
    while !interrupt::requested() {
        std::thread::sleep(LOOK_EVERY);
    }
    let farewell = service.begin_stopping();
    tracing::info!("stopping, within {} seconds", farewell.left().as_secs());
    server.stop_within(farewell.left());
    let left = service.finish(farewell);
    for words in &left {
        tracing::error!("left behind: {words}");
    }
    tracing::info!("stopped");
    Ok(Status::complete(left.is_empty()))
}

fn state_dir() -> Result<PathBuf, Failure> {
    let place = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
    let found = place("XDG_STATE_HOME").or_else(|| place("HOME").map(|home| home.join(".local/state")));
    let none = || usage("no place for the service's state: neither XDG_STATE_HOME nor HOME is set; give --state-dir");
    found.map(|dir| dir.join("rekeep")).ok_or_else(none)
}

fn key(
    name: &str,
    scopes: &[String],
    routines: &[String],
    tenant: Option<&str>,
    expires: Option<&str>,
    context: &Context,
) -> Result<Status, Failure> {
    let settings = crate::service::config::KeySettings {
        hash: String::new(),
        scopes: scopes.to_vec(),
        routines: routines.to_vec(),
        tenant: tenant.map(str::to_owned),
        expires: expires.map(str::to_owned),
    };
    let mut probe = crate::service::config::Config::default();
    let (key, hash) = make_key()?;
    let settings = crate::service::config::KeySettings { hash, ..settings };
    probe.service.api_keys.insert(name.to_owned(), settings.clone());
    if let Some(finding) = probe.findings().first() {
        return Err(usage(finding.to_string()));
    }
    if context.json {
        context.out.json(&serde_json::json!({ "name": name, "key": key, "settings": settings }));
        return context.shown_once(UNSHOWN).map(|()| Status::Done);
    }
    context.out.line(format_args!("key (shown only now):\n\n    {key}\n\nadd to the configuration:\n"));
    let lines = serde_saphyr::to_string(&serde_json::json!({
        "service": { "api-keys": { name: crate::service::config::lean(&settings) } }
    }));
    context.out.line(lines.map_err(|error| OpsError::Failed(error.to_string()))?);
    context.shown_once(UNSHOWN).map(|()| Status::Done)
}
