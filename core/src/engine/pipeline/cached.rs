//! Components that are shared between pipelines as long as their inputs are equal.

use std::sync::Arc;

use crate::error::Result;

/// A value, and the key that it was built from. An update builds only the components whose keys changed, and shares the
/// others.
#[derive(Debug)]
pub(crate) struct Cached<K, V: ?Sized> {
    key: K,
    value: Arc<V>,
}

impl<K: PartialEq, V: ?Sized> Cached<K, V> {
    /// Returns the first of the `previous` values with this key, otherwise the result of `make`.
    pub(crate) fn reuse<'a>(
        previous: impl IntoIterator<Item = &'a Self>,
        key: K,
        make: impl FnOnce(&K) -> Result<Arc<V>>,
    ) -> Result<Self>
    where
        K: 'a,
        V: 'a,
    {
        let kept = previous.into_iter().find(|cached| cached.key == key).map(|cached| Arc::clone(&cached.value));
        let value = kept.map_or_else(|| make(&key), Ok)?;
        Ok(Self { key, value })
    }

    /// Returns the value.
    pub(crate) fn get(&self) -> &Arc<V> {
        &self.value
    }

    /// Returns the key.
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
        let first = Cached::reuse(None, 1, |&key| Ok(Arc::new(key * 10))).unwrap();
        let kept = Cached::reuse(Some(&first), 1, |_| Err(Error::new(ErrorKind::Internal, "made twice"))).unwrap();
        let made = Cached::reuse(Some(&first), 2, |&key| Ok(Arc::new(key * 10))).unwrap();
        assert!(Arc::ptr_eq(first.get(), kept.get()));
        assert_eq!((**made.get(), *made.key()), (20, 2));
    }
}
