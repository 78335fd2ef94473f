//! LoRAs on an engine: merged while frames are processed, read once, without an effect on unchanged weights.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;

use super::packed::demo_folder;
use crate::engine::{Engine, EngineBuilder, EngineOptions, LoraMode};
use crate::error::{ErrorKind, Result};
use crate::frame::{FrameView, PixelFormat};
use crate::load::lora_tests::file_of;
use crate::load::{ModelSource, PackedCache};
use crate::params::{Cost, ParamsPatch, StreamDiffusionParams};

const SIDE: u32 = 64;
pub(super) const CONV: (&str, [usize; 4]) = ("lora_unet_mid_block_resnets_0_conv1", [96, 96, 3, 3]);
pub(super) const QUERY: (&str, [usize; 4]) =
    ("lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q", [96, 96, 1, 1]);
/// A convolution of the last block: it has most effect on pictures, and runs for every frame.
pub(super) const LAST: (&str, [usize; 4]) = ("lora_unet_up_blocks_1_resnets_1_conv2", [96, 96, 3, 3]);
pub(super) const WORDS: (&str, [usize; 4]) = ("lora_te_text_model_encoder_layers_0_self_attn_v_proj", [128, 128, 1, 1]);

/// A folder of models that contains the demo model as a folder.
pub(super) struct Models {
    folder: TempDir,
}

