//! ControlNets in the engine: they come, change and go live, cost what counts, and one that does not fit changes nothing.

use dreamframe::telemetry::Work;
use dreamframe::{CfgType, ControlImages, Cost, Engine, EngineOptions, ErrorKind, ExecutorKind, StreamDiffusionParams};
use dreamframe_tests::controlnets::{Folder, controlnets};
use dreamframe_tests::frames::{demo_engine, largest_difference, picture, pictures};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

const SIDE: u32 = 64;

fn folder(name: &str) -> Folder {
    Folder::new(env!("CARGO_TARGET_TMPDIR"), name)
}

fn plain(_: &mut StreamDiffusionParams, _: &mut EngineOptions) {}

/// One ControlNet in place of all.
fn set(engine: &mut Engine, list: Value) -> Option<Cost> {
    engine.update(&controlnets(list)).unwrap().cost
}

/// What the next frame takes.
fn work(engine: &mut Engine, index: usize) -> [u64; 4] {
    let count = |work: Work| [work.control_images, work.control_evaluations, work.control_rows, work.unet_rows];
    let before = count(engine.work());
    picture(engine, index);
    let after = count(engine.work());
    std::array::from_fn(|i| after[i] - before[i])
}

#[test]
fn a_controlnet_comes_and_goes_live_and_leaves_nothing_behind() {
    let folder = folder("comes-and-goes");
    folder.controlnet("edges", 1);
    let (mut engine, mut without) = (folder.engine(SIDE, plain), folder.engine(SIDE, plain));
    assert!(pictures(&mut engine, 2) == pictures(&mut without, 2));
    assert_eq!(set(&mut engine, json!([{"model_id": "edges"}])), Some(Cost::Load));
    assert!(picture(&mut engine, 2) != picture(&mut without, 2));
    assert_eq!(work(&mut engine, 3), [1, 1, 2, 2]);
    picture(&mut without, 3);
    // An empty list takes it away.
    assert_eq!(set(&mut engine, json!([])), Some(Cost::Load));
    let delay = engine.delay();
    for index in 4..8 {
        let same = picture(&mut engine, index) == picture(&mut without, index);
        assert!(same || index < 4 + delay, "frame {index}");
    }
    assert_eq!(work(&mut engine, 8), [0, 0, 0, 2]);
}

#[test]
fn at_scale_zero_nothing_runs_and_no_bit_changes() {
    let folder = folder("scale-zero");
    folder.controlnet("edges", 1);
    for cfg_type in CfgType::ALL.iter().copied() {
        for batched in [true, false] {
            let guided = |params: &mut StreamDiffusionParams, _: &mut EngineOptions| {
                params.cfg_type = cfg_type;
                params.guidance_scale = 1.4;
                params.use_denoising_batch = batched;
            };
            let (mut engine, mut without) = (folder.engine(SIDE, guided), folder.engine(SIDE, guided));
            set(&mut engine, json!([{"model_id": "edges", "conditioning_scale": 0, "preprocessor": "canny"}]));
            assert!(pictures(&mut engine, 3) == pictures(&mut without, 3), "{cfg_type}, batched: {batched}");
            let rows = engine.evaluations_per_frame() as u64;
            assert_eq!(work(&mut engine, 3), [0, 0, 0, rows]);
            // Every row of the UNet is one of the ControlNet's, too.
            set(&mut engine, json!([{"model_id": "edges", "conditioning_scale": 0.5}]));
            let calls = if batched { 1 } else { 2 };
            assert_eq!(work(&mut engine, 4), [1, calls, rows, rows], "{cfg_type}, batched: {batched}");
        }
    }
}

#[test]
fn numbers_change_without_the_files() {
    let folder = folder("hot");
    folder.controlnet("edges", 1);
    let with = |more: Value| {
        let mut net = json!({"model_id": "edges", "preprocessor": "canny"});
        net.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([net])
    };
    let mut engine = folder.engine(SIDE, plain);
    set(&mut engine, with(json!({})));
    let mut seen = vec![pictures(&mut engine, 3).pop().unwrap()];
    std::fs::remove_dir_all(folder.path().join("edges")).unwrap();
    for change in [
        json!({"conditioning_scale": 0.3}),
        json!({"control_guidance_start": 0.5}),
        json!({"control_guidance_end": 0.5}),
        json!({"preprocessor_params": {"low_threshold": 10, "high_threshold": 20}}),
    ] {
        assert_eq!(set(&mut engine, with(change.clone())), Some(Cost::Hot), "{change}");
        let next = pictures(&mut engine, 3).pop().unwrap();
        assert!(!seen.contains(&next), "{change} counts");
        seen.push(next);
    }
}

