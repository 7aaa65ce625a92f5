//! `stats --cost`: what keeping the repository costs in a month, and what it costs to read all of it back, by a table of prices.

use super::{OpsError, Progress};
use crate::{
    repo::{Storage, keys},
    report::ErrorKind,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashSet},
    hash::{BuildHasher, RandomState},
};

/// The table that is built in.
pub const PRICES: &str = include_str!("cost/prices.json");

/// What vendors call a gigabyte.
const GB: f64 = (1_u64 << 30) as f64;

/// Prices by class of storage.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// Where they come from, in words.
    #[serde(default)]
    pub note: String,
    /// What they are counted in.
    pub currency: String,
    /// For each gigabyte that leaves the service.
    #[serde(default)]
    pub per_gb_out: f64,
    /// By the service's words for the class.
    pub classes: BTreeMap<String, Price>,
}

/// Prices of one class.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// For keeping a gigabyte for a month.
    pub per_gb_month: f64,
    /// For a thousand requests that read or thaw.
    #[serde(default)]
    pub per_1000_reads: f64,
    /// For reading or thawing a gigabyte.
    #[serde(default)]
    pub per_gb_read: f64,
    /// An object of fewer bytes is billed as one of so many.
    #[serde(default)]
    pub minimum_bytes: u64,
    /// Bytes that are billed beside each object's own.
    #[serde(default)]
    pub overhead_bytes: u64,
}

/// What lies in one class, and what that costs.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ClassCost {
    /// The class.
    pub class: String,
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The bytes that are billed.
    pub billed_bytes: u64,
    /// For a month; `None` without a price.
    pub month: Option<f64>,
    /// For reading all of it once, without what leaving the service costs.
    pub read_back: Option<f64>,
}

/// What a repository costs.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Costs {
    /// What is counted in.
    pub currency: String,
    /// Where the prices come from.
    pub prices: String,
    /// By class.
    pub classes: Vec<ClassCost>,
    /// For a month.
    pub month: f64,
    /// For reading all of it once.
    pub read_back: f64,
    /// What of that is for leaving the service.
    pub out: f64,
    /// Classes that the table has no price for: they count as nothing.
    pub unpriced: Vec<String>,
}

impl Prices {
    /// Understands a table.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] with what is wrong and where.
    pub fn parse(text: &str) -> Result<Self, OpsError> {
        let invalid =
            |words: String| OpsError::refused(ErrorKind::InvalidInput, format!("the table of prices: {words}"));
        let prices: Self = serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
        let is_price = |number: f64| number.is_finite() && number >= 0.0;
        for (class, price) in &prices.classes {
            if ![price.per_gb_month, price.per_1000_reads, price.per_gb_read].into_iter().all(is_price) {
                return Err(invalid(format!("class {class} has a price below nothing")));
            }
        }
        if !is_price(prices.per_gb_out) {
            return Err(invalid("per_gb_out is below nothing".to_owned()));
        }
        Ok(prices)
    }

    /// What all of this costs.
    fn of(&self, classes: BTreeMap<String, ClassCost>) -> Costs {
        let mut costs = Costs { currency: self.currency.clone(), prices: self.note.clone(), ..Costs::default() };
        for (class, mut cost) in classes {
            costs.out += cost.bytes as f64 / GB * self.per_gb_out;
            match self.classes.get(&class) {
                None => costs.unpriced.push(class),
                Some(price) => {
                    let month = cost.billed_bytes as f64 / GB * price.per_gb_month;
                    let read_back = cost.objects as f64 / 1000.0 * price.per_1000_reads
                        + cost.bytes as f64 / GB * price.per_gb_read;
                    (cost.month, cost.read_back) = (Some(month), Some(read_back));
                    costs.month += month;
                    costs.read_back += read_back;
                }
            }
            costs.classes.push(cost);
        }
        costs.read_back += costs.out;
        costs
    }
}

