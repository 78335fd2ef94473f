//! A library without the feature `hub`.

use dreamframe::{Error, ErrorKind, Result};
use serde_json::Value;

use super::FetchOptions;

fn missing<T>() -> Result<T> {
    let text = "downloading models needs the feature `hub`, which this build lacks";
    Err(Error::new(ErrorKind::Unsupported, text))
}

pub(super) fn fetch(_: &str, _: &FetchOptions<'_>) -> Result<String> {
    missing()
}

pub(super) fn fetch_for(_: &str, _: &FetchOptions<'_>) -> Result<Value> {
    missing()
}
