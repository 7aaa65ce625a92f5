//! The blocks that a line of a log names, wherever in it they stand: every kind of line does it in one of two forms,
//! `{"p": PATH, "b": BYTES}` and `{"p": [PATH…], "b": [BYTES…], "x": WHAT_PATHS_BEGIN_WITH}`.

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// A block that an entry names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Block {
    /// Its path below the dataset, as it stands in the entry: anybody may have written it.
    pub path: String,
    /// How long the entry says that it is.
    pub bytes: u64,
}

/// What lies deeper than this names nothing.
const MAX_DEPTH: u32 = 64;

/// Reads any value and collects the blocks that it names.
pub(super) struct Blocks<'a> {
    pub(super) out: &'a mut Vec<Block>,
    depth: u32,
    /// Whether lists are kept: those that may be paths or lengths.
    keeps: bool,
}

impl<'a> Blocks<'a> {
    pub(super) const fn of(out: &'a mut Vec<Block>) -> Self {
        Self { out, depth: 0, keeps: false }
    }
}

/// What a value is, as far as it matters.
pub(super) enum Found {
    Text(String),
    Number(u64),
    Texts(Vec<String>),
    Numbers(Vec<u64>),
    Other,
}

impl<'de> DeserializeSeed<'de> for Blocks<'_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        if self.depth == MAX_DEPTH {
            return deserializer.deserialize_ignored_any(IgnoredAny).map(|_| Found::Other);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Blocks<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Found, E> {
        Ok(if self.keeps { Found::Text(text.to_owned()) } else { Found::Other })
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Found, E> {
        Ok(Found::Number(number))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Found, E> {
        Ok(Found::Other)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Found, E> {
        Ok(Found::Other)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Found, E> {
        Ok(Found::Other)
    }

    fn visit_unit<E: Error>(self) -> Result<Found, E> {
        Ok(Found::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Found, A::Error> {
        let (mut texts, mut numbers, mut others) = (Vec::new(), Vec::new(), false);
        while let Some(one) =
            list.next_element_seed(Blocks { out: &mut *self.out, depth: self.depth + 1, keeps: self.keeps })?
        {
            match one {
                Found::Text(text) => texts.push(text),
                Found::Number(number) if self.keeps => numbers.push(number),
                _ => others = true,
            }
        }
        Ok(match (texts.is_empty(), numbers.is_empty(), others) {
            (_, true, false) if self.keeps => Found::Texts(texts),
            (true, false, false) => Found::Numbers(numbers),
            _ => Found::Other,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let (mut paths, mut bytes, mut start) = (Found::Other, Found::Other, String::new());
        while let Some(name) = map.next_key::<String>()? {
            let keeps = matches!(name.as_str(), "p" | "b" | "x");
            let value = map.next_value_seed(Blocks { out: &mut *self.out, depth: self.depth + 1, keeps })?;
            match (name.as_str(), value) {
                ("p", value) => paths = value,
                ("b", value) => bytes = value,
                ("x", Found::Text(text)) => start = text,
                _ => {}
            }
        }
        match (paths, bytes) {
            (Found::Text(path), Found::Number(bytes)) => {
                self.out.push(Block { path: format!("{start}{path}"), bytes });
            }
            (Found::Texts(paths), Found::Numbers(bytes)) => {
                if paths.len() != bytes.len() {
                    return Err(A::Error::custom(format!(
                        "it names {} blocks and {} lengths",
                        paths.len(),
                        bytes.len()
                    )));
                }
                let blocks = paths.into_iter().zip(bytes);
                self.out.extend(blocks.map(|(path, bytes)| Block { path: format!("{start}{path}"), bytes }));
            }
            _ => {}
        }
        Ok(Found::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Vec<(String, u64)> {
        let mut out = Vec::new();
        let mut read = serde_json::Deserializer::from_str(text);
        Blocks::of(&mut out).deserialize(&mut read).unwrap();
        read.end().unwrap();
        out.into_iter().map(|block| (block.path, block.bytes)).collect()
    }

    #[test]
    fn blocks_are_found_in_both_forms_at_any_depth_and_nothing_else_is_one() {
        let matrix = r#"{"c":1,"p":{"p":[""],"b":[384039],"n":[2000],"x":"v/i/j0/3f"},"q":{"x":"v/i/","p":["x9/8o","x9/8p"],"b":[1,2]},"b":15714523404570722304,"s":2000}"#;
        assert_eq!(
            named(matrix),
            [("v/i/j0/3f".to_owned(), 384_039), ("v/i/x9/8o".to_owned(), 1), ("v/i/x9/8p".to_owned(), 2)]
        );
        // The names of fields of a JSON column are anybody's.
        let json =
            r#"{"j":{"p":{"t":{"p":"l/i/4u/yo","c":"","s":9,"b":95}},"b":{"t":[{"d":{"p":"l/i/p9/pk","b":8}},null]}}}"#;
        assert_eq!(named(json), [("l/i/4u/yo".to_owned(), 95), ("l/i/p9/pk".to_owned(), 8)]);
        for nothing in [
            r#"{"p":"a"}"#,
            r#"{"b":7}"#,
            r#"{"p":["a"],"b":7}"#,
            r#"{"p":7,"b":7}"#,
            r#"{"p":["a",1],"b":[1,2]}"#,
            r#"{"p":"a","b":-1}"#,
            "[[1.5,true,null]]",
        ] {
            assert!(named(nothing).is_empty(), "{nothing}");
        }
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(named(&deep).is_empty());
    }
}
