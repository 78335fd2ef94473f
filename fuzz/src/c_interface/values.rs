//! Calls without a handle.

use std::ffi::CStr;
use std::ptr::null_mut;

use dreamframe_fuzz_ffi::images::dreamframe_style_pixels_uri;
use dreamframe_fuzz_ffi::params::*;
use dreamframe_fuzz_ffi::status::dreamframe_status_name;
use dreamframe_fuzz_ffi::style::dreamframe_style_data_uri;
use serde_json::Value;

use super::Host;
use super::arguments::ValueCall;
use super::checks::{checked, json, text};

impl Host {
    /// Calls a function without a handle.
    pub(super) fn call_value(&mut self, call: &ValueCall) {
        // SAFETY: all arguments are valid during the call, or refused.
        unsafe {
            match call {
                ValueCall::Check(params) => {
                    let text = params.0.as_ref().map(|text| text.to_bytes());
                    let parsed = text.and_then(|text| serde_json::from_slice::<Value>(text).ok());
                    let is_done = checked(dreamframe_params_check(params.pointer(), null_mut()));
                    assert!(!is_done || parsed.is_some_and(|value| value.is_object()));
                }
                ValueCall::Merge(base, patch) => {
                    json(|out| dreamframe_params_merge(base.pointer(), patch.pointer(), out), checked);
                }
                ValueCall::Defaults => assert!(json(|out| dreamframe_params_defaults(out), checked).is_some()),
                ValueCall::Demo => assert!(json(|out| dreamframe_params_demo(out), checked).is_some()),
                ValueCall::ForModel(name) => {
                    json(|out| dreamframe_params_for_model(name.pointer(), out), checked);
                }
                ValueCall::Schema => assert!(json(|out| dreamframe_params_schema(out), checked).is_some()),
                ValueCall::StyleFile(bytes) => {
                    let uri = text(|out| dreamframe_style_data_uri(bytes.as_ptr(), bytes.len(), out), checked);
                    assert!(uri.is_none_or(|uri| uri.starts_with("data:image/")));
                }
                ValueCall::StylePixels(image) => {
                    let image = image.frame(&mut self.input);
                    let uri = text(|out| dreamframe_style_pixels_uri(&raw const image, out), checked);
                    assert!(uri.is_none_or(|uri| uri.starts_with("data:image/")));
                }
                ValueCall::StatusName(status) => {
                    let name = CStr::from_ptr(dreamframe_status_name(*status));
                    assert!(name.to_str().is_ok_and(|name| !name.is_empty()));
                }
            }
        }
    }
}
