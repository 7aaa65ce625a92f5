//! `dataset_metadata.json`, which a service keeps in a dataset: restored under another name, it says the new one.

use serde_json::{Map, Value as Json};

/// The file with other names in it; `None` where nothing would change.
///
/// # Errors
/// In words, why it cannot be rewritten.
pub(super) fn renamed(bytes: &[u8], name: Option<&str>, tenant: Option<&str>) -> Result<Option<Vec<u8>>, String> {
    if name.is_none() && tenant.is_none() {
        return Ok(None);
    }
    let mut fields: Map<String, Json> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let mut changed = false;
    for (field, value) in [("name", name), ("tenant_id", tenant)] {
        let Some(value) = value.map(Json::from) else { continue };
        if fields.get(field) != Some(&value) {
            fields.insert(field.to_owned(), value);
            changed = true;
        }
    }
    if !changed {
        return Ok(None);
    }
    serde_json::to_vec_pretty(&fields).map(Some).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_change_and_only_where_they_differ() {
        let file = br#"{"name":"a","tenant_id":"t","dimensions":3,"custom":{"x":[1.5]}}"#;
        assert_eq!(renamed(file, Some("a"), Some("t")).unwrap(), None);
        assert_eq!(renamed(file, None, None).unwrap(), None);
        let new: Json = serde_json::from_slice(&renamed(file, Some("b"), None).unwrap().unwrap()).unwrap();
        assert_eq!(new, serde_json::json!({"name":"b","tenant_id":"t","dimensions":3,"custom":{"x":[1.5]}}));
        for bad in [&b"["[..], b"[]", b"\xff", b""] {
            assert!(renamed(bad, Some("b"), None).is_err());
        }
    }
}
