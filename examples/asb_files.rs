//! Reading and writing the text of ASB files, item by item: `cargo run --example asb_files -- FILE` writes it again, as it would be
//! written from a repository but for the order of records, to standard output.

use rekeep::connector::asb::{
    codec::{Form, Item, Record, RecordParts, put_header, put_index, put_module, put_record},
    layers,
};
use std::{
    error::Error,
    io::{self, BufWriter, Write},
};

fn main() -> Result<(), Box<dyn Error>> {
    let Some(path) = std::env::args().nth(1) else { return Err("usage: asb_files FILE".into()) };
    let (mut reader, _) = layers::open(std::fs::File::open(path)?, None)?;
    let header = reader.header().clone();
    let form = Form { version: header.version, compact: false };
    let mut out = BufWriter::new(io::stdout().lock());
    let (mut text, mut record) = (Vec::new(), Record::default());
    put_header(&mut text, header.namespace.as_deref().unwrap_or_default(), header.first_file, form)?;
    while let Some(item) = reader.next(&mut record)? {
        match item {
            Item::Index(index) => put_index(&mut text, &index, form)?,
            Item::Module(module) => put_module(&mut text, &module, form)?,
            Item::Unknown(line) => text.extend_from_slice(&line),
            Item::Record => {
                record.sort().map_err(|name| format!("two bins `{}`", name.escape_ascii()))?;
                let parts = RecordParts {
                    namespace: record.namespace(),
                    set: record.set(),
                    user_key: record.user_key(),
                    digest: &record.digest,
                    generation: record.generation.into(),
                    void_time: record.void_time,
                };
                put_record(&mut text, &parts, record.bins().map(|bin| (bin.name, bin.particle, bin.value)), form)?;
            }
        }
        out.write_all(&text)?;
        text.clear();
    }
    out.write_all(&text)?;
    Ok(out.flush()?)
}
