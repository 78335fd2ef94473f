//! Collections with a maximum size, which is checked while they are parsed.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Maximum length of a token, in bytes.
const MAX_TOKEN: usize = 1024;

/// A token's text, of at most [`MAX_TOKEN`] bytes.
#[derive(Debug, Clone)]
pub(super) struct Capped(pub(super) String);

/// An object with at most `N` entries, each key a token.
#[derive(Debug)]
pub(super) struct CappedMap<T, const N: usize>(pub(super) Vec<(String, T)>);

/// An array with at most `N` elements.
#[derive(Debug)]
pub(super) struct CappedList<T, const N: usize>(pub(super) Vec<T>);

/// Two tokens: `"left right"`, or `["left", "right"]` in newer files.
#[derive(Debug)]
pub(super) struct MergePair(pub(super) String, pub(super) String);

impl<T, const N: usize> Default for CappedMap<T, N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const N: usize> Default for CappedList<T, N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

fn check_token<E: Error>(token: String) -> Result<String, E> {
    if token.len() <= MAX_TOKEN {
        return Ok(token);
    }
    Err(E::custom(format_args!("token length: got {} bytes, expected at most {MAX_TOKEN}", token.len())))
}

impl<'de> Deserialize<'de> for Capped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        check_token(String::deserialize(deserializer)?).map(Self)
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for CappedMap<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MapVisitor<T, const N: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for MapVisitor<T, N> {
            type Value = CappedMap<T, N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an object with at most {N} entries")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    if entries.len() == N {
                        return Err(A::Error::custom(format_args!(
                            "got an object with more than {N} entries, expected at most {N}"
                        )));
                    }
                    entries.push((check_token(key)?, map.next_value()?));
                }
                Ok(CappedMap(entries))
            }
        }

        deserializer.deserialize_map(MapVisitor(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for CappedList<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T, const N: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for ListVisitor<T, N> {
            type Value = CappedList<T, N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an array with at most {N} elements")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    if items.len() == N {
                        return Err(A::Error::custom(format_args!(
                            "got an array with more than {N} elements, expected at most {N}"
                        )));
                    }
                    items.push(item);
                }
                Ok(CappedList(items))
            }
        }

        deserializer.deserialize_seq(ListVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for MergePair {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Joined(String),
            Pair(String, String),
        }

        match Form::deserialize(deserializer)? {
            Form::Pair(left, right) => Ok(Self(check_token(left)?, check_token(right)?)),
            Form::Joined(both) => match check_token::<D::Error>(both)?.split_once(' ') {
                Some((left, right)) => Ok(Self(left.to_owned(), right.to_owned())),
                None => Err(D::Error::custom("merge: got one token, expected two")),
            },
        }
    }
}
