//! The values of the specification's section 19.2, and its corrections of the reference (4.4, 17.1, 21).

use super::toy::{Toy, config, new_stream, step, table};
use crate::params::CfgType;
use crate::stream::StreamConfig;

const NOISE: [f32; 3] = [0.3, -0.7, 1.1];
/// Relative to the value, or absolute below 1: the stream computes in `f32`, and the values have six decimals.
const TOLERANCE: f64 = 1e-6;

/// A line of the table: the parameters, the five outputs, and the final buffer and stock noise.
struct Line {
    set: (CfgType, f32, f32, bool),
    outputs: [f64; 5],
    buffer: [f64; 2],
    stock: Option<[f64; 3]>,
}

const OUTPUTS_WITHOUT_GUIDANCE: [f64; 5] = [-0.146062, 0.222908, -0.376426, -0.197364, -0.018302];

const LINES: [Line; 6] = [
    Line {
        set: (CfgType::None, 1.0, 0.7, true),
        outputs: OUTPUTS_WITHOUT_GUIDANCE,
        buffer: [0.134773, 0.334296],
        stock: None,
    },
    Line {
        set: (CfgType::None, 1.0, 0.7, false),
        outputs: [-0.146062, -0.497028, -0.540391, -0.361329, -0.182266],
        buffer: [0.775664, 0.155650],
        stock: None,
    },
    // The stock column of this line does not apply: without guidance, no stock noise is computed.
    Line {
        set: (CfgType::SelfNegative, 1.0, 0.7, true),
        outputs: OUTPUTS_WITHOUT_GUIDANCE,
        buffer: [0.134773, 0.334296],
        stock: None,
    },
    Line {
        set: (CfgType::SelfNegative, 1.4, 0.5, true),
        outputs: [-0.204487, 0.044481, -1.245185, -1.460543, -1.675900],
        buffer: [-0.462142, -0.887068],
        stock: Some([-2.701154, -5.176543, -4.375900]),
    },
    Line {
        set: (CfgType::Initialize, 1.4, 0.5, true),
        outputs: [-0.204487, 0.044481, -1.230975, -1.324093, -1.417211],
        buffer: [-0.365441, -0.688102],
        stock: Some([-2.067431, -4.002725, -3.499131]),
    },
    Line {
        set: (CfgType::Full, 1.4, 0.5, true),
        outputs: [-0.175275, 0.097013, -0.495345, -0.375620, -0.255896],
        buffer: [-0.165927, 0.046750],
        stock: None,
    },
];

fn toy_config((cfg_type, guidance_scale, delta, do_add_noise): (CfgType, f32, f32, bool)) -> StreamConfig {
    StreamConfig { cfg_type, guidance_scale, delta, do_add_noise, ..config(&[12, 20, 32], &NOISE) }
}

#[track_caller]
fn assert_near(got: impl Into<f64>, expected: f64, what: impl std::fmt::Display) {
    let got = got.into();
    assert!((got - expected).abs() < TOLERANCE * expected.abs().max(1.0), "{what}: {got} is not {expected}");
}

#[test]
fn the_toy_stream_of_the_specification_matches_in_every_mode() {
    for line in &LINES {
        let (cfg, ..) = line.set;
        let mut stream = new_stream(1, toy_config(line.set)).unwrap();
        stream.set_in_flight(&[0.0; 2], &[0.0; 2]);
        let mut last_stock = 0.0;
        let mut toy = Toy::of(&stream);
        for (number, expected) in line.outputs.iter().enumerate() {
            let stock_of_last = stream.in_flight().1[1];
            let mut out = [0.0];
            stream.step(&[number as f32 + 1.0], number as u64, &mut toy, &mut out).unwrap();
            assert_near(out[0], *expected, format_args!("{cfg}, output {number}"));
            last_stock = stock_after_last_stage(*toy.seen.last().unwrap(), stock_of_last, out[0]);
        }
        let (buffer, stock) = stream.in_flight();
        for (row, (got, expected)) in buffer.iter().zip(line.buffer).enumerate() {
            assert_near(*got, expected, format_args!("{cfg}, buffer {row}"));
        }
        match line.stock {
            None => assert_eq!(stock, [0.0; 2], "{cfg} keeps no stock"),
            Some(expected) => {
                assert_near(stock[0], expected[0], format_args!("{cfg}, stock 0"));
                assert_near(stock[1], expected[1], format_args!("{cfg}, stock 1"));
                assert_near(last_stock, expected[2], format_args!("{cfg}, stock 2"));
            }
        }
    }
}

