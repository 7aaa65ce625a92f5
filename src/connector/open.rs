//! The connectors that are built in. Each stands behind a feature of its own; a program that has another one adds it to
//! [`Registry::default`], or to [`Registry::empty`].

use super::Registry;

impl Default for Registry {
    #[allow(clippy::let_and_return, reason = "without features nothing is added")]
    fn default() -> Self {
        let registry = Self::empty();
        #[cfg(feature = "aerospike")]
        let registry = registry.with(super::aerospike::AerospikeConnector);
        #[cfg(feature = "asb")]
        let registry = registry.with(super::asb::AsbConnector);
        #[cfg(feature = "sqlite")]
        let registry = registry.with(super::sqlite::SqliteConnector);
        #[cfg(feature = "files")]
        let registry = registry.with(super::files::FilesConnector);
        #[cfg(feature = "jsonl")]
        let registry = registry.with(super::jsonl::JsonlConnector);
        #[cfg(feature = "postgresql")]
        let registry = registry
            .with(super::postgres::PostgresConnector::new("postgresql://HOST/DATABASE"))
            .with(super::postgres::PostgresConnector::new("postgres://HOST/DATABASE"))
            .with(super::postgres::atlas::AtlasConnector::default());
        #[cfg(feature = "deeplake")]
        let registry = registry.with(super::deeplake::DeepLakeConnector);
        registry
    }
}
