//! Fingerprints of records in a row.

use crate::record::{Fingerprint, Fingerprinter, Shape, fingerprint::FingerprintStream};
use std::sync::Arc;

/// Fingerprints records of which most neighbours are of one shape and have no user key: then a fingerprint begins as the one before.
pub(super) struct Prints<'a> {
    fingerprinter: &'a Fingerprinter,
    begun: Option<(Arc<Shape>, FingerprintStream)>,
}

impl<'a> Prints<'a> {
    pub(super) const fn new(fingerprinter: &'a Fingerprinter) -> Self {
        Self { fingerprinter, begun: None }
    }

    pub(super) fn of(&mut self, shape: &Arc<Shape>, user_key: Option<&[u8]>, value: &[u8]) -> Fingerprint {
        if user_key.is_some() {
            return self.fingerprinter.of(shape, user_key, value);
        }
        if let Some((known, begun)) = &self.begun
            && Arc::ptr_eq(known, shape)
        {
            return begun.goes_on(value);
        }
        let begun = self.fingerprinter.start(shape, None);
        let print = begun.goes_on(value);
        self.begun = Some((Arc::clone(shape), begun));
        print
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_records_has_the_fingerprints_that_each_has_alone() {
        let fingerprinter = Fingerprinter::new(&[7; 32]);
        let mut prints = Prints::new(&fingerprinter);
        let shapes = [b"a", b"b"].map(|name| Arc::new(Shape::new(vec![name.to_vec()])));
        let values = [&b""[..], b"x", &[9; 100], b"x"];
        for (shape, user_key) in [(0, None), (0, None), (1, None), (0, Some(&b"k"[..])), (0, None), (1, Some(b"k"))] {
            for value in values {
                let alone = fingerprinter.of(&shapes[shape], user_key, value);
                assert_eq!(prints.of(&shapes[shape], user_key, value), alone);
            }
        }
    }
}
