//! What the fuzz targets call: see [`decoders`].
#![allow(missing_docs, reason = "one function for each decoder, named like it")]

pub mod decoders;
