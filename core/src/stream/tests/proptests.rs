//! Properties of streams with a constant configuration.

use proptest::prelude::*;

use super::toy::{Toy, config, frame, new_stream, noise, run, step};
use crate::exec::{View, ViewMut};
use crate::params::CfgType;
use crate::stream::guidance::{rows, stage_rows};
use crate::stream::{Call, StreamConfig};
use crate::{Error, ErrorKind};

const ROW: usize = 6;

fn any_config() -> impl Strategy<Value = StreamConfig> {
    let list = prop::collection::vec(0_usize..50, 1..5);
    let numbers = (0.5_f32..2.5, 0.0_f32..1.5);
    (list, 0..CfgType::ALL.len(), numbers, any::<bool>()).prop_map(|(mut list, cfg, (scale, delta), do_add_noise)| {
        list.sort_unstable();
        let base = config(&list, &noise(list.len(), ROW));
        StreamConfig { cfg_type: CfgType::ALL[cfg], guidance_scale: scale, delta, do_add_noise, ..base }
    })
}

proptest! {
    #[test]
    fn batched_pictures_are_the_sequential_ones_delayed(config in any_config()) {
        let delay = config.table.delay();
        let batched = run(&config, ROW, 0..9);
        let sequential = run(&StreamConfig { batched: false, ..config }, ROW, 0..9);
        for (number, picture) in batched.iter().enumerate() {
            // The first frame fills all rows, so its picture is available from the start.
            prop_assert_eq!(picture, &sequential[number.saturating_sub(delay)]);
        }
    }

    #[test]
    fn the_same_frames_give_the_same_bytes(config in any_config(), batched in any::<bool>()) {
        let config = StreamConfig { batched, ..config };
        prop_assert_eq!(run(&config, ROW, 0..6), run(&config, ROW, 0..6));
    }

    #[test]
    fn a_failed_prediction_has_no_effect(config in any_config(), batched in any::<bool>(), at in 0_usize..5) {
        let config = StreamConfig { batched, ..config };
        let mut stream = new_stream(ROW, config.clone()).unwrap();
        let mut pictures = Vec::new();
        for number in 0..5 {
            if number == at {
                let mut out = vec![7.0; ROW];
                let mut left = at % 2;
                let mut toy = Toy::of(&stream);
                // If a frame takes several calls, a later one may fail too.
                let mut failing = |call: Call, x: View<'_>, eps: ViewMut<'_>| {
                    if left == 0 { return Err(Error::new(ErrorKind::Device, "gone")); }
                    left -= 1;
                    crate::stream::Predict::predict(&mut toy, call, x, eps)
                };
                if stream.step(&frame(99, ROW), 99, &mut failing, &mut out).is_err() {
                    prop_assert_eq!(out, vec![7.0; ROW], "nothing was written");
                } else {
                    // The only call succeeded, so this case checks nothing.
                    return Ok(());
                }
            }
            pictures.push(step(&mut stream, number, ROW));
        }
        prop_assert_eq!(pictures, run(&config, ROW, 0..5));
    }
}

#[test]
fn calls_have_the_rows_that_guidance_lists() {
    for cfg_type in CfgType::ALL.iter().copied() {
        for batched in [true, false] {
            let config = StreamConfig { cfg_type, batched, ..config(&[12, 20, 32], &noise(3, ROW)) };
            let active = cfg_type.active(config.guidance_scale);
            let mut stream = new_stream(ROW, config).unwrap();
            let count = |call| match call {
                Call::Batch => (call, rows(cfg_type, active, 3).len()),
                Call::Stage(stage) => (call, stage_rows(cfg_type, active, stage).len()),
            };
            let a_frame = if batched { vec![Call::Batch] } else { (0..3).map(Call::Stage).collect() };
            let expected: Vec<_> = a_frame.into_iter().map(count).collect();
            let mut out = vec![0.0; ROW];
            for number in 0..3 {
                let mut toy = Toy::of(&stream);
                stream.step(&frame(number, ROW), number as u64, &mut toy, &mut out).unwrap();
                // The first frame of a batch takes two additional calls, whose results are dropped.
                let times = if batched && number == 0 { 3 } else { 1 };
                assert_eq!(toy.calls, expected.repeat(times), "{cfg_type}, frame {number}");
            }
        }
    }
}

