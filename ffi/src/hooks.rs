//! Processors and a safety checker of the host.

use std::ffi::{c_char, c_void};
use std::mem::offset_of;
use std::sync::Arc;

use dreamframe::params::ProcessorName;
use dreamframe::preprocess::{Context, Factory, Image, Preprocessor, Registry};
use dreamframe::{EngineBuilder, Error, ErrorKind, Result, SafetyChecker};
use serde_json::{Map, Value};

use crate::callback::{self, UserData};
use crate::pointer::{self, Versioned};
use crate::status::{DREAMFRAME_OK, ERRORS};
use crate::text;

/// Bytes of a message of a hook, with its NUL.
const MESSAGE: usize = 512;
/// The largest factor by which a processor enlarges images.
const MAX_SCALE: u32 = 4;
/// The largest number of channels of a result.
const MAX_CHANNELS: u32 = 16;
/// The largest number of processors, above which a number was not initialized.
const MAX_PROCESSORS: usize = 1024;

/// The arguments of a processor: an image or a latent, row by row, with all channels of a pixel one after the other.
///
/// Images have red, green and blue from 0 to 1. The library sets all fields; pointers are valid during the call.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct dreamframe_processor_call_t {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// The input, `height * width * channels` values.
    pub input: *const f32,
    /// Width of the input.
    pub width: u32,
    /// Height of the input.
    pub height: u32,
    /// Channels of the input: 3, or those of a latent.
    pub channels: u32,
    /// Channels of the output.
    pub output_channels: u32,
    /// The output, which the processor writes: `output_height * output_width * output_channels` values, finite ones.
    pub output: *mut f32,
    /// Width of the output.
    pub output_width: u32,
    /// Height of the output.
    pub output_height: u32,
    /// The last picture, or in a latent chain the last clean latent, with as many channels as the input; NULL before the first.
    pub previous: *const f32,
    /// Width of the last picture; 0 if there is none.
    pub previous_width: u32,
    /// Height of the last picture; 0 if there is none.
    pub previous_height: u32,
    /// Receives the reason of an error, UTF-8 that ends with a NUL; empty before the call.
    pub message: *mut c_char,
    /// Bytes of `message`.
    pub message_size: usize,
}

/// The arguments of a safety checker. The library sets all fields; pointers are valid during the call.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct dreamframe_safety_call_t {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// The picture, `height * width * 3` values: red, green and blue from 0 to 1, row by row.
    pub picture: *const f32,
    /// Width of the picture.
    pub width: u32,
    /// Height of the picture.
    pub height: u32,
    /// Receives the reason of an error, UTF-8 that ends with a NUL; empty before the call.
    pub message: *mut c_char,
    /// Bytes of `message`.
    pub message_size: usize,
}

/// Starts an instance of a processor for one place of the parameters, such as the preprocessor of a ControlNet.
///
/// - Threads: that of `dreamframe_engine_create()` or `dreamframe_engine_update()`, or one that prepares updates of a
///   session, while other instances process frames.
/// - Ownership: the text is valid during the call.
///
/// @param user_data      that of the processor
/// @param settings_json  the settings in the parameters, an object; without those at their defaults
///
/// Returns the instance; NULL if it cannot be started, so that frames fail.
pub type dreamframe_processor_start_t =
    Option<unsafe extern "C" fn(user_data: *mut c_void, settings_json: *const c_char) -> *mut c_void>;

/// Processes the image of a frame. It must not wait: pictures are late by as much.
///
/// - Threads: the one that processes the frame: that of `dreamframe_engine_process()`, or the session's own; never
///   concurrently for one instance.
/// - Ownership: all pointers are valid during the call.
///
/// @param instance  the result of `start`; without that, the processor's `user_data`
/// @param call      input and output
///
/// Returns `DREAMFRAME_OK`, or a `DREAMFRAME_ERROR_…` and the reason in the message of the call; any other value counts as
/// `DREAMFRAME_ERROR_UNSUPPORTED`. The frame then fails, and the stream continues with the next one.
pub type dreamframe_processor_run_t =
    Option<unsafe extern "C" fn(instance: *mut c_void, call: *const dreamframe_processor_call_t) -> i32>;

