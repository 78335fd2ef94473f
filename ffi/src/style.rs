//! Style images and faces that the host brings.

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

/// Where an answer of the host to a question of the library goes; there only while the question is asked.
#[derive(Debug)]
pub struct dreamframe_reply_t {
    _opaque: [u8; 0],
}

impl Handle for dreamframe_reply_t {
    type Object = Reply;
    const NAME: &'static str = "reply";
}

/// Brings what `ip_adapter_style_image_url` names and the library, which has no network, cannot read by itself.
///
/// The answer is given through `reply` before the callback returns, by `dreamframe_reply_bytes()`,
/// `dreamframe_reply_floats()` or `dreamframe_reply_error()`. Without an answer the update is refused.
///
/// - Threads: called on the thread that makes the update ready, never while it works on a frame; never twice at a time for
///   one engine.
/// - Ownership: text and reply are valid during the call.
///
/// @param user_data  that of the options
/// @param wanted     a `dreamframe_style_t`
/// @param source     an http(s) URL; for a face, the whole text of the parameter
/// @param reply      takes the answer
pub type dreamframe_style_callback_t = Option<
    unsafe extern "C" fn(user_data: *mut c_void, wanted: u32, source: *const c_char, reply: *mut dreamframe_reply_t),
>;

/// What a style callback is asked for.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum dreamframe_style_t {
    /// The bytes of the image file (PNG, JPEG, WebP) at the URL: `dreamframe_reply_bytes()`.
    DREAMFRAME_STYLE_IMAGE = 1,
    /// The embedding of the first face in the image: `dreamframe_reply_floats()`.
    DREAMFRAME_STYLE_FACE = 2,
}

/// What the host answered.
#[derive(Debug, Default)]
pub(crate) struct Reply(Mutex<Option<Result<Answer>>>);

#[derive(Debug)]
enum Answer {
    Bytes(Vec<u8>),
    Floats(Vec<f32>),
}

/// The host's function.
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
            // SAFETY: the host's function, with a text that outlives the call and a handle that is checked.
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

/// Answers with bytes.
///
/// - Threads: only inside the callback that `reply` came with.
/// - Ownership: the bytes are copied before the call returns.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, and for a reply whose question is over.
///
/// @param[in]  reply  what the answer goes to
/// @param[in]  data   the first byte
/// @param[in]  len    how many there are
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_reply_bytes(
    reply: *mut dreamframe_reply_t,
    data: *const u8,
    len: usize,
) -> dreamframe_status_t {
    // SAFETY: the host's promise, as the header says.
    answer(reply, || unsafe { pointer::slice(data, len, "data") }.map(|data| Ok(Answer::Bytes(data.to_vec()))))
}

/// Answers with numbers.
///
/// - Threads: only inside the callback that `reply` came with.
/// - Ownership: the numbers are copied before the call returns.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, and for a reply whose question is over.
///
/// @param[in]  reply  what the answer goes to
/// @param[in]  data   the first number
/// @param[in]  len    how many there are
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_reply_floats(
    reply: *mut dreamframe_reply_t,
    data: *const f32,
    len: usize,
) -> dreamframe_status_t {
    // SAFETY: the host's promise, as the header says.
    answer(reply, || unsafe { pointer::slice(data, len, "data") }.map(|data| Ok(Answer::Floats(data.to_vec()))))
}

/// Answers that there is nothing, and why; the update is then refused with that text.
///
/// - Threads: only inside the callback that `reply` came with.
/// - Ownership: the text is copied before the call returns.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, and for a reply whose question is over.
///
/// @param[in]  reply    what the answer goes to
/// @param[in]  message  why
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_reply_error(
    reply: *mut dreamframe_reply_t,
    message: *const c_char,
) -> dreamframe_status_t {
    answer(reply, || {
        // SAFETY: the host's promise, as the header says.
        let message = unsafe { text::required(message, "message") }?;
        Ok(Err(Error::new(ErrorKind::NotFound, message)))
    })
}

/// Writes the bytes of an image file (PNG, JPEG, WebP) as a text for the parameter `ip_adapter_style_image_url`.
///
/// - Threads: any thread.
/// - Ownership: the bytes are only read; free the text with `dreamframe_string_free()`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, another format, or too many bytes.
///
/// @param[in]  data      the first byte of the file
/// @param[in]  len       how many there are
/// @param[out] out_text  a data URI
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_style_data_uri(
    data: *const u8,
    len: usize,
    out_text: *mut *mut c_char,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: the host's promise, as the header says.
        let (out, data) = unsafe { (Out::required(out_text, "out_text")?, pointer::slice(data, len, "data")?) };
        out.set(text::lend(style_data_uri(data)?));
        Ok(())
    })
}
