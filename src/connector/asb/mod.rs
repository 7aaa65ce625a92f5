//! `asb:PATH`: the files of Aerospike's backup tools, read and written. The format and what is made of it are specified in
//! `format-spec/asb.md`.

pub mod cipher;
pub mod codec;
pub mod key;
pub mod layers;
#[cfg(test)]
mod tests;
