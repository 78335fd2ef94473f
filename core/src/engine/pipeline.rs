//! Everything that a set of parameters stands for, made and ready; what two sets have in common is shared.

use std::sync::Arc;

use super::EngineOptions;
use super::conditioning::{Conditioning, PromptKey};
use super::models::Models;
use super::piece::Piece;
use super::unet::{Layout, UnetNetworks, layout, wants_negative};
use crate::conditioning::seed::seed_noise;
use crate::error::{Error, ErrorKind, Result, Violation};
use crate::exec::observe::{Observer, Observing};
use crate::exec::{Constants, Executor, Network, memory};
use crate::load::{Component, ModelSource, PackedFiles};
use crate::net::{Program, Shape, Weights};
use crate::params::{Interpolation, Notice, StreamDiffusionParams, Weighted, check_supported};
use crate::schedule::{StepTable, lcm_grid};
use crate::stream::StreamConfig;

/// What every pipeline of an engine shares.
#[derive(Debug)]
pub(crate) struct Workshop {
    pub(crate) source: ModelSource,
    pub(crate) options: EngineOptions,
    pub(crate) executor: Arc<dyn Executor>,
    /// Who watches the UNet, if anybody.
    pub(crate) observer: Option<Arc<Observer>>,
}

impl Workshop {
    /// What runs the UNet.
    fn unet_executor(&self) -> Arc<dyn Executor> {
        match &self.observer {
            Some(observer) => Arc::new(Observing::new(self.executor.clone(), observer.clone())),
            None => self.executor.clone(),
        }
    }

    /// The weights of a component, with the files that have them packed.
    pub(crate) fn weights(&self, component: &Component) -> Weights {
        let files = PackedFiles::of_component(component, &self.options.packed_cache);
        Weights::new(component.weights.clone()).with_store(files.map(|files| Box::new(files) as _))
    }
}

/// What compiles the networks of a pipeline, and refuses those that there is no memory for before it reads their weights.
#[derive(Debug)]
pub(crate) struct Compiler<'a> {
    executor: &'a dyn Executor,
    /// Bytes of scratch memory that the engine already has.
    held: usize,
}

impl Compiler<'_> {
    /// Compiles `program` over `weights`.
    ///
    /// # Errors
    ///
    /// Those of [`Executor::compile`].
    pub(crate) fn compile(&self, program: Program, weights: &Weights) -> Result<Arc<dyn Network>> {
        let needed = self.executor.least_arena_bytes(&program);
        if needed > self.held {
            memory::require(needed, program.name())?;
        }
        self.executor.compile(&Arc::new(program), weights)
    }
}

/// Keeps what was packed for the next start, and gives what there is to tell about that.
pub(crate) fn save_packed(weights: &Weights) -> impl Iterator<Item = Notice> + use<> {
    weights.save().into_iter().map(|message| Notice { path: "packed_cache".into(), message })
}

/// The loaded pieces that a set of parameters needs. Immutable: an update makes another one, beside this one, out of the
/// pieces that stay and those that it makes anew.
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) params: StreamDiffusionParams,
    models: Piece<ModelKey, Models>,
    autoencoder: Piece<SizeKey, Codec>,
    unet: Piece<UnetKey, UnetNetworks>,
    conditioning: Piece<(ModelKey, PromptKey), Conditioning>,
    constants: Piece<ConstantsKey, Vec<Constants>>,
    noise: Piece<NoiseKey, [f32]>,
    pub(crate) stream: StreamConfig,
    memory: FrameMemory,
}

/// The autoencoder's two halves.
#[derive(Debug)]
pub(crate) struct Codec {
    pub(crate) encoder: Arc<dyn Network>,
    pub(crate) encoder_constants: Constants,
    pub(crate) decoder: Arc<dyn Network>,
    pub(crate) decoder_constants: Constants,
    /// Of one latent.
    pub(crate) latent: Shape,
}

#[derive(Debug, Clone, PartialEq)]
struct ModelKey {
    id: String,
}

#[derive(Debug, Clone, PartialEq)]
struct SizeKey {
    models: ModelKey,
    width: u32,
    height: u32,
}

#[derive(Debug, Clone, PartialEq)]
struct UnetKey {
    size: SizeKey,
    layout: Layout,
}

#[derive(Debug, Clone, PartialEq)]
struct ConstantsKey {
    unet: UnetKey,
    prompt: PromptKey,
    table: StepTable,
}

#[derive(Debug, Clone, PartialEq)]
struct NoiseKey {
    seed: Weighted<u64>,
    method: Interpolation,
    normalise: bool,
    shape: Shape,
}

