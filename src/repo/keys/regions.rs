//! The feature of `rekeep.json` that says in which regions data may be written.

use crate::repo::RepoError;

/// What the feature's name begins with; regions follow, with commas between.
const PREFIX: &str = "write:allowed-regions:";

/// The longest name of a region.
const MAX_BYTES: usize = 64;

fn is_region(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty() && name.len() <= MAX_BYTES && name.bytes().all(is_plain)
}

/// Refuses names that no region has.
pub(super) fn check(regions: &[String]) -> Result<(), RepoError> {
    match regions.iter().find(|name| !is_region(name)) {
        None => Ok(()),
        Some(name) => Err(RepoError::Invalid(format!(
            "`{name}` is no region's name: these are lower-case letters, digits and hyphens, such as eu-central-1, or `local`"
        ))),
    }
}

/// Regions as the feature names them: in order, each once.
pub(super) fn in_order(regions: &[String]) -> Vec<String> {
    let mut regions = regions.to_vec();
    regions.sort_unstable();
    regions.dedup();
    regions
}

/// The feature for these regions; `None` for anywhere.
pub(super) fn feature(regions: &[String]) -> Option<String> {
    (!regions.is_empty()).then(|| format!("{PREFIX}{}", in_order(regions).join(",")))
}

/// The regions that a feature names; `None` if it is another, or names them in a way that is not known: then nothing is written.
pub(super) fn of(feature: &str) -> Option<Vec<&str>> {
    let regions: Vec<&str> = feature.strip_prefix(PREFIX)?.split(',').collect();
    regions.iter().all(|name| is_region(name)).then_some(regions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_names_regions_in_order_and_once_and_gives_them_back() {
        let regions = ["eu-west-1", "eu-central-1", "eu-west-1"].map(str::to_owned);
        let feature = feature(&regions).unwrap();
        assert_eq!(feature, "write:allowed-regions:eu-central-1,eu-west-1");
        assert_eq!(of(&feature), Some(vec!["eu-central-1", "eu-west-1"]));
        assert_eq!(super::feature(&[]), None);
    }

    #[test]
    fn what_no_region_is_called_is_refused_and_not_understood() {
        for name in ["", "EU", "a,b", "a b", "eu_central", "ü", &"a".repeat(65)] {
            assert!(check(&[name.to_owned()]).is_err(), "{name}");
            assert!(of(&format!("{PREFIX}{name}")).is_none() || name.contains(','), "{name}");
        }
        assert!(check(&["local".to_owned()]).is_ok());
        assert_eq!(of("write:allowed-regions"), None);
        assert_eq!(of("write:allowed-regions:eu-west-1,"), None);
    }
}
