//! Style images and faces that the host provides.

use std::ffi::{c_char, c_void};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use dreamframe::{Error, ErrorKind, Result, StyleImages, style_data_uri};

use crate::callback::{Gate, UserData};
use crate::guard::guard;
use crate::handle::{self, Handle};
use crate::pointer::{self, Out};
use crate::status::dreamframe_status_t;
use crate::text;

/// Receives the reply to a style callback; valid only during the callback.
#[derive(Debug)]
pub struct dreamframe_reply_t {
    _opaque: [u8; 0],
}

impl Handle for dreamframe_reply_t {
    type Object = Reply;
    const NAME: &'static str = "reply";
}

/// Provides the content for an `ip_adapter_style_image_url` that the library, which does not access the network, cannot
/// read.
///
/// The callback replies through `reply` before it returns, with `dreamframe_reply_bytes()`, `dreamframe_reply_floats()`
/// or `dreamframe_reply_error()`. Without a reply the update is rejected.
///
/// - Threads: called on the thread that prepares the update, never while that processes a frame; never concurrently for
///   one engine.
/// - Ownership: text and reply are valid during the call.
///
/// @param user_data  that of the options
/// @param wanted     a `dreamframe_style_t`
/// @param source     an http(s) URL; for a face, the whole text of the parameter
/// @param reply      receives the reply
pub type dreamframe_style_callback_t = Option<
    unsafe extern "C" fn(user_data: *mut c_void, wanted: u32, source: *const c_char, reply: *mut dreamframe_reply_t),
>;

/// The request of a style callback.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum dreamframe_style_t {
    /// The bytes of the image file (PNG, JPEG, WebP) at the URL: `dreamframe_reply_bytes()`.
    DREAMFRAME_STYLE_IMAGE = 1,
    /// The embedding of the first face in the image: `dreamframe_reply_floats()`.
    DREAMFRAME_STYLE_FACE = 2,
}

/// The reply of the host.
#[derive(Debug, Default)]
pub(crate) struct Reply(Mutex<Option<Result<Answer>>>);

#[derive(Debug)]
enum Answer {
    Bytes(Vec<u8>),
    Floats(Vec<f32>),
}

/// The host's callback.
pub(crate) struct HostStyle {
    pub(crate) callback: unsafe extern "C" fn(*mut c_void, u32, *const c_char, *mut dreamframe_reply_t),
    pub(crate) user_data: UserData,
    pub(crate) gate: Arc<Gate>,
}

impl fmt::Debug for HostStyle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostStyle").finish_non_exhaustive()
    }
}

impl HostStyle {
    fn ask(&self, wanted: dreamframe_style_t, source: &str) -> Result<Answer> {
        let source = text::c_string(source);
        let reply = Arc::new(Reply::default());
        let handle = handle::insert::<dreamframe_reply_t>(reply.clone());
        self.gate.call(|| {
            // SAFETY: the host's callback, with a text that outlives the call and a handle that is checked.
            unsafe { (self.callback)(self.user_data.0, wanted as u32, source.as_ptr(), handle) };
        });
        handle::remove(handle)?;
        let answer = reply.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        answer.unwrap_or_else(|| Err(Error::new(ErrorKind::Unsupported, "the host did not answer")))
    }
}

impl StyleImages for HostStyle {
    fn fetch(&self, url: &str) -> Result<Vec<u8>> {
        match self.ask(dreamframe_style_t::DREAMFRAME_STYLE_IMAGE, url)? {
            Answer::Bytes(bytes) => Ok(bytes),
            Answer::Floats(_) => Err(other("numbers", "the bytes of an image")),
        }
    }

    fn face(&self, source: &str) -> Result<Vec<f32>> {
        match self.ask(dreamframe_style_t::DREAMFRAME_STYLE_FACE, source)? {
            Answer::Floats(numbers) => Ok(numbers),
            Answer::Bytes(_) => Err(other("bytes", "the embedding of a face")),
        }
    }
}

fn other(given: &str, wanted: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("answer of the host: got {given}, expected {wanted}"))
}

fn answer(reply: *mut dreamframe_reply_t, answer: impl FnOnce() -> Result<Result<Answer>>) -> dreamframe_status_t {
    guard(|| {
        let reply = handle::get(reply.cast_const())?;
        let answer = answer()?;
        *reply.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        Ok(())
    })
}

/// Replies with bytes.
///
/// - Threads: only inside the callback that received `reply`.
/// - Ownership: the bytes are copied before the call returns.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, and for a reply whose callback has returned.
///
/// @param[in]  reply  the argument of the callback
/// @param[in]  data   the first byte
/// @param[in]  len    number of bytes
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_reply_bytes(
    reply: *mut dreamframe_reply_t,
    data: *const u8,
    len: usize,
) -> dreamframe_status_t {
    // SAFETY: guaranteed by the host, as documented in the header.
    answer(reply, || unsafe { pointer::slice(data, len, "data") }.map(|data| Ok(Answer::Bytes(data.to_vec()))))
}

/// Replies with floats.
///
/// - Threads: only inside the callback that received `reply`.
/// - Ownership: the values are copied before the call returns.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, and for a reply whose callback has returned.
///
/// @param[in]  reply  the argument of the callback
/// @param[in]  data   the first value
/// @param[in]  len    number of values
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_reply_floats(
    reply: *mut dreamframe_reply_t,
    data: *const f32,
    len: usize,
) -> dreamframe_status_t {
    // SAFETY: guaranteed by the host, as documented in the header.
    answer(reply, || unsafe { pointer::slice(data, len, "data") }.map(|data| Ok(Answer::Floats(data.to_vec()))))
}

/// Replies with an error; the update is then rejected with that message.
///
/// - Threads: only inside the callback that received `reply`.
/// - Ownership: the text is copied before the call returns.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, and for a reply whose callback has returned.
///
/// @param[in]  reply    the argument of the callback
/// @param[in]  message  the reason
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_reply_error(
    reply: *mut dreamframe_reply_t,
    message: *const c_char,
) -> dreamframe_status_t {
    answer(reply, || {
        // SAFETY: guaranteed by the host, as documented in the header.
        let message = unsafe { text::required(message, "message") }?;
        Ok(Err(Error::new(ErrorKind::NotFound, message)))
    })
}

/// Encodes an image file (PNG, JPEG, WebP) as a value of the parameter `ip_adapter_style_image_url`.
///
/// - Threads: any thread.
/// - Ownership: the bytes are not kept; free the text with `dreamframe_string_free()`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, another format, or too many bytes.
///
/// @param[in]  data      the first byte of the file
/// @param[in]  len       number of bytes
/// @param[out] out_text  a data URI
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_style_data_uri(
    data: *const u8,
    len: usize,
    out_text: *mut *mut c_char,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let (out, data) = unsafe { (Out::required(out_text, "out_text")?, pointer::slice(data, len, "data")?) };
        out.set(text::to_host(style_data_uri(data)?));
        Ok(())
    })
}
