//! The effect of parameter changes on the rows in flight.

use std::sync::Arc;

use super::toy::{config, frame, new_stream, noise, run, step};
use crate::params::CfgType;
use crate::stream::{StreamBatch, StreamConfig};

const ROW: usize = 5;
const LIST: [usize; 4] = [5, 12, 20, 32];

/// Stages `list` with noise for as many rows.
fn stages(cfg_type: CfgType, list: &[usize]) -> StreamConfig {
    StreamConfig { cfg_type, ..config(list, &noise(list.len(), ROW)) }
}

fn filled(config: &StreamConfig, frames: usize) -> StreamBatch {
    let mut stream = new_stream(ROW, config.clone()).unwrap();
    (0..frames).for_each(|number| drop(step(&mut stream, number, ROW)));
    stream
}

/// The picture of frame `number` alone, run through all stages of `config`.
fn alone(config: &StreamConfig, number: usize) -> (Vec<f32>, u64) {
    run(&StreamConfig { batched: false, ..config.clone() }, ROW, number..number + 1).remove(0)
}

/// Checks that `row` is `latent` with the noise of `stage`.
fn assert_noised(row: &[f32], latent: &[f32], config: &StreamConfig, stage: usize) {
    let step = config.table.steps()[stage];
    let noise = config.noise.range(stage * ROW..(stage + 1) * ROW).host().unwrap();
    for ((row, latent), noise) in row.iter().zip(latent).zip(noise) {
        let expected = step.sqrt_alpha * f64::from(*latent) + step.sqrt_beta * f64::from(*noise);
        assert!(
            (f64::from(*row) - expected).abs() < 1e-5,
            "{}, stage {stage}: {row} is not {expected}",
            config.cfg_type
        );
    }
}

#[test]
fn a_longer_list_keeps_rows_in_flight_and_fills_new_ones_from_the_newest_frame() {
    for cfg_type in CfgType::ALL.iter().copied() {
        for had in 1..LIST.len() {
            let (short, long) = (stages(cfg_type, &LIST[..had]), stages(cfg_type, &LIST));
            let mut stream = filled(&short, 6);
            let before: Vec<f32> = stream.in_flight().0.to_vec();
            stream.configure(long.clone()).unwrap();
            assert_eq!(stream.in_flight().0[..before.len()], before, "{cfg_type}, {had}: rows in flight stay");
            let predicted = alone(&stages(cfg_type, &LIST[..1]), 5).0;
            for stage in had..LIST.len() {
                let row = &stream.in_flight().0[(stage - 1) * ROW..stage * ROW];
                assert_noised(row, &predicted, &long, stage);
            }
            for new in 0..LIST.len() - had {
                let (_, source) = step(&mut stream, 6 + new, ROW);
                assert_eq!(source, 5, "{cfg_type}, {had}: the newest frame at the time of the change");
            }
            // From here on, every frame has passed through every stage.
            for number in 6 - had + 1..9 {
                let now = number + LIST.len() - 1;
                assert_eq!(step(&mut stream, now, ROW), alone(&long, number), "{cfg_type}, {had}: frame {number}");
            }
        }
    }
}

#[test]
fn new_stage_continues_with_the_prediction_for_the_newest_frame() {
    // The new row is the same as with two stages from the start.
    for cfg_type in CfgType::ALL.iter().copied() {
        for do_add_noise in [true, false] {
            let with = |list: &[usize]| StreamConfig { do_add_noise, ..stages(cfg_type, list) };
            let mut grown = filled(&with(&LIST[..1]), 3);
            grown.configure(with(&LIST[..2])).unwrap();
            let born = filled(&with(&LIST[..2]), 3);
            assert_eq!(grown.in_flight(), born.in_flight(), "{cfg_type}");
        }
    }
}

#[test]
fn a_shorter_list_drops_the_oldest_rows() {
    for cfg_type in CfgType::ALL.iter().copied() {
        for kept in 1..LIST.len() {
            let (long, short) = (stages(cfg_type, &LIST), stages(cfg_type, &LIST[..kept]));
            let mut stream = filled(&long, 8);
            stream.configure(short.clone()).unwrap();
            for number in 8..12 {
                let made_from = number - (kept - 1);
                assert_eq!(step(&mut stream, number, ROW), alone(&short, made_from), "{cfg_type}, {kept}");
            }
        }
    }
}

#[test]
fn repeated_changes_of_length_never_show_an_empty_row() {
    let mut stream = filled(&stages(CfgType::SelfNegative, &LIST), 5);
    let lengths = [2, 4, 1, 3, 4, 1, 2];
    let mut number = 5;
    for length in lengths {
        stream.configure(stages(CfgType::SelfNegative, &LIST[..length])).unwrap();
        for _ in 0..2 {
            let (picture, source) = step(&mut stream, number, ROW);
            assert!(picture.iter().all(|x| x.is_finite()));
            assert!(source + 4 >= number as u64 && source <= number as u64, "{source} at {number}");
            number += 1;
        }
    }
}

#[test]
fn list_of_equal_length_takes_effect_immediately_and_keeps_rows() {
    let old = stages(CfgType::None, &[12, 20]);
    let new = stages(CfgType::None, &[12, 40]);
    let mut stream = filled(&old, 4);
    let before = stream.in_flight().0.to_vec();
    stream.configure(new.clone()).unwrap();
    assert_eq!(stream.in_flight().0, before);
    let mut untouched = filled(&old, 4);
    assert_ne!(step(&mut stream, 4, ROW), step(&mut untouched, 4, ROW), "the coefficients are the new ones");
    assert_eq!(step(&mut stream, 5, ROW), alone(&new, 4));
}

