//! The IP-Adapter of a pipeline: the loaded networks, and their output for a style image.

use std::sync::Arc;

use super::context::{BuildContext, Compiler, pickled, save_packed};
use super::models::Models;
use super::style::Style;
use crate::conditioning::style::StyleImage;
use crate::error::{Error, ErrorKind, Result, Violation};
use crate::exec::{Constants, Network, Scratch};
use crate::load::{AdapterFiles, AdapterWanted, ModelId};
use crate::models::config::ClipVisionConfig;
use crate::models::ip_adapter::{
    AdapterConfig, AdapterKind, CrossAttention, cross_attentions, keys_program, layer_weights, stage_weight,
    tokens_program,
};
use crate::models::{ClipVisionWeights, ModelFamily, VisionStates, clip_patches, clip_vision_program};
use crate::net::{Program, WeightSource, Weights};
use crate::params::{DEMO_ADAPTER, IPAdapterConfig, IPAdapterType, Notice, WeightType};
use crate::stream::guidance::{TextRow, UnetRow};

/// The keys and then the values of an image for each cross attention of the UNet in turn, `[tokens, channels]` each.
#[derive(Debug)]
pub(crate) struct ImageKeys(Vec<Vec<f32>>);

/// Which adapter parameters ask for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AdapterChoice {
    pub(super) kind: IPAdapterType,
    /// The ids of the adapter and its image encoder, if the parameters name them.
    file: Option<String>,
    encoder: Option<String>,
}

impl AdapterChoice {
    pub(super) fn new(params: &IPAdapterConfig) -> Self {
        let named = |path: &Option<String>| path.clone().filter(|path| !path.is_empty());
        let encoder = named(&params.image_encoder_path).filter(|_| params.kind != IPAdapterType::Faceid);
        Self { kind: params.kind, file: named(&params.ip_adapter_model_path), encoder }
    }
}

/// A loaded adapter, with its image encoder if it has one.
#[derive(Debug)]
pub(crate) struct Adapter {
    config: AdapterConfig,
    family: ModelFamily,
    sites: Vec<CrossAttention>,
    encoder: Option<ImageEncoder>,
    tokens: Ready,
    /// The initial tokens, if they are learned.
    latents: Option<Vec<f32>>,
    keys: Ready,
    /// The input for rows of the negative prompt: no image, as in the training of the adapter.
    nothing: ImageKeys,
}

impl Adapter {
    /// Loads the adapter `choice` for `models`.
    ///
    /// # Errors
    ///
    /// `InvalidParams` if there is none for the model's family, or for an invalid id; those of [`AdapterFiles::find`];
    /// `BadModel` for one that is of another type, or was made for another model.
    pub(super) fn load(
        context: &BuildContext,
        models: &Models,
        choice: &AdapterChoice,
        notices: &mut Vec<Notice>,
    ) -> Result<Self> {
        let family = ModelFamily::of(&models.unet);
        if !family.info().image_adapters {
            let message = format!(
                "got true, expected false: there is no IP-Adapter for {:?}, a Stable Diffusion 2.x",
                models.location
            );
            return Err(Error::invalid_params(vec![Violation { path: "ip_adapter.enabled".into(), message }]));
        }
        let wanted = AdapterWanted { family, face: choice.kind == IPAdapterType::Faceid };
        let [file, encoder] = named(choice, wanted, notices);
        let id = match file {
            Some(file) => Some(id_of(FILE, file)?),
            None => match context.options.ip_adapter.as_deref() {
                Some(id) => Some(id.parse()?),
                None if models.is_demo => Some(DEMO_ADAPTER.parse()?),
                None => None,
            },
        };
        let path = if file.is_some() { FILE } else { "ip_adapter" };
        let mut files = AdapterFiles::find(&context.source, id.as_ref(), wanted).map_err(|error| error.within(path))?;
        if let Some(encoder) = encoder {
            let found = context.source.network(&id_of(ENCODER, encoder)?);
            files.encoder = found.map_err(|error| error.within(ENCODER))?;
        }
        notices.extend(pickled(&files.weights, "ip_adapter"));
        let place = files.path.clone();
        Self::open(context, models, choice.kind, files, notices).map_err(|error| error.within(place))
    }

