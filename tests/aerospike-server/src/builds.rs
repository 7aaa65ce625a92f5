//! Which server is spoken. What differs between builds wherever a client can see it: which info commands there are, how a
//! namespace is named in them, what an index may be, how errors are told.

use std::fmt;

/// A build of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Build {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
    /// The third.
    pub patch: u32,
}

impl Build {
    /// The last of the fifth row: its batches know no written rows.
    pub const V5_7: Self = Self::new(5, 7, 0);
    /// The first whose batches write.
    pub const V6_0: Self = Self::new(6, 0, 0);
    /// Six, as most of them run.
    pub const V6_4: Self = Self::new(6, 4, 0);
    /// The last that reads only `ns=` in index commands.
    pub const V7_1: Self = Self::new(7, 1, 0);
    /// The first that reads `namespace=` there.
    pub const V7_2: Self = Self::new(7, 2, 0);
    /// With indexes over expressions and sets.
    pub const V8_1: Self = Self::new(8, 1, 2);
    /// With details in errors.
    pub const V8_2: Self = Self::new(8, 2, 0);

    /// Those that a client of today meets.
    pub const ALL: [Self; 6] = [Self::V6_0, Self::V6_4, Self::V7_1, Self::V7_2, Self::V8_1, Self::V8_2];

    const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// Whether index commands read `namespace=`.
    pub(crate) fn reads_namespace(self) -> bool {
        self >= Self::V7_2
    }

    /// Whether index commands read `ns=`.
    pub(crate) fn reads_ns(self) -> bool {
        self < Self::V8_2
    }

    /// Whether indexes are made by `bin=` and `type=`, over expressions and sets too.
    pub(crate) fn has_new_indexes(self) -> bool {
        self >= Self::V8_1
    }

    /// Whether a batch's first row may say of itself what it likes.
    pub(crate) fn has_written_rows(self) -> bool {
        self >= Self::V6_0
    }

    /// Whether an error comes with a text.
    pub(crate) fn tells_details(self) -> bool {
        self >= Self::V8_2
    }

    /// What an info error begins with.
    pub(crate) fn error_word(self) -> &'static str {
        if self < Self::V6_4 { "FAIL" } else { "ERROR" }
    }
}

impl Default for Build {
    fn default() -> Self {
        Self::V8_1
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}.0", self.major, self.minor, self.patch)
    }
}
