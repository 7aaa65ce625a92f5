//! What a manifest says of the sets of a collection.

use crate::{
    layer::join::Sets,
    repo::{carried::Carried, manifest::SetNumbers},
};
use data_encoding::HEXLOWER;

/// As a manifest gives them.
pub(super) fn numbers_of(sets: &Sets) -> Vec<SetNumbers> {
    let numbers = sets.iter().map(|(name, summary)| SetNumbers {
        set: name.map(|name| HEXLOWER.encode(name)),
        records: summary.records,
        value_bytes: summary.value_bytes,
        expiring: summary.expiring,
        latest_expiry: summary.latest_expiry,
        largest_value: summary.largest_value,
        without_user_key: summary.without_user_key,
        other: Carried::default(),
    });
    numbers.collect()
}
