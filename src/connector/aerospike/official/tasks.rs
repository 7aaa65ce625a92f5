//! Indexes and modules by the official client.

use super::Official;
use aerospike::{
    CollectionIndexType, IndexType, Task as _, UdfLang, expressions, operations::cdt_context::ctx_from_base64,
    task::Status,
};

/// An index to be made, as servers list it.
#[derive(Debug, Clone, Copy)]
pub(in crate::connector::aerospike) struct IndexSpec<'a> {
    pub(in crate::connector::aerospike) namespace: &'a str,
    /// The empty name is the null set.
    pub(in crate::connector::aerospike) set: &'a str,
    pub(in crate::connector::aerospike) name: &'a str,
    pub(in crate::connector::aerospike) bin: Option<&'a str>,
    /// Type of its values.
    pub(in crate::connector::aerospike) kind: Option<&'a str>,
    pub(in crate::connector::aerospike) index_type: &'a str,
    /// In base64.
    pub(in crate::connector::aerospike) context: Option<&'a str>,
    /// In base64.
    pub(in crate::connector::aerospike) expression: Option<&'a str>,
}

fn value_type(kind: &str) -> Option<IndexType> {
    Some(match kind {
        "numeric" => IndexType::Numeric,
        "string" => IndexType::String,
        "blob" => IndexType::Blob,
        "geo2dsphere" => IndexType::Geo2DSphere,
        _ => return None,
    })
}

fn collection_type(index_type: &str) -> Option<CollectionIndexType> {
    Some(match index_type {
        "default" => CollectionIndexType::Default,
        "list" => CollectionIndexType::List,
        "mapkeys" => CollectionIndexType::MapKeys,
        "mapvalues" => CollectionIndexType::MapValues,
        _ => return None,
    })
}

impl Official {
    /// Makes an index; `None` if the client has no words for it.
    pub(in crate::connector::aerospike) fn make_index(&self, index: &IndexSpec<'_>) -> Option<Result<(), String>> {
        let made = if index.index_type == "set" {
            if index.bin.is_some() || index.kind.is_some() || index.context.is_some() || index.set.is_empty() {
                return None;
            }
            self.wait(self.client.create_set_index(&self.admin, index.namespace, index.set, index.name))
        } else {
            let (kind, of) = (value_type(index.kind?)?, collection_type(index.index_type)?);
            match (index.bin, index.expression, index.context) {
                (None, Some(expression), None) => {
                    let expression = expressions::from_base64(expression).ok()?;
                    self.wait(self.client.create_index_using_expression(
                        &self.admin,
                        index.namespace,
                        index.set,
                        index.name,
                        kind,
                        of,
                        &expression,
                    ))
                }
                (Some(bin), None, context) => {
                    let context = context.map(ctx_from_base64).transpose().ok()?;
                    self.wait(self.client.create_index_on_bin(
                        &self.admin,
                        index.namespace,
                        index.set,
                        bin,
                        index.name,
                        kind,
                        of,
                        context.as_deref(),
                    ))
                }
                _ => return None,
            }
        };
        Some(made.map(|task| {
            self.building().insert((index.namespace.to_owned(), index.name.to_owned()), task);
        }))
    }

    /// Whether an index that it made is live on all nodes; `None` of one that it did not make, or of which it learns nothing.
    pub(in crate::connector::aerospike) fn is_live(&self, namespace: &str, name: &str) -> Option<bool> {
        let task = self.building().get(&(namespace.to_owned(), name.to_owned())).cloned()?;
        self.wait(task.query_status()).ok().map(|status| matches!(status, Status::Complete))
    }

    /// Drops an index. It is gone when no node lists it any more.
    pub(in crate::connector::aerospike) fn drop_index(
        &self,
        namespace: &str,
        set: &str,
        name: &str,
    ) -> Result<(), String> {
        self.wait(self.client.drop_index(&self.admin, namespace, set, name)).map(drop)
    }

    /// Puts a module; `None` if it is in a language that the client does not know.
    pub(in crate::connector::aerospike) fn put_module(
        &self,
        name: &str,
        text: &[u8],
        language: &str,
    ) -> Option<Result<(), String>> {
        let language = if language.eq_ignore_ascii_case("lua") { UdfLang::Lua } else { return None };
        Some(self.wait(self.client.register_udf(&self.admin, text, name, language)).map(drop))
    }
}