impl ClassCost {
    fn add(&mut self, bytes: u64, price: Option<&Price>) {
        self.objects += 1;
        self.bytes += bytes;
        let price = price.copied().unwrap_or_default();
        self.billed_bytes += bytes.max(price.minimum_bytes) + price.overhead_bytes;
    }
}

/// What the repository at a place costs. Where a listing does not tell classes, everything lies in `class`.
pub fn costs(storage: &Storage, prices: &Prices, class: &str, progress: &dyn Progress) -> Result<Costs, OpsError> {
    let mut classes: BTreeMap<String, ClassCost> = BTreeMap::new();
    let mut add = |name: &str, bytes: u64| {
        let entry = classes.entry(name.to_owned());
        let cost = entry.or_insert_with(|| ClassCost { class: name.to_owned(), ..ClassCost::default() });
        cost.add(bytes, prices.classes.get(name));
    };
    let state = RandomState::new();
    for folder in keys::FOLDERS {
        super::crew::heed(progress)?;
        // A listing that has to begin anew tells objects twice.
        let mut seen = HashSet::new();
        let mut is_new = |name: &str| seen.insert(state.hash_one(name));
        let tells = storage.list_classes(folder, &mut |page| {
            page.iter().filter(|(it, _)| is_new(&it.name)).for_each(|(it, class)| add(class, it.bytes));
        })?;
        if !tells {
            storage.list_pages(folder, &mut |page| {
                page.iter().filter(|it| is_new(&it.name)).for_each(|it| add(class, it.bytes));
            })?;
        }
    }
    if let Some(bytes) = storage.len(keys::CONFIG)? {
        add(class, bytes);
    }
    Ok(prices.of(classes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_that_is_built_in_can_be_read_and_prices_what_services_call_standard() {
        let prices = Prices::parse(PRICES).unwrap();
        for class in
            ["STANDARD", "STANDARD_IA", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE", "INTELLIGENT_TIERING", "LOCAL"]
        {
            assert!(prices.classes.contains_key(class), "{class}");
        }
        assert!(prices.classes["DEEP_ARCHIVE"].per_gb_month < prices.classes["STANDARD"].per_gb_month);
    }

    #[test]
    fn small_objects_are_billed_as_the_class_bills_them_and_what_has_no_price_is_named() {
        let text = "{\"currency\": \"EUR\", \"per_gb_out\": 1, \"classes\": {\"A\": {\"per_gb_month\": 2, \"per_1000_reads\": 500, \
                    \"per_gb_read\": 3, \"minimum_bytes\": 1000, \"overhead_bytes\": 24}}}";
        let prices = Prices::parse(text).unwrap();
        let price = prices.classes.get("A");
        let mut a = ClassCost { class: "A".to_owned(), ..ClassCost::default() };
        a.add(10, price);
        a.add(1 << 30, price);
        assert_eq!((a.objects, a.billed_bytes), (2, 1024 + 24 + (1 << 30)));
        let mut b = ClassCost { class: "B".to_owned(), ..ClassCost::default() };
        b.add(1 << 30, None);
        let costs = prices.of(BTreeMap::from([("A".to_owned(), a), ("B".to_owned(), b)]));
        assert_eq!(costs.unpriced, ["B"]);
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 0.001, "{found} is not {expected}");
        near(costs.month, 2.0);
        near(costs.out, 2.0);
        near(costs.read_back, 1.0 + 3.0 + 2.0);
        assert_eq!((costs.classes[1].month, costs.classes[1].read_back), (None, None));
    }

    #[test]
    fn a_table_that_makes_no_sense_is_refused_with_the_place() {
        for (text, word) in [
            ("", "EOF"),
            ("{\"currency\": \"EUR\", \"classes\": {\"A\": {\"per_gb_moon\": 1}}}", "per_gb_moon"),
            ("{\"currency\": \"EUR\", \"classes\": {\"A\": {\"per_gb_month\": -1}}}", "class A"),
            ("{\"currency\": \"EUR\", \"per_gb_out\": -2, \"classes\": {}}", "per_gb_out"),
            ("{\"classes\": {}}", "currency"),
        ] {
            let error = Prices::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