/// The third value of the stock column belongs to the last row, whose stock noise the stream does not store. It is the
/// fixed noise of stage 0 plus the residue of that row.
fn stock_after_last_stage(x: f32, stock: f32, clean: f32) -> f64 {
    let table = table(&[12, 20, 32]);
    let last = table.steps()[2];
    let explained = (f64::from(x) - last.sqrt_beta * f64::from(stock)) / last.sqrt_alpha;
    f64::from(NOISE[0]) + f64::from(clean) - explained
}

/// A model of the reference for one stage in self mode, whose stock noise feeds back on itself.
fn reference_of_one_stage(t_index: usize, frames: usize) -> Vec<f64> {
    let table = table(&[t_index]);
    let step = table.steps()[0];
    let (a, b) = (step.sqrt_alpha, step.sqrt_beta);
    let mut stock = 0.0;
    let mut outputs = Vec::new();
    for _ in 0..frames {
        let x = a + b * 0.3;
        let prompt = 0.5 * x + 0.0004 * f64::from(step.timestep);
        let guided = stock + 1.2 * (prompt - stock);
        outputs.push((x - b * guided) / a);
        stock = 0.3 + (b * stock - b * guided) / a;
    }
    outputs
}

#[test]
fn one_stage_is_stable_where_the_reference_diverges() {
    let lines = [
        (36, [0.676213, 0.636646, 0.599924, 0.565844, 0.534215, 0.504862]),
        (20, [0.103913, -0.478419, -2.069208, -6.414856, -18.286110, -50.715493]),
    ];
    for (t_index, expected) in lines {
        for (got, expected) in reference_of_one_stage(t_index, 6).iter().zip(expected) {
            assert_near(*got, expected, "the model of the reference");
        }
        let config = StreamConfig { guidance_scale: 1.2, delta: 1.0, ..config(&[t_index], &[0.3]) };
        let one = config.table.steps()[0];
        let x = one.sqrt_alpha + one.sqrt_beta * 0.3;
        let guided = 0.3 + 1.2 * (0.5 * x + 0.0004 * f64::from(one.timestep) - 0.3);
        let expected = (x - one.sqrt_beta * guided) / one.sqrt_alpha;
        for batched in [true, false] {
            let config = StreamConfig { batched, ..config.clone() };
            let mut stream = new_stream(1, config).unwrap();
            for number in 0..200 {
                let mut out = [0.0];
                stream.step(&[1.0], number, &mut Toy::of(&stream), &mut out).unwrap();
                assert_near(out[0], expected, format_args!("t_index {t_index}, frame {number}"));
            }
        }
    }
}

#[test]
fn no_stock_noise_accumulates_while_guidance_is_inactive() {
    let noise = [0.3];
    let resting = StreamConfig { guidance_scale: 1.0, delta: 1.0, ..config(&[0], &noise) };
    let raised = StreamConfig { guidance_scale: 1.2, ..resting.clone() };
    let mut stream = new_stream(1, resting).unwrap();
    for number in 0..100 {
        step(&mut stream, number, 1);
    }
    stream.configure(raised.clone()).unwrap();
    let mut fresh = new_stream(1, raised).unwrap();
    assert_eq!(step(&mut stream, 100, 1).0, step(&mut fresh, 100, 1).0);
}

#[test]
fn sequential_mode_keeps_stock_noise_from_stage_to_stage() {
    let self_guided = StreamConfig { batched: false, ..toy_config((CfgType::SelfNegative, 1.4, 0.5, true)) };
    let mut stream = new_stream(1, self_guided).unwrap();
    let mut out = [0.0];
    stream.step(&[1.0], 0, &mut Toy::of(&stream), &mut out).unwrap();
    // The expected value, stage by stage: sections 3.4 and 4.3 with the fixed noise of each stage.
    let table = table(&[12, 20, 32]);
    let noise = [0.3_f64, -0.7, 1.1];
    let (mut x, mut stock, mut clean) = (0.0, 0.0, 1.0);
    for (i, s) in table.steps().iter().enumerate() {
        let (a, b) = (s.sqrt_alpha, s.sqrt_beta);
        if i == 0 {
            (x, stock) = (a * clean + b * noise[0], noise[0]);
        }
        let guided = 0.5 * stock + 1.4 * (0.5 * x + 0.0004 * f64::from(s.timestep) - 0.5 * stock);
        clean = (x - b * guided) / a;
        if let Some(next) = table.steps().get(i + 1) {
            let residue = (b * stock - b * guided) / a;
            stock = noise[i + 1] + next.sqrt_alpha * residue / next.sqrt_beta;
            x = next.sqrt_alpha * clean + next.sqrt_beta * noise[i + 1];
        }
    }
    assert_near(out[0], clean, "after three stages");
}
