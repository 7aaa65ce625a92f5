//! Shapes by their bytes: most records have one of a few, and making one costs a hash.

use crate::record::{
    Shape,
    bytes::{DecodeError, Reader},
};
use std::{collections::HashMap, sync::Arc};

/// Shapes remembered.
const MAX_SHAPES: usize = 1024;

#[derive(Default)]
pub(in crate::connector) struct Shapes(HashMap<Vec<u8>, Arc<Shape>>);

impl Shapes {
    /// The shape whose names these are, as [`Shape::encode`] writes them.
    pub(in crate::connector) fn of(&mut self, names: &[u8]) -> Result<Arc<Shape>, DecodeError> {
        if let Some(shape) = self.0.get(names) {
            return Ok(Arc::clone(shape));
        }
        let shape = Arc::new(Shape::decode(&mut Reader::new(names))?);
        if self.0.len() >= MAX_SHAPES {
            self.0.clear();
        }
        self.0.insert(names.to_vec(), Arc::clone(&shape));
        Ok(shape)
    }
}
