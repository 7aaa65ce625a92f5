//! The numbers of the wire protocol that more than one file needs: flag bits, field and op types, result codes.

/// Bits of the first info byte.
pub mod info1 {
    /// The command reads.
    pub const READ: u8 = 0x01;
    /// All bins are asked for.
    pub const GET_ALL: u8 = 0x02;
    /// The message carries a batch (field 41).
    pub const BATCH: u8 = 0x08;
    /// Metadata only.
    pub const GET_NO_BINS: u8 = 0x20;
}

/// Bits of the second info byte.
pub mod info2 {
    /// The command writes.
    pub const WRITE: u8 = 0x01;
    /// The record is deleted.
    pub const DELETE: u8 = 0x02;
    /// The generation must be equal.
    pub const GENERATION: u8 = 0x04;
    /// The message's generation must be the greater one.
    pub const GENERATION_GT: u8 = 0x08;
    /// A tombstone is asked for (Enterprise Edition only).
    pub const DURABLE_DELETE: u8 = 0x10;
    /// The record must not exist.
    pub const CREATE_ONLY: u8 = 0x20;
    /// One op is answered for each op of the request.
    pub const RESPOND_ALL_OPS: u8 = 0x80;
}

/// Bits of the third info byte.
pub mod info3 {
    /// The last message of a batch or query.
    pub const LAST: u8 = 0x01;
    /// In a query request: the client understands partition answers. In an answer: about a partition.
    pub const PARTITION_DONE: u8 = 0x04;
    /// The record must exist; bins are merged.
    pub const UPDATE_ONLY: u8 = 0x08;
    /// Old bins are dropped.
    pub const CREATE_OR_REPLACE: u8 = 0x10;
    /// The record must exist; old bins are dropped.
    pub const REPLACE_ONLY: u8 = 0x20;
}

/// Field types of a message.
pub mod field {
    /// Namespace name.
    pub const NAMESPACE: u8 = 0;
    /// Set name.
    pub const SET: u8 = 1;
    /// User key: particle type and value.
    pub const KEY: u8 = 2;
    /// The record's digest, 20 bytes.
    pub const DIGEST: u8 = 4;
    /// Query id.
    pub const TRID: u8 = 7;
    /// Socket timeout in milliseconds.
    pub const SOCKET_TIMEOUT: u8 = 9;
    /// Records per second.
    pub const RPS: u8 = 10;
    /// Partition ids, u16 little endian each.
    pub const PID_ARRAY: u8 = 11;
    /// Digests to resume after.
    pub const DIGEST_ARRAY: u8 = 12;
    /// Most records to answer.
    pub const MAX_RECORDS: u8 = 13;
    /// Last-update-time of a shipped record, ms since 2010.
    pub const LUT: u8 = 14;
    /// Name of a secondary index.
    pub const INDEX_NAME: u8 = 21;
    /// Range on a secondary index.
    pub const INDEX_RANGE: u8 = 22;
    /// Lua file of a function call.
    pub const UDF_FILE: u8 = 30;
    /// What a query does beside reading.
    pub const UDF_OP: u8 = 33;
    /// A batch.
    pub const BATCH: u8 = 41;
    /// A filter expression.
    pub const FILTER: u8 = 43;
    /// What a server tells of an error beside its code.
    pub const ERROR_DETAIL: u8 = 45;
}

/// Op codes.
pub mod op {
    /// Read one bin.
    pub const READ: u8 = 1;
    /// Write one bin.
    pub const WRITE: u8 = 2;
    /// Add to a number.
    pub const INCR: u8 = 5;
    /// Read the result of an expression.
    pub const EXP_READ: u8 = 7;
    /// Append to a string or blob.
    pub const APPEND: u8 = 9;
    /// Put before a string or blob.
    pub const PREPEND: u8 = 10;
    /// Count the generation up and set the expiry anew.
    pub const TOUCH: u8 = 11;
    /// Delete all bins.
    pub const DELETE_ALL: u8 = 14;
}

/// Result codes.
pub mod rc {
    /// Done.
    pub const OK: u8 = 0;
    /// Unknown server error; also what a malformed list or map gets.
    pub const UNKNOWN: u8 = 1;
    /// No such record.
    pub const NOT_FOUND: u8 = 2;
    /// The generation policy was not met.
    pub const GENERATION: u8 = 3;
    /// Bad parameter.
    pub const PARAMETER: u8 = 4;
    /// The record exists.
    pub const EXISTS: u8 = 5;
    /// A timeout on the server.
    pub const TIMEOUT: u8 = 9;
    /// The partition is not available on this node.
    pub const UNAVAILABLE: u8 = 11;
    /// The bin has another type.
    pub const BIN_TYPE: u8 = 12;
    /// The record is too big.
    pub const RECORD_TOO_BIG: u8 = 13;
    /// The query was aborted.
    pub const ABORTED: u8 = 15;
    /// Not supported.
    pub const UNSUPPORTED: u8 = 16;
    /// The device is overloaded.
    pub const OVERLOAD: u8 = 18;
    /// Another user key is stored under this digest.
    pub const KEY_MISMATCH: u8 = 19;
    /// No such namespace.
    pub const NAMESPACE: u8 = 20;
    /// The bin name is bad.
    pub const BIN_NAME: u8 = 21;
    /// Forbidden now; also: too many query threads.
    pub const FORBIDDEN: u8 = 22;
    /// Enterprise Edition only.
    pub const ENTERPRISE_ONLY: u8 = 25;
    /// The op does not apply to this record.
    pub const OP_NOT_APPLICABLE: u8 = 26;
    /// The filter was not true.
    pub const FILTERED_OUT: u8 = 27;
    /// End of a security listing.
    pub const SECURITY_END: u8 = 50;
    /// Security is not supported.
    pub const SECURITY_UNSUPPORTED: u8 = 51;
    /// Security is not switched on.
    pub const SECURITY_OFF: u8 = 52;
    /// No such user.
    pub const NO_USER: u8 = 60;
    /// Wrong password.
    pub const BAD_CREDENTIAL: u8 = 65;
    /// The session has expired.
    pub const SESSION_EXPIRED: u8 = 66;
    /// Not logged in.
    pub const NOT_AUTHENTICATED: u8 = 80;
    /// The batch has too many rows.
    pub const BATCH_MAX_REQUESTS: u8 = 151;
    /// The geometry cannot be read.
    pub const GEO_INVALID: u8 = 160;
}

/// Particle types.
pub mod particle {
    /// No value: deletes the bin in a write.
    pub const NULL: u8 = 0;
    /// Signed integer, 8 bytes.
    pub const INTEGER: u8 = 1;
    /// IEEE 754 double, 8 bytes.
    pub const FLOAT: u8 = 2;
    /// String, any bytes.
    pub const STRING: u8 = 3;
    /// Blob.
    pub const BLOB: u8 = 4;
    /// Vector (opaque).
    pub const VECTOR: u8 = 16;
    /// Boolean, one byte.
    pub const BOOL: u8 = 17;
    /// `HyperLogLog`.
    pub const HLL: u8 = 18;
    /// Map in msgpack.
    pub const MAP: u8 = 19;
    /// List in msgpack.
    pub const LIST: u8 = 20;
    /// GeoJSON: flags, cells, text.
    pub const GEOJSON: u8 = 23;
}
