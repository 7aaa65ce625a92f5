//! Which start timestamps are written by which schema: what `_coordination` says.

use super::codec::Encoding;
use data_encoding::BASE64;
use serde::Deserialize;

/// Ranges of start timestamps and their schemas; an empty list is schema 1 for all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Schemas(Vec<(i64, Option<i64>, i64)>);

#[derive(Deserialize)]
struct Versioned {
    payload: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    timestamp_to_transactions_table_schema_version: Map,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Map {
    timestamp_mappings: Vec<Mapping>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mapping {
    long_range: LongRange,
    value: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LongRange {
    lower_endpoint: Option<i64>,
    lower_bound_type: Option<String>,
    upper_endpoint: Option<i64>,
    upper_bound_type: Option<String>,
}

/// The number of the value that counts, of what stands in the first column.
pub(super) fn sequence(value: &[u8]) -> Result<i64, String> {
    #[derive(Deserialize)]
    struct Sequence {
        sequence: i64,
    }
    let read: Result<Sequence, _> = serde_json::from_slice(value);
    read.map(|read| read.sequence).map_err(|error| format!("the number in _coordination: {error}"))
}

impl Schemas {
    /// From the value that counts.
    pub(super) fn read(value: &[u8]) -> Result<Self, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("the map in _coordination: {error}");
        let versioned: Versioned = serde_json::from_slice(value).map_err(|error| wrong(&error))?;
        let payload = BASE64.decode(versioned.payload.as_bytes()).map_err(|error| wrong(&error))?;
        let metadata: Metadata = serde_json::from_slice(&payload).map_err(|error| wrong(&error))?;
        let mut ranges = Vec::new();
        for mapping in metadata.timestamp_to_transactions_table_schema_version.timestamp_mappings {
            let LongRange { lower_endpoint, lower_bound_type, upper_endpoint, upper_bound_type } = mapping.long_range;
            if !(1..=3).contains(&mapping.value) {
                return Err(format!(
                    "schema {} of transactions is not known here: only 1, 2 and 3 can be cleaned, and nothing was changed",
                    mapping.value
                ));
            }
            // Both bounds as the first that is in, and the first that no longer is.
            let step = |bound: Option<&str>, plain: &str| i64::from(bound.is_some_and(|bound| bound != plain));
            let lower = lower_endpoint.map_or(0, |at| at.saturating_add(step(lower_bound_type.as_deref(), "CLOSED")));
            let upper = upper_endpoint.map(|at| at.saturating_add(step(upper_bound_type.as_deref(), "OPEN")));
            ranges.push((lower, upper, mapping.value));
        }
        if ranges.is_empty() {
            return Err(wrong(&"it holds no range"));
        }
        Ok(Self(ranges))
    }

    /// How transactions that began at a time are written.
    pub(super) fn of(&self, start: i64) -> Option<Encoding> {
        if self.0.is_empty() {
            return Some(Encoding::Direct);
        }
        let holds =
            |(lower, upper, _): &&(i64, Option<i64>, i64)| *lower <= start && upper.is_none_or(|end| start < end);
        match self.0.iter().find(holds)?.2 {
            1 => Some(Encoding::Direct),
            2 => Some(Encoding::Tickets),
            _ => Some(Encoding::TwoPhase),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    /// A map as it is stored.
    pub(in super::super) fn stored(ranges: &[(i64, Option<i64>, i64)]) -> Vec<u8> {
        let mapping = |(lower, upper, version): &(i64, Option<i64>, i64)| match upper {
            Some(upper) => {
                json!({"longRange": {"lowerEndpoint": lower, "lowerBoundType": "CLOSED", "upperEndpoint": upper, "upperBoundType": "OPEN"}, "value": version})
            }
            None => json!({"longRange": {"lowerEndpoint": lower, "lowerBoundType": "CLOSED"}, "value": version}),
        };
        let map: Vec<_> = ranges.iter().map(mapping).collect();
        let payload = json!({"timestampToTransactionsTableSchemaVersion": {"timestampMappings": map}}).to_string();
        json!({"version": 1, "payload": BASE64.encode(payload.as_bytes())}).to_string().into_bytes()
    }

    #[test]
    fn each_start_has_the_schema_of_its_range() {
        let schemas = Schemas::read(&stored(&[(1, Some(100), 1), (100, Some(200), 2), (200, None, 3)])).unwrap();
        let of = |start| schemas.of(start);
        assert_eq!((of(99), of(100)), (Some(Encoding::Direct), Some(Encoding::Tickets)));
        assert_eq!((of(199), of(200)), (Some(Encoding::Tickets), Some(Encoding::TwoPhase)));
        assert_eq!(of(0), None);
        assert_eq!(Schemas::default().of(5), Some(Encoding::Direct));
    }

    #[test]
    fn schemas_that_are_not_known_and_other_bytes_are_refused() {
        assert!(Schemas::read(&stored(&[(1, Some(9), 1), (9, None, 4)])).unwrap_err().contains("schema 4"));
        for bad in [&b""[..], b"{}", b"{\"payload\": \"!\"}", b"{\"payload\": \"e30=\"}"] {
            assert!(Schemas::read(bad).is_err());
        }
        assert!(Schemas::read(&stored(&[])).is_err());
        assert_eq!(sequence(b"{\"sequence\":7,\"bound\":9}"), Ok(7));
    }
}
