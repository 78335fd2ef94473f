//! Memory of the host: plain structs with their size first, and places for results.

use std::mem::MaybeUninit;

use dreamframe::{Error, ErrorKind, Result};

/// More bytes no struct will ever have: a larger `struct_size` was never set.
const MOST: usize = 4096;

/// A struct of the header that begins with `struct_size`, to which fields are only ever added at the end.
///
/// # Safety
///
/// It is `repr(C)`, its first field is the `usize`, and zeros are a value of each of its fields.
pub(crate) unsafe trait Versioned: Copy {
    /// Its name in the header, without what all names begin and end with.
    const NAME: &'static str;
    /// Bytes that it had in the first version of the interface.
    const LEAST: usize;
}

/// Reads a struct of the host, with zeros for fields that the host's header does not have.
///
/// # Errors
///
/// `InvalidArgument` for NULL, a `struct_size` that no version had, and values in fields that this library does not know.
///
/// # Safety
///
/// `from` is NULL, or points to as many readable bytes as `struct_size` says.
pub(crate) unsafe fn read<T: Versioned>(from: *const T) -> Result<T> {
    // SAFETY: the caller's promise.
    let size = unsafe { checked_size(from) }?;
    let from = from.cast::<u8>();
    let mut value = MaybeUninit::<T>::zeroed();
    let known = size.min(size_of::<T>());
    // SAFETY: `size` bytes can be read; `value` has `known`.
    unsafe { std::ptr::copy_nonoverlapping(from, value.as_mut_ptr().cast(), known) };
    // SAFETY: as above, past what was copied.
    let rest = unsafe { std::slice::from_raw_parts(from.add(known), size - known) };
    if rest.iter().any(|&byte| byte != 0) {
        let text =
            format!("{}: got values in fields that this library does not have: it is older than the header", T::NAME);
        return Err(wrong(text));
    }
    // SAFETY: zeros and what the host wrote are values of every field.
    Ok(unsafe { value.assume_init() })
}

/// A struct of the host that results go to.
#[derive(Debug)]
pub(crate) struct OutStruct<T> {
    to: *mut T,
    size: usize,
}

impl<T: Versioned> OutStruct<T> {
    /// Checks the place.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for NULL, and a `struct_size` that no version had.
    ///
    /// # Safety
    ///
    /// `to` is NULL, or points to as many writable bytes as `struct_size` says, until the call returns.
    pub(crate) unsafe fn required(to: *mut T) -> Result<Self> {
        // SAFETY: the caller's promise.
        let size = unsafe { checked_size(to) }?;
        Ok(Self { to, size })
    }

    /// As [`required`](Self::required), with `None` for NULL.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a `struct_size` that no version had.
    ///
    /// # Safety
    ///
    /// That of `required`.
    pub(crate) unsafe fn optional(to: *mut T) -> Result<Option<Self>> {
        if to.is_null() {
            return Ok(None);
        }
        // SAFETY: the caller's promise.
        unsafe { Self::required(to) }.map(Some)
    }

    /// Writes `value`, as far as the host's header knows it; the host's `struct_size` stays.
    pub(crate) fn set(self, value: &T) {
        let first = size_of::<usize>();
        let len = self.size.min(size_of::<T>()) - first;
        let from = std::ptr::from_ref(value).cast::<u8>();
        // SAFETY: both have `first + len` bytes, checked above, and the host's do not lie in ours.
        unsafe { std::ptr::copy_nonoverlapping(from.add(first), self.to.cast::<u8>().add(first), len) };
    }
}

/// # Safety
///
/// `at` is NULL, or points to a `usize`.
unsafe fn checked_size<T: Versioned>(at: *const T) -> Result<usize> {
    check_place(at, T::NAME)?;
    // SAFETY: not NULL and aligned; the caller's promise.
    let size = unsafe { at.cast::<usize>().read() };
    if !(T::LEAST..=MOST).contains(&size) {
        let (name, least) = (T::NAME, T::LEAST);
        let init = name.to_uppercase();
        return Err(wrong(format!(
            "struct_size of {name}: got {size}, expected {least} to {MOST}; initialise it with DREAMFRAME_{init}_INIT"
        )));
    }
    Ok(size)
}

fn check_place<T>(at: *const T, name: &str) -> Result<()> {
    if at.is_null() {
        return Err(wrong(format!("{name}: got NULL, expected an address")));
    }
    if !at.is_aligned() {
        return Err(wrong(format!("{name}: got an unaligned address, expected a multiple of {}", align_of::<T>())));
    }
    Ok(())
}

/// A place for one result.
#[derive(Debug)]
pub(crate) struct Out<T>(*mut T);

impl<T> Out<T> {
    /// Checks the place.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for NULL.
    ///
    /// # Safety
    ///
    /// `to` is NULL, or can be written until the call returns.
    pub(crate) unsafe fn required(to: *mut T, name: &str) -> Result<Self> {
        check_place(to, name)?;
        Ok(Self(to))
    }

    /// As [`required`](Self::required); nothing is written to NULL.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for an address that cannot be.
    ///
    /// # Safety
    ///
    /// That of `required`.
    pub(crate) unsafe fn optional(to: *mut T, name: &str) -> Result<Option<Self>> {
        if to.is_null() {
            return Ok(None);
        }
        // SAFETY: the caller's promise.
        unsafe { Self::required(to, name) }.map(Some)
    }

    /// Writes the result.
    pub(crate) fn set(self, value: T) {
        // SAFETY: checked when it was made.
        unsafe { self.0.write(value) };
    }
}

/// Looks at bytes of the host.
///
/// # Errors
///
/// `InvalidArgument` for NULL, and for more bytes than there can be.
///
/// # Safety
///
/// `data` is NULL, or `len` values can be read from it during `'a`.
pub(crate) unsafe fn slice<'a, T>(data: *const T, len: usize, name: &str) -> Result<&'a [T]> {
    check_place(data, name)?;
    if len.checked_mul(size_of::<T>()).is_none_or(|bytes| isize::try_from(bytes).is_err()) {
        return Err(wrong(format!("length of {name}: got {len} values, expected at most {} bytes", isize::MAX)));
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(data, len) })
}

fn wrong(text: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
}
