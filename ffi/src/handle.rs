//! Objects that the host holds: numbers that look like pointers, and are looked up at each call.
//!
//! A number is used once, so that an object which was freed is found out, whatever came after it.

use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use dreamframe::{Error, ErrorKind, Result};

type Object = Arc<dyn Any + Send + Sync>;

static OBJECTS: RwLock<Option<HashMap<usize, Object>>> = RwLock::new(None);
static NEXT: AtomicUsize = AtomicUsize::new(1);

/// Numbers lie this far apart, so that a pointer to something else is hardly ever one.
const STEP: usize = 16;

/// What C sees of an object, and what stands behind it.
pub(crate) trait Handle {
    /// What stands behind it.
    type Object: Any + Send + Sync;
    /// What it is called in messages.
    const NAME: &'static str;
}

/// Gives the host a handle of `object`.
pub(crate) fn insert<H: Handle>(object: Arc<H::Object>) -> *mut H {
    let number = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(STEP);
    let mut objects = OBJECTS.write().unwrap_or_else(PoisonError::into_inner);
    objects.get_or_insert_default().insert(number, object);
    std::ptr::without_provenance_mut(number)
}

/// Finds what stands behind `handle`.
///
/// # Errors
///
/// `InvalidArgument` for NULL, and for what is no object of this kind or was freed.
pub(crate) fn get<H: Handle>(handle: *const H) -> Result<Arc<H::Object>> {
    if handle.is_null() {
        return Err(wrong(format!("{}: got NULL, expected a handle", H::NAME)));
    }
    let objects = OBJECTS.read().unwrap_or_else(PoisonError::into_inner);
    let object = objects.as_ref().and_then(|objects| objects.get(&handle.addr()).cloned());
    drop(objects);
    object.and_then(|object| object.downcast().ok()).ok_or_else(unknown::<H>)
}

/// Takes `handle` from the host; `None` for NULL.
///
/// # Errors
///
/// `InvalidArgument` for what is no object of this kind or was freed.
pub(crate) fn remove<H: Handle>(handle: *mut H) -> Result<Option<Arc<H::Object>>> {
    if handle.is_null() {
        return Ok(None);
    }
    let object = get(handle.cast_const())?;
    let mut objects = OBJECTS.write().unwrap_or_else(PoisonError::into_inner);
    let removed = objects.as_mut().and_then(|objects| objects.remove(&handle.addr()));
    drop(objects);
    // Of two threads that free it at once, one is the first.
    removed.map(|_| Some(object)).ok_or_else(unknown::<H>)
}

fn unknown<H: Handle>() -> Error {
    wrong(format!("{}: got an invalid handle, never created or already freed", H::NAME))
}

fn wrong(text: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
}
