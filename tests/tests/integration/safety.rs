//! The safety checker against diffusers', on every executor: embeddings with the bounds of `parity.rs`, and the verdicts.

use std::path::Path;
use std::sync::Arc;

use dreamframe::conditioning::clip_picture::{ClipFilter, ClipPictures};
use dreamframe::exec::Dtype;
use dreamframe::load::WeightFiles;
use dreamframe::models::safety::{SafetyConcepts, SafetyWeights, safety_config};
use dreamframe::models::{VisionStates, clip_patches, clip_vision_program};
use dreamframe::net::Weights;
use dreamframe_tests::{Golden, assert_close, executors, run};

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/safety_checker")
}

#[test]
fn pictures_are_judged_as_diffusers_judges_them() {
    let golden = Golden::folder(folder());
    let config = safety_config(&std::fs::read_to_string(folder().join("config.json")).unwrap()).unwrap();
    let bytes = std::fs::read(folder().join("model.safetensors")).unwrap();
    let files = Arc::new(WeightFiles::from_bytes("model.safetensors", bytes).unwrap());
    let concepts = SafetyConcepts::read(&*files, config.projection_dim).unwrap();
    let weights = Weights::new(Arc::new(SafetyWeights::encoder(&config, files)));
    let (clip, embeds) = (golden.numbers("clip"), golden.numbers("embeds"));
    let (scores, flagged) = (golden.numbers("scores"), golden.numbers("flagged"));
    assert!(flagged.contains(&0.0) && flagged.contains(&1.0));
    for (name, executor) in executors() {
        for (i, picture) in clip.chunks(clip.len() / scores.len()).enumerate() {
            let what = format!("picture {i} on {name}");
            let mut patches = Vec::new();
            clip_patches(&config, picture, &mut patches).unwrap();
            let program = clip_vision_program(&config, 1, VisionStates::Projected).unwrap();
            let got = run(&*executor, program, &weights, &[], &[&patches, &[0.0]]).remove(0);
            let expected = &embeds[i * config.projection_dim..(i + 1) * config.projection_dim];
            assert_close(&*executor, &what, &got, expected);
            if executor.dtype() == Dtype::F32 {
                let score = concepts.score(&got);
                assert!((score - (0.5 + scores[i] - 0.0005)).abs() < 1e-4, "{what}: {score} {}", scores[i]);
                assert_eq!(score >= 0.5, flagged[i] == 1.0, "{what}: {score}");
            }
        }
    }
}

#[test]
fn pictures_are_scaled_as_pillow_scales_them() {
    let golden = Golden::folder(folder());
    let &[count, height, width, _] = golden.shape("pictures") else { panic!("no pictures") };
    let bytes: Vec<u8> = golden.numbers("pictures").into_iter().map(|number| number as u8).collect();
    let expected = golden.numbers("clip");
    let (mut pictures, mut out) = (ClipPictures::new(ClipFilter::Bicubic), Vec::new());
    for (picture, expected) in bytes.chunks(bytes.len() / count).zip(expected.chunks(expected.len() / count)) {
        pictures.make(picture, (width as u32, height as u32), 16, &mut out).unwrap();
        assert_eq!(out.len(), expected.len());
        // One step of a byte, divided by the smallest deviation.
        assert!(out.iter().zip(expected).all(|(got, expected)| (got - expected).abs() <= 1.0 / 255.0 / 0.26));
    }
}
