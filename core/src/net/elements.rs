//! Elements of weights and buffers, whose allocation may fail.

use dreamframe_kernels::numbers::{extend_with_zero_bytes, extend_with_zeros};

use crate::error::{Error, ErrorKind, Result};

/// Allocates an empty vector with a capacity of `len` elements.
///
/// # Errors
///
/// `OutOfMemory` with the bytes that are needed.
pub(crate) fn with_capacity<T>(len: usize) -> Result<Vec<T>> {
    let mut elements = Vec::new();
    elements.try_reserve_exact(len).map_err(|error| {
        let text = format!("failed to allocate {} bytes", len.saturating_mul(size_of::<T>()));
        Error::new(ErrorKind::OutOfMemory, text).with_source(error)
    })?;
    Ok(elements)
}

/// Allocates `len` zeros.
///
/// # Errors
///
/// Those of [`with_capacity`].
pub(crate) fn zeros(len: usize) -> Result<Vec<f32>> {
    let mut elements = with_capacity(len)?;
    extend_with_zeros(&mut elements, len);
    Ok(elements)
}

/// Allocates `len` zero bytes.
///
/// # Errors
///
/// Those of [`with_capacity`].
pub(crate) fn zero_bytes(len: usize) -> Result<Vec<u8>> {
    let mut bytes = with_capacity(len)?;
    extend_with_zero_bytes(&mut bytes, len);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_into_memory_is_an_error() {
        assert_eq!((zeros(3).unwrap(), zero_bytes(2).unwrap()), (vec![0.0; 3], vec![0; 2]));
        for len in [usize::MAX, usize::MAX / 8] {
            let error = zeros(len).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfMemory);
            assert!(error.to_string().starts_with("failed to allocate "), "{error}");
        }
        assert_eq!(zero_bytes(usize::MAX).unwrap_err().kind(), ErrorKind::OutOfMemory);
    }
}
