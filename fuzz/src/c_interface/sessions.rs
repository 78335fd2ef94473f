//! Calls with a session.

use std::ptr::null_mut;

use dreamframe_fuzz_ffi::images::*;
use dreamframe_fuzz_ffi::session::*;
use dreamframe_fuzz_ffi::session_frames::*;
use dreamframe_fuzz_ffi::session_updates::*;
use dreamframe_fuzz_ffi::stats::*;

use super::arguments::{Change, Question, SessionCall, Which};
use super::checks::{Use, json};
use super::{Host, handle, note};

/// The longest time for a session to end, in milliseconds.
const STOP_MS: u64 = 20_000;

impl Host {
    /// Calls a function of sessions.
    pub(super) fn call_session(&mut self, which: Which, call: &SessionCall) {
        let (session, usable) = handle(&self.sessions, which);
        let check = |status| usable.checked(status);
        // SAFETY: handles are checked, and all other arguments are valid during the call, or refused.
        unsafe {
            match call {
                SessionCall::Submit(frame) => {
                    let frame = frame.frame(&mut self.input);
                    usable.checked_numbers(|[id]| dreamframe_session_submit(session, &raw const frame, id));
                }
                SessionCall::Poll(to) => {
                    let to = to.frame(&mut self.output);
                    check(dreamframe_session_poll(session, &raw const to, null_mut()));
                }
                SessionCall::Wait(to, milliseconds) => {
                    let (to, limit) = (to.frame(&mut self.output), u64::from(milliseconds % 32));
                    check(dreamframe_session_wait(session, limit, &raw const to, null_mut()));
                }
                SessionCall::SetExternalImage(controlnet, image) => {
                    let image = image.frame(&mut self.input);
                    check(dreamframe_session_set_external_image(session, controlnet.pointer(), &raw const image));
                }
                SessionCall::ClearExternalImage(controlnet) => {
                    check(dreamframe_session_clear_external_image(session, controlnet.pointer()));
                }
                SessionCall::SetStyleImage(image) => {
                    let image = image.frame(&mut self.input);
                    usable.checked_numbers(|[version]| {
                        dreamframe_session_set_style_image(session, &raw const image, version)
                    });
                }
                SessionCall::Stop => drop(check(dreamframe_session_stop(session, STOP_MS))),
                SessionCall::Free => {
                    dreamframe_session_free(session);
                    note(&mut self.sessions, session, Use::Refused);
                }
                SessionCall::Change(change) => update(session, usable, change),
                SessionCall::Question(question) => ask(session, usable, question),
            }
        }
    }
}

/// Calls a function that changes parameters.
fn update(session: *mut dreamframe_session_t, usable: Use, change: &Change) {
    // SAFETY: handles are checked, and all other arguments are valid during the call, or refused.
    unsafe {
        match change {
            Change::Update(patch) => {
                usable.checked_report(|version, out| dreamframe_session_update(session, patch.pointer(), version, out))
            }
            Change::Transition(to) => {
                usable.checked_numbers(|[version]| dreamframe_session_transition(session, to.pointer(), version))
            }
            Change::SetNumber(name, value) => {
                usable.checked_numbers(|[version]| dreamframe_session_set_f32(session, name.pointer(), *value, version))
            }
            Change::SetInteger(name, value) => {
                usable.checked_numbers(|[version]| dreamframe_session_set_i64(session, name.pointer(), *value, version))
            }
            Change::SetFlag(name, value) => usable
                .checked_numbers(|[version]| dreamframe_session_set_bool(session, name.pointer(), *value, version)),
            Change::SetText(name, value) => usable.checked_numbers(|[version]| {
                dreamframe_session_set_text(session, name.pointer(), value.pointer(), version)
            }),
        }
    };
}

/// Calls a function that changes nothing.
fn ask(session: *mut dreamframe_session_t, usable: Use, question: &Question) {
    let check = |status| usable.checked(status);
    // SAFETY: handles are checked, and all other arguments are valid during the call.
    unsafe {
        match question {
            Question::Plan(patch) => {
                usable.checked_report(|cost, out| dreamframe_session_plan(session, patch.pointer(), cost, out));
            }
            Question::WaitFor(version) => {
                usable
                    .checked_numbers(|[outcome]| dreamframe_session_wait_for(session, u64::from(*version), 0, outcome));
            }
            Question::Params => drop(json(|out| dreamframe_session_params(session, out), check)),
            Question::NextEvent => drop(json(|out| dreamframe_session_next_event(session, 0, out), check)),
            Question::StatsJson => drop(json(|out| dreamframe_session_stats_json(session, out), check)),
            Question::Stats => {
                let mut stats: dreamframe_stats_t = std::mem::zeroed();
                stats.struct_size = size_of::<dreamframe_stats_t>();
                stats.reserved = 77;
                let is_done = check(dreamframe_session_stats(session, &raw mut stats));
                assert_eq!(stats.reserved, if is_done { 0 } else { 77 });
            }
            Question::Size => {
                usable.checked_numbers(|[width, height]| dreamframe_session_size(session, width, height));
            }
            Question::IsRunning => {
                let mut is_running = false;
                let is_done = check(dreamframe_session_is_running(session, &raw mut is_running));
                assert!(is_done || !is_running);
            }
        }
    }
}
