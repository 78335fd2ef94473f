//! Calls with an engine.

use std::ptr::{null, null_mut};

use dreamframe_fuzz_ffi::device_frame::{dreamframe_engine_frame_memory, dreamframe_engine_process_device};
use dreamframe_fuzz_ffi::engine::*;
use dreamframe_fuzz_ffi::images::*;
use dreamframe_fuzz_ffi::session::dreamframe_session_start;
use dreamframe_fuzz_ffi::status::DREAMFRAME_OK;
use dreamframe_fuzz_ffi::text_to_image::dreamframe_engine_text_to_image;

use super::arguments::{EngineCall, Text, Which};
use super::checks::{Use, json};
use super::{Host, handle, note};

impl Host {
    /// Calls a function of engines.
    pub(super) fn call_engine(&mut self, which: Which, call: &EngineCall) {
        let (engine, usable) = handle(&self.engines, which);
        let check = |status| usable.checked(status);
        // SAFETY: handles are checked, and all other arguments are valid during the call, or refused.
        unsafe {
            match call {
                EngineCall::Process(from, to) => {
                    let (from, to) = (from.frame(&mut self.input), to.frame(&mut self.output));
                    check(dreamframe_engine_process(engine, &raw const from, &raw const to, null_mut()));
                }
                EngineCall::ProcessDevice(from, to, memory) => {
                    let from = from.device_frame(*memory, &mut self.input);
                    let to = to.device_frame(*memory, &mut self.output);
                    check(dreamframe_engine_process_device(engine, &raw const from, &raw const to, null_mut()));
                }
                EngineCall::TextToImage(to) => {
                    let to = to.frame(&mut self.output);
                    check(dreamframe_engine_text_to_image(engine, &raw const to, null_mut()));
                }
                EngineCall::Update(patch) => update(engine, usable, patch),
                EngineCall::Plan(patch) => {
                    usable.checked_report(|cost, out| dreamframe_engine_plan(engine, patch.pointer(), cost, out));
                }
                EngineCall::Transition(to) => {
                    json(|out| dreamframe_engine_transition(engine, to.pointer(), out), check);
                }
                EngineCall::SetExternalImage(controlnet, image) => {
                    let image = image.frame(&mut self.input);
                    check(dreamframe_engine_set_external_image(engine, controlnet.pointer(), &raw const image));
                }
                EngineCall::ClearExternalImage(controlnet) => {
                    check(dreamframe_engine_clear_external_image(engine, controlnet.pointer()));
                }
                EngineCall::SetStyleImage(image) => {
                    let image = image.frame(&mut self.input);
                    check(dreamframe_engine_set_style_image(engine, &raw const image));
                }
                EngineCall::Params => drop(json(|out| dreamframe_engine_params(engine, out), check)),
                EngineCall::Info => drop(json(|out| dreamframe_engine_info(engine, out), check)),
                EngineCall::Size => {
                    usable.checked_numbers(|[width, height]| dreamframe_engine_size(engine, width, height));
                }
                EngineCall::Delay => {
                    usable.checked_numbers(|[delay]| dreamframe_engine_delay(engine, delay));
                }
                EngineCall::FrameMemory => {
                    usable.checked_numbers(|[memory, device]| dreamframe_engine_frame_memory(engine, memory, device));
                }
                EngineCall::Start => self.start(engine, usable),
                EngineCall::Free => {
                    dreamframe_engine_free(engine);
                    note(&mut self.engines, engine, Use::Refused);
                }
            }
        }
    }

    /// Starts a session, to which the engine belongs from then on.
    fn start(&mut self, engine: *mut dreamframe_engine_t, usable: Use) {
        let mut session = null_mut();
        // SAFETY: handles are checked, and the output is valid during the call.
        let is_done = usable.checked(unsafe { dreamframe_session_start(engine, null(), &raw mut session) });
        assert_eq!(session.is_null(), !is_done);
        if is_done {
            note(&mut self.engines, engine, Use::Depends);
            self.sessions.push((session, Use::Works));
        }
    }
}

/// Updates an engine: an error changes nothing.
fn update(engine: *mut dreamframe_engine_t, usable: Use, patch: &Text) {
    // SAFETY: handles are checked.
    let params = || json(|out| unsafe { dreamframe_engine_params(engine, out) }, |status| status == DREAMFRAME_OK);
    let before = params();
    // SAFETY: all arguments are valid during the call.
    let call = |cost, report| unsafe { dreamframe_engine_update(engine, patch.pointer(), cost, report) };
    if !usable.checked_report(call) {
        assert_eq!(params(), before);
    }
}
