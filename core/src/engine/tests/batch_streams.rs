//! Engines that run the UNet together. Those of a test have a clock that stands still within a frame, so that it does
//! not matter how threads are scheduled, and a width of their own, so that they share no passes with those of other tests.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use serde_json::{Value, json};

use crate::engine::{BatchStreams, Engine, EngineBuilder, EngineOptions};
use crate::exec::Dtype;
use crate::exec::cpu::{CpuExecutor, CpuOptions};
use crate::exec::shared_pass::tests::set_clock;
use crate::exec::simulated::SimulatedExecutor;
use crate::frame::{FrameView, PixelFormat};
use crate::params::{ParamsPatch, StreamDiffusionParams};
use crate::telemetry::Work;

const SIDE: u32 = 64;
/// After so many frames a test fails that waits for passes to be shared.
const MOST_FRAMES: usize = 3000;
/// The interval between frames, in milliseconds.
const INTERVAL: u64 = 20;

fn engine(batch_streams: BatchStreams, changes: &Value) -> Engine {
    builder(batch_streams, changes).build().unwrap()
}

fn builder(batch_streams: BatchStreams, changes: &Value) -> EngineBuilder {
    let params = StreamDiffusionParams { width: SIDE, height: SIDE, ..StreamDiffusionParams::demo() };
    let (params, _) = params.patched(&changes.to_string()).unwrap();
    let options = EngineOptions::default().with_dtype(Dtype::F32).with_threads(Some(2));
    let options = options.with_batch_streams(batch_streams);
    Engine::builder().params(params).options(options)
}

fn picture(engine: &mut Engine, number: usize) -> Vec<u8> {
    let pixel = |i: u32| (i % SIDE * 3 + i / SIDE + 11 * number as u32) as u8;
    let pixels: Vec<u8> = (0..SIDE * SIDE).flat_map(|i| [pixel(i), 128, pixel(2 * i)]).collect();
    let frame = FrameView::packed(PixelFormat::Rgb8, SIDE, SIDE, &pixels).unwrap();
    engine.process(&frame).unwrap().frame.pixels().to_vec()
}

fn shared(engine: &Engine) -> u64 {
    engine.work().shared_unet_evaluations
}