#[test]
fn window_determines_the_active_rows() {
    let folder = folder("windows");
    folder.controlnet("edges", 1);
    let window = |start: f64, end: f64| json!([{"model_id": "edges", "control_guidance_start": start, "control_guidance_end": end}]);
    for batched in [true, false] {
        let mut engine = folder.engine(SIDE, |params, _| params.use_denoising_batch = batched);
        let mut without = folder.engine(SIDE, |params, _| params.use_denoising_batch = batched);
        // The first frame fills all rows.
        picture(&mut engine, 0);
        // Two stages, at 0 and at a half. Without a batch each has a call of its own.
        for (start, end, calls) in [(0.0, 1.0, 2), (0.0, 0.5, 1), (0.5, 1.0, 1), (0.6, 1.0, 0), (0.0, 0.0, 0)] {
            set(&mut engine, window(start, end));
            picture(&mut without, 0);
            let expected = if batched { calls.min(1) } else { calls };
            assert_eq!(work(&mut engine, 0)[1], expected, "{start} to {end}, batched: {batched}");
        }
        let mut last = || (0..4).map(|_| picture(&mut engine, 0)).last();
        assert!(last() == (0..4).map(|_| picture(&mut without, 0)).last(), "an empty window is none");
    }
    // The window of the second stage alone leaves the first as it is without a batch and with one.
    let of = |batched: bool| {
        let mut engine = folder.engine(SIDE, |params, _| params.use_denoising_batch = batched);
        set(&mut engine, window(0.5, 1.0));
        (0..3).map(|_| picture(&mut engine, 0)).last().unwrap()
    };
    assert!(largest_difference(&of(true), &of(false)) <= 1);
}

#[test]
fn disabled_networks_are_not_searched() {
    let folder = folder("disabled");
    let (mut engine, mut without) = (folder.engine(SIDE, plain), folder.engine(SIDE, plain));
    set(&mut engine, json!([{"model_id": "not-there", "enabled": false}]));
    assert!(pictures(&mut engine, 3) == pictures(&mut without, 3));
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let folder = folder("refused");
    folder.controlnet("edges", 1);
    folder.changed_controlnet("wide", 1, &json!({"cross_attention_dim": 768}));
    folder.changed_controlnet("other", 1, &json!({"block_out_channels": [96, 64], "attention_head_dim": 2}));
    folder.changed_controlnet("six", 1, &json!({"conditioning_channels": 6}));
    folder.changed_controlnet("coarse", 1, &json!({"conditioning_embedding_out_channels": [4, 4]}));
    folder.controlnet("cut", 1);
    std::fs::remove_file(folder.path().join("cut/diffusion_pytorch_model.safetensors")).unwrap();
    let (mut engine, mut untouched) = (folder.engine(SIDE, plain), folder.engine(SIDE, plain));
    for engine in [&mut engine, &mut untouched] {
        set(engine, json!([{"model_id": "edges"}]));
    }
    for (second, kind, part) in [
        (json!({"model_id": "not-there"}), ErrorKind::NotFound, "controlnets[1] \"not-there\""),
        (json!({"model_id": "cut"}), ErrorKind::NotFound, "no weights: tried"),
        (
            json!({"model_id": "wide"}),
            ErrorKind::BadModel,
            "(cross_attention_dim) of the ControlNet: got 768, expected 128",
        ),
        (
            json!({"model_id": "other"}),
            ErrorKind::BadModel,
            "residuals of the ControlNet: got 5 of blocks with these channels and layers: [(96, 1), (64, 1)], expected 5",
        ),
        (json!({"model_id": "coarse"}), ErrorKind::BadModel, "got 2, expected 8"),
        (
            json!({"model_id": "six"}),
            ErrorKind::Unsupported,
            "channels of the control image from the frame: got 3, expected 6",
        ),
        (
            json!({"model_id": "six", "conditioning_channels": 3}),
            ErrorKind::InvalidParams,
            "controlnets[1].conditioning_channels: got 3, expected 6",
        ),
        (json!({"model_id": "../secret"}), ErrorKind::InvalidArgument, "model id: got \"../secret\""),
        (json!({"model_id": "edges"}), ErrorKind::InvalidParams, "expected each id once"),
    ] {
        let before = engine.params().clone();
        let refused = engine.update(&controlnets(json!([{"model_id": "edges"}, second]))).unwrap_err();
        assert_eq!(refused.kind(), kind, "{refused}");
        assert!(format!("{refused:#}").contains(part), "{refused:#}");
        assert_eq!(engine.params(), &before);
        assert!(picture(&mut engine, 0) == picture(&mut untouched, 0), "{part}");
    }
}

