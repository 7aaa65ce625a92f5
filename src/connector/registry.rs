//! Which connectors there are, by the scheme of their URLs. A program that has one of its own registers it beside those that
//! are built in, or instead of them.

use super::{
    ConnectorError, Inspection, Options, Role, Source, SourceUrl, Target,
    options::{OptionDescription, described},
    url::without_password,
};
use schemars::JsonSchema;
use std::{fmt, sync::Arc};

/// What makes sources and targets of one system.
pub trait Connector: Send + Sync {
    /// A URL as an example: `sqlite:FILE`.
    fn form(&self) -> &str;
    /// What stands before the colon of its URLs.
    fn scheme(&self) -> &str {
        self.form().split(':').next().unwrap_or_default()
    }
    /// The options that it knows; see [`options_of`].
    fn options(&self, _role: Role) -> Vec<OptionDescription> {
        Vec::new()
    }
    /// The source that a URL names. There are no options but those that it knows.
    ///
    /// # Errors
    /// [`ConnectorError`] if the URL or the options make no sense, or the source cannot be reached.
    fn source(&self, url: &SourceUrl, _options: &Options) -> Result<Box<dyn Source>, ConnectorError> {
        Err(ConnectorError::Url { url: url.to_string(), reason: "nothing can be read from there".to_owned() })
    }
    /// The URLs of several states, oldest first, where one URL stands for a chain of them; each is read by itself. `None`
    /// where it names one state.
    ///
    /// # Errors
    /// [`ConnectorError`] if they cannot be listed.
    fn chain(&self, _url: &SourceUrl) -> Result<Option<Vec<String>>, ConnectorError> {
        Ok(None)
    }
    /// Looks at what a URL names, without a session: what it holds, and what is wrong with it.
    ///
    /// # Errors
    /// [`ConnectorError`] if it cannot be looked at.
    fn inspect(&self, url: &SourceUrl, _options: &Options) -> Result<Inspection, ConnectorError> {
        let reason = "nothing looks at it but a backup".to_owned();
        Err(ConnectorError::Usage { object: url.to_string(), reason })
    }
    /// The target that a URL names. There are no options but those that it knows.
    ///
    /// # Errors
    /// As of [`Self::source`].
    fn target(&self, url: &SourceUrl, _options: &Options) -> Result<Box<dyn Target>, ConnectorError> {
        Err(ConnectorError::Url { url: url.to_string(), reason: "nothing can be written to there".to_owned() })
    }
}

/// The options that a type has, for [`Connector::options`].
#[must_use]
pub fn options_of<T: JsonSchema>() -> Vec<OptionDescription> {
    described::<T>()
}

/// What a path that stands there alone is likely meant as, by what lies there.
fn meant(path: &str) -> Option<&'static str> {
    let mut head = [0; 16];
    let read = |head: &mut [u8]| std::io::Read::read_exact(&mut std::fs::File::open(path)?, head);
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Some("files"),
        Ok(found) if found.is_file() && read(&mut head).is_ok() && head == *b"SQLite format 3\0" => Some("sqlite"),
        _ => None,
    }
}

/// Connectors by scheme. [`Registry::default`] has those that are built in.
#[derive(Clone)]
pub struct Registry {
    connectors: Vec<Arc<dyn Connector>>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.connectors().map(Connector::scheme)).finish()
    }
}

impl Registry {
    /// One without connectors.
    #[must_use]
    pub const fn empty() -> Self {
        Self { connectors: Vec::new() }
    }

    /// Adds a connector; it takes the place of one with the same scheme.
    #[must_use]
    pub fn with(mut self, connector: impl Connector + 'static) -> Self {
        match self.connectors.iter_mut().find(|other| other.scheme() == connector.scheme()) {
            Some(other) => *other = Arc::new(connector),
            None => self.connectors.push(Arc::new(connector)),
        }
        self
    }

    /// Those that there are.
    pub fn connectors(&self) -> impl Iterator<Item = &dyn Connector> {
        self.connectors.iter().map(AsRef::as_ref)
    }

    /// Opens the source that a URL names.
    ///
    /// # Errors
    /// [`ConnectorError`] if there is no such connector, it does not know an option, or the source cannot be reached.
    pub fn source(&self, url: &str, options: &Options) -> Result<Box<dyn Source>, ConnectorError> {
        let (connector, parsed) = self.find(url)?;
        self.check(connector, Role::Source, url, options)?;
        connector.source(&parsed, options)
    }

    /// Opens the target that a URL names.
    ///
    /// # Errors
    /// As of [`Self::source`].
    pub fn target(&self, url: &str, options: &Options) -> Result<Box<dyn Target>, ConnectorError> {
        let (connector, parsed) = self.find(url)?;
        self.check(connector, Role::Target, url, options)?;
        connector.target(&parsed, options)
    }

    /// The states that a URL stands for, if there are several.
    ///
    /// # Errors
    /// [`ConnectorError`] if there is no such connector, or they cannot be listed.
    pub fn chain(&self, url: &str) -> Result<Option<Vec<String>>, ConnectorError> {
        let (connector, parsed) = self.find(url)?;
        connector.chain(&parsed)
    }

    /// Looks at what a URL names.
    ///
    /// # Errors
    /// As of [`Self::source`].
    pub fn inspect(&self, url: &str, options: &Options) -> Result<Inspection, ConnectorError> {
        let (connector, parsed) = self.find(url)?;
        self.check(connector, Role::Source, url, options)?;
        connector.inspect(&parsed, options)
    }