#[test]
fn a_picture_has_the_id_of_its_frame() {
    let config = config(&[12, 20, 32], &noise(3, ROW));
    let mut stream = new_stream(ROW, config.clone()).unwrap();
    assert_eq!(stream.delay(), 2);
    let sources: Vec<u64> = (10..16).map(|number| step(&mut stream, number, ROW).1).collect();
    assert_eq!(sources, [10, 10, 10, 11, 12, 13]);
    let sequential = run(&StreamConfig { batched: false, ..config }, ROW, 10..13);
    assert_eq!(sequential.iter().map(|picture| picture.1).collect::<Vec<_>>(), [10, 11, 12]);
}

#[test]
fn a_reset_stream_starts_again() {
    let config = config(&[12, 20, 32], &noise(3, ROW));
    let mut stream = new_stream(ROW, config.clone()).unwrap();
    (0..4).for_each(|number| drop(step(&mut stream, number, ROW)));
    stream.reset();
    let again: Vec<_> = (4..8).map(|number| step(&mut stream, number, ROW)).collect();
    assert_eq!(again, run(&config, ROW, 4..8));
}

#[test]
fn the_noised_latent_can_be_modified_before_the_step() {
    let config = config(&[12], &noise(1, ROW));
    let step_0 = config.table.steps()[0];
    let mut stream = new_stream(ROW, config.clone()).unwrap();
    let latent = frame(3, ROW);
    let mut noised = stream.enter(&latent, 3).unwrap();
    let noised = noised.host().unwrap();
    for ((x, latent), noise) in noised.iter().zip(&latent).zip(config.noise.view().host().unwrap().iter()) {
        let expected = step_0.sqrt_alpha * f64::from(*latent) + step_0.sqrt_beta * f64::from(*noise);
        assert!((f64::from(*x) - expected).abs() < 1e-6);
    }
    noised.fill(0.25);
    let mut toy = Toy::of(&stream);
    stream.advance(&mut toy, &mut [0.0; ROW]).unwrap();
    assert_eq!(toy.seen, [0.25; ROW]);
}

#[test]
fn nan_does_not_persist_after_its_frame() {
    for cfg_type in CfgType::ALL.iter().copied() {
        let mut stream = new_stream(ROW, StreamConfig { cfg_type, ..config(&[12, 20, 32], &noise(3, ROW)) }).unwrap();
        let mut healthy = |number: usize| step(&mut stream, number, ROW).0.iter().all(|x| x.is_finite());
        assert!((0..3).all(&mut healthy));
        let mut out = [0.0; ROW];
        stream.step(&[f32::NAN; ROW], 3, &mut Toy::of(&stream), &mut out).unwrap();
        let after: Vec<bool> = (4..8).map(|number| step(&mut stream, number, ROW).0[0].is_finite()).collect();
        assert_eq!(after, [true, false, true, true], "{cfg_type}");
    }
}

#[test]
fn invalid_arguments_are_rejected() {
    let good = config(&[12, 20], &noise(2, ROW));
    let refused = |row_len, config: StreamConfig| {
        let error = new_stream(row_len, config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        error.to_string()
    };
    assert!(refused(0, good.clone()).contains("at least 1"));
    assert!(refused(ROW + 1, good.clone()).contains("expected 2 rows of 7"));
    assert!(refused(usize::MAX, good.clone()).contains("expected 2 rows of"));
    assert!(
        refused(ROW, StreamConfig { guidance_scale: f32::NAN, ..good.clone() }).contains("guidance_scale: got NaN")
    );
    assert!(refused(ROW, StreamConfig { delta: f32::INFINITY, ..good.clone() }).contains("delta: got inf"));

    let mut stream = new_stream(ROW, good.clone()).unwrap();
    let mut toy = Toy::of(&stream);
    assert!(stream.enter(&[0.0; ROW - 1], 0).is_err());
    assert!(
        stream
            .advance(&mut toy, &mut [0.0; ROW])
            .unwrap_err()
            .to_string()
            .contains("frames since the last step: got none")
    );
    stream.enter(&[0.0; ROW], 0).unwrap();
    assert!(stream.advance(&mut toy, &mut [0.0; ROW + 1]).is_err());
    assert!(stream.configure(StreamConfig { delta: f32::NAN, ..good }).is_err());
    assert!(stream.advance(&mut toy, &mut [0.0; ROW]).is_ok(), "the frame that entered is still in row 0");
}