/// Processes frames on a thread for each engine, which begin each frame together, until every engine has shared
/// `passes` more. Compares each picture with that of an engine by itself. Returns the engines.
fn run_together(clock: &Arc<AtomicU64>, engines: Vec<[Engine; 2]>, passes: u64) -> Vec<[Engine; 2]> {
    let (barrier, count) = (Arc::new(Barrier::new(engines.len())), engines.len());
    // As many engines as have shared enough passes; all once a test has failed, so that no thread waits for another.
    let done = Arc::new(AtomicUsize::new(0));
    let run = |(index, [mut engine, mut alone]): (usize, [Engine; 2])| {
        let (barrier, done, clock) = (barrier.clone(), done.clone(), clock.clone());
        thread::spawn(move || {
            let (before, mut is_done, mut failure) = (shared(&engine), false, None);
            for number in 0.. {
                if barrier.wait().is_leader() {
                    clock.fetch_add(INTERVAL, Ordering::SeqCst);
                }
                // Read between two barriers, while no other thread writes it.
                let ends = done.load(Ordering::SeqCst) >= count;
                barrier.wait();
                if ends {
                    break;
                }
                let (seed, made) = (31 * index + number, shared(&engine) - before);
                let same = catch_unwind(AssertUnwindSafe(|| picture(&mut engine, seed) == picture(&mut alone, seed)));
                if number == MOST_FRAMES || !same.is_ok_and(|same| same) {
                    failure = Some(format!("engine {index}, frame {number}: shared {made} passes"));
                    done.fetch_add(count, Ordering::SeqCst);
                } else if !is_done && shared(&engine) - before >= passes {
                    is_done = true;
                    done.fetch_add(1, Ordering::SeqCst);
                }
            }
            assert_eq!(failure, None);
            [engine, alone]
        })
    };
    let threads: Vec<_> = engines.into_iter().enumerate().map(run).collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

/// An engine that runs together with others, and the same one by itself.
fn both(changes: &Value) -> [Engine; 2] {
    [BatchStreams::On, BatchStreams::Off].map(|batch_streams| engine(batch_streams, changes))
}

#[test]
fn engines_that_run_the_unet_together_make_the_pictures_of_each_alone() {
    let (clock, width) = (set_clock(), 96);
    let changes = [
        json!({"width": width, "prompt": "a field of flowers", "cfg_type": "none"}),
        json!({"width": width, "prompt": "a city at night", "cfg_type": "none", "seed": 5, "delta": 0.7}),
    ];
    let engines = run_together(&clock, changes.iter().map(both).collect(), 10);
    for [together, alone] in engines {
        let work = together.work();
        assert!(work.shared_unet_evaluations >= 10 && work.unet_evaluations == alone.work().unet_evaluations);
        assert_eq!(shared(&alone), 0);
    }
}

#[test]
fn on_a_device_the_unet_runs_once_for_several_frames() {
    let clock = set_clock();
    let cpu = CpuOptions { threads: NonZeroUsize::new(2), dtype: Dtype::F32, pin: false, ..CpuOptions::default() };
    let device = SimulatedExecutor::new(Arc::new(CpuExecutor::new(cpu).unwrap()));
    let both = |prompt: &str| {
        // A device computes batches faster.
        let together = builder(BatchStreams::Auto, &json!({"prompt": prompt})).executor(Arc::new(device.clone()));
        [together.build().unwrap(), engine(BatchStreams::Off, &json!({"prompt": prompt}))]
    };
    let engines = ["snow", "rain", "fog"].map(both);
    // Prompts were encoded.
    device.take_counts();
    let engines = run_together(&clock, engines.into(), 5);
    let runs = device.take_counts().runs;
    let sum = |of: fn(&Work) -> u64| engines.iter().map(|[together, _]| of(&together.work())).sum::<u64>();
    let (frames, shared) = (sum(|work| work.unet_evaluations), sum(|work| work.shared_unet_evaluations));
    // A shared pass is one run for two or three frames.
    let passes = runs - sum(|work| work.encoder_evaluations + work.decoder_evaluations) - (frames - shared);
    assert!(passes >= shared.div_ceil(3) && passes <= shared / 2, "{passes} passes for {shared} of {frames} frames");
}

#[test]
fn updates_of_engines_that_run_together_take_effect_on_their_own_pictures_only() {
    let (clock, width) = (set_clock(), 80);
    let prompts = [json!({"width": width}), json!({"width": width, "prompt": "snow"})];
    let mut engines = run_together(&clock, prompts.iter().map(both).collect(), 3);
    for change in [json!({"prompt": "a forest"}), json!({"delta": 0.5}), json!({"t_index_list": [30, 46]})] {
        let patch = ParamsPatch::from_json(&change.to_string()).unwrap();
        engines[0].iter_mut().for_each(|engine| drop(engine.update(&patch).unwrap()));
        engines = run_together(&clock, engines, 3);
    }
    // With another number of rows, the first has no partner any more.
    let patch = ParamsPatch::from_json(r#"{"t_index_list": [20, 30, 46]}"#).unwrap();
    let [together, alone] = &mut engines[0];
    let before = shared(together);
    for engine in [&mut *together, &mut *alone] {
        engine.update(&patch).unwrap();
    }
    for number in 0..4 {
        assert!(picture(together, number) == picture(alone, number));
    }
    assert_eq!(shared(together), before);
}

#[test]
fn stages_of_engines_that_do_not_batch_their_own_frames_share_passes_too() {
    let clock = set_clock();
    let changes = json!({"width": 112, "use_denoising_batch": false, "t_index_list": [20, 40]});
    run_together(&clock, vec![both(&changes), both(&changes)], 10);
}

#[test]
fn only_engines_that_ask_for_it_and_need_nothing_else_run_together() {
    let joins = |batch_streams, changes: Value| {
        let engine = engine(batch_streams, &changes);
        let components = &engine.snapshot().unwrap().0.components;
        components.unet().call(0).unwrap().member.is_some()
    };
    assert!(joins(BatchStreams::On, json!({})));
    assert!(!joins(BatchStreams::Off, json!({})));
    // The engine runs on the CPU.
    assert!(!joins(BatchStreams::Auto, json!({})));
    assert!(!joins(BatchStreams::On, json!({"cached_attention": {"enabled": true}})));
    assert!(!joins(BatchStreams::On, json!({"feature_reuse": {"interval": 2}})));
    let observing = EngineOptions::default().with_batch_streams(BatchStreams::On);
    let observing = Engine::builder().options(observing).observing().build().unwrap();
    assert!(observing.snapshot().unwrap().0.components.unet().call(0).unwrap().member.is_none());
}
