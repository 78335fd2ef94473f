//! A piece of a pipeline, kept as long as what it was made from stays the same.

use std::sync::Arc;

use crate::error::Result;

/// A value and what it was made from. An update makes only those pieces anew whose key changed, and shares the others.
#[derive(Debug)]
pub(crate) struct Piece<K, V: ?Sized> {
    key: K,
    value: Arc<V>,
}

impl<K: PartialEq, V: ?Sized> Piece<K, V> {
    /// The first of the `previous` pieces whose key is `key`, otherwise what `make` makes.
    pub(crate) fn reuse<'a>(
        previous: impl IntoIterator<Item = &'a Self>,
        key: K,
        make: impl FnOnce(&K) -> Result<Arc<V>>,
    ) -> Result<Self>
    where
        K: 'a,
        V: 'a,
    {
        let kept = previous.into_iter().find(|piece| piece.key == key).map(|piece| Arc::clone(&piece.value));
        let value = kept.map_or_else(|| make(&key), Ok)?;
        Ok(Self { key, value })
    }

    /// What was made.
    pub(crate) fn get(&self) -> &Arc<V> {
        &self.value
    }

    /// What it was made from.
    pub(crate) fn key(&self) -> &K {
        &self.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorKind};

    #[test]
    fn the_same_key_keeps_the_value_and_another_makes_a_new_one() {
        let first = Piece::reuse(None, 1, |&key| Ok(Arc::new(key * 10))).unwrap();
        let kept = Piece::reuse(Some(&first), 1, |_| Err(Error::new(ErrorKind::Internal, "made twice"))).unwrap();
        let made = Piece::reuse(Some(&first), 2, |&key| Ok(Arc::new(key * 10))).unwrap();
        assert!(Arc::ptr_eq(first.get(), kept.get()));
        assert_eq!((**made.get(), *made.key()), (20, 2));
    }
}
