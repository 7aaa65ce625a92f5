//! Squashing over plain data.