/// Changes the settings of an instance, which keeps its state.
///
/// - Threads: that of `dreamframe_engine_update()` or the session's own, between two frames.
/// - Ownership: the text is valid during the call.
///
/// @param instance       as for `run`
/// @param settings_json  all settings that are not at their defaults, an object
pub type dreamframe_processor_configure_t =
    Option<unsafe extern "C" fn(instance: *mut c_void, settings_json: *const c_char)>;

/// Discards the state of an instance, after which frames have nothing to do with earlier ones.
///
/// - Threads: as for `run`, between two frames.
///
/// @param instance  as for `run`
pub type dreamframe_processor_reset_t = Option<unsafe extern "C" fn(instance: *mut c_void)>;

/// Frees what `user_data` or an instance points to: the last call with it.
///
/// - Threads: any thread; after `dreamframe_engine_free()` or `dreamframe_session_free()` also later, if the library is then
///   still preparing an update.
///
/// @param user_data  that of the struct, or the instance
pub type dreamframe_destroy_t = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// Scores a picture for safety.
///
/// - Threads: the one that processes the frame, as for processors; never concurrently for one engine.
/// - Ownership: all pointers are valid during the call.
///
/// @param user_data  that of the safety checker
/// @param call       the picture
/// @param out_score  receives how unsafe it is, from 0 (harmless) to 1
///
/// Returns `DREAMFRAME_OK`, or an error as processors do; the picture is then flagged, and the frame fails.
pub type dreamframe_safety_score_t = Option<
    unsafe extern "C" fn(user_data: *mut c_void, call: *const dreamframe_safety_call_t, out_score: *mut f32) -> i32,
>;

/// A processor of the host, which replaces the library's of the same name everywhere in the parameters. Initialize with
/// `DREAMFRAME_PROCESSOR_INIT`.
///
/// No function may throw an exception, or leave by `longjmp`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct dreamframe_processor_t {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// The name in the parameters, such as `"canny"`.
    pub name: *const c_char,
    /// Passed to `start` and `destroy`.
    pub user_data: *mut c_void,
    /// Starts an instance; NULL if `user_data` is the only one.
    pub start: dreamframe_processor_start_t,
    /// Processes the image of a frame.
    pub run: dreamframe_processor_run_t,
    /// Changes the settings; NULL if there are none.
    pub configure: dreamframe_processor_configure_t,
    /// Discards the state; NULL if there is none.
    pub reset: dreamframe_processor_reset_t,
    /// Frees an instance that `start` returned; may be NULL.
    pub stop: dreamframe_destroy_t,
    /// Frees `user_data`, after all instances were stopped; may be NULL.
    pub destroy: dreamframe_destroy_t,
    /// The factor from the size of the input to that of the output, up to 4; 0 for 1. A result is resized to the size that
    /// the name implies: only `upscale` and `realesrgan_trt` enlarge pictures.
    pub scale: u32,
    /// Channels of the output, up to 16; 0 for those of the input. Only control images may have another number.
    pub channels: u32,
}

// SAFETY: `repr(C)`, starts with its size, and zeros are valid for each field: integers, NULL, no function.
unsafe impl Versioned for dreamframe_processor_t {
    const NAME: &'static str = "processor";
    const LEAST: usize = offset_of!(Self, channels) + size_of::<u32>();
}

/// A safety checker of the host, used if the parameter `use_safety_checker` is on. Initialize with
/// `DREAMFRAME_SAFETY_CHECKER_INIT`.
///
/// No function may throw an exception, or leave by `longjmp`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct dreamframe_safety_checker_t {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// Passed to the functions.
    pub user_data: *mut c_void,
    /// Scores a picture.
    pub score: dreamframe_safety_score_t,
    /// Frees `user_data`; may be NULL.
    pub destroy: dreamframe_destroy_t,
}

// SAFETY: as above.
unsafe impl Versioned for dreamframe_safety_checker_t {
    const NAME: &'static str = "safety_checker";
    const LEAST: usize = offset_of!(Self, destroy) + size_of::<dreamframe_destroy_t>();
}

