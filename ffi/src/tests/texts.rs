//! Strings in both directions, statuses and versions.

use std::ffi::CStr;
use std::ptr::null_mut;

use dreamframe::params::schema;
use dreamframe::{Error, ErrorKind, StreamDiffusionParams};

use super::kit::{c, json, last_error, last_error_json};
use crate::guard::guard;
use crate::params::*;
use crate::status::*;
use crate::style::dreamframe_style_data_uri;
use crate::text::{self, dreamframe_string_free};
use crate::version::*;

fn static_text(text: *const std::ffi::c_char) -> String {
    // SAFETY: it is static.
    unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned()
}

#[test]
fn every_error_kind_has_a_status_and_a_name() {
    for (kind, status) in ERRORS {
        assert!(status < 0);
        assert_eq!(ERRORS.iter().filter(|(_, other)| *other == status).count(), 1);
        assert_eq!(guard(|| Err(Error::new(kind, "told"))), status);
        assert_eq!(static_text(dreamframe_status_name(status)), kind.name());
    }
    let names = [DREAMFRAME_OK, DREAMFRAME_NOT_READY, -1000].map(|status| static_text(dreamframe_status_name(status)));
    assert_eq!(names, ["ok", "not_ready", "unknown"]);
}

#[test]
fn last_error_is_per_thread_and_survives_success() {
    assert_eq!(last_error(), "");
    guard(|| Err(Error::new(ErrorKind::Io, "a\0b")));
    assert_eq!(last_error(), "a?b");
    assert_eq!(guard(|| Ok(())), DREAMFRAME_OK);
    assert_eq!(last_error(), "a?b");
    std::thread::spawn(|| assert_eq!(last_error(), "")).join().unwrap();
}

#[test]
fn last_error_json_lists_every_violation() {
    let text = c(r#"{"delta": 99, "promt": "a", "t_index_list": [60]}"#);
    // SAFETY: all arguments are valid during the call.
    assert_eq!(unsafe { dreamframe_params_check(text.as_ptr(), null_mut()) }, DREAMFRAME_ERROR_INVALID_PARAMS);
    let error = last_error_json();
    assert_eq!(error["kind"], "invalid_params");
    let paths: Vec<&str> =
        error["violations"].as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect();
    assert!(["delta", "promt", "t_index_list[0]"].iter().all(|path| paths.contains(path)), "{paths:?}");
    assert!(last_error().contains("delta: got 99"), "{}", last_error());
}

#[test]
fn invalid_utf_8_is_rejected() {
    // SAFETY: all arguments are valid during the call.
    let status = unsafe { dreamframe_params_check(c"\"\xff\"".as_ptr(), null_mut()) };
    assert_eq!(status, DREAMFRAME_ERROR_INVALID_ARGUMENT);
    assert!(last_error().starts_with("params_json: not UTF-8: "), "{}", last_error());
}

#[test]
fn string_free_ignores_foreign_and_freed_strings() {
    let text = text::to_host("a");
    let mut mine = *b"b\0";
    // SAFETY: texts are looked up before they are freed.
    unsafe {
        dreamframe_string_free(text);
        assert_eq!(last_error(), "");
        dreamframe_string_free(text);
        assert!(last_error().contains("already freed"), "{}", last_error());
        dreamframe_string_free(mine.as_mut_ptr().cast());
        dreamframe_string_free(null_mut());
    }
    assert_eq!(mine, *b"b\0");
}

#[test]
fn parameter_functions_return_those_of_the_library() {
    // SAFETY: all arguments are valid during the call.
    unsafe {
        assert_eq!(json(|out| dreamframe_params_defaults(out)), StreamDiffusionParams::default().to_value());
        assert_eq!(json(|out| dreamframe_params_demo(out)), StreamDiffusionParams::demo().to_value());
        let sdxs = StreamDiffusionParams::for_model("sdxs").unwrap().to_value();
        assert_eq!(json(|out| dreamframe_params_for_model(c"sdxs".as_ptr(), out)), sdxs);
        assert_eq!(json(|out| dreamframe_params_schema(out)), *schema());
        let checked = json(|out| dreamframe_params_check(c"{\"delta\": 0.25}".as_ptr(), out));
        assert_eq!((&checked["params"]["delta"], &checked["params"]["width"]), (&0.25.into(), &512.into()));
        assert!(checked["notices"].is_array());
        let (base, patch) = (c(r#"{"delta": 0.25, "seed": 3}"#), c(r#"{"seed": 4}"#));
        let merged = json(|out| dreamframe_params_merge(base.as_ptr(), patch.as_ptr(), out));
        assert_eq!((&merged["delta"], &merged["seed"]), (&0.25.into(), &4.into()));
        let merged = json(|out| dreamframe_params_merge(std::ptr::null(), patch.as_ptr(), out));
        assert_eq!((&merged["model_id"], &merged["seed"]), (&"demo".into(), &4.into()));
    }
}

#[test]
fn style_data_uri_encodes_an_image_file() {
    let png = b"\x89PNG\r\n\x1a\n and more";
    let mut text = null_mut();
    // SAFETY: all arguments are valid during the call.
    unsafe {
        assert_eq!(dreamframe_style_data_uri(png.as_ptr(), png.len(), &raw mut text), DREAMFRAME_OK);
        assert!(CStr::from_ptr(text).to_str().unwrap().starts_with("data:image/png;base64,"));
        dreamframe_string_free(text);
        let refused = dreamframe_style_data_uri(c"no image".as_ptr().cast(), 8, &raw mut text);
        assert_eq!(refused, DREAMFRAME_ERROR_INVALID_ARGUMENT);
    }
}

#[test]
fn version_functions_describe_the_library() {
    assert_eq!(static_text(dreamframe_version()), env!("CARGO_PKG_VERSION"));
    assert_eq!(dreamframe_abi_version(), DREAMFRAME_ABI_VERSION);
    let info: serde_json::Value = serde_json::from_str(&static_text(dreamframe_build_info())).unwrap();
    let has = |feature: &str| info["features"].as_array().unwrap().contains(&feature.into());
    assert!(dreamframe::FEATURES.iter().all(|feature| has(feature)), "{info}");
    assert_eq!(has("transport"), cfg!(feature = "transport"));
    assert_eq!(info["abi_version"], DREAMFRAME_ABI_VERSION);
}