#[test]
fn five_run_together_in_any_order_and_share_their_preprocessors() {
    let folder = folder("five");
    let net = |i: usize, preprocessor: &str| json!({"model_id": format!("net-{i}"), "preprocessor": preprocessor});
    let mut list: Vec<Value> =
        ["canny", "soft_edge", "canny", "passthrough", "canny"].iter().zip(0..).map(|(name, i)| net(i, name)).collect();
    list[4]["preprocessor_params"] = json!({"low_threshold": 30});
    (0..5).for_each(|i| folder.controlnet(&format!("net-{i}"), i as u64));
    let (mut engine, mut turned) = (folder.engine(SIDE, plain), folder.engine(SIDE, plain));
    set(&mut engine, json!(list));
    list.reverse();
    set(&mut turned, json!(list));
    assert!(pictures(&mut engine, 3) == pictures(&mut turned, 3), "their order counts");
    assert_eq!(work(&mut engine, 3), [4, 5, 10, 2]);
    // A new order alone is nothing to load.
    assert_eq!(set(&mut engine, json!(list)), Some(Cost::Hot));
}

#[test]
fn additional_controlnet_keeps_the_others() {
    let folder = folder("one-more");
    folder.controlnet("first", 1);
    folder.controlnet("second", 2);
    let (first, second) = (json!({"model_id": "first"}), json!({"model_id": "second"}));
    let mut engine = folder.engine(SIDE, plain);
    set(&mut engine, json!([first]));
    // What is loaded needs no file.
    std::fs::remove_dir_all(folder.path().join("first")).unwrap();
    set(&mut engine, json!([second, first]));
    assert_eq!(work(&mut engine, 0)[1], 2 * 2, "the first frame fills two rows");
    set(&mut engine, json!([first]));
    assert_eq!(work(&mut engine, 1)[1], 1);
    let gone = engine.update(&controlnets(json!([]))).and_then(|_| engine.update(&controlnets(json!([first]))));
    assert_eq!(gone.unwrap_err().kind(), ErrorKind::NotFound, "what was unloaded is gone");
}

#[test]
fn sizes_prompts_and_stages_can_change_with_controlnets() {
    let folder = folder("changes");
    folder.controlnet("edges", 1);
    for control_images in [ControlImages::Newest, ControlImages::PerRow] {
        let list = json!([{"model_id": "edges", "preprocessor": "canny"}]);
        let build = |change: fn(&mut StreamDiffusionParams)| {
            let mut engine = folder.engine(SIDE, |params, options| {
                options.control_images = control_images;
                change(params);
            });
            set(&mut engine, list.clone());
            engine
        };
        let changes: [fn(&mut StreamDiffusionParams); 5] = [
            |params| (params.width, params.height) = (96, 64),
            |params| params.prompt = "moonlit night".into(),
            |params| params.t_index_list = vec![30, 38, 44, 47],
            |params| params.t_index_list = vec![45],
            |params| params.use_denoising_batch = false,
        ];
        for change in changes {
            let (mut engine, mut fresh) = (build(|_| ()), build(change));
            pictures(&mut engine, 3);
            engine.edit(change).unwrap();
            // After as many frames as there are rows the change has ended through.
            let last = |engine: &mut Engine| pictures(engine, 6).pop();
            assert!(last(&mut engine) == last(&mut fresh));
        }
    }
}

#[test]
fn with_its_own_image_each_row_of_a_batch_is_as_a_frame_alone() {
    let folder = folder("per-row");
    folder.controlnet("edges", 1);
    let made = |control_images, batched| {
        let mut engine = folder.engine(SIDE, |params, options| {
            options.control_images = control_images;
            params.use_denoising_batch = batched;
            params.t_index_list = vec![30, 38, 45];
            params.controlnets = serde_json::from_value(json!([{"model_id": "edges"}])).unwrap();
        });
        pictures(&mut engine, 6)
    };
    let alone = made(ControlImages::Newest, false);
    let (newest, own) = (made(ControlImages::Newest, true), made(ControlImages::PerRow, true));
    for (index, alone) in alone.iter().enumerate().take(4) {
        assert!(largest_difference(alone, &own[index + 2]) <= 1, "frame {index}");
    }
    assert!(largest_difference(&alone[3], &newest[5]) > 1, "the newest frame's image is another");
}