/// The host's processors and safety checker, for the field `hooks` of `dreamframe_options_t`. Initialize with
/// `DREAMFRAME_HOOKS_INIT`.
///
/// The structs are copied. `dreamframe_engine_create()` takes each `user_data` over, also if it fails: the struct's `destroy`
/// is called exactly once, unless the struct itself cannot be read: NULL, a wrong `struct_size`, or too
/// large a `processor_count`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct dreamframe_hooks_t {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// Pointers to the processors, each of another name; NULL for none.
    pub processors: *const *const dreamframe_processor_t,
    /// The number of processors.
    pub processor_count: usize,
    /// The safety checker; NULL for the library's.
    pub safety_checker: *const dreamframe_safety_checker_t,
}

// SAFETY: as above.
unsafe impl Versioned for dreamframe_hooks_t {
    const NAME: &'static str = "hooks";
    const LEAST: usize = offset_of!(Self, safety_checker) + size_of::<*const dreamframe_safety_checker_t>();
}

/// The hooks of an engine.
#[derive(Debug, Default)]
pub(crate) struct HostHooks {
    processors: Vec<Arc<HostProcessor>>,
    safety_checker: Option<Arc<HostChecker>>,
}

impl HostHooks {
    /// Takes over the hooks at `from`, or none for NULL.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for NULL, a wrong `struct_size`, a missing function, and a name that is unknown or used twice.
    ///
    /// # Safety
    ///
    /// The structs are as documented in the header.
    pub(crate) unsafe fn read(from: *const dreamframe_hooks_t) -> Result<Self> {
        if from.is_null() {
            return Ok(Self::default());
        }
        // SAFETY: the caller's promise.
        let raw = unsafe { pointer::read(from) }?;
        // All are read before any is checked, so that each is destroyed if one is invalid.
        let checker = match raw.safety_checker.is_null() {
            true => None,
            // SAFETY: likewise.
            false => Some(unsafe { pointer::read(raw.safety_checker) }.map(Owned::of_checker)),
        };
        let places = match raw.processor_count {
            0 => &[],
            count if count > MAX_PROCESSORS => {
                let text = format!("processor_count: got {count}, expected at most {MAX_PROCESSORS}");
                return Err(invalid_argument(text));
            }
            // SAFETY: likewise.
            count => unsafe { pointer::slice(raw.processors, count, "processors") }?,
        };
        // SAFETY: likewise.
        let read = |&place: &*const dreamframe_processor_t| unsafe { pointer::read(place) }.map(Owned::of_processor);
        let owned: Vec<Result<Owned<dreamframe_processor_t>>> = places.iter().map(read).collect();
        let safety_checker = checker.transpose()?.map(HostChecker::new).transpose()?.map(Arc::new);
        let mut processors: Vec<Arc<HostProcessor>> = Vec::with_capacity(owned.len());
        for owned in owned {
            // SAFETY: likewise.
            let processor = unsafe { HostProcessor::new(owned?) }?;
            if processors.iter().any(|other| other.name == processor.name) {
                let text = format!("processors: got {:?} twice, expected each name once", processor.name.name());
                return Err(invalid_argument(text));
            }
            processors.push(Arc::new(processor));
        }
        Ok(Self { processors, safety_checker })
    }

    /// Adds them to an engine.
    pub(crate) fn add_to(self, mut builder: EngineBuilder) -> EngineBuilder {
        let mut registry = Registry::new();
        for processor in self.processors {
            registry = registry.with(processor.name, processor);
        }
        builder = builder.processors(registry);
        match self.safety_checker {
            Some(checker) => builder.safety_checker(checker),
            None => builder,
        }
    }
}

/// The host's data, destroyed at the end.
#[derive(Debug)]
struct Data {
    user_data: UserData,
    destroy: dreamframe_destroy_t,
}

impl Drop for Data {
    fn drop(&mut self) {
        if let Some(destroy) = self.destroy {
            // SAFETY: the host's function, with the host's data, once.
            callback::inside(|| unsafe { destroy(self.user_data.0) });
        }
    }
}

/// A struct of the host, whose data the library has.
#[derive(Debug)]
struct Owned<T> {
    raw: T,
    data: Data,
}

