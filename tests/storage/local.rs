//! What is always there.

use crate::conformance::{conforms, objects};
use rekeep::repo::Storage;

#[test]
fn a_local_folder_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| Storage::at(folder.path().join(name).to_str().unwrap()).unwrap();
    conforms(&at, objects(1100));
}

#[test]
fn memory_conforms() {
    conforms(&|_| Storage::at("memory://").unwrap(), objects(1100));
}
