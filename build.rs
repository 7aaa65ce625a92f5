//! Looks whether SQLite is compiled as this program wants it: `.cargo/config.toml` says how, and is only heeded by whoever builds in
//! this folder. It changes nothing; a program that was built without is told apart by `rekeep --version` too.

use std::env;

/// What the flags must say, and what is lost without it.
const WANTED: [(&str, &str); 6] = [
    (
        "SQLITE_ENABLE_MATH_FUNCTIONS",
        "generated columns and indexes that call sin(), log() and their kin cannot be restored",
    ),
    ("SQLITE_ENABLE_FTS4", "FTS4 tables with options of their own cannot be restored"),
    ("SQLITE_ENABLE_GEOPOLY", "GeoPoly tables cannot be restored"),
    ("SQLITE_ENABLE_DBPAGE_VTAB", "what a damaged page loses cannot be named"),
    ("SQLITE_ENABLE_OFFSET_SQL_FUNC", "what a damaged page loses cannot be named"),
    ("SQLITE_ENABLE_PERCENTILE", "views and triggers that call percentile() cannot be restored"),
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=LIBSQLITE3_FLAGS");
    println!("cargo:rerun-if-env-changed=SQLITE_MAX_COLUMN");
    if env::var_os("CARGO_FEATURE_SQLITE").is_none() {
        return;
    }
    let flags = env::var("LIBSQLITE3_FLAGS").unwrap_or_default();
    let lacking: Vec<_> = WANTED.iter().filter(|(name, _)| !flags.contains(name)).collect();
    for (name, loss) in &lacking {
        println!("cargo:warning=SQLite is built without {name}: {loss}");
    }
    let max_column = env::var("SQLITE_MAX_COLUMN").ok().and_then(|text| text.parse::<u32>().ok());
    if max_column != Some(32_767) {
        println!(
            "cargo:warning=SQLite is built for fewer than 32767 columns: tables with more than 1000 cannot be read"
        );
    }
    if !lacking.is_empty() || max_column != Some(32_767) {
        println!(
            "cargo:warning=build in the folder of the sources, or give LIBSQLITE3_FLAGS and SQLITE_MAX_COLUMN as .cargo/config.toml there has them"
        );
    }
}