impl Owned<dreamframe_processor_t> {
    fn of_processor(raw: dreamframe_processor_t) -> Self {
        Self { raw, data: Data { user_data: UserData(raw.user_data), destroy: raw.destroy } }
    }
}

impl Owned<dreamframe_safety_checker_t> {
    fn of_checker(raw: dreamframe_safety_checker_t) -> Self {
        Self { raw, data: Data { user_data: UserData(raw.user_data), destroy: raw.destroy } }
    }
}

/// A processor of the host.
#[derive(Debug)]
struct HostProcessor {
    name: ProcessorName,
    start: dreamframe_processor_start_t,
    functions: Functions,
    data: Arc<Data>,
}

/// The functions of an instance.
#[derive(Debug, Clone, Copy)]
struct Functions {
    run: unsafe extern "C" fn(*mut c_void, *const dreamframe_processor_call_t) -> i32,
    configure: dreamframe_processor_configure_t,
    reset: dreamframe_processor_reset_t,
    stop: dreamframe_destroy_t,
    scale: usize,
    channels: usize,
}

impl HostProcessor {
    /// # Safety
    ///
    /// The name ends with a NUL.
    unsafe fn new(Owned { raw, data }: Owned<dreamframe_processor_t>) -> Result<Self> {
        // SAFETY: the caller's promise.
        let name = unsafe { text::required(raw.name, "name of a processor") }?;
        let known = ProcessorName::ALL.iter().find(|known| known.name() == name);
        let &name = known.ok_or_else(|| {
            invalid_argument(format!("name of a processor: got {name:?}, expected one of the parameters"))
        })?;
        let run = raw.run.ok_or_else(|| {
            invalid_argument(format!("run of the processor {:?}: got NULL, expected a function", name.name()))
        })?;
        for (field, got, most) in [("scale", raw.scale, MAX_SCALE), ("channels", raw.channels, MAX_CHANNELS)] {
            if got > most {
                let place = format!("{field} of the processor {:?}", name.name());
                return Err(invalid_argument(format!("{place}: got {got}, expected at most {most}")));
            }
        }
        let functions = Functions {
            run,
            configure: raw.configure,
            reset: raw.reset,
            stop: raw.start.and(raw.stop),
            scale: raw.scale.max(1) as usize,
            channels: raw.channels as usize,
        };
        Ok(Self { name, start: raw.start, functions, data: Arc::new(data) })
    }
}

impl Factory for HostProcessor {
    fn start(&self, settings: &Map<String, Value>) -> Box<dyn Preprocessor> {
        let instance = match self.start {
            Some(start) => {
                let settings = json(settings);
                // SAFETY: the host's function, with the host's data and a text that outlives the call.
                callback::inside(|| unsafe { start(self.data.user_data.0, settings.as_ptr()) })
            }
            None => self.data.user_data.0,
        };
        let failed = self.start.is_some() && instance.is_null();
        Box::new(Instance { instance: UserData(instance), failed, functions: self.functions, _data: self.data.clone() })
    }
}

/// An instance of a processor of the host.
#[derive(Debug)]
struct Instance {
    instance: UserData,
    /// Whether it could not be started.
    failed: bool,
    functions: Functions,
    /// Destroyed after the instance.
    _data: Arc<Data>,
}

