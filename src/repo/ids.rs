//! Names: of the repository, of chunks, of stored objects, of snapshots.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{fmt, str::FromStr};

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $bytes]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|error| error.to_string())?;
                let bytes = bytes.try_into().map_err(|_| format!("not {} hexadecimal digits", 2 * $bytes))?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    };
}

hex_id! {
    /// A repository's random name.
    RepoId, 16
}
hex_id! {
    /// A snapshot's random name, kept for ever; also the name of the lease that writes it.
    SnapshotId, 16
}
hex_id! {
    /// The keyed BLAKE3 hash of a chunk's kind and plaintext.
    ChunkId, 32
}
hex_id! {
    /// The BLAKE3 hash of a pack's or index object's stored bytes.
    ObjectName, 32
}

impl SnapshotId {
    /// The first 8 digits: what tables show.
    #[must_use]
    pub fn short(&self) -> String {
        HEXLOWER.encode(&self.0[..4])
    }
}

/// What a chunk holds. Part of its identity: equal bytes of different kinds are different chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ChunkKind {
    /// The keys of one block.
    Keys = 1,
    /// The values of one block.
    Values = 2,
    /// A list of blocks or of lists: the index of a layer.
    List = 3,
    /// A piece of a value too large for a block.
    Piece = 4,
    /// A list of pieces or of such lists, for values of more than 1 024 pieces.
    PieceList = 5,
    /// A manifest's collection table or attributes too large for the manifest.
    Table = 6,
    /// The keys of one block of a journal: several versions of a key, each with its time.
    Versions = 7,
}

impl ChunkKind {
    /// From its number in the format.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Keys,
            2 => Self::Values,
            3 => Self::List,
            4 => Self::Piece,
            5 => Self::PieceList,
            6 => Self::Table,
            7 => Self::Versions,
            _ => return None,
        })
    }

    /// Which packs it goes to.
    #[must_use]
    pub const fn pack_kind(self) -> PackKind {
        match self {
            Self::Values | Self::Piece => PackKind::Data,
            Self::Keys | Self::List | Self::PieceList | Self::Table | Self::Versions => PackKind::Metadata,
        }
    }
}

/// What a pack holds: keys and lists are read often and together, values rarely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum PackKind {
    /// Keys, lists, tables.
    Metadata = 1,
    /// Values and pieces.
    Data = 2,
}

impl PackKind {
    /// From its number in the format.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Metadata),
            2 => Some(Self::Data),
            _ => None,
        }
    }
}
