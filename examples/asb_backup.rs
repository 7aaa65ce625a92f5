//! A namespace of a cluster into ASB files, without a repository:
//! `cargo run --example asb_backup -- aerospike://127.0.0.1:3000/test /tmp/backup`

use rekeep::{
    connector::{Options, Overwrite, Registry},
    ops::{
        Silent,
        copy::{CopyOptions, copy},
    },
};
use serde_json::json;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(cluster), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("usage: asb_backup aerospike://HOST:PORT/NAMESPACE FOLDER".into());
    };
    let registry = Registry::default();
    let source = registry.source(&cluster, &Options::default())?;
    let how: Options = serde_json::from_value(json!({ "compress": "zstd", "file_limit": 64 << 20 }))?;
    let target = registry.target(&format!("asb:{folder}"), &how)?;
    let options = CopyOptions { parallel: 4, overwrite: Overwrite::Never, ..CopyOptions::default() };
    let outcome = copy(source.as_ref(), target.as_ref(), &options, &Silent)?;
    println!("{} records, complete: {}", outcome.records, outcome.complete);
    outcome.missing.iter().for_each(|text| println!("missing: {text}"));
    Ok(())
}