impl Pipeline {
    /// Makes what `params` (already validated) stand for, sharing what `previous` has. Slow where something is loaded;
    /// touches nothing that is in use.
    ///
    /// # Errors
    ///
    /// `InvalidParams` for what this model cannot do, `Unsupported` for fields whose machinery is not built, and what
    /// loading and compiling report.
    pub(crate) fn build(
        workshop: &Workshop,
        params: StreamDiffusionParams,
        previous: Option<&Self>,
        notices: &mut Vec<Notice>,
    ) -> Result<Self> {
        check_service_size(&workshop.options, &params)?;
        let held = previous.map_or(0, |pipeline| pipeline.memory.arena * size_of::<f32>());
        let compiler = Compiler { executor: &*workshop.executor, held };
        let models =
            Piece::reuse(previous.map(|pipeline| &pipeline.models), ModelKey { id: params.model_id.clone() }, |key| {
                Models::load(workshop, &key.id, notices).map(Arc::new)
            })?;
        let loaded = &**models.get();
        // Fields in use whose machinery is not built are refused by name, never passed over.
        check_supported(&params, !loaded.distilled)?;
        check_model_size(&params, loaded)?;
        let size = SizeKey { models: models.key().clone(), width: params.width, height: params.height };
        let autoencoder = Piece::reuse(previous.map(|pipeline| &pipeline.autoencoder), size.clone(), |key| {
            Codec::compile(loaded, &compiler, key).map(Arc::new)
        })?;
        let latent = autoencoder.get().latent;
        let table = step_table(&params, loaded)?;
        let active = workshop.options.cfg_type.active(params.guidance_scale as f32);
        let stages = table.steps().len();
        let layout = layout(workshop.options.cfg_type, active, params.use_denoising_batch, stages);
        let prompt = prompt_key(&params, &layout);
        let unet =
            Piece::reuse(previous.map(|pipeline| &pipeline.unet), UnetKey { size: size.clone(), layout }, |key| {
                let compiler = Compiler { executor: &*workshop.unet_executor(), held };
                UnetNetworks::compile(loaded, &compiler, &key.layout, latent.h, latent.w).map(Arc::new)
            })?;
        let pixels = params.width as usize * params.height as usize;
        let memory = FrameMemory::of(autoencoder.get(), unet.get(), pixels);
        memory.require(previous.map(|pipeline| pipeline.memory))?;
        let conditioning = Piece::reuse(
            previous.map(|pipeline| &pipeline.conditioning),
            (models.key().clone(), prompt.clone()),
            |(_, prompt)| Conditioning::new(&loaded.text, prompt, notices).map(Arc::new),
        )?;
        let constants = Piece::reuse(
            previous.map(|pipeline| &pipeline.constants),
            ConstantsKey { unet: unet.key().clone(), prompt, table: table.clone() },
            |key| {
                let size = (params.width, params.height);
                unet.get().constants(loaded, conditioning.get(), &key.table, size).map(Arc::new)
            },
        )?;
        let noise = Piece::reuse(
            previous.map(|pipeline| &pipeline.noise),
            NoiseKey {
                seed: params.seed.clone(),
                method: params.seed_interpolation_method,
                normalise: params.normalize_seed_weights,
                shape: Shape { n: stages, ..latent },
            },
            |key| {
                let seeds: Vec<(u64, f32)> = key.seed.iter().map(|(&seed, weight)| (seed, weight as f32)).collect();
                let noise = seed_noise(&seeds, key.method, key.normalise, key.shape, workshop.options.noise)?;
                Ok(Arc::from(noise))
            },
        )?;
        let stream = StreamConfig {
            table: Arc::new(table),
            noise: noise.get().clone(),
            cfg_type: workshop.options.cfg_type,
            guidance_scale: params.guidance_scale as f32,
            delta: params.delta as f32,
            do_add_noise: params.do_add_noise,
            batched: params.use_denoising_batch,
        };
        // Later sizes and row counts need the same forms, or few more: one file a load is enough.
        if previous.is_none_or(|pipeline| !Arc::ptr_eq(pipeline.models.get(), models.get())) {
            notices.extend(loaded.save_packed());
        }
        Ok(Self { params, models, autoencoder, unet, conditioning, constants, noise, stream, memory })
    }

    /// The base model.
    pub(crate) fn models(&self) -> &Models {
        self.models.get()
    }

    /// The autoencoder at this size.
    pub(crate) fn codec(&self) -> &Codec {
        self.autoencoder.get()
    }

    /// The UNet's networks.
    pub(crate) fn unet(&self) -> &UnetNetworks {
        self.unet.get()
    }

    /// What prompt and schedule give the UNet.
    pub(crate) fn constants(&self) -> &[Constants] {
        self.constants.get()
    }