#[test]
fn new_noise_applies_to_rows_that_enter_a_stage() {
    let old = stages(CfgType::SelfNegative, &LIST[..3]);
    let turned: Vec<f32> = old.noise.view().host().unwrap().iter().map(|x| -x).collect();
    let new = StreamConfig { noise: Arc::new(turned.into()), ..old.clone() };
    let mut stream = filled(&old, 5);
    let before = (stream.in_flight().0.to_vec(), stream.in_flight().1.to_vec());
    stream.configure(new.clone()).unwrap();
    assert_eq!(stream.in_flight(), (&before.0[..], &before.1[..]), "rows in flight keep what was made with the old");
    (5..7).for_each(|number| drop(step(&mut stream, number, ROW)));
    assert_eq!(step(&mut stream, 7, ROW), alone(&new, 5));
}

#[test]
fn guidance_and_delta_take_effect_immediately() {
    let with =
        |guidance_scale, delta| StreamConfig { guidance_scale, delta, ..stages(CfgType::SelfNegative, &LIST[..1]) };
    let mut stream = filled(&with(1.4, 0.5), 3);
    for (number, config) in [(3, with(2.0, 0.5)), (4, with(2.0, 1.0)), (5, with(1.0, 1.0))] {
        stream.configure(config.clone()).unwrap();
        assert_eq!(step(&mut stream, number, ROW), alone(&config, number));
    }
}

#[test]
fn stock_noise_starts_at_the_fixed_noise_when_guidance_begins() {
    let on = stages(CfgType::SelfNegative, &LIST);
    let rests = [
        StreamConfig { guidance_scale: 1.0, ..on.clone() },
        StreamConfig { cfg_type: CfgType::None, ..on.clone() },
        StreamConfig { cfg_type: CfgType::Full, ..on.clone() },
    ];
    for rest in rests {
        let mut stream = filled(&rest, 6);
        stream.configure(on.clone()).unwrap();
        assert_eq!(stream.in_flight().1, on.noise.range(ROW..on.noise.len()).host().unwrap(), "{}", rest.cfg_type);
        for number in 6..12 {
            let (picture, source) = step(&mut stream, number, ROW);
            assert!(picture.iter().all(|x| x.is_finite()));
            if source >= 6 {
                assert_eq!((picture, source), alone(&on, source as usize), "{}", rest.cfg_type);
            }
        }
    }
}

#[test]
fn guidance_that_begins_as_the_list_grows_starts_every_row_at_the_fixed_noise() {
    let on = stages(CfgType::SelfNegative, &LIST);
    let was_on = filled(&on, 6);
    let mut stream = filled(&stages(CfgType::SelfNegative, &LIST[..2]), 6);
    stream.configure(stages(CfgType::None, &LIST[..2])).unwrap();
    step(&mut stream, 6, ROW);
    stream.configure(stages(CfgType::SelfNegative, &LIST[..2])).unwrap();
    stream.configure(on.clone()).unwrap();
    assert_eq!(stream.in_flight().1, on.noise.range(ROW..on.noise.len()).host().unwrap());
    assert_ne!(
        was_on.in_flight().1,
        on.noise.range(ROW..on.noise.len()).host().unwrap(),
        "a stream whose guidance was not interrupted has other stock noise"
    );
}

#[test]
fn stock_noise_is_retained_between_self_and_initialize() {
    let own = stages(CfgType::SelfNegative, &LIST[..3]);
    let mut stream = filled(&own, 6);
    let before = stream.in_flight().1.to_vec();
    stream.configure(stages(CfgType::Initialize, &LIST[..3])).unwrap();
    assert_eq!(stream.in_flight().1, before);
}

#[test]
fn a_change_of_mode_takes_effect_with_the_next_frame() {
    let batched = stages(CfgType::SelfNegative, &LIST[..3]);
    let sequential = StreamConfig { batched: false, ..batched.clone() };
    let mut stream = filled(&batched, 5);
    stream.configure(sequential.clone()).unwrap();
    assert_eq!((stream.delay(), step(&mut stream, 5, ROW)), (0, alone(&batched, 5)));
    stream.configure(batched.clone()).unwrap();
    let pictures: Vec<_> = (6..10).map(|number| step(&mut stream, number, ROW)).collect();
    assert_eq!(pictures, run(&batched, ROW, 6..10));
}

#[test]
fn a_rejected_change_has_no_effect() {
    let good = stages(CfgType::SelfNegative, &LIST[..3]);
    let mut stream = filled(&good, 5);
    let bad = StreamConfig { table: stages(CfgType::None, &LIST).table, ..good.clone() };
    assert!(stream.configure(bad).is_err());
    let mut untouched = filled(&good, 5);
    assert_eq!(step(&mut stream, 5, ROW), step(&mut untouched, 5, ROW));
}

#[test]
fn a_frame_that_has_entered_survives_a_change() {
    let good = stages(CfgType::None, &LIST[..1]);
    let mut stream = filled(&good, 2);
    stream.enter(&frame(2, ROW), 2).unwrap();
    stream.configure(stages(CfgType::None, &LIST[..3])).unwrap();
    let mut out = [0.0; ROW];
    let source = stream.advance(&mut super::toy::Toy::of(&stream), &mut out).unwrap();
    assert_eq!(source, 1, "the new stages were filled from the newest frame that had advanced");
}
