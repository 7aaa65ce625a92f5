//! Logs: lines for people or JSON for programs, on standard output and in a file.

use super::{config::LoggerSettings, log_file::LogFile, log_lines::Kept};
use std::sync::Mutex;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer, Registry, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Plain,
    /// For programs.
    Json,
}

impl std::str::FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_uppercase().as_str() {
            "PLAIN" => Ok(Self::Plain),
            "JSON" => Ok(Self::Json),
            _ => Err(format!("`{text}` is none of PLAIN, JSON")),
        }
    }
}

/// A level by its name; that of the configuration, or INFO, without one.
///
/// # Errors
/// In words.
pub fn level(name: &str) -> Result<LevelFilter, String> {
    match name.to_ascii_uppercase().as_str() {
        "TRACE" => Ok(LevelFilter::TRACE),
        "DEBUG" => Ok(LevelFilter::DEBUG),
        "INFO" => Ok(LevelFilter::INFO),
        "WARN" | "WARNING" => Ok(LevelFilter::WARN),
        "ERROR" => Ok(LevelFilter::ERROR),
        _ => Err(format!("`{name}` is none of TRACE, DEBUG, INFO, WARN, ERROR")),
    }
}

/// Begins to log: as was said, else as the configuration says. What is used below logs from warnings on.
///
/// # Errors
/// In words, if a level or format makes no sense, the file cannot be written, or something logs already.
pub fn begin(
    settings: Option<&LoggerSettings>,
    format: Option<LogFormat>,
    said: Option<LevelFilter>,
) -> Result<(), String> {
    let settings = settings.cloned().unwrap_or_default();
    let format = match (format, &settings.format) {
        (Some(format), _) => format,
        (None, Some(text)) => text.parse()?,
        (None, None) => LogFormat::default(),
    };
    let most = match (said, &settings.level) {
        (Some(level), _) => level,
        (None, Some(name)) => level(name)?,
        (None, None) => LevelFilter::INFO,
    };
    let filter = || {
        tracing_subscriber::filter::filter_fn(move |meta| {
            *meta.level() <= most && (meta.target().starts_with("rekeep") || *meta.level() <= tracing::Level::WARN)
        })
    };
    let file = match &settings.file_writer {
        None => None,
        Some(writer) => {
            let opened = LogFile::open(writer);
            Some(Mutex::new(opened.map_err(|error| format!("the log file {}: {error}", writer.filename))?))
        }
    };
    let mut layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> = vec![Kept.with_filter(filter()).boxed()];
    let lines = || tracing_subscriber::fmt::layer().with_ansi(false).with_target(false);
    if settings.stdout_writer != Some(false) {
        layers.push(match format {
            LogFormat::Plain => lines().with_filter(filter()).boxed(),
            LogFormat::Json => lines().json().flatten_event(true).with_filter(filter()).boxed(),
        });
    }
    if let Some(file) = file {
        layers.push(match format {
            LogFormat::Plain => lines().with_writer(file).with_filter(filter()).boxed(),
            LogFormat::Json => lines().json().flatten_event(true).with_writer(file).with_filter(filter()).boxed(),
        });
    }
    let begun = tracing_subscriber::registry().with(layers).try_init();
    begun.map_err(|error| error.to_string())
}
