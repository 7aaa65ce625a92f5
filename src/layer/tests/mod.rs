//! Layers against a model: random histories, every way of storing them, and damage.

mod far;
mod histories;
mod journals;
pub(super) mod model;
mod streams;
