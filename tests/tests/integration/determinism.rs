//! The same parameters and frames give the same bytes.

use dreamframe::{EngineOptions, ParamsPatch, StreamDiffusionParams};
use dreamframe_tests::frames::{demo_engine, pictures};

const SIDE: u32 = 128;
const FRAMES: usize = 6;

#[test]
fn the_same_seed_gives_the_same_bytes_twice() {
    let first = pictures(&mut demo_engine(SIDE, |_, _| ()), FRAMES);
    let second = pictures(&mut demo_engine(SIDE, |_, _| ()), FRAMES);
    assert!(first == second);
    let other = pictures(&mut demo_engine(SIDE, |params, _| params.seed = 5.into()), FRAMES);
    assert!(first != other, "the seed must count");
}

/// Also with more threads than the machine has cores.
#[test]
fn any_number_of_threads_gives_the_bytes_of_one() {
    const FEW_FRAMES: usize = 3;
    for change in [|_: &mut StreamDiffusionParams| (), |params: &mut StreamDiffusionParams| params.guidance_scale = 1.6]
    {
        let on = |threads| {
            let set = |params: &mut StreamDiffusionParams, options: &mut EngineOptions| {
                change(params);
                options.threads = Some(threads);
            };
            pictures(&mut demo_engine(SIDE, set), FEW_FRAMES)
        };
        let one = on(1);
        for threads in [2, 3, 7, 16, 33] {
            assert!(on(threads) == one, "{threads} threads");
        }
    }
}

#[test]
fn parameters_that_were_saved_and_loaded_give_the_same_bytes() {
    let prompt =
        r#"{"prompt": [["moonlit night", 0.7], ["a mosaic", 0.3]], "seed": [[1, 0.5], [2, 0.5]], "delta": 0.31}"#;
    let mut engine = demo_engine(SIDE, |_, _| ());
    engine.update(&ParamsPatch::from_json(prompt).unwrap()).unwrap();
    let saved = engine.params().to_json();
    let (loaded, _) = StreamDiffusionParams::from_json(&saved).unwrap();
    assert_eq!(&loaded, engine.params());
    let first = pictures(&mut engine, FRAMES);
    let second = pictures(&mut demo_engine(SIDE, |params, _| *params = loaded), FRAMES);
    assert!(first == second);
}

#[test]
fn both_executors_agree_to_a_level() {
    use dreamframe::ExecutorKind;
    // The reference executor takes seconds for each frame of `SIDE` pixels.
    let of = |kind| pictures(&mut demo_engine(64, |_, options| options.executor = kind), 3);
    let (cpu, reference) = (of(ExecutorKind::Cpu), of(ExecutorKind::Reference));
    for (cpu, reference) in cpu.iter().zip(&reference) {
        let difference = dreamframe_tests::frames::largest_difference(cpu, reference);
        assert!(difference <= 1, "{difference} levels apart");
    }
}
