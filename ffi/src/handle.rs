//! Handles of the host: numbers in the form of pointers, which are looked up at each call.
//!
//! A number is used once, so that the use of a freed handle is detected.

use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use dreamframe::{Error, ErrorKind, Result};

type Object = Arc<dyn Any + Send + Sync>;

static OBJECTS: RwLock<Option<HashMap<usize, Object>>> = RwLock::new(None);
static NEXT: AtomicUsize = AtomicUsize::new(1);

/// Distance between numbers, so that a pointer to something else is unlikely to be a valid handle.
const STEP: usize = 16;

/// A C handle type, and the type of its objects.
pub(crate) trait Handle {
    /// The type of the objects.
    type Object: Any + Send + Sync;
    /// The name in messages.
    const NAME: &'static str;
}

/// Creates a handle for `object`.
pub(crate) fn insert<H: Handle>(object: Arc<H::Object>) -> *mut H {
    let number = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(STEP);
    let mut objects = OBJECTS.write().unwrap_or_else(PoisonError::into_inner);
    objects.get_or_insert_default().insert(number, object);
    std::ptr::without_provenance_mut(number)
}

/// Returns the object of `handle`.
///
/// # Errors
///
/// `InvalidArgument` for NULL, and for a handle of another kind or a freed one.
pub(crate) fn get<H: Handle>(handle: *const H) -> Result<Arc<H::Object>> {
    if handle.is_null() {
        return Err(invalid_argument(format!("{}: got NULL, expected a handle", H::NAME)));
    }
    let objects = OBJECTS.read().unwrap_or_else(PoisonError::into_inner);
    let object = objects.as_ref().and_then(|objects| objects.get(&handle.addr()).cloned());
    drop(objects);
    object.and_then(|object| object.downcast().ok()).ok_or_else(unknown::<H>)
}

/// Removes `handle`, and returns its object; `None` for NULL.
///
/// # Errors
///
/// `InvalidArgument` for a handle of another kind or a freed one.
pub(crate) fn remove<H: Handle>(handle: *mut H) -> Result<Option<Arc<H::Object>>> {
    if handle.is_null() {
        return Ok(None);
    }
    let object = get(handle.cast_const())?;
    let mut objects = OBJECTS.write().unwrap_or_else(PoisonError::into_inner);
    let removed = objects.as_mut().and_then(|objects| objects.remove(&handle.addr()));
    drop(objects);
    // If two threads free it concurrently, one of them is first.
    removed.map(|_| Some(object)).ok_or_else(unknown::<H>)
}

fn unknown<H: Handle>() -> Error {
    invalid_argument(format!("{}: got an invalid handle, never created or already freed", H::NAME))
}

fn invalid_argument(text: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
}
