//! Tiny random ControlNets for the demo model, in folders as diffusers lays them out.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use dreamframe::load::RandomWeights;
use dreamframe::models::{ControlNetModelConfig, ControlNetShape, controlnet_embedding_program, controlnet_program};
use dreamframe::net::WeightSource;
use dreamframe::{Engine, EngineOptions, ModelSource, ParamsPatch, StreamDiffusionParams};
use half::f16;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

/// The ids of RIFE's tiny networks in a [folder](Folder::rife): of a folder, pickled, and of a file.
pub const RIFE: [&str; 2] = ["rife", "v4.15.safetensors"];

/// A directory of models that is removed when it drops.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Creates an empty folder under `parent` for one test; `name` distinguishes it from those of other tests.
    ///
    /// # Panics
    ///
    /// Where it cannot be made.
    pub fn new(parent: &str, name: &str) -> Self {
        let path = Path::new(parent).join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a ControlNet for the demo model, whose random numbers hang on `seed`.
    ///
    /// # Panics
    ///
    /// Where it cannot be written.
    pub fn controlnet(&self, name: &str, seed: u64) {
        self.changed_controlnet(name, seed, &json!({}));
    }

    /// The same with other values in its config.
    ///
    /// # Panics
    ///
    /// Where it cannot be written, or the values make no network.
    pub fn changed_controlnet(&self, name: &str, seed: u64, changes: &Value) {
        let unet = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/demo/dreamframe-tiny/unet/config.json");
        let mut config: Value = serde_json::from_str(&std::fs::read_to_string(unet).unwrap()).unwrap();
        config["_class_name"] = "ControlNetModel".into();
        config["conditioning_embedding_out_channels"] = json!([4, 6, 8, 8]);
        for (field, value) in changes.as_object().unwrap() {
            config[field] = value.clone();
        }
        let config = config.to_string();
        let folder = self.0.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("config.json"), &config).unwrap();
        let network = ControlNetModelConfig::from_json(&config).unwrap();
        let side = network.half.latent_multiple();
        let programs = [
            controlnet_embedding_program(&network, network.channels(None).unwrap(), 8, 8).unwrap(),
            controlnet_program(&network, &ControlNetShape::new(1, side, side)).unwrap(),
        ];
        let specs: Vec<_> = programs.iter().flat_map(|program| program.weights()).collect();
        let weights = RandomWeights::new(seed, specs.iter().copied());
        let bytes: HashMap<&str, (Vec<usize>, Vec<u8>)> = specs
            .iter()
            .map(|spec| {
                let numbers = weights.read(&spec.name, &spec.shape).unwrap();
                // What the activations take from an image on its way is given back, so that the image counts.
                let gain = if spec.name.starts_with("controlnet_cond_embedding.") { 1.7 } else { 1.0 };
                let bytes = numbers.iter().flat_map(|&number| f16::from_f32(gain * number).to_le_bytes()).collect();
                (&*spec.name, (spec.shape.clone(), bytes))
            })
            .collect();
        let views = bytes
            .iter()
            .map(|(name, (shape, bytes))| (*name, TensorView::new(Dtype::F16, shape.clone(), bytes).unwrap()));
        let path = folder.join("diffusion_pytorch_model.safetensors");
        safetensors::serialize_to_file(views, None, &path).unwrap();
    }

    /// Puts the golden weights of optical flow here.
    ///
    /// # Panics
    ///
    /// Where they cannot be copied.
    pub fn flow(&self) {
        const FILE: &str = "torchvision/raft_small/raft_small_C_T_V2-01064c6d.safetensors";
        self.golden(&format!("flow/models/{FILE}"), FILE);
    }

    /// Adds RIFE's tiny networks of the reference data, by [their ids](RIFE).
    ///
    /// # Panics
    ///
    /// Where they cannot be copied.
    pub fn rife(&self) {
        self.golden("rife/v4.6.pkl", &format!("{}/flownet.pkl", RIFE[0]));
        self.golden("rife/v4.15.safetensors", RIFE[1]);
    }

    /// Copies a file of the reference data.
    fn golden(&self, from: &str, to: &str) {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(from);
        let to = self.0.join(to);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    }

    /// Returns an engine of the demo model for small pictures, with the models in this folder.
    ///
    /// # Panics
    ///
    /// If it cannot be built.
    pub fn engine(&self, side: u32, change: impl FnOnce(&mut StreamDiffusionParams, &mut EngineOptions)) -> Engine {
        let mut params = StreamDiffusionParams { width: side, height: side, ..StreamDiffusionParams::demo() };
        let mut options = EngineOptions::default();
        options.dtype = dreamframe::Dtype::F32;
        options.threads = Some(2);
        change(&mut params, &mut options);
        let builder = Engine::builder().models(ModelSource::folder(&self.0));
        builder.params(params).options(options).build().expect("the demo model loads")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A patch that puts `list` in the place of the ControlNets.
///
/// # Panics
///
/// Where that is no patch.
pub fn controlnets(list: Value) -> ParamsPatch {
    ParamsPatch::from_json(&json!({ "controlnets": list }).to_string()).unwrap()
}
