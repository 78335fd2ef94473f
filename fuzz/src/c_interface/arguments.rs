//! Calls of the C interface, and their arguments.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::{null, null_mut};

use arbitrary::{Arbitrary, Result, Unstructured};
use dreamframe_fuzz_ffi::device_frame::dreamframe_device_frame_t;
use dreamframe_fuzz_ffi::frame::*;
use dreamframe_fuzz_ffi::status::DREAMFRAME_OK;

use super::checks::checked;

/// Bytes of the pixels of all frames.
pub(super) const PIXELS: usize = 4 * 72 * 72;
/// The format RGBA8.
const RGBA8: u32 = 1;

/// Patches, parameters, transitions, and values for one parameter. None makes pictures larger or loads a model that
/// exists.
const TEXTS: [&CStr; 20] = [
    c"{\"delta\": 0.5}",
    c"{\"delta\": 11}",
    c"{\"seed\": 7, \"guidance_scale\": 1.5}",
    c"{\"prompt\": [[\"a\", 1.0], [\"b\", 0.5]]}",
    c"{\"t_index_list\": [10, 30], \"num_inference_steps\": 40}",
    c"{\"t_index_list\": [30, 10]}",
    c"{\"width\": 72}",
    c"{\"width\": 65}",
    c"{\"model_id\": \"no/such-model\"}",
    c"{\"controlnets\": [{\"model_id\": \"demo-canny\", \"preprocessor\": \"canny\"}]}",
    c"{\"controlnets\": [{\"model_id\": \"demo-canny\", \"preprocessor\": \"external\"}]}",
    c"{\"image_postprocessing\": {\"processors\": [{\"type\": \"external\"}]}}",
    c"{\"skip_diffusion\": true}",
    c"{\"enable_similar_image_filter\": true}",
    c"{\"interpolation\": {\"factor\": 2}}",
    c"{\"ip_adapter\": {\"enabled\": true}}",
    c"{\"promtp\": 1}",
    c"{\"target_prompts\": \"snow\", \"num_steps\": 3}",
    c"none",
    c"",
];

/// Names of parameters, ids of ControlNets, and others. The sides of pictures are none of them: larger pictures would take
/// seconds each.
const NAMES: [&CStr; 16] = [
    c"prompt",
    c"negative_prompt",
    c"delta",
    c"seed",
    c"guidance_scale",
    c"num_inference_steps",
    c"skip_diffusion",
    c"use_denoising_batch",
    c"cfg_type",
    c"ip_adapter.scale",
    c"ip_adapter.enabled.too.deep",
    c"no_such_parameter",
    c"demo-canny",
    c"no/such-network",
    c".",
    c"",
];

/// An argument in place of a handle.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) enum Which {
    /// One that was given out, modulo their number; it may have been freed since.
    Given(u8),
    Null,
    /// Any other number.
    Number(u8),
}

/// A text that may be missing.
#[derive(Debug)]
pub(super) struct Text(pub(super) Option<CString>);

impl<'a> Arbitrary<'a> for Text {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self(match u.int_in_range(0..=15)? {
            0 => None,
            1 | 2 => {
                let text: String = u.arbitrary::<&str>()?.chars().filter(|&c| c != '\0').collect();
                // Larger pictures would take seconds each.
                CString::new(text.replace(['w', 'h'], "")).ok()
            }
            _ => Some((*u.choose(&TEXTS)?).to_owned()),
        }))
    }
}

impl Text {
    pub(super) fn pointer(&self) -> *const c_char {
        self.0.as_ref().map_or(null(), |text| text.as_ptr())
    }
}

/// The name of a parameter or the id of a ControlNet; `None` if it is missing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name(Option<&'static CStr>);

impl<'a> Arbitrary<'a> for Name {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self(NAMES.get(u.int_in_range(0..=NAMES.len())?).copied()))
    }
}

impl Name {
    /// Returns all there are.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        NAMES.into_iter().map(Some).chain([None]).map(Self)
    }

    pub(super) fn pointer(self) -> *const c_char {
        self.0.map_or(null(), CStr::as_ptr)
    }
}

/// A frame over the pixels.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) struct Shape {
    format: u8,
    width: u8,
    height: u8,
    /// What is wrong with it: nothing from 4 on.
    wrong: u8,
}