    /// Whether latents of `other` can go on in this pipeline: same networks, same size.
    pub(crate) fn continues(&self, other: &Self) -> bool {
        self.autoencoder.key() == other.autoencoder.key()
    }

    /// What a frame needs memory for.
    pub(crate) fn memory(&self) -> FrameMemory {
        self.memory
    }
}

/// What a frame needs memory for, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameMemory {
    /// Scratch memory of the networks, which run one after the other.
    pub(crate) arena: usize,
    /// A picture as the networks see it; there are two.
    pub(crate) picture: usize,
    /// A latent; there are two.
    pub(crate) latent: usize,
}

impl FrameMemory {
    fn of(codec: &Codec, unet: &UnetNetworks, pixels: usize) -> Self {
        let arena = codec.encoder.arena_len().max(codec.decoder.arena_len()).max(unet.arena_len());
        Self { arena, picture: pixels * 3, latent: codec.latent.len() }
    }

    /// Refuses what does not fit beside the memory of `previous`, which stays until this one is there.
    fn require(self, previous: Option<Self>) -> Result<()> {
        let grown =
            |len: fn(&Self) -> usize| if previous.is_some_and(|old| len(&self) <= len(&old)) { 0 } else { len(&self) };
        let numbers = grown(|memory| memory.arena)
            .saturating_add(grown(|memory| memory.picture).saturating_mul(2))
            .saturating_add(grown(|memory| memory.latent).saturating_mul(2));
        memory::require(numbers.saturating_mul(size_of::<f32>()), "a frame of this size")
    }
}

impl Codec {
    fn compile(models: &Models, compiler: &Compiler<'_>, size: &SizeKey) -> Result<Self> {
        let (height, width) = (size.height as usize, size.width as usize);
        let encoder = models.autoencoder.encoder_program(1, height, width)?;
        let decoder = models.autoencoder.decoder_program(1, height, width)?;
        let latent = decoder.inputs().first().map(|input| decoder.shape(input.value));
        let latent = latent.ok_or_else(|| Error::new(ErrorKind::Internal, "the decoder has no input"))?;
        let encoder = compiler.compile(encoder, &models.autoencoder_weights)?;
        let decoder = compiler.compile(decoder, &models.autoencoder_weights)?;
        Ok(Self {
            encoder_constants: encoder.constants(&[])?,
            encoder,
            decoder_constants: decoder.constants(&[])?,
            decoder,
            latent,
        })
    }
}

fn prompt_key(params: &StreamDiffusionParams, layout: &Layout) -> PromptKey {
    PromptKey {
        prompt: params.prompt.clone(),
        method: params.prompt_interpolation_method,
        normalise: params.normalize_prompt_weights,
        negative: wants_negative(layout).then(|| params.negative_prompt.clone()),
    }
}

fn step_table(params: &StreamDiffusionParams, models: &Models) -> Result<StepTable> {
    let invalid = |path: &str, message: String| Error::invalid_params(vec![Violation { path: path.into(), message }]);
    let train_timesteps = models.alphas_cumprod.len() as u32;
    let grid = lcm_grid(params.num_inference_steps as usize, train_timesteps)
        .map_err(|error| invalid("num_inference_steps", error.to_string()))?;
    let indices: Vec<usize> = params.t_index_list.iter().map(|&index| index as usize).collect();
    StepTable::new(&grid, &models.alphas_cumprod, &indices).map_err(|error| invalid("t_index_list", error.to_string()))
}

/// The sizes that the service takes; whatever works with the option `allow_any_size`.
fn check_service_size(options: &EngineOptions, params: &StreamDiffusionParams) -> Result<()> {
    const RANGE: std::ops::RangeInclusive<u32> = 384..=1024;
    const STEP: u32 = 64;

    if options.allow_any_size {
        return Ok(());
    }
    let fits = |side: u32| RANGE.contains(&side) && side.is_multiple_of(STEP);
    let violations: Vec<Violation> = [("width", params.width), ("height", params.height)]
        .into_iter()
        .filter(|&(_, side)| !fits(side))
        .map(|(path, side)| Violation {
            path: path.into(),
            message: format!(
                "is {side}, but must be {} to {} in steps of {STEP} (the option allow_any_size lifts this)",
                RANGE.start(),
                RANGE.end()
            ),
        })
        .collect();
    if violations.is_empty() { Ok(()) } else { Err(Error::invalid_params(violations)) }
}

/// The sizes that the model itself can do.
fn check_model_size(params: &StreamDiffusionParams, models: &Models) -> Result<()> {
    models.unet.check_size(models.autoencoder.scale(), params.width as usize, params.height as usize).map_err(|error| {
        Error::invalid_params(vec![Violation { path: "width, height".into(), message: error.to_string() }])
    })
}