    fn open(
        context: &BuildContext,
        models: &Models,
        kind: IPAdapterType,
        files: AdapterFiles,
        notices: &mut Vec<Notice>,
    ) -> Result<Self> {
        let config = AdapterConfig::read(files.weights.names(), &files.weights)?;
        let own = if config.kind == AdapterKind::Face { IPAdapterType::Faceid } else { IPAdapterType::Regular };
        if own != kind {
            let text =
                format!("type of the adapter: got {:?}, expected {:?} as in ip_adapter.type", own.name(), kind.name());
            return Err(Error::new(ErrorKind::BadModel, text));
        }
        let numbers = config.fit(&models.unet)?;
        let encoder = match config.kind {
            AdapterKind::Face => None,
            AdapterKind::Regular | AdapterKind::Plus => Some(ImageEncoder::load(context, &files, &config, notices)?),
        };
        let latents = config.latents_shape().map(|(name, shape)| files.weights.read(name, &shape)).transpose()?;
        let features = encoder.as_ref().map_or(1, ImageEncoder::features);
        let weights = Weights::new(Arc::new(files.weights));
        let tokens = Ready::compile(context, tokens_program(&config, features)?, &weights)?;
        let keys = Ready::compile(context, keys_program(&config, &numbers)?, &weights)?;
        let (family, sites) = (ModelFamily::of(&models.unet), cross_attentions(&models.unet));
        let nothing = ImageKeys(Vec::new());
        let mut adapter = Self { config, family, sites, encoder, tokens, latents, keys, nothing };
        adapter.nothing = adapter.keys_of(&adapter.features_of_nothing()?)?;
        Ok(adapter)
    }

    /// Returns the number of tokens of an image.
    pub(super) fn tokens(&self) -> usize {
        self.config.tokens
    }

    /// Computes the keys and values for a style.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for an invalid image, or a face of the wrong length; errors of the device.
    pub(super) fn encode(&self, style: &Style) -> Result<ImageKeys> {
        let features = match (style, &self.encoder) {
            (Style::Image(bytes), Some(encoder)) => encoder.encode(&StyleImage::decode(bytes)?)?,
            (Style::Face(face), None) => {
                let dim = self.config.feature_dim;
                if face.len() != dim || face.iter().any(|number| !number.is_finite()) {
                    let text = format!("face embedding: got {} numbers, expected {dim} finite numbers", face.len());
                    return Err(Error::new(ErrorKind::InvalidArgument, text));
                }
                face.clone()
            }
            (Style::Image(_), None) | (Style::Face(_), Some(_)) => {
                return Err(Error::new(ErrorKind::Internal, "the style has another type than the adapter"));
            }
        };
        self.keys_of(&features)
    }

    /// Zeros; for an adapter that reads the states of all tokens, the states of an image of zeros.
    fn features_of_nothing(&self) -> Result<Vec<f32>> {
        match &self.encoder {
            Some(encoder) if self.config.kind == AdapterKind::Plus => {
                let side = encoder.config.image_size;
                encoder.run(&vec![0.0; side * side * ClipVisionConfig::CHANNELS])
            }
            Some(_) | None => Ok(vec![0.0; self.config.feature_dim]),
        }
    }

    fn keys_of(&self, features: &[f32]) -> Result<ImageKeys> {
        let frame: Vec<&[f32]> = [features].into_iter().chain(self.latents.as_deref()).collect();
        let tokens = self.tokens.run(&frame)?;
        let tokens: Vec<&[f32]> = tokens.iter().map(Vec::as_slice).collect();
        self.keys.run(&tokens).map(ImageKeys)
    }

    /// Returns the UNet's inputs for `rows`, of a stream of `stages` stages: each row's keys, and its values times the
    /// image's weight. Without an image all are zeros, which has no effect.
    pub(super) fn inputs(
        &self,
        image: Option<&ImageKeys>,
        strength: Strength,
        rows: &[UnetRow],
        stages: usize,
    ) -> Vec<Vec<f32>> {
        let layers = layer_weights(self.family, &self.sites, strength.weight_type);
        let inputs = self.sites.iter().zip(layers).enumerate().flat_map(|(layer, (site, weight))| {
            [2 * layer, 2 * layer + 1].map(|part| {
                let len = self.config.tokens * site.channels;
                let mut input = Vec::with_capacity(len * rows.len());
                for row in rows {
                    let seen = image.map(|image| if row.text == TextRow::Prompt { image } else { &self.nothing });
                    let factor = if part % 2 == 0 {
                        1.0
                    } else {
                        strength.scale as f32 * weight * stage_weight(strength.weight_type, row.stage, stages)
                    };
                    match seen.and_then(|seen| seen.0.get(part)) {
                        Some(numbers) => input.extend(numbers.iter().map(|number| number * factor)),
                        None => input.resize(input.len() + len, 0.0),
                    }
                }
                input
            })
        });
        inputs.collect()
    }
}

/// The paths of the parameters that name the files.
pub(super) const FILE: &str = "ip_adapter.ip_adapter_model_path";
pub(super) const ENCODER: &str = "ip_adapter.image_encoder_path";

/// Returns the ids of `choice` for the adapter and its image encoder that name other files than the published ones.
///
/// Clients send the published names whatever type and base model they ask for. These choose the files, with a notice if
/// they choose others.
fn named<'a>(choice: &'a AdapterChoice, wanted: AdapterWanted, notices: &mut Vec<Notice>) -> [Option<&'a str>; 2] {
    let mut unused = |path: &str, id: &str| {
        let message = format!("is {id:?}, which is not used: type and model_id choose {:?}", wanted.file());
        notices.push(Notice { path: path.into(), message });
    };
    let file = choice.file.as_deref().filter(|file| match AdapterWanted::of_file(file) {
        Some(published) if published != wanted => {
            unused(FILE, file);
            false
        }
        published => published.is_none(),
    });
    let encoder = choice.encoder.as_deref().filter(|encoder| {
        let is_published = file.is_none() && AdapterWanted::encoders().any(|published| published == *encoder);
        if is_published && wanted.encoder().as_deref() != Some(encoder) {
            unused(ENCODER, encoder);
        }
        !is_published
    });
    [file, encoder]
}

