//! Cached attention to earlier frames, against a plain reimplementation over diffusers' own UNet: bounds as
//! in `parity.rs`.

use std::sync::Arc;

use dreamframe::exec::{Executor, Past, RunArgs, Scratch};
use dreamframe::models::{UnetConfig, UnetShape, timestep_embedding, unet_program};
use dreamframe_tests::{Golden, assert_close, executors, relative_error};

/// Frames that are kept, every how many are, rows: as the script that made the golden has them.
const CASES: [[usize; 3]; 7] = [[1, 1, 2], [1, 2, 3], [2, 1, 3], [2, 2, 1], [3, 1, 1], [3, 2, 2], [3, 1, 3]];

/// What the UNet of `golden` predicts for each of `frames` (latents of all rows of the golden).
fn film(golden: &Golden, executor: &dyn Executor, frames: &[f32], [most, interval, rows]: [usize; 3]) -> Vec<Vec<f32>> {
    let config = UnetConfig::from_json(&golden.config("unet")).unwrap();
    let &[all_rows, height, width, _] = golden.shape("unet.sample") else { panic!("no latent") };
    let &[text_rows, text_tokens, _] = golden.shape("unet.encoder_hidden_states") else { panic!("no text") };
    let text_of_row = golden.numbers("unet.text_of_row")[..rows].iter().map(|&text| text as usize).collect();
    let cached_attention = true;
    let shape =
        UnetShape { text_rows, text_tokens, text_of_row, cached_attention, ..UnetShape::new(rows, height, width) };
    let network = executor.compile(&Arc::new(unet_program(&config, &shape).unwrap()), &golden.weights("unet")).unwrap();
    let states = golden.numbers("unet.encoder_hidden_states");
    let timesteps = timestep_embedding(&golden.numbers("unet.timesteps")[..rows], &config);
    let constants = network.constants(&[&states, &timesteps]).unwrap();
    let mut scratch = Scratch::new();
    let mut kept: Vec<_> = (0..most).map(|_| network.frame_keys().unwrap()).collect();
    let (mut filled, mut next) = (0, 0);
    let frame_len = golden.numbers("unet.sample").len();
    let mut predictions = Vec::new();
    for (number, frame) in frames.chunks_exact(frame_len).enumerate() {
        let sample = &frame[..frame_len / all_rows * rows];
        let mut eps = vec![f32::NAN; sample.len()];
        let keep = (number + 1).is_multiple_of(interval).then_some(next);
        let past = Some(Past { frames: &mut kept, filled, keep, ..Past::default() });
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
    for (name, executor) in executors() {
        for case in CASES {
            let [most, interval, rows] = case;
            let expected = cached.numbers(&format!("{most}_{interval}_{rows}"));
            let got = film(&golden, &*executor, &cached.numbers("frames"), case);
            for (number, (got, expected)) in got.iter().zip(expected.chunks_exact(got[0].len())).enumerate() {
                let what = format!("{name}, {most} frames, every {interval}, frame {number}");
                assert_close(&*executor, &what, got, expected);
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
}