impl Models {
    pub(super) fn new() -> Self {
        // Its path must not be that of a few-step model.
        let named = |folder: &TempDir| {
            let path = folder.path().to_string_lossy().to_lowercase();
            ["turbo", "lcm", "demo"].iter().any(|mark| path.contains(mark))
        };
        let folder = std::iter::repeat_with(|| tempfile::tempdir().unwrap()).find(|folder| !named(folder)).unwrap();
        demo_folder(&folder.path().join("base"));
        Self { folder }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Writes a LoRA of rank 2 for `layers`.
    pub(super) fn lora(&self, path: &str, layers: &[(&str, [usize; 4])]) {
        self.lora_of_rank(path, layers, 2);
    }

    /// Writes a LoRA of small numbers for `layers`.
    pub(super) fn lora_of_rank(&self, path: &str, layers: &[(&str, [usize; 4])], rank: usize) {
        let mut tensors: Vec<(String, Vec<usize>)> = Vec::new();
        for (name, [out, channels, height, width]) in layers {
            tensors.push((format!("{name}.lora_down.weight"), vec![rank, *channels, *height, *width]));
            tensors.push((format!("{name}.lora_up.weight"), vec![*out, rank, 1, 1]));
        }
        let tensors: Vec<(&str, &[usize])> = tensors.iter().map(|(name, shape)| (&**name, &**shape)).collect();
        let bytes = file_of(&tensors, "", &|i| ((i * 37 % 23) as f32 - 11.0) / 100.0);
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(super) fn builder(&self, change: impl FnOnce(&mut StreamDiffusionParams, &mut EngineOptions)) -> EngineBuilder {
        let mut options = EngineOptions {
            lora_mode: LoraMode::Merged,
            dtype: crate::Dtype::F32,
            threads: Some(2),
            packed_cache: PackedCache::Off,
            ..EngineOptions::default()
        };
        let mut params = StreamDiffusionParams::demo();
        (params.model_id, params.width, params.height) = ("base".into(), SIDE, SIDE);
        // One row, so that a picture depends on its own frame only.
        params.t_index_list = vec![44];
        change(&mut params, &mut options);
        Engine::builder().models(ModelSource::folder(self.folder.path())).params(params).options(options)
    }

    pub(super) fn build(&self, change: impl FnOnce(&mut StreamDiffusionParams, &mut EngineOptions)) -> Result<Engine> {
        self.builder(change).build()
    }

    fn engine(&self, loras: &[(&str, f64)]) -> Engine {
        self.build(|params, _| params.lora_dict = loras.iter().map(|&(id, scale)| (id.to_owned(), scale)).collect())
            .unwrap()
    }
}

pub(super) fn picture(engine: &mut Engine) -> Vec<u8> {
    let pixels: Vec<u8> = (0..SIDE * SIDE * 4).map(|i| (i * 7) as u8).collect();
    let frame = FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels).unwrap();
    engine.process(&frame).unwrap().frame.pixels().to_vec()
}

pub(super) fn set(engine: &mut Engine, text: &str) -> Result<crate::engine::Update> {
    engine.update(&ParamsPatch::from_json(text).unwrap())
}

#[test]
fn loras_change_while_frames_are_processed_and_can_be_removed_completely() {
    let models = Models::new();
    models.lora("style.safetensors", &[CONV, QUERY, WORDS]);
    let mut engine = models.engine(&[]);
    let plain = picture(&mut engine);
    let mut seen = vec![plain.clone()];
    for scale in ["1", "0.5", "-2"] {
        let update = set(&mut engine, &format!(r#"{{"lora_dict": {{"style": {scale}}}}}"#)).unwrap();
        assert_eq!((update.cost, update.notices.len()), (Some(Cost::Load), 0), "{:?}", update.notices);
        let picture = picture(&mut engine);
        assert!(!seen.contains(&picture), "scale {scale}");
        assert!(picture == self::picture(&mut models.engine(&[("style", scale.parse().unwrap())])), "scale {scale}");
        seen.push(picture);
    }
    for none in [r#"{"style": 0}"#, r#"{"style": 1}"#, "{}", "null"] {
        set(&mut engine, &format!(r#"{{"lora_dict": {none}}}"#)).unwrap();
        let expected = if none.ends_with("1}") { &seen[1] } else { &plain };
        assert!(picture(&mut engine) == *expected, "{none}");
    }
}

#[test]
fn lora_file_is_read_once_for_all_scales_and_combinations() {
    let models = Models::new();
    models.lora("one/pytorch_lora_weights.safetensors", &[CONV]);
    models.lora("two.safetensors", &[QUERY]);
    let mut engine = models.engine(&[("one", 1.0)]);
    let first = picture(&mut engine);
    fs::remove_dir_all(models.path("one")).unwrap();
    for scale in ["0.5", "0", "2"] {
        set(&mut engine, &format!(r#"{{"lora_dict": {{"one": {scale}}}}}"#)).unwrap();
    }
    set(&mut engine, r#"{"lora_dict": {"one": 1, "two.safetensors": 1}}"#).unwrap();
    assert!(picture(&mut engine) != first);
    fs::remove_file(models.path("two.safetensors")).unwrap();
    set(&mut engine, r#"{"lora_dict": {"one": 1}, "prompt": "a mosaic"}"#).unwrap();
    set(&mut engine, r#"{"prompt": "snow"}"#).unwrap();
    assert_eq!(set(&mut engine, r#"{"lora_dict": {"two.safetensors": 1}}"#).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn without_a_change_of_loras_nothing_is_rebuilt() {
    let models = Models::new();
    let mut engine = models.engine(&[]);
    let before = engine.snapshot().unwrap();
    for none in ["{}", "null"] {
        assert_eq!(set(&mut engine, &format!(r#"{{"lora_dict": {none}}}"#)).unwrap().cost, None);
        assert!(engine.snapshot().unwrap().is(&before));
    }
    models.lora("words.safetensors", &[WORDS]);
    set(&mut engine, r#"{"lora_dict": {"words": 1}}"#).unwrap();
    let components = &engine.snapshot().unwrap().0.components;
    assert!(Arc::ptr_eq(&components.unet_weights().weights, &components.models().unet_weights));
    assert!(!Arc::ptr_eq(components.text(), &components.models().text));
    assert!(std::ptr::eq(components.models(), before.0.components.models()));
}

#[test]
fn a_lora_that_is_not_there_or_does_not_fit_changes_nothing() {
    let models = Models::new();
    models.lora("wide.safetensors", &[(CONV.0, [96, 97, 3, 3])]);
    models.lora("alien.safetensors", &[("lora_unet_single_blocks_3", [96, 96, 1, 1])]);
    let mut engine = models.engine(&[]);
    let plain = picture(&mut engine);
    let before = engine.params().clone();
    for (id, kind, part) in [
        ("nobody/nothing", ErrorKind::NotFound, "`dreamframe models fetch nobody/nothing`"),
        ("wide", ErrorKind::BadModel, "lora_unet_mid_block_resnets_0_conv1.lora_down.weight"),
        (
            "wide",
            ErrorKind::BadModel,
            "got a change of shape [96, 97, 3, 3], expected [96, 96, 3, 3] as in mid_block.resnets.0.conv1.weight",
        ),
        ("alien", ErrorKind::BadModel, "the model has none of its 1 layers"),
        ("../wide", ErrorKind::InvalidArgument, "model id: got \"../wide\""),
    ] {
        let error = set(&mut engine, &format!(r#"{{"prompt": "snow", "lora_dict": {{"{id}": 1}}}}"#)).unwrap_err();
        assert_eq!(error.kind(), kind, "{id}: {error}");
        let text = error.to_string();
        assert!(text.starts_with("lora_dict: ") && text.contains(part), "{text}");
        assert_eq!(engine.params(), &before);
        assert!(picture(&mut engine) == plain);
    }
}

#[test]
fn layers_that_the_model_does_not_have_are_listed() {
    let models = Models::new();
    models.lora("style.safetensors", &[CONV, ("lora_te2_text_projection", [96, 96, 1, 1])]);
    let mut engine = models.engine(&[]);
    let update = set(&mut engine, r#"{"lora_dict": {"style": 1}}"#).unwrap();
    let [notice] = &*update.notices else { panic!("{:?}", update.notices) };
    assert_eq!(notice.path, "lora_dict");
    assert!(notice.message.contains("1 tensors") && notice.message.contains("lora_te2_text_projection"), "{notice}");
    assert!(set(&mut engine, r#"{"lora_dict": {"style": 0.5}}"#).unwrap().notices.is_empty());
}

#[test]
fn a_model_that_is_not_made_for_few_steps_takes_its_lcm_lora() {
    let models = Models::new();
    let scheduler = models.path("base/scheduler/scheduler_config.json");
    let config = fs::read_to_string(&scheduler).unwrap().replace("LCMScheduler", "DDIMScheduler");
    fs::write(scheduler, config).unwrap();
    let build = |use_lcm_lora: bool| models.build(|params, _| params.use_lcm_lora = use_lcm_lora);
    let error = build(true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    for part in ["lcm_lora_id", "`dreamframe models fetch latent-consistency/lcm-lora-sdv1-5`", "`use_lcm_lora: false`"]
    {
        assert!(error.to_string().contains(part), "{error}");
    }
    let plain = picture(&mut build(false).unwrap());
    models.lora("latent-consistency/lcm-lora-sdv1-5/pytorch_lora_weights.safetensors", &[CONV]);
    let mut engine = build(true).unwrap();
    let with = picture(&mut engine);
    assert!(with != plain);
    assert!(with == picture(&mut models.engine(&[("latent-consistency/lcm-lora-sdv1-5", 1.0)])));
    // Its scale does not change, so that it has no branch.
    let live = models.build(|params, options| {
        (params.use_lcm_lora, options.lora_mode) = (true, LoraMode::Live);
    });
    assert!(with == picture(&mut live.unwrap()));
    assert_eq!(set(&mut engine, r#"{"use_lcm_lora": false}"#).unwrap().cost, Some(Cost::Load));
    assert!(picture(&mut engine) == plain);
}

#[test]
fn merged_weights_are_not_kept_for_the_next_start() {
    let models = Models::new();
    models.lora("style.safetensors", &[CONV, QUERY, WORDS]);
    let plain = picture(&mut models.engine(&[]));
    let kept = |loras: &[(&str, f64)]| {
        let engine = models.build(|params, options| {
            params.lora_dict = loras.iter().map(|&(id, scale)| (id.to_owned(), scale)).collect();
            options.packed_cache = PackedCache::Folder(models.path("kept"));
        });
        picture(&mut engine.unwrap())
    };
    let with = kept(&[("style", 1.0)]);
    assert!(with != plain && kept(&[("style", 1.0)]) == with);
    assert!(kept(&[]) == plain && kept(&[]) == plain);
    assert!(kept(&[("style", 1.0)]) == with);
}
