//! IP-Adapters against diffusers, and their image encoder against transformers, on every executor: with the same bounds as
//! in `parity.rs`.

use std::path::Path;
use std::sync::Arc;

use dreamframe::conditioning::style::StyleImage;
use dreamframe::exec::Executor;
use dreamframe::load::WeightFiles;
use dreamframe::models::ip_adapter::{
    AdapterConfig, AdapterKind, Place, cross_attentions, keys_program, tokens_program,
};
use dreamframe::models::{
    ClipVisionConfig, ClipVisionWeights, UnetConfig, UnetShape, VisionStates, clip_patches, clip_vision_program,
    time_ids_embedding, timestep_embedding, unet_program,
};
use dreamframe::net::{Program, Rate, WeightSource, Weights};
use dreamframe_tests::{Golden, assert_close, executors, relative_error, run};

const CASES: [(&str, AdapterKind); 4] = [
    ("sd15_regular", AdapterKind::Regular),
    ("sd15_plus", AdapterKind::Plus),
    ("sd15_faceid", AdapterKind::Face),
    ("sdxl_plus", AdapterKind::Plus),
];

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/ip_adapter")
}

/// An adapter, and the goldens of the UNet that it is for.
struct Case {
    name: &'static str,
    config: AdapterConfig,
    weights: Weights,
    latents: Option<Vec<f32>>,
    unet: Golden,
    unet_config: UnetConfig,
    golden: Golden,
}

impl Case {
    fn open(name: &'static str) -> Self {
        let bytes = std::fs::read(folder().join(format!("{name}.safetensors"))).unwrap();
        let files = WeightFiles::from_bytes(name, bytes).unwrap();
        let config = AdapterConfig::read(files.names(), &files).unwrap();
        let latents = config.latents_shape().map(|(name, shape)| files.read(name, &shape).unwrap());
        let unet = Golden::family(name.split('_').next().unwrap());
        let unet_config = UnetConfig::from_json(&unet.config("unet")).unwrap();
        let golden = Golden::folder(folder());
        Self { name, config, weights: Weights::new(Arc::new(files)), latents, unet, unet_config, golden }
    }

    fn numbers(&self, what: &str) -> Vec<f32> {
        self.golden.numbers(&format!("{}.{what}", self.name))
    }

    /// The tokens of the golden's `image`.
    fn tokens(&self, executor: &dyn Executor, image: usize) -> Vec<f32> {
        let features = self.numbers("features");
        let features = &features[features.len() / 2 * image..features.len() / 2 * (image + 1)];
        let program = tokens_program(&self.config, features.len() / self.config.feature_dim).unwrap();
        let frame: Vec<&[f32]> = [features].into_iter().chain(self.latents.as_deref()).collect();
        run(executor, program, &self.weights, &[], &frame).remove(0)
    }

    /// For each row of the UNet, its image's keys and values, each layer's values times what `weight` says for row and
    /// layer; as the UNet's program takes them.
    fn keys(&self, executor: &dyn Executor, weight: impl Fn(usize, usize) -> f32) -> Vec<Vec<f32>> {
        let numbers = self.config.fit(&self.unet_config).unwrap();
        let images = [0, 1].map(|image| {
            let tokens = self.tokens(executor, image);
            let program = keys_program(&self.config, &numbers).unwrap();
            run(executor, program, &self.weights, &[], &[&tokens])
        });
        let of_row = [0, 1, 0];
        let all = |i: usize| {
            let row = |(row, image): (usize, usize)| {
                let factor = if i.is_multiple_of(2) { 1.0 } else { weight(row, i / 2) };
                images[image][i].iter().map(move |number| number * factor).collect::<Vec<_>>()
            };
            of_row.into_iter().enumerate().flat_map(row).collect()
        };
        (0..2 * numbers.len()).map(all).collect()
    }

    fn program(&self, image_tokens: usize) -> Program {
        let &[rows, height, width, _] = self.unet.shape("unet.sample") else { panic!("no latent") };
        let &[text_rows, text_tokens, _] = self.unet.shape("unet.encoder_hidden_states") else { panic!("no text") };
        let text_of_row = self.unet.numbers("unet.text_of_row").into_iter().map(|row| row as usize).collect();
        let shape =
            UnetShape { text_rows, text_tokens, text_of_row, image_tokens, ..UnetShape::new(rows, height, width) };
        unet_program(&self.unet_config, &shape).unwrap()
    }

    /// What the UNet predicts with `keys`, or without an adapter.
    fn eps(&self, executor: &dyn Executor, keys: Option<&[Vec<f32>]>) -> Vec<f32> {
        let mut constant = vec![self.unet.numbers("unet.encoder_hidden_states")];
        constant.push(timestep_embedding(&self.unet.numbers("unet.timesteps"), &self.unet_config));
        if self.unet_config.added.is_some() {
            constant.push(self.unet.numbers("unet.pooled"));
            let time_ids = self.unet.numbers("unet.time_ids");
            constant.push(time_ids_embedding(time_ids.as_chunks().0, &self.unet_config));
        }
        constant.extend(keys.into_iter().flatten().cloned());
        let constant: Vec<&[f32]> = constant.iter().map(Vec::as_slice).collect();
        let program = self.program(if keys.is_some() { self.config.tokens } else { 0 });
        assert_eq!(program.inputs_at(Rate::Constant).count(), constant.len());
        let sample = self.unet.numbers("unet.sample");
        run(executor, program, &self.unet.weights("unet"), &constant, &[&sample]).remove(0)
    }

