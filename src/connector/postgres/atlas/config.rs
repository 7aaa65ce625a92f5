//! `AtlasDB`'s own configuration: the block that says where the key-value store is.

use crate::connector::{ConnectorError, SourceUrl};
use serde_json::Value as Json;
use std::{fs, path::Path};

/// A longer file is no configuration.
const MAX_BYTES: u64 = 1 << 20;

/// Where the block is, unless it is said: where the store's own command looks.
const USUAL_ROOT: &str = "/atlasdb";

/// Reads the block at `root` of a file: the URL that it stands for, with the store's name at a `TimeLock`.
///
/// # Errors
/// [`ConnectorError`] if there is none, or it names another kind of store.
pub(super) fn read(path: &Path, root: Option<&str>) -> Result<SourceUrl, ConnectorError> {
    let object = path.display().to_string();
    let io = |source| ConnectorError::Io { operation: "read", object: object.clone(), source };
    let wrong = |reason: String| ConnectorError::Usage { object: object.clone(), reason };
    if fs::metadata(path).map_err(io)?.len() > MAX_BYTES {
        return Err(wrong("it is longer than 1 MiB, and no configuration".to_owned()));
    }
    let text = fs::read_to_string(path).map_err(io)?;
    from_text(&text, root).map_err(wrong)
}

pub(super) fn from_text(text: &str, root: Option<&str>) -> Result<SourceUrl, String> {
    let whole: Json = serde_saphyr::from_str(text).map_err(|error| {
        // What stands in the file may be a password: only the place is told.
        let said = error.to_string();
        let place = said.rfind(" line ").map_or("", |at| said[at..].lines().next().unwrap_or_default());
        format!("it is no YAML{place}")
    })?;
    let block = match root {
        Some("" | "/") => &whole,
        Some(root) => {
            let pointer = format!("/{}", root.trim_matches('/'));
            whole.pointer(&pointer).ok_or_else(|| format!("it has no block {pointer}"))?
        }
        None => whole.pointer(USUAL_ROOT).unwrap_or(&whole),
    };
    let store = block.get("keyValueService").ok_or("the block has no keyValueService")?;
    let text = |of: &Json, name: &str| match of.get(name) {
        Some(Json::String(text)) => Some(text.clone()),
        Some(Json::Number(number)) => Some(number.to_string()),
        Some(Json::Bool(bool)) => Some(bool.to_string()),
        _ => None,
    };
    let is = |of: &Json, what: &str, wanted: &str| match text(of, "type") {
        Some(kind) if kind == wanted => Ok(()),
        kind => Err(format!("{what} is {}, and only {wanted} can be read here", kind.unwrap_or_default())),
    };
    is(store, "its key-value service", "relational")?;
    if let Some(ddl) = store.get("ddl") {
        is(ddl, "its ddl", "postgres")?;
    }
    let connection = store.get("connection").ok_or("its key-value service has no connection")?;
    is(connection, "its connection", "postgres")?;
    let need = |name: &str| text(connection, name).ok_or_else(|| format!("its connection has no {name}"));
    let mut options = vec![
        ("host".to_owned(), need("host")?),
        ("port".to_owned(), need("port")?),
        ("dbname".to_owned(), need("dbName")?),
        ("user".to_owned(), need("dbLogin")?),
    ];
    let mut add = |name: &str, value: Option<String>| options.extend(value.map(|value| (name.to_owned(), value)));
    add("password", text(connection, "dbPassword"));
    if let Some(Json::Object(parameters)) = connection.get("connectionParameters") {
        for name in ["ssl", "sslmode", "sslrootcert", "sslcert", "sslkey"] {
            add(name, parameters.get(name).and_then(Json::as_str).map(str::to_owned));
        }
        // The driver's name of it.
        add("schema", parameters.get("currentSchema").and_then(Json::as_str).map(str::to_owned));
    }
    let ddl = store.get("ddl").unwrap_or(&Json::Null);
    add("prefix", text(ddl, "tablePrefix"));
    add("metadata-table", text(ddl, "metadataTable"));
    add("client", text(block, "namespace").or_else(|| text(connection, "dbName")));
    Ok(SourceUrl { scheme: "postgresql".to_owned(), place: "///".to_owned(), written: "///".to_owned(), options })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str = "
server: {port: 1}
atlas:
  block:
    namespace: bank
    keyValueService:
      type: relational
      ddl: {type: postgres, tablePrefix: a_}
      connection: {type: postgres, host: db1, port: 5433, dbName: atlas, dbLogin: palantir, dbPassword: 's3cret'}
";

    #[test]
    fn the_block_says_where_the_store_is() {
        let url = from_text(BLOCK, Some("/atlas/block")).unwrap();
        let get = |name: &str| url.options.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
        assert_eq!((get("host"), get("port"), get("dbname")), (Some("db1"), Some("5433"), Some("atlas")));
        assert_eq!((get("user"), get("password")), (Some("palantir"), Some("s3cret")));
        assert_eq!((get("prefix"), get("metadata-table"), get("client")), (Some("a_"), None, Some("bank")));
        assert!(from_text(BLOCK, Some("atlas/block")).is_ok());
        let usual = BLOCK.replace("atlas:\n  block:", "atlasdb:").replace("\n    ", "\n  ");
        assert!(from_text(&usual, None).is_ok(), "{usual}");
    }

    #[test]
    fn other_stores_and_other_texts_are_refused_without_repeating_what_they_hold() {
        for (text, root, word) in [
            (BLOCK.replace("type: relational", "type: cassandra"), Some("/atlas/block"), "cassandra"),
            (BLOCK.replace("ddl: {type: postgres", "ddl: {type: oracle"), Some("/atlas/block"), "oracle"),
            (BLOCK.replace("dbName: atlas, ", ""), Some("/atlas/block"), "dbName"),
            (BLOCK.to_owned(), Some("/none"), "no block /none"),
            (BLOCK.to_owned(), None, "keyValueService"),
            ("a: [s3cret".to_owned(), None, "no YAML"),
            ("s3cret".to_owned(), None, "keyValueService"),
            (String::new(), None, "keyValueService"),
        ] {
            let error = from_text(&text, root).unwrap_err();
            assert!(error.contains(word) && !error.contains("s3cret"), "{error}");
        }
    }
}
