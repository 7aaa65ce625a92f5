//! What the tests share: a seeded generator, a clock that is moved by hand, an in-memory database with a source and a
//! target over it, a storage backend that fails on command, and repositories on top of them.

pub mod backend;
pub mod db;
pub mod rng;
pub mod source;
pub mod target;
pub mod world;

pub use backend::{Fault, Image, TestBackend};
pub use db::{Coll, Db, Rec};
pub use rng::Rng;
pub use source::{MemorySource, Mischief};
pub use target::MemoryTarget;
pub use world::{Heard, TestClock, World};
