//! Person masks against MediaPipe's own runtime, on every executor: probabilities at most 1e-3 apart, and 0.01 on average
//! where values are kept in bf16.

use std::sync::Arc;

use dreamframe::exec::{Dtype, Executor};
use dreamframe::load::ModelSource;
use dreamframe::models::annotators::{View, segmentation_program};
use dreamframe::net::Weights;
use dreamframe::params::ProcessorName;
use dreamframe::preprocess::networks::ModelNetworks;
use dreamframe::preprocess::{Context, Image, Registry};
use dreamframe_tests::{Golden, Tensors, executors, run};
use serde_json::json;

/// How often each pixel of a golden's picture is seen in both directions.
const TIMES: usize = 4;
/// The step of the sampled pixels of a golden mask.
const STEP: usize = 3;

fn folder(part: &str) -> String {
    format!("{}/{part}", env!("CARGO_MANIFEST_DIR"))
}

/// The picture as the network sees it, and what is kept of its mask.
fn golden(name: &str, view: View) -> (Image, Vec<f32>) {
    let golden = Golden::folder(folder("golden/segmentation"));
    let small = golden.numbers(&format!("{name}.picture"));
    let (height, width) = view.size();
    let pixel = |i: usize| {
        let at = (i / width / TIMES * (width / TIMES) + i % width / TIMES) * 3;
        [0, 1, 2].map(|colour| small[at + colour] / 255.0)
    };
    let pixels = (0..height * width).flat_map(pixel).collect();
    (Image::from_pixels(width, height, 3, pixels).unwrap(), golden.numbers(&format!("{name}.mask")))
}

/// Samples a mask in both directions.
fn kept(mask: &[f32], (height, width): (usize, usize)) -> Vec<f32> {
    let lines = (0..height).step_by(STEP);
    lines.flat_map(|y| (0..width).step_by(STEP).map(move |x| mask[y * width + x])).collect()
}

const BOTH: [(&str, View, u32); 2] = [("general", View::General, 0), ("landscape", View::Landscape, 1)];

#[test]
fn probabilities_are_those_of_the_published_networks() {
    for (name, view, _) in BOTH {
        let (picture, expected) = golden(name, view);
        let file = Tensors::open(folder(&format!("../models/networks/segmentation/{name}.safetensors")));
        let weights = Weights::new(Arc::new(file));
        for (which, executor) in executors() {
            let logits =
                run(&*executor, segmentation_program(view).unwrap(), &weights, &[], &[picture.pixels()]).remove(0);
            let found = kept(&logits.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect::<Vec<_>>(), view.size());
            assert_eq!(found.len(), expected.len());
            let apart = || found.iter().zip(&expected).map(|(x, y)| (x - y).abs());
            if executor.dtype() == Dtype::F32 {
                let worst = apart().fold(0.0, f32::max);
                assert!(worst <= 1e-3, "{name} on {which}: {worst}");
            } else {
                let mean = apart().sum::<f32>() / expected.len() as f32;
                assert!(mean <= 0.01, "{name} on {which}: {mean} on average");
            }
        }
    }
}

#[test]
fn the_processor_finds_the_person_with_either_network() {
    let (_, executor) = executors().swap_remove(1);
    let executor: Arc<dyn Executor> = Arc::from(executor);
    let networks = Arc::new(ModelNetworks::new(ModelSource::Demo, executor));
    let mut shares = Vec::new();
    for (name, view, selection) in BOTH {
        let (picture, expected) = golden(name, view);
        let (height, width) = view.size();
        let registry = Registry::new().with_networks(networks.clone()).sized((width, height));
        let settings = json!({"detect_resolution": height, "model_selection": selection, "mask_threshold": 0.5});
        let recipe = registry.recipe(ProcessorName::MediapipeSegmentation, settings.as_object().unwrap()).unwrap();
        let (mut processor, mut output) = (recipe.start(), Image::new());
        // The second time over memory that is not new.
        for _ in 0..2 {
            processor.run(&picture, &Context { previous: None, size: (width, height) }, &mut output).unwrap();
            assert_eq!((output.width(), output.height(), output.channels()), (width, height, 3));
        }
        let mask: Vec<f32> = output.pixels().iter().step_by(3).copied().collect();
        for (found, &expected) in kept(&mask, view.size()).iter().zip(&expected) {
            let close = (expected - 0.5).abs() < 2e-3;
            assert!(close || *found == f32::from(u8::from(expected >= 0.5)), "{name}: {found} for {expected}");
        }
        shares.push(mask.iter().sum::<f32>() / mask.len() as f32);
    }
    assert!(shares.iter().all(|share| (0.1..0.6).contains(share)), "{shares:?}");
}

#[test]
fn another_network_is_another_recipe_and_other_settings_are_not() {
    let (_, executor) = executors().swap_remove(0);
    let networks = Arc::new(ModelNetworks::new(ModelSource::Demo, Arc::from(executor)));
    let registry = Registry::new().with_networks(networks);
    let recipe = |settings: serde_json::Value| {
        registry.recipe(ProcessorName::MediapipeSegmentation, settings.as_object().unwrap()).unwrap()
    };
    let wide = recipe(json!({}));
    assert!(wide.continues(&recipe(json!({"blur_radius": 4, "output_mode": "alpha", "invert_mask": true}))));
    assert!(!wide.continues(&recipe(json!({"model_selection": 0}))));
}