#[test]
fn both_executors_make_the_same_pictures() {
    let folder = folder("executors");
    folder.controlnet("edges", 1);
    let of = |executor| {
        let mut engine = folder.engine(SIDE, |params, options| {
            options.executor = executor;
            let net = json!([{"model_id": "edges", "preprocessor": "canny", "conditioning_scale": 0.4}]);
            params.controlnets = serde_json::from_value(net).unwrap();
        });
        pictures(&mut engine, 3)
    };
    for (cpu, reference) in of(ExecutorKind::Cpu).iter().zip(&of(ExecutorKind::Reference)) {
        assert!(largest_difference(cpu, reference) <= 2);
    }
}

#[test]
fn without_a_folder_of_models_there_are_no_controlnets() {
    let mut engine = demo_engine(SIDE, plain);
    let refused = engine.update(&controlnets(json!([{"model_id": "edges"}]))).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    assert!(refused.to_string().contains("no folder of models is set"), "{refused}");
}

#[test]
fn config_of_a_file_is_determined_from_its_tensors() {
    let folder = folder("alone");
    folder.controlnet("whole", 1);
    folder.controlnet("alone", 1);
    let alone = folder.path().join("alone");
    std::fs::remove_file(alone.join("config.json")).unwrap();
    std::fs::rename(alone.join("diffusion_pytorch_model.safetensors"), alone.join("edges-fp16.safetensors")).unwrap();
    let of = |name: &str| {
        let mut engine = folder.engine(SIDE, plain);
        set(&mut engine, json!([{"model_id": name}]));
        pictures(&mut engine, 3)
    };
    assert!(of("alone") == of("whole"));
    std::fs::copy(alone.join("edges-fp16.safetensors"), alone.join("more.safetensors")).unwrap();
    let refused = folder.engine(SIDE, plain).update(&controlnets(json!([{"model_id": "alone"}]))).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    assert!(format!("{refused:#}").contains("more.safetensors"), "{refused:#}");
}

/// As a load that is tried again finds it: the same networks twice, in use and in what was made first.
#[test]
fn networks_of_one_pipeline_and_constants_of_another_are_not_mixed() {
    let folder = folder("two-pipelines");
    folder.controlnet("edges", 1);
    let mut engine = folder.engine(SIDE, plain);
    let bench = engine.workbench();
    let start = engine.snapshot().unwrap();
    let with = |prompt: &str| {
        let mut params = start.params().clone();
        // Networks that the engine does not have yet: the UNet for another number of rows, and a ControlNet.
        params.t_index_list = vec![20, 30, 40];
        params.prompt = prompt.into();
        controlnets(json!([{"model_id": "edges"}])).merge(&params).unwrap().0
    };
    let first = bench.prepare(with("snow"), Some(&start), &[]).unwrap().snapshot();
    let second = bench.prepare(with("fog"), Some(&start), &[]).unwrap();
    engine.apply(second).unwrap();
    let base = engine.snapshot().unwrap();
    let again = bench.prepare(with("snow"), Some(&base), &[&first]).unwrap();
    engine.apply(again).unwrap();
    let mut fresh = folder.engine(SIDE, |params, _| *params = with("snow"));
    assert!(pictures(&mut engine, 3) == pictures(&mut fresh, 3));
}

#[test]
fn files_of_another_layout_or_kind_are_refused_by_name() {
    let folder = folder("layouts");
    for (name, tensor, kind, part) in [
        ("old", "control_model.input_hint_block.0.weight", ErrorKind::Unsupported, "original layout"),
        ("lora", "lora_unet_down.weight", ErrorKind::BadModel, "not a ControlNet"),
    ] {
        let place = folder.path().join(name);
        std::fs::create_dir_all(&place).unwrap();
        let view = TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap();
        safetensors::serialize_to_file([(tensor, view)], None, &place.join("net.safetensors")).unwrap();
        let refused = folder.engine(SIDE, plain).update(&controlnets(json!([{"model_id": name}]))).unwrap_err();
        assert_eq!(refused.kind(), kind);
        assert!(format!("{refused:#}").contains(part) && format!("{refused:#}").contains(name), "{refused:#}");
    }
}

#[test]
fn time_of_controlnets_is_reported() {
    let folder = folder("timings");
    folder.controlnet("edges", 1);
    let mut engine = folder.engine(SIDE, plain);
    let pixels = dreamframe_tests::frames::moving_disc(0, SIDE, SIDE);
    let frame = dreamframe::FrameView::packed(dreamframe::PixelFormat::Rgba8, SIDE, SIDE, &pixels).unwrap();
    set(&mut engine, json!([{"model_id": "edges", "preprocessor": "canny"}]));
    let timings = engine.process(&frame).unwrap().timings;
    assert!(timings.control > 0 && timings.unet > 0);
    assert!(timings.control + timings.unet <= timings.total);
}