    /// Whether what a URL names knows an option. Whoever has to look for a value first (a password) may ask.
    #[must_use]
    pub fn knows(&self, url: &str, role: Role, option: &str) -> bool {
        self.find(url).is_ok_and(|(connector, _)| knows(connector, role, option))
    }

    fn find(&self, text: &str) -> Result<(&dyn Connector, SourceUrl), ConnectorError> {
        let wrong = |reason: String| ConnectorError::Url { url: without_password(text), reason };
        let Some((scheme, _)) = text.split_once(':') else {
            if let Some(meant) = meant(text).filter(|meant| self.connectors().any(|one| one.scheme() == *meant)) {
                return Err(wrong(format!("write {meant}:{text}")));
            }
            let forms: Vec<&str> = self.connectors().map(Connector::form).collect();
            return Err(wrong(match forms.split_last() {
                Some((last, [])) => format!("write {last}"),
                Some((last, others)) => format!("write {} or {last}", others.join(", ")),
                None => "there are no connectors".to_owned(),
            }));
        };
        let Some(connector) = self.connectors().find(|connector| connector.scheme() == scheme) else {
            let schemes: Vec<String> = self.connectors().map(|connector| format!("{}:", connector.scheme())).collect();
            let is_near = |own: &&dyn Connector| {
                scheme.len() > 2 && (own.scheme().starts_with(scheme) || scheme.starts_with(own.scheme()))
            };
            let near = self.connectors().find(is_near).map(|own| format!("; `{}:` is the nearest", own.scheme()));
            let near = near.unwrap_or_default();
            return Err(wrong(format!("`{scheme}:` is not one of {}{near}", schemes.join(", "))));
        };
        Ok((connector, SourceUrl::parse(text)?))
    }

    /// Refuses options that a connector does not know.
    fn check(&self, own: &dyn Connector, role: Role, url: &str, options: &Options) -> Result<(), ConnectorError> {
        let own_options = own.options(role);
        let foreign: Vec<&str> =
            options.given().filter(|name| !own_options.iter().any(|option| option.name == *name)).collect();
        let Some(first) = foreign.first() else { return Ok(()) };
        let of = self.connectors().find(|connector| knows(*connector, role, first));
        let is_of = |name: &&str| of.is_some_and(|of| knows(of, role, name));
        let options = if of.is_some() { foreign.iter().copied().filter(is_of).collect() } else { vec![*first] };
        Err(ConnectorError::ForeignOptions {
            url: without_password(url),
            options: options.into_iter().map(str::to_owned).collect(),
            role,
            of: of.map(|of| of.scheme().to_owned()),
        })
    }
}

fn knows(connector: &dyn Connector, role: Role, option: &str) -> bool {
    connector.options(role).iter().any(|known| known.name == option)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct Named(&'static str, &'static str);

    impl Connector for Named {
        fn form(&self) -> &str {
            self.0
        }

        fn options(&self, role: Role) -> Vec<OptionDescription> {
            let option = |name: &str| OptionDescription {
                name: name.to_owned(),
                description: String::new(),
                schema: json!(true),
            };
            if role == Role::Source { self.1.split(' ').map(option).collect() } else { Vec::new() }
        }
    }

    fn refused(url: &str, options: serde_json::Value) -> String {
        let registry = Registry::empty().with(Named("one", "a b")).with(Named("two", "b c d"));
        let options: Options = serde_json::from_value(options).unwrap();
        registry.source(url, &options).err().unwrap().to_string()
    }

    #[test]
    fn an_option_of_another_connector_is_refused_and_its_owner_named() {
        let said = refused("one:x", json!({"a": 1, "b": 1, "c": 1, "d": 1}));
        assert_eq!(said, "`c`, `d` are for two: sources, not `one:x`");
        assert_eq!(refused("one:x", json!({"c": 1})), "`c` is for two: sources, not `one:x`");
        assert_eq!(refused("one:x", json!({"z": 1})), "no sources have the option `z`, nor has `one:x`");
        assert_eq!(refused("one:x", json!({"b": 1})), "`one:x` is no source or target: nothing can be read from there");
    }

    #[test]
    fn a_url_without_a_connector_is_told_which_there_are() {
        assert!(refused("x", json!({})).ends_with("write one or two"));
        assert!(refused("three:x", json!({})).ends_with("`three:` is not one of one:, two:"));
        assert!(refused("twos:x", json!({})).ends_with("; `two:` is the nearest"));
        assert!(refused("two:", json!({})).ends_with("nothing follows the colon"));
    }

    #[test]
    fn a_connector_may_be_replaced() {
        let registry = Registry::empty().with(Named("one", "a")).with(Named("one", "z"));
        assert_eq!(registry.connectors().count(), 1);
        assert!(registry.knows("one:x", Role::Source, "z") && !registry.knows("one:x", Role::Source, "a"));
    }

    #[test]
    fn what_comes_from_the_environment_is_dropped_where_it_is_not_known() {
        let registry = Registry::empty().with(Named("one", "a"));
        let mut options = Options::default();
        options.set("z", 1);
        options.make_ambient(["z"]);
        let error = registry.source("one:x", &options).err().unwrap().to_string();
        assert!(error.contains("nothing can be read"), "{error}");
    }
}