impl Preprocessor for Instance {
    fn run(&mut self, input: &Image, context: &Context<'_>, output: &mut Image) -> Result<()> {
        if self.failed {
            return Err(Error::new(ErrorKind::Unsupported, "the host could not start the processor"));
        }
        let Functions { run, scale, channels, .. } = self.functions;
        let channels = if channels == 0 { input.channels() } else { channels };
        output.resize(input.width() * scale, input.height() * scale, channels);
        let previous = context.previous.filter(|previous| previous.channels() == input.channels());
        let mut message: [c_char; MESSAGE] = [0; MESSAGE];
        let call = dreamframe_processor_call_t {
            struct_size: size_of::<dreamframe_processor_call_t>(),
            input: input.pixels().as_ptr(),
            width: input.width() as u32,
            height: input.height() as u32,
            channels: input.channels() as u32,
            output_channels: channels as u32,
            output_width: output.width() as u32,
            output_height: output.height() as u32,
            output: output.pixels_mut().as_mut_ptr(),
            previous: previous.map_or(std::ptr::null(), |previous| previous.pixels().as_ptr()),
            previous_width: previous.map_or(0, |previous| previous.width() as u32),
            previous_height: previous.map_or(0, |previous| previous.height() as u32),
            message: message.as_mut_ptr(),
            message_size: MESSAGE,
        };
        // SAFETY: the host's function, with its instance, and memory of the documented sizes.
        let status = callback::inside(|| unsafe { run(self.instance.0, &raw const call) });
        check(status, &message)?;
        // One value would spread over the whole picture, and to later ones.
        if output.pixels().iter().all(|value| value.is_finite()) {
            return Ok(());
        }
        Err(invalid_argument("output: got a value that is not finite, expected finite ones".to_owned()))
    }

    fn configure(&mut self, settings: &Map<String, Value>) {
        if let Some(configure) = self.functions.configure.filter(|_| !self.failed) {
            let settings = json(settings);
            // SAFETY: the host's function, with its instance and a text that outlives the call.
            callback::inside(|| unsafe { configure(self.instance.0, settings.as_ptr()) });
        }
    }

    fn reset(&mut self) {
        if let Some(reset) = self.functions.reset.filter(|_| !self.failed) {
            // SAFETY: the host's function, with its instance.
            callback::inside(|| unsafe { reset(self.instance.0) });
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(stop) = self.functions.stop.filter(|_| !self.failed) {
            // SAFETY: the host's function, with its instance, once.
            callback::inside(|| unsafe { stop(self.instance.0) });
        }
    }
}

/// A safety checker of the host.
#[derive(Debug)]
struct HostChecker {
    score: unsafe extern "C" fn(*mut c_void, *const dreamframe_safety_call_t, *mut f32) -> i32,
    data: Data,
}

impl HostChecker {
    fn new(Owned { raw, data }: Owned<dreamframe_safety_checker_t>) -> Result<Self> {
        let missing = || invalid_argument("score of the safety checker: got NULL, expected a function".to_owned());
        Ok(Self { score: raw.score.ok_or_else(missing)?, data })
    }
}

impl SafetyChecker for HostChecker {
    fn score(&self, image: &Image) -> Result<f32> {
        let mut message: [c_char; MESSAGE] = [0; MESSAGE];
        let call = dreamframe_safety_call_t {
            struct_size: size_of::<dreamframe_safety_call_t>(),
            picture: image.pixels().as_ptr(),
            width: image.width() as u32,
            height: image.height() as u32,
            message: message.as_mut_ptr(),
            message_size: MESSAGE,
        };
        let mut scored = f32::NAN;
        // SAFETY: the host's function, with its data, and memory of the documented sizes.
        let status =
            callback::inside(|| unsafe { (self.score)(self.data.user_data.0, &raw const call, &raw mut scored) });
        check(status, &message).map_err(|error| error.within("safety checker"))?;
        if (0.0..=1.0).contains(&scored) {
            return Ok(scored);
        }
        Err(invalid_argument(format!("score of the safety checker: got {scored}, expected 0 to 1")))
    }
}

/// Converts the result of a hook.
fn check(status: i32, message: &[c_char; MESSAGE]) -> Result<()> {
    if status == DREAMFRAME_OK {
        return Ok(());
    }
    let kind = ERRORS.iter().find(|(_, known)| *known == status).map_or(ErrorKind::Unsupported, |(kind, _)| *kind);
    let bytes: Vec<u8> = message.iter().map(|&byte| byte as u8).take_while(|&byte| byte != 0).collect();
    match String::from_utf8_lossy(&bytes).trim() {
        "" => Err(Error::new(kind, format!("the host's function returned {status}"))),
        reason => Err(Error::new(kind, reason)),
    }
}

fn json(settings: &Map<String, Value>) -> std::ffi::CString {
    text::c_string(Value::Object(settings.clone()).to_string())
}

fn invalid_argument(text: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
}
