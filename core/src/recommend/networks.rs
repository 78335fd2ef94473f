//! The networks of the named models, from their configs: programs without weights.

use super::speed::MachineSpeed;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::cost::ProgramCost;
use crate::exec::cpu::CpuExecutor;
#[cfg(feature = "demo-model")]
use crate::load::Checkpoint;
use crate::models::known::known_model;
use crate::models::{Autoencoder, ClipTextConfig, ModelFamily, UnetConfig, UnetShape, clip_program, unet_program};
use crate::net::{Footprint, Program};
use crate::params::{NAMED_MODELS, NamedModel, named_model};

/// The name of the embedded model.
pub(super) const DEMO: &str = "demo";

/// The names of all models: the embedded one, if it is built in, and those with short names.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    let demo = cfg!(feature = "demo-model").then_some(DEMO);
    demo.into_iter().chain(NAMED_MODELS.iter().map(|model| model.name))
}

/// The configs of the networks of a model.
#[derive(Debug)]
pub(super) struct Networks {
    unet: UnetConfig,
    autoencoder: Autoencoder,
    text_encoders: Vec<ClipTextConfig>,
}

/// The cost of the networks of a model at one size.
#[derive(Debug)]
pub(super) struct Costs {
    pub(super) encode: ProgramCost,
    /// One pass with one row.
    pub(super) unet: ProgramCost,
    pub(super) decode: ProgramCost,
    text: Vec<ProgramCost>,
    /// Of all programs, as it is estimated for GPUs.
    footprint: Footprint,
}

impl Costs {
    /// The networks that run for each frame.
    pub(super) fn frame(&self) -> [&ProgramCost; 3] {
        [&self.encode, &self.unet, &self.decode]
    }

    /// Bytes of the weights and values of all networks.
    pub(super) fn bytes(&self, speed: &MachineSpeed) -> u64 {
        if let Some(each) = speed.number_bytes {
            return self.footprint.bytes(each);
        }
        let all = self.frame().into_iter().chain(&self.text);
        let weights: u64 = all.map(|cost| cost.weight_bytes).sum();
        // Networks run one after the other, with the same scratch memory.
        let values = self.frame().into_iter().map(|cost| cost.value_bytes).max().unwrap_or(0);
        weights.saturating_add(values)
    }
}

impl Networks {
    /// Returns the networks of the model with a short name, or of the embedded one.
    pub(super) fn of(name: &str) -> Result<Self> {
        if name == DEMO {
            return Self::demo();
        }
        let unknown = || Error::new(ErrorKind::NotFound, format!("model: got {name:?}, expected a short name"));
        let model = named_model(name).ok_or_else(unknown)?;
        let known = known_model(architecture(model)).ok_or_else(unknown)?;
        Self::new(known.unet, known.autoencoder, known.text_encoders.iter().copied())
    }

    /// Returns the networks of a known checkpoint with its tiny autoencoder, without text encoders, as `bench` runs it.
    #[cfg(feature = "internals")]
    pub(super) fn known(name: &str) -> Result<Self> {
        let unknown = || Error::new(ErrorKind::NotFound, format!("model: got {name:?}, expected a known network"));
        let known = known_model(name).ok_or_else(unknown)?;
        Self::new(known.unet, known.autoencoder, [])
    }

    fn new<'a>(unet: &str, autoencoder: &str, text: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        Ok(Self {
            unet: UnetConfig::from_json(unet)?,
            autoencoder: Autoencoder::from_json(autoencoder)?,
            text_encoders: text.into_iter().map(ClipTextConfig::from_json).collect::<Result<_>>()?,
        })
    }

    #[cfg(feature = "demo-model")]
    fn demo() -> Result<Self> {
        let checkpoint = Checkpoint::demo()?;
        let config = |part: &str| Ok::<_, Error>(checkpoint.component(part)?.config);
        Self::new(&config("unet")?, &config("vae")?, [config("text_encoder")?.as_str()])
    }

    #[cfg(not(feature = "demo-model"))]
    fn demo() -> Result<Self> {
        Err(Error::new(ErrorKind::Unsupported, "the demo model is not built in: build with the feature `demo-model`"))
    }

    /// Checks that the model makes pictures of this size.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`, naming the nearest sizes.
    pub(super) fn check_size(&self, (width, height): (u32, u32)) -> Result<()> {
        self.unet.check_size(self.autoencoder.scale(), width as usize, height as usize)
    }

    /// Returns the programs of a frame: encoder, UNet with one row, decoder.
    pub(super) fn programs(&self, (width, height): (u32, u32)) -> Result<[Program; 3]> {
        let [width, height] = [width as usize, height as usize];
        let scale = self.autoencoder.scale();
        let guidance_embedding = self.unet.time.cond_dim.is_some();
        let shape = UnetShape { guidance_embedding, ..UnetShape::new(1, height / scale, width / scale) };
        Ok([
            self.autoencoder.encoder_program(1, height, width)?,
            unet_program(&self.unet, &shape)?,
            self.autoencoder.decoder_program(1, height, width)?,
        ])
    }

    /// Returns the cost at a size; no weight is read or allocated.
    pub(super) fn costs(&self, executor: &CpuExecutor, size: (u32, u32)) -> Result<Costs> {
        let [encoder, unet, decoder] = self.programs(size)?;
        let states = ModelFamily::of(&self.unet).text_states();
        let text = self.text_encoders.iter().map(|config| clip_program(config, 1, config.max_tokens, states));
        let text = text.collect::<Result<Vec<Program>>>()?;
        let all = [&encoder, &unet, &decoder].into_iter().chain(&text);
        let footprint = all.map(Program::footprint).fold(Footprint::default(), Footprint::plus);
        Ok(Costs {
            encode: executor.cost(&encoder),
            unet: executor.cost(&unet),
            decode: executor.cost(&decoder),
            text: text.iter().map(|program| executor.cost(program)).collect(),
            footprint,
        })
    }
}

/// The name of the known checkpoint with the networks of `model`.
fn architecture(model: &NamedModel) -> &'static str {
    match model.model_id {
        "Lykon/dreamshaper-8" | "stable-diffusion-v1-5/stable-diffusion-v1-5" => "sd15",
        "stabilityai/stable-diffusion-xl-base-1.0" => "sdxl-turbo",
        "segmind/Segmind-Vega" => "segmind-vega",
        _ => model.name,
    }
}
