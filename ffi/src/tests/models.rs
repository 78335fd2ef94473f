//! Downloads, in a library with and without the feature `hub`.

use std::ptr::null_mut;

use super::kit::{c, last_error};
use crate::models::*;
use crate::status::*;

/// Options with a cache that does not exist, and without the network.
fn offline(cache: &std::ffi::CStr) -> dreamframe_fetch_options_t {
    dreamframe_fetch_options_t { cache: cache.as_ptr(), offline: 1, ..dreamframe_fetch_options_t::none() }
}

#[test]
fn a_download_without_the_network_or_the_feature_fails_and_says_why() {
    let (cache, id, mut path) = (c("/nonexistent"), c("some/model"), null_mut());
    let options = offline(&cache);
    // SAFETY: all arguments are valid during the call.
    let status = unsafe { dreamframe_models_fetch(id.as_ptr(), &raw const options, &raw mut path) };
    let (expected, why) = if cfg!(feature = "hub") {
        (DREAMFRAME_ERROR_NOT_FOUND, "model some/model is not in /nonexistent")
    } else {
        (DREAMFRAME_ERROR_UNSUPPORTED, "feature `hub`")
    };
    assert_eq!(status, expected);
    assert!(last_error().contains(why), "{}", last_error());
    assert!(path.is_null());
}

#[cfg(feature = "hub")]
#[test]
fn each_model_of_parameters_has_its_error() {
    let (cache, params) = (c("/nonexistent"), c(r#"{"model_id": "demo", "lora_dict": {"some/lora": 1}}"#));
    let options = offline(&cache);
    // SAFETY: all arguments are valid during the call.
    let models =
        super::kit::json(|out| unsafe { dreamframe_models_fetch_for(params.as_ptr(), &raw const options, out) });
    assert_eq!(models.as_array().unwrap().len(), 1, "{models}");
    let lora = &models[0];
    assert_eq!((&lora["id"], &lora["field"]), (&"some/lora".into(), &"lora_dict".into()));
    assert_eq!((&lora["path"], &lora["optional"]), (&serde_json::Value::Null, &false.into()));
    assert_eq!(lora["error"]["kind"], "not_found");
}

#[test]
fn numbers_of_no_option_are_rejected() {
    for options in [
        dreamframe_fetch_options_t { offline: 2, ..dreamframe_fetch_options_t::none() },
        dreamframe_fetch_options_t { reserved: 1, ..dreamframe_fetch_options_t::none() },
    ] {
        let (id, mut path) = (c("some/model"), null_mut());
        // SAFETY: all arguments are valid during the call.
        let status = unsafe { dreamframe_models_fetch(id.as_ptr(), &raw const options, &raw mut path) };
        assert_eq!(status, DREAMFRAME_ERROR_INVALID_ARGUMENT);
        assert!(last_error().contains("expected at most"), "{}", last_error());
    }
}
