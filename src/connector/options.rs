//! Options of sources and targets as they come: by name, from a command's flags, a file, or the body of a request. A
//! connector gives them a type, [`Registry`](super::Registry) refuses those that it does not know.

use super::ConnectorError;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned, de::Error as _};
use serde_json::{Map, Value as Json};
use std::{collections::BTreeSet, fmt, time::Duration};
use zeroize::Zeroizing;

/// Options by name. Read from a document they are the fields of an object.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Options {
    values: Map<String, Json>,
    /// Those that nobody gave for this source or target: where they are not known they are dropped.
    #[serde(skip)]
    ambient: BTreeSet<String>,
}

impl fmt::Debug for Options {
    /// Names only: a value may be a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

impl Options {
    /// Gives an option.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<Json>) {
        self.values.insert(name.into(), value.into());
    }

    /// Gives all fields of a set of options but those that say nothing: absent, `false`, empty lists.
    ///
    /// # Errors
    /// [`ConnectorError::Options`] if it is no object of JSON.
    pub fn add(&mut self, set: &impl Serialize) -> Result<(), ConnectorError> {
        let says = |value: &Json| match value {
            Json::Null | Json::Bool(false) => false,
            Json::Array(list) => !list.is_empty(),
            _ => true,
        };
        match serde_json::to_value(set) {
            Ok(Json::Object(fields)) => self.values.extend(fields.into_iter().filter(|(_, value)| says(value))),
            Ok(_) => return Err(ConnectorError::Options { reason: "options are fields of an object".to_owned() }),
            Err(error) => return Err(ConnectorError::Options { reason: error.to_string() }),
        }
        Ok(())
    }

    /// Says that these, if they are given, are not meant for this source or target alone (they come from the environment):
    /// where they are not known they are dropped instead of refused.
    pub fn make_ambient<'n>(&mut self, names: impl IntoIterator<Item = &'n str>) {
        self.ambient.extend(names.into_iter().map(str::to_owned));
    }

    /// The names of those that were given for this source or target.
    pub fn given(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str).filter(|name| !self.ambient.contains(*name))
    }

    /// Those whose names a type has.
    ///
    /// # Errors
    /// [`ConnectorError::Options`] that names the one whose value makes no sense.
    pub fn read<T: DeserializeOwned + JsonSchema>(&self) -> Result<T, ConnectorError> {
        let known: BTreeSet<String> = described::<T>().into_iter().map(|option| option.name).collect();
        let fields: Map<String, Json> =
            self.values.iter().filter(|(name, _)| known.contains(*name)).map(|(n, v)| (n.clone(), v.clone())).collect();
        serde_json::from_value(Json::Object(fields.clone())).map_err(|error| {
            // Each option has a default, so that one alone can be tried.
            let alone = |name: &String, value: &Json| {
                let one = Map::from_iter([(name.clone(), value.clone())]);
                serde_json::from_value::<T>(Json::Object(one))
                    .err()
                    .map(|error| format!("the option `{name}`: {error}"))
            };
            let reason = fields.iter().find_map(|(name, value)| alone(name, value));
            ConnectorError::Options { reason: reason.unwrap_or_else(|| error.to_string()) }
        })
    }
}

/// An option as people and programs are told of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OptionDescription {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
    /// Which values it takes, as JSON Schema.
    pub schema: Json,
}

/// The options that a type has.
#[must_use]
pub fn described<T: JsonSchema>() -> Vec<OptionDescription> {
    let settings =
        schemars::generate::SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<T>();
    let properties = schema.as_value().get("properties").and_then(Json::as_object);
    let describe = |(name, schema): (&String, &Json)| OptionDescription {
        name: name.clone(),
        description: schema.get("description").and_then(Json::as_str).unwrap_or_default().to_owned(),
        schema: schema.clone(),
    };
    properties.into_iter().flatten().map(describe).collect()
}

/// A length of time: `26h`, `90min`, `2 days`, or a number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(with = "Json", description = "A length of time: `26h`, `90min`, `2 days`, or a number of seconds")]
pub struct Length(pub Duration);

impl Length {
    /// Reads words.
    ///
    /// # Errors
    /// In words, what is wrong.
    pub fn parse(text: &str) -> Result<Duration, String> {
        let wrong = || format!("`{text}` is no length of time: write 26h, 90min or 2 days");
        let span: jiff::Span = text.trim().parse().map_err(|_| wrong())?;
        let duration = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
        Duration::try_from(duration).map_err(|_| wrong())
    }
}

impl Serialize for Length {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.as_secs_f64())
    }
}

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || D::Error::custom("it is no length of time: write 26h, 90min, 2 days, or a number of seconds");
        match Json::deserialize(deserializer)? {
            Json::String(text) => Self::parse(&text).map(Self).map_err(D::Error::custom),
            Json::Number(seconds) => {
                let seconds = seconds.as_f64().ok_or_else(wrong)?;
                Duration::try_from_secs_f64(seconds).map(Self).map_err(|_| wrong())
            }
            _ => Err(wrong()),
        }
    }
}

/// A password. It is not shown, not even in a message about itself.
#[derive(Clone, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub struct Secret(pub Zeroizing<String>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Json::deserialize(deserializer)? {
            Json::String(text) => Ok(Self(Zeroizing::new(text))),
            _ => Err(D::Error::custom("it is no text")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Debug, Default, Deserialize, JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    struct Few {
        /// How patient it is.
        patience: Option<Length>,
        password: Option<Secret>,
        names: Vec<String>,
    }

    fn options(document: Json) -> Options {
        serde_json::from_value(document).unwrap()
    }

    #[test]
    fn a_type_names_and_describes_its_options() {
        let known = described::<Few>();
        assert_eq!(known.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["names", "password", "patience"]);
        assert!(known[2].description.starts_with("How patient it is"), "{known:?}");
    }

    #[test]
    fn values_are_read_by_name_and_a_wrong_one_is_named() {
        let some: Few = options(json!({"patience": "2 days", "names": ["a"], "of another": 1})).read().unwrap();
        assert_eq!((some.patience, some.names), (Some(Length(Duration::from_hours(48))), vec!["a".to_owned()]));
        let half: Few = options(json!({"patience": 0.5})).read().unwrap();
        assert_eq!(half.patience, Some(Length(Duration::from_millis(500))));
        for bad in [json!("soon"), json!(-1), json!([]), json!(1e300)] {
            let error = options(json!({"names": [], "patience": bad})).read::<Few>().unwrap_err().to_string();
            assert!(error.contains("`patience`"), "{error}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let given = options(json!({"password": "hidden"}));
        let some: Few = given.read().unwrap();
        assert!(!format!("{given:?} {some:?}").contains("hidden"));
        let error = options(json!({"password": 12345})).read::<Few>().unwrap_err().to_string();
        assert!(error.contains("password") && !error.contains("12345"), "{error}");
    }

    #[test]
    fn what_says_nothing_is_not_given() {
        let mut options = Options::default();
        options.add(&json!({"a": null, "b": false, "c": [], "d": 0, "e": ""})).unwrap();
        assert_eq!(options.given().collect::<Vec<_>>(), ["d", "e"]);
        options.make_ambient(["e", "f"]);
        assert_eq!(options.given().collect::<Vec<_>>(), ["d"]);
    }
}
