//! What a dataset of whichever version consists of.

use super::{
    find::{Dataset, Format},
    inventory::{Inventory, Item, Role, walk},
    log, nodes,
    place::LakePlace,
};
use crate::record::KeyRange;
use serde_json::{Value as Json, json};
use std::io;

/// Looks at a dataset; nothing of its data is read.
pub(super) fn look(place: &LakePlace, dataset: &Dataset) -> io::Result<Inventory> {
    let mut inventory = match dataset.format {
        Format::Four => log::inventory(place, &dataset.path)?,
        Format::Three => nodes::inventory(place, &dataset.path)?,
        Format::Begun => {
            let mut inventory =
                Inventory { attributes: json!({}), absent: vec![KeyRange::all()], ..Inventory::default() };
            let sentence = "a restore into it was stopped, or is under way: nothing of it is read";
            inventory.missing.add(sentence.to_owned());
            inventory
        }
        Format::Neither => {
            let mut inventory = Inventory { attributes: json!({}), ..Inventory::default() };
            let odd = walk(place, &dataset.path, &mut |key| inventory.items.push(Item::new(key, Role::Other, None)))?;
            inventory.miss_odd(odd);
            inventory.missing.add(
                "it is written in no version that is known (neither the log of version 4 nor the files of version 3 are \
                 there); its files are copied as they are"
                    .to_owned(),
            );
            inventory
        }
    };
    inventory.settle();
    name(&mut inventory, dataset);
    Ok(inventory)
}

/// Of a dataset that cannot be looked at: what was saved of it stands.
pub(super) fn unlooked(dataset: &Dataset, error: &io::Error) -> Inventory {
    // A restore of what stands goes by the version.
    let attributes = match dataset.format {
        Format::Four => json!({ "version": 4 }),
        Format::Three => json!({ "version": 3 }),
        Format::Neither | Format::Begun => json!({}),
    };
    let mut inventory = Inventory { attributes, absent: vec![KeyRange::all()], ..Inventory::default() };
    inventory.missing.add(format!("it cannot be looked at, and nothing of it is read: {error}"));
    name(&mut inventory, dataset);
    inventory
}

fn name(inventory: &mut Inventory, dataset: &Dataset) {
    for (name, value) in [("tenant", dataset.tenant.as_deref()), ("dataset", Some(dataset.name.as_str()))] {
        inventory.attributes[name] = Json::from(value);
    }
}
