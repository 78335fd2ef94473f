//! Cached attention to earlier frames, against a plain reimplementation over diffusers' own UNet: bounds as
//! in `parity.rs`.

use std::sync::Arc;

use dreamframe::exec::{Dtype, Executor, Injection, Past, RunArgs, Scratch};
use dreamframe::models::{UnetConfig, UnetShape, timestep_embedding, unet_program};
use dreamframe_tests::{Golden, assert_close, executors, relative_error};

/// Frames that are kept, every how many are, rows: as the script that made the golden has them.
const CASES: [[usize; 3]; 7] = [[1, 1, 2], [1, 2, 3], [2, 1, 3], [2, 2, 1], [3, 1, 1], [3, 2, 2], [3, 1, 3]];

/// What a film's frames look back with.
#[derive(Debug, Clone, Copy)]
struct Settings<'a> {
    /// The frames that are kept, and every how many are.
    most: usize,
    interval: usize,
    injection: Injection,
    /// The orders of tokens by which frames are merged, one after the other; none to keep frames whole.
    orders: Option<&'a [Vec<u32>]>,
}

/// What the UNet of `golden` predicts for each of `frames`, of the shape `[rows, height, width, 4]`.
fn film(
    golden: &Golden,
    executor: &dyn Executor,
    (frames, [rows, height, width]): (&[f32], [usize; 3]),
    Settings { most, interval, injection, orders }: Settings<'_>,
) -> Vec<Vec<f32>> {
    let config = UnetConfig::from_json(&golden.config("unet")).unwrap();
    let &[text_rows, text_tokens, _] = golden.shape("unet.encoder_hidden_states") else { panic!("no text") };
    let shape = UnetShape {
        text_rows,
        text_tokens,
        text_of_row: golden.numbers("unet.text_of_row")[..rows].iter().map(|&text| text as usize).collect(),
        cached_attention: true,
        feature_injection: injection != Injection::NONE,
        token_merging: orders.is_some(),
        ..UnetShape::new(rows, height, width)
    };
    let network = executor.compile(&Arc::new(unet_program(&config, &shape).unwrap()), &golden.weights("unet")).unwrap();
    let states = golden.numbers("unet.encoder_hidden_states");
    let timesteps = timestep_embedding(&golden.numbers("unet.timesteps")[..rows], &config);
    let constants = network.constants(&[&states, &timesteps]).unwrap();
    let mut scratch = Scratch::new();
    let mut kept: Vec<_> = (0..most).map(|_| network.frame_keys().unwrap()).collect();
    let (mut filled, mut next, mut orders) = (0, 0, orders.unwrap_or_default().iter());
    let mut predictions = Vec::new();
    for (number, sample) in frames.chunks_exact(rows * height * width * 4).enumerate() {
        let mut eps = vec![f32::NAN; sample.len()];
        let keep = (number + 1).is_multiple_of(interval).then_some(next);
        let order = keep.filter(|&keep| keep < filled).and_then(|_| orders.next()).map(Vec::as_slice);
        let past = Some(Past { frames: &mut kept, filled, keep, injection, order });
        let (inputs, outputs) = ([sample.into()], &mut [(&mut eps).into()]);
        network.run(RunArgs { past, ..RunArgs::new(&constants, &mut scratch, &inputs, outputs) }).unwrap();
        if keep.is_some() {
            (filled, next) = ((filled + 1).min(most), (next + 1) % most);
        }
        predictions.push(eps);
    }
    predictions
}

#[test]
fn a_unet_that_looks_back_predicts_what_the_plain_form_predicts() {
    let (golden, cached) = (Golden::family("sd15"), Golden::family("cached"));
    let (frames, &[_, all_rows, height, width, channels]) = (cached.numbers("frames"), cached.shape("frames")) else {
        panic!("no frames")
    };
    let frame_len = all_rows * height * width * channels;
    for (name, executor) in executors() {
        for [most, interval, rows] in CASES {
            let expected = cached.numbers(&format!("{most}_{interval}_{rows}"));
            let rows_of = |frame: &[f32]| frame[..frame_len / all_rows * rows].to_vec();
            let frames: Vec<f32> = frames.chunks_exact(frame_len).flat_map(rows_of).collect();
            let settings = Settings { most, interval, injection: Injection::NONE, orders: None };
            let got = film(&golden, &*executor, (&frames, [rows, height, width]), settings);
            for (number, (got, expected)) in got.iter().zip(expected.chunks_exact(got[0].len())).enumerate() {
                let what = format!("{name}, {most} frames, every {interval}, frame {number}");
                assert_close(&*executor, &what, got, expected);
            }
        }
    }
}

#[test]
fn a_unet_with_injection_and_merging_predicts_what_the_plain_form_predicts() {
    let (golden, injection) = (Golden::family("sd15"), Golden::family("cached").beside("injection.safetensors"));
    let &[_, rows, height, width, _] = injection.shape("frames") else { panic!("no frames") };
    let frames = injection.numbers("frames");
    let orders: Vec<Vec<u32>> = injection
        .numbers("orders")
        .chunks_exact(2 * height * width)
        .map(|order| order.iter().map(|&number| number as u32).collect())
        .collect();
    let cases: Vec<&str> = injection.names().filter_map(|name| name.strip_prefix("case.")).collect();
    assert_eq!(cases.len(), 5);
    // ONNX Runtime's has neither, and in narrow formats rounding chooses among similar tokens.
    let executors =
        executors().into_iter().filter(|(name, executor)| !name.starts_with("onnx") && executor.dtype() == Dtype::F32);
    for (name, executor) in executors {
        for case in &cases {
            let numbers = injection.numbers(&format!("case.{case}"));
            let &[most, interval, strength, threshold, merges] = numbers.as_slice() else { panic!("no case {case}") };
            let settings = Settings {
                most: most as usize,
                interval: interval as usize,
                injection: if strength > 0.0 { Injection { strength, threshold } } else { Injection::NONE },
                orders: (merges > 0.0).then_some(&orders),
            };
            let expected = injection.numbers(case);
            let got = film(&golden, &*executor, (&frames, [rows, height, width]), settings);
            for (number, (got, expected)) in got.iter().zip(expected.chunks_exact(got[0].len())).enumerate() {
                assert_close(&*executor, &format!("{name}, {case}, frame {number}"), got, expected);
            }
        }
    }
}

#[test]
fn frames_that_are_kept_change_the_prediction() {
    let cached = Golden::family("cached");
    let last = |case: &str| {
        let numbers = cached.numbers(case);
        numbers[numbers.len() / 6 * 5..].to_vec()
    };
    // The same frames and rows, with one, two and three of them kept.
    assert!(relative_error(&last("2_1_3"), &last("3_1_3")) > 1e-3);
    assert!(relative_error(&last("1_2_3"), &last("3_1_3")) > 1e-3);
    let injection = cached.beside("injection.safetensors");
    let [injected, merged, both] = ["injected", "merged", "both"].map(|case| injection.numbers(case));
    assert!(relative_error(&injected, &merged) > 1e-3 && relative_error(&both, &merged) > 1e-3);
}