    /// The golden's scale of each layer, in the order of the UNet's program; they are in that of the checkpoint.
    fn scales(&self) -> Vec<f32> {
        let scales = self.numbers("scales");
        let sites = cross_attentions(&self.unet_config);
        let middle = sites.iter().filter(|site| site.place == Place::Mid).count();
        let down = sites.iter().filter(|site| matches!(site.place, Place::Down(_))).count();
        let (before, mid) = scales.split_at(scales.len() - middle);
        let (down, up) = before.split_at(down);
        [down, mid, up].concat()
    }
}

fn everywhere(body: impl Fn(&Case, &dyn Executor, &str)) {
    for (name, kind) in CASES {
        let case = Case::open(name);
        assert_eq!(case.config.kind, kind, "{name}");
        for (executor_name, executor) in executors() {
            body(&case, &*executor, &format!("{name} on {executor_name}"));
        }
    }
}

#[test]
fn images_become_the_tokens_that_diffusers_makes_of_them() {
    everywhere(|case, executor, what| {
        let expected = case.numbers("tokens");
        let got = [0, 1].map(|image| case.tokens(executor, image)).concat();
        assert_close(executor, what, &got, &expected);
    });
}

#[test]
fn the_unet_with_an_adapter_predicts_what_diffusers_predicts() {
    everywhere(|case, executor, what| {
        let scales = case.scales();
        let keys = case.keys(executor, |_, layer| scales[layer]);
        let eps = case.eps(executor, Some(&keys));
        assert_close(executor, what, &eps, &case.numbers("eps"));
        let plain = case.eps(executor, None);
        assert!(relative_error(&plain, &eps) > 0.1, "{what}: the adapter does nothing");
    });
}

#[test]
fn zero_image_values_equal_no_adapter() {
    everywhere(|case, executor, what| {
        let keys = case.keys(executor, |_, _| 0.0);
        assert_eq!(case.eps(executor, Some(&keys)), case.eps(executor, None), "{what}");
    });
}

#[test]
fn each_row_has_a_weight_of_its_own() {
    everywhere(|case, executor, what| {
        let of_row = [0.2, 1.0, 0.6];
        let together = case.eps(executor, Some(&case.keys(executor, |row, _| of_row[row])));
        let len = together.len() / 3;
        for (row, weight) in of_row.into_iter().enumerate() {
            let alone = case.eps(executor, Some(&case.keys(executor, |_, _| weight)));
            let part = row * len..(row + 1) * len;
            assert_eq!(together[part.clone()], alone[part], "{what} row {row}");
        }
    });
}

/// What transformers makes of `picture` (of two), by the states that are wanted.
fn encoded(golden: &Golden, executor: &dyn Executor, states: VisionStates, pixels: &[f32]) -> Vec<f32> {
    let config = ClipVisionConfig::from_json(&golden.config("image_encoder")).unwrap();
    let weights = ClipVisionWeights::new(&config, Arc::new(golden.weight_tensors("image_encoder")));
    let rows = pixels.len() / (config.image_size * config.image_size * 3);
    let program = clip_vision_program(&config, rows, states).unwrap();
    for spec in program.weights() {
        assert_eq!(weights.shape(&spec.name).as_ref(), Some(&spec.shape), "{}", spec.name);
    }
    let pictures = pixels.chunks(pixels.len() / rows);
    let mut patches = Vec::new();
    for picture in pictures {
        let mut one = Vec::new();
        clip_patches(&config, picture, &mut one).unwrap();
        patches.extend(one);
    }
    let whole = vec![0.0; rows];
    let frame: &[&[f32]] = if states == VisionStates::Projected { &[&patches, &whole] } else { &[&patches] };
    run(executor, program, &Weights::new(Arc::new(weights)), &[], frame).remove(0)
}

#[test]
fn the_image_encoder_gives_what_transformers_gives() {
    let golden = Golden::folder(folder());
    let pixels = golden.numbers("image_encoder.pixels");
    for (name, executor) in executors() {
        for (states, what) in [(VisionStates::Projected, "projected"), (VisionStates::Penultimate, "penultimate")] {
            let expected = golden.numbers(&format!("image_encoder.{what}"));
            let got = encoded(&golden, &*executor, states, &pixels);
            assert_close(&*executor, &format!("{what} on {name}"), &got, &expected);
        }
    }
}

#[test]
fn a_style_image_is_scaled_as_pillow_scales_it() {
    let golden = Golden::folder(folder());
    let expected = golden.numbers("image_encoder.pixels");
    let image = StyleImage::decode(&std::fs::read(folder().join("style.png")).unwrap()).unwrap();
    let got = image.for_clip(32).unwrap();
    // One step of a byte, divided by the smallest deviation.
    let step = 1.0 / 255.0 / 0.26;
    for (got, expected) in got.iter().zip(&expected[..32 * 32 * 3]) {
        assert!((got - expected).abs() <= step, "{got} {expected}");
    }
    assert_eq!(got.len(), 32 * 32 * 3);
}
