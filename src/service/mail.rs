//! Mail to people when something happens: the same events as webhooks get, by SMTP.

use super::config::{Config, MailSettings, Secrets, check::EVENTS};
use lettre::{
    Message, SmtpTransport, Transport as _,
    message::{Mailbox, header::ContentType},
    transport::smtp::{
        authentication::Credentials,
        client::{Tls, TlsParameters},
    },
};
use serde_json::Value as Json;
use std::time::Duration;

/// How long a server may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a connection is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encryption {
    StartTls,
    Tls,
    None,
}

impl Encryption {
    fn of(settings: &MailSettings) -> Result<Self, String> {
        match settings.encryption.as_deref().unwrap_or("starttls") {
            "starttls" => Ok(Self::StartTls),
            "tls" => Ok(Self::Tls),
            "none" => Ok(Self::None),
            other => Err(format!("encryption: `{other}` is none of starttls, tls, none")),
        }
    }

    const fn port(self) -> u16 {
        match self {
            Self::StartTls => 587,
            Self::Tls => 465,
            Self::None => 25,
        }
    }
}

fn mailbox(text: &str) -> Result<Mailbox, String> {
    text.parse().map_err(|error| format!("`{text}` is no address: {error}"))
}

/// What is wrong with settings.
pub(super) fn check(settings: &MailSettings) -> Result<(), String> {
    let encryption = Encryption::of(settings)?;
    if settings.server.is_empty() {
        return Err("it needs a server".to_owned());
    }
    mailbox(&settings.from)?;
    if settings.to.is_empty() {
        return Err("to: nobody gets it".to_owned());
    }
    settings.to.iter().try_for_each(|to| mailbox(to).map(drop))?;
    if settings.user.is_some() != settings.password.is_some() {
        return Err("user and password belong together".to_owned());
    }
    if encryption == Encryption::None && settings.password.is_some() {
        return Err("a password is not sent in clear: encryption is starttls or tls".to_owned());
    }
    match settings.on.iter().find(|event| !EVENTS.contains(&event.as_str())) {
        Some(event) => Err(format!("on: `{event}` is none of {}", EVENTS.join(", "))),
        None => Ok(()),
    }
}

/// A line that names what happened.
fn subject(told: &Json) -> String {
    let text = |name: &str| told.get(name).and_then(Json::as_str).unwrap_or_default();
    let words = match text("event") {
        "missing" => format!("there is no new backup of {}", text("routine")),
        event => format!("{} {} of {}: {event}", text("type"), text("verb"), text("routine")),
    };
    // One line, whatever names hold.
    let words: String = words.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    format!("rekeep: {words}")
}

/// What happened, a line each.
fn body(told: &Json) -> String {
    let lines = told.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let lines = lines.map(|(name, value)| match value {
        Json::String(text) => format!("{name}: {text}\r\n"),
        value => format!("{name}: {value}\r\n"),
    });
    lines.collect()
}

/// Sends one mail to everybody.
///
/// # Errors
/// In words.
pub(super) fn send(config: &Config, settings: &MailSettings, told: &Json) -> Result<(), String> {
    let mut message = Message::builder().from(mailbox(&settings.from)?).subject(subject(told));
    for to in &settings.to {
        message = message.to(mailbox(to)?);
    }
    let message = message.header(ContentType::TEXT_PLAIN).body(body(told)).map_err(|error| error.to_string())?;
    let encryption = Encryption::of(settings)?;
    let words = |error: lettre::transport::smtp::Error| error.to_string();
    let parameters = || TlsParameters::new(settings.server.clone()).map_err(words);
    let tls = match encryption {
        // Never in clear where that was not asked for.
        Encryption::StartTls => Tls::Required(parameters()?),
        Encryption::Tls => Tls::Wrapper(parameters()?),
        Encryption::None => Tls::None,
    };
    let mut transport = SmtpTransport::builder_dangerous(&settings.server)
        .port(settings.port.unwrap_or_else(|| encryption.port()))
        .tls(tls)
        .timeout(Some(PATIENCE));
    if let (Some(user), Some(password)) = (&settings.user, &settings.password) {
        let password = Secrets::new(config, None, None)?.get(&password.0)?;
        transport = transport.credentials(Credentials::new(user.clone(), password));
    }
    transport.build().send(&message).map(drop).map_err(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::config::Hidden;
    use serde_json::json;

    fn settings() -> MailSettings {
        MailSettings {
            server: "mail.example.org".to_owned(),
            from: "Backups <backup@example.org>".to_owned(),
            to: vec!["you@example.org".to_owned()],
            ..MailSettings::default()
        }
    }

    #[test]
    fn what_makes_no_sense_is_found() {
        assert_eq!(check(&settings()), Ok(()));
        let wrong = |change: fn(&mut MailSettings), words: &str| {
            let mut settings = settings();
            change(&mut settings);
            let found = check(&settings).unwrap_err();
            assert!(found.contains(words), "{found}");
        };
        wrong(|it| it.server.clear(), "server");
        wrong(|it| it.from = "nobody".to_owned(), "no address");
        wrong(|it| it.to.clear(), "nobody");
        wrong(|it| it.to = vec!["a@b\r\nBcc: c@d".to_owned()], "no address");
        wrong(|it| it.encryption = Some("ssl".to_owned()), "none of");
        wrong(|it| it.on = vec!["always".to_owned()], "none of");
        wrong(|it| it.user = Some("u".to_owned()), "belong together");
        wrong(
            |it| {
                it.user = Some("u".to_owned());
                it.password = Some(Hidden("p".to_owned()));
                it.encryption = Some("none".to_owned());
            },
            "in clear",
        );
    }

    #[test]
    fn a_subject_is_one_line() {
        let told = json!({ "event": "failure", "verb": "backup", "type": "full", "routine": "a\r\nBcc: x@y" });
        assert_eq!(subject(&told), "rekeep: full backup of a  Bcc: x@y: failure");
        assert_eq!(subject(&json!({ "event": "missing", "routine": "r" })), "rekeep: there is no new backup of r");
    }
}
