//! ASB files into a cluster, without a repository:
//! `cargo run --example asb_restore -- /tmp/backup aerospike://127.0.0.1:3000/test`

use rekeep::{
    connector::{Options, Overwrite, Registry},
    ops::{
        Silent,
        copy::{CopyOptions, copy},
    },
};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(cluster)) = (arguments.next(), arguments.next()) else {
        return Err("usage: asb_restore FOLDER aerospike://HOST:PORT/NAMESPACE".into());
    };
    let registry = Registry::default();
    let source = registry.source(&format!("asb:{folder}"), &Options::default())?;
    let target = registry.target(&cluster, &Options::default())?;
    // Bins are merged where the generation is higher, as asrestore does.
    let options = CopyOptions { parallel: 4, overwrite: Overwrite::MergeIfNewer, ..CopyOptions::default() };
    let outcome = copy(source.as_ref(), target.as_ref(), &options, &Silent)?;
    let counts = &outcome.outcomes;
    println!("{} inserted, {} replaced, {} fresher", counts.inserted, counts.replaced, counts.fresher);
    outcome.missing.iter().for_each(|text| println!("missing: {text}"));
    Ok(())
}
