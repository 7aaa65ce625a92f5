//! `asb:PATH`: the files of Aerospike's backup tools, read and written. The format and what is made of it are specified in
//! `format-spec/asb.md`. The parts: `codec` is the text, `layers`, `cipher` and `key` what lies around it, `file` one file,
//! `gather` all of them sorted and `parts` as they stand, `step` the folders of the backup service and `shelf` the keeping of them, `target` the writing.

pub mod cipher;
pub mod codec;
mod far_target;
mod file;
mod gather;
mod globals;
mod inspect;
pub mod key;
pub mod layers;
pub mod metadata;
mod names;
mod open;
pub mod options;
mod parts;
mod place;
mod rows;
pub mod shelf;
mod source;
mod spot;
mod step;
mod target;
#[cfg(test)]
mod tests;

pub use far_target::remove_files;
pub use open::AsbConnector;
pub use source::AsbSource;
pub use target::AsbTarget;
