//! Pointers from the host: versioned structs and output arguments.

use std::mem::MaybeUninit;

use dreamframe::{Error, ErrorKind, Result};

/// Upper limit of `struct_size`: a larger value was not initialized.
const MOST: usize = 4096;

/// A struct of the header that starts with `struct_size`, and to which fields are only appended.
///
/// # Safety
///
/// It is `repr(C)`, its first field is the `usize`, and zeros are valid for each of its fields.
pub(crate) unsafe trait Versioned: Copy {
    /// Its name in the header, without the common prefix and suffix.
    const NAME: &'static str;
    /// Its size in bytes in the first version of the interface.
    const LEAST: usize;
}

/// Reads a struct of the host. Fields that the host's header does not have are zero.
///
/// # Errors
///
/// `InvalidArgument` for NULL, a `struct_size` of no version, and nonzero fields that this library does not know.
///
/// # Safety
///
/// `from` is NULL, or points to `struct_size` readable bytes.
pub(crate) unsafe fn read<T: Versioned>(from: *const T) -> Result<T> {
    // SAFETY: the caller's guarantee.
    let size = unsafe { checked_size(from) }?;
    let from = from.cast::<u8>();
    let mut value = MaybeUninit::<T>::zeroed();
    let known = size.min(size_of::<T>());
    // SAFETY: `size` bytes are readable; `value` has `known`.
    unsafe { std::ptr::copy_nonoverlapping(from, value.as_mut_ptr().cast(), known) };
    // SAFETY: as above, beyond the copied bytes.
    let rest = unsafe { std::slice::from_raw_parts(from.add(known), size - known) };
    if rest.iter().any(|&byte| byte != 0) {
        let text =
            format!("{}: got values in fields that this library does not have: it is older than the header", T::NAME);
        return Err(invalid_argument(text));
    }
    // SAFETY: zeros and the host's bytes are valid for every field.
    Ok(unsafe { value.assume_init() })
}

/// A struct of the host that receives results.
#[derive(Debug)]
pub(crate) struct OutStruct<T> {
    to: *mut T,
    size: usize,
}

impl<T: Versioned> OutStruct<T> {
    /// Checks the pointer.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for NULL, and for a `struct_size` of no version.
    ///
    /// # Safety
    ///
    /// `to` is NULL, or points to `struct_size` writable bytes until the call returns.
    pub(crate) unsafe fn required(to: *mut T) -> Result<Self> {
        // SAFETY: the caller's guarantee.
        let size = unsafe { checked_size(to) }?;
        Ok(Self { to, size })
    }

    /// Like [`required`](Self::required), with `None` for NULL.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a `struct_size` of no version.
    ///
    /// # Safety
    ///
    /// Same as for `required`.
    pub(crate) unsafe fn optional(to: *mut T) -> Result<Option<Self>> {
        if to.is_null() {
            return Ok(None);
        }
        // SAFETY: the caller's guarantee.
        unsafe { Self::required(to) }.map(Some)
    }

    /// Writes the fields of `value` that the host's header knows; the host's `struct_size` is not changed.
    pub(crate) fn set(self, value: &T) {
        let first = size_of::<usize>();
        let len = self.size.min(size_of::<T>()) - first;
        let from = std::ptr::from_ref(value).cast::<u8>();
        // SAFETY: both have `first + len` bytes, checked above, and they do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(from.add(first), self.to.cast::<u8>().add(first), len) };
    }
}

/// # Safety
///
/// `at` is NULL, or points to a `usize`.
unsafe fn checked_size<T: Versioned>(at: *const T) -> Result<usize> {
    check_place(at, T::NAME)?;
    // SAFETY: not NULL and aligned; the caller's guarantee.
    let size = unsafe { at.cast::<usize>().read() };
    if !(T::LEAST..=MOST).contains(&size) {
        let (name, least) = (T::NAME, T::LEAST);
        let init = name.to_uppercase();
        return Err(invalid_argument(format!(
            "struct_size of {name}: got {size}, expected {least} to {MOST}; initialise it with DREAMFRAME_{init}_INIT"
        )));
    }
    Ok(size)
}

fn check_place<T>(at: *const T, name: &str) -> Result<()> {
    if at.is_null() {
        return Err(invalid_argument(format!("{name}: got NULL, expected an address")));
    }
    if !at.is_aligned() {
        return Err(invalid_argument(format!(
            "{name}: got an unaligned address, expected a multiple of {}",
            align_of::<T>()
        )));
    }
    Ok(())
}

/// An output argument.
#[derive(Debug)]
pub(crate) struct Out<T>(*mut T);

impl<T> Out<T> {
    /// Checks the pointer.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for NULL.
    ///
    /// # Safety
    ///
    /// `to` is NULL, or writable until the call returns.
    pub(crate) unsafe fn required(to: *mut T, name: &str) -> Result<Self> {
        check_place(to, name)?;
        Ok(Self(to))
    }

    /// Like [`required`](Self::required); results are discarded for NULL.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a misaligned address.
    ///
    /// # Safety
    ///
    /// Same as for `required`.
    pub(crate) unsafe fn optional(to: *mut T, name: &str) -> Result<Option<Self>> {
        if to.is_null() {
            return Ok(None);
        }
        // SAFETY: the caller's guarantee.
        unsafe { Self::required(to, name) }.map(Some)
    }

    /// Writes the result.
    pub(crate) fn set(self, value: T) {
        // SAFETY: checked on construction.
        unsafe { self.0.write(value) };
    }
}

/// Returns a slice of the host's memory.
///
/// # Errors
///
/// `InvalidArgument` for NULL, and for a length beyond the address space.
///
/// # Safety
///
/// `data` is NULL, or `len` values are readable during `'a`.
pub(crate) unsafe fn slice<'a, T>(data: *const T, len: usize, name: &str) -> Result<&'a [T]> {
    check_place(data, name)?;
    if len.checked_mul(size_of::<T>()).is_none_or(|bytes| isize::try_from(bytes).is_err()) {
        return Err(invalid_argument(format!(
            "length of {name}: got {len} values, expected at most {} bytes",
            isize::MAX
        )));
    }
    // SAFETY: the caller's guarantee.
    Ok(unsafe { std::slice::from_raw_parts(data, len) })
}

fn invalid_argument(text: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
}