/// Parses the id at `path`.
fn id_of(path: &str, id: &str) -> Result<ModelId> {
    id.parse().map_err(|error: Error| {
        Error::invalid_params(vec![Violation { path: path.into(), message: error.to_string() }])
    })
}

/// The weight of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Strength {
    scale: f64,
    weight_type: WeightType,
}

impl Strength {
    pub(super) fn of(params: &IPAdapterConfig) -> Self {
        Self { scale: params.scale, weight_type: params.weight_type }
    }
}

/// The image prompt of a UNet, if any.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ImagePrompt<'a> {
    /// The installed adapter.
    pub(super) adapter: Option<&'a Adapter>,
    /// Its output for the style image, if there is one.
    pub(super) image: Option<&'a ImageKeys>,
    pub(super) strength: Strength,
}

impl ImagePrompt<'_> {
    /// The UNet's inputs for the rows of a call, of a stream of `stages` stages; none without an adapter.
    pub(super) fn inputs(&self, rows: &[UnetRow], stages: usize) -> Vec<Vec<f32>> {
        self.adapter.map_or_else(Vec::new, |adapter| adapter.inputs(self.image, self.strength, rows, stages))
    }
}

/// CLIP's image encoder.
#[derive(Debug)]
struct ImageEncoder {
    config: ClipVisionConfig,
    states: VisionStates,
    network: Ready,
}

impl ImageEncoder {
    /// Loads the encoder in the folder of an adapter, and checks that its output is what the adapter reads.
    fn load(
        context: &BuildContext,
        files: &AdapterFiles,
        adapter: &AdapterConfig,
        notices: &mut Vec<Notice>,
    ) -> Result<Self> {
        let component = files.image_encoder()?;
        let config = ClipVisionConfig::from_json(&component.config)?;
        let (states, width) = match adapter.kind {
            AdapterKind::Plus => (VisionStates::Penultimate, config.hidden_size),
            AdapterKind::Regular | AdapterKind::Face => (VisionStates::Projected, config.projection_dim),
        };
        if width != adapter.feature_dim {
            let (place, own) = (files.encoder.describe(""), adapter.feature_dim);
            let text = format!("feature width of {place}: got {width}, expected {own} by the adapter");
            return Err(Error::new(ErrorKind::BadModel, text));
        }
        context.require_room(&component, "the image encoder of the IP-Adapter")?;
        let source = Arc::new(ClipVisionWeights::new(&config, component.weights.clone()));
        let weights = context.weights_through(&component, source);
        let network = Ready::compile(context, clip_vision_program(&config, 1, states)?, &weights)?;
        notices.extend(save_packed(&weights));
        Ok(Self { config, states, network })
    }

    /// Returns the number of features of an image.
    fn features(&self) -> usize {
        match self.states {
            VisionStates::Projected => 1,
            VisionStates::Penultimate => self.config.tokens(),
        }
    }

    fn encode(&self, image: &StyleImage) -> Result<Vec<f32>> {
        self.run(&image.for_clip(self.config.image_size)?)
    }

    fn run(&self, picture: &[f32]) -> Result<Vec<f32>> {
        let mut patches = Vec::new();
        clip_patches(&self.config, picture, &mut patches)?;
        let mut outputs = match self.states {
            VisionStates::Projected => self.network.run(&[&patches, &[0.0]])?,
            VisionStates::Penultimate => self.network.run(&[&patches])?,
        };
        Ok(outputs.pop().unwrap_or_default())
    }
}

/// A network without constant inputs, which runs rarely: its scratch memory is freed after each run.
#[derive(Debug)]
struct Ready {
    network: Arc<dyn Network>,
    constants: Constants,
}

impl Ready {
    fn compile(context: &BuildContext, program: Program, weights: &Weights) -> Result<Self> {
        let network = Compiler { executor: &*context.executor, held: 0 }.compile(program, weights)?;
        let constants = network.constants(&[])?;
        Ok(Self { network, constants })
    }

    fn run(&self, inputs: &[&[f32]]) -> Result<Vec<Vec<f32>>> {
        let program = self.network.program();
        let outputs = program.outputs().iter();
        let mut outputs: Vec<Vec<f32>> = outputs.map(|output| vec![0.0; program.shape(output.value).len()]).collect();
        let mut rooms: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
        self.network.run_on_host(&self.constants, &mut Scratch::new(), inputs, &mut rooms)?;
        Ok(outputs)
    }
}