impl Shape {
    /// Returns the frame; one of the stream's size where the shape does not fit into the pixels.
    pub(super) fn frame(self, pixels: &mut [u8]) -> dreamframe_frame_t {
        let mut frame = empty_frame();
        let (format, width, height) = (u32::from(self.format % 8), u32::from(self.width), u32::from(self.height));
        let (start, len) = (pixels.as_mut_ptr(), pixels.len());
        // SAFETY: the pixels outlive the frame, which is checked to lie within them.
        let status = unsafe { dreamframe_frame_packed(format, width, height, start, len, &raw mut frame) };
        checked(status);
        if status != DREAMFRAME_OK {
            // SAFETY: likewise.
            unsafe { dreamframe_frame_packed(RGBA8, 64, 64, start, 4 * 64 * 64, &raw mut frame) };
        }
        match self.wrong {
            0 => frame.struct_size = 3,
            1 => frame.planes[0] = null_mut(),
            2 => frame.width = 0,
            3 => frame.format = 99,
            _ => {}
        }
        frame
    }

    /// Returns a frame over the pixels as if they were in the memory of a device.
    pub(super) fn device_frame(self, memory: u8, pixels: &mut [u8]) -> dreamframe_device_frame_t {
        dreamframe_device_frame_t {
            struct_size: if self.wrong == 0 { 3 } else { size_of::<dreamframe_device_frame_t>() },
            // A stride of 288 bytes then lies within the pixels.
            width: u32::from(self.width % 73),
            height: u32::from(self.height % 73),
            format: u32::from(self.format % 4),
            origin: u32::from(self.wrong % 4),
            memory: u32::from(memory % 4),
            device: u32::from(self.wrong == 1),
            address: if self.wrong == 2 { null_mut::<c_void>() } else { pixels.as_mut_ptr().cast() },
            stride: if self.wrong == 3 { 1 } else { 4 * 72 },
            stream: null_mut(),
            timestamp_ns: 0,
            user_tag: 0,
        }
    }
}

fn empty_frame() -> dreamframe_frame_t {
    // SAFETY: zeros are valid for each field.
    let frame: dreamframe_frame_t = unsafe { std::mem::zeroed() };
    dreamframe_frame_t { struct_size: size_of::<dreamframe_frame_t>(), ..frame }
}

/// A call.
#[derive(Debug, Arbitrary)]
pub(super) enum Call {
    Create(Text),
    Engine(Which, EngineCall),
    Session(Which, SessionCall),
    Value(ValueCall),
}

/// A call with an engine.
#[derive(Debug, Arbitrary)]
pub(super) enum EngineCall {
    Process(Shape, Shape),
    ProcessDevice(Shape, Shape, u8),
    TextToImage(Shape),
    Update(Text),
    Plan(Text),
    Transition(Text),
    SetExternalImage(Name, Shape),
    ClearExternalImage(Name),
    SetStyleImage(Shape),
    Params,
    Info,
    Size,
    Delay,
    FrameMemory,
    Start,
    Free,
}

/// A call with a session.
#[derive(Debug, Arbitrary)]
pub(super) enum SessionCall {
    Submit(Shape),
    Poll(Shape),
    Wait(Shape, u8),
    Change(Change),
    Question(Question),
    SetExternalImage(Name, Shape),
    ClearExternalImage(Name),
    SetStyleImage(Shape),
    Stop,
    Free,
}

/// A change of a session's parameters.
#[derive(Debug, Arbitrary)]
pub(super) enum Change {
    Update(Text),
    Transition(Text),
    SetNumber(Name, f32),
    SetInteger(Name, i64),
    SetFlag(Name, bool),
    SetText(Name, Text),
}

/// A call with a session that changes nothing.
#[derive(Debug, Arbitrary)]
pub(super) enum Question {
    Plan(Text),
    WaitFor(u8),
    Params,
    NextEvent,
    Size,
    IsRunning,
    Stats,
    StatsJson,
}

/// A call without a handle.
#[derive(Debug, Arbitrary)]
pub(super) enum ValueCall {
    Check(Text),
    Merge(Text, Text),
    Defaults,
    Demo,
    ForModel(Text),
    Schema,
    StyleFile(Vec<u8>),
    StylePixels(Shape),
    StatusName(i32),
}
