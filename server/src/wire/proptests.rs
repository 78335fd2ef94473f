//! Properties of bodies: any input is accepted or rejected with 400, and any output is a valid input.

use axum::body::Bytes;
use dreamframe::params::{FIELDS, StreamDiffusionParams};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::echo::echo;
use super::incoming::Incoming;
use super::request::Request;
use super::{Object, read_object};
use crate::error::ApiError;

/// Any JSON, including known names.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-2_i64..60).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z \\u{e9}\"\\\\]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((name(), inner), 0..6).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

fn name() -> impl Strategy<Value = String> {
    let known: Vec<String> = FIELDS
        .iter()
        .flat_map(|field| field.path.split(['.', '[', ']']))
        .chain(["params", "pipeline", "pipeline_params", "pipeline_id", "name", "output_rtmp_url", "adapt", "model_id"])
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect();
    prop_oneof![4 => prop::sample::select(known), 1 => "[a-z]{0,8}"]
}

fn take(body: Object) -> Result<StreamDiffusionParams, ApiError> {
    let base = StreamDiffusionParams::default();
    let incoming = Incoming::read(Request::read(body)?.params, &base, &base)?;
    Ok(incoming.patch.merge(&base)?.0)
}

proptest! {
    #[test]
    fn any_bytes_are_an_object_or_a_bad_request(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(error) = read_object(&Bytes::from(bytes)) {
            prop_assert_eq!(error.status(), 400);
        }
    }

    #[test]
    fn any_object_is_taken_or_a_bad_request(pairs in prop::collection::vec((name(), any_json()), 0..8)) {
        let body: Object = pairs.into_iter().collect();
        let text = Bytes::from(Value::Object(body).to_string());
        match read_object(&text).and_then(take) {
            Ok(params) => prop_assert!(params.validate().is_ok()),
            Err(error) => prop_assert_eq!(error.status(), 400),
        }
    }

    #[test]
    fn what_goes_out_comes_in_again_and_changes_nothing(
        delta in 0.0..10.0_f64, seed in 0..(1_u64 << 53), weights in prop::collection::vec(0.1..5.0_f64, 1..4),
        steps in 1..100_u32, side in 8..256_u32,
    ) {
        let prompt: Vec<_> = weights.iter().enumerate().map(|(at, weight)| json!([format!("p{at}"), weight])).collect();
        let sent = json!({
            "delta": delta, "seed": seed, "prompt": prompt, "num_inference_steps": steps, "t_index_list": [steps - 1],
            "width": side * 8, "model_id": "stabilityai/sdxl-turbo",
        });
        let params = take(Object::from_iter([("params".to_owned(), sent)]))?;
        let out = echo(&params, None);
        let again = take(Object::from_iter([("params".to_owned(), Value::Object(out))]))?;
        prop_assert_eq!(again, params);
    }

    #[test]
    fn a_negative_seed_is_a_seed_of_its_own(a in 1..(1_i64 << 53), b in 1..(1_i64 << 53)) {
        let seed = |value: i64| take(Object::from_iter([("seed".to_owned(), json!(-value))])).map(|params| params.seed);
        prop_assert_eq!(seed(a)? == seed(b)?, a == b);
    }
}

impl From<ApiError> for TestCaseError {
    fn from(error: ApiError) -> Self {
        Self::fail(error.message().to_owned())
    }
}
