//! The ControlNets of a pipeline.

mod images;
mod network;

use std::sync::Arc;

pub(in crate::engine) use self::images::goes_on;
use self::images::share_images;
pub(in crate::engine) use self::network::footprint;
use self::network::{ControlConstantsKey, ControlNetKey, ControlNetModel, ControlNetworks, ControlNetworksKey};
use super::cached::Cached;
use super::conditioning::Conditioning;
use super::context::{BuildContext, Compiler};
use super::keys::TextKey;
use super::models::Models;
use super::recipes::no_external_image;
use super::unet::CallRows;
use crate::control::{Residuals, Window};
use crate::engine::options::ControlImages;
use crate::error::Result;
use crate::exec::{Constants, Network};
use crate::models::residual_shapes;
use crate::net::Shape;
use crate::params::{ControlNetConfig, Notice, ProcessorName, StreamDiffusionParams};
use crate::preprocess::Recipe;
use crate::schedule::StepTable;

/// The ControlNets of a pipeline, sorted by id, so that their order in the parameters does not change rounding.
#[derive(Debug, Default)]
pub(crate) struct ControlNets {
    pub(in crate::engine) nets: Vec<ControlNet>,
    /// The preprocessor of each control image; `None` for the frame itself.
    pub(in crate::engine) images: Vec<Option<Recipe>>,
    /// The elements of one row of each residual tensor.
    pub(in crate::engine) residual_lens: Vec<usize>,
    /// Rows of the largest call.
    pub(in crate::engine) rows: usize,
    /// How many embedded control images are kept for each: one, or one for each stage.
    pub(in crate::engine) kept_images: usize,
    pub(in crate::engine) size: (usize, usize),
}

/// A ControlNet of a pipeline. Weights, networks and constants are shared between pipelines.
#[derive(Debug)]
pub(in crate::engine) struct ControlNet {
    /// Its index in the list of the parameters.
    pub(in crate::engine) index: usize,
    pub(in crate::engine) net: Cached<ControlNetKey, ControlNetModel>,
    pub(in crate::engine) networks: Cached<ControlNetworksKey, ControlNetworks>,
    pub(in crate::engine) constants: Cached<ControlConstantsKey, Vec<Constants>>,
    /// For each call, the weight of each row; empty if all are zero.
    pub(in crate::engine) weights: Vec<Vec<f32>>,
    /// The index of its control image.
    pub(in crate::engine) image: usize,
}

impl ControlNet {
    /// Whether any row has a nonzero weight, so that it must run.
    pub(in crate::engine) fn runs(&self) -> bool {
        self.weights.iter().any(|weights| !weights.is_empty())
    }
}

/// What the ControlNets of a pipeline are built from.
#[derive(Debug)]
pub(super) struct ControlNetBuild<'a> {
    pub(super) context: &'a BuildContext,
    pub(super) params: &'a StreamDiffusionParams,
    pub(super) models: &'a Models,
    pub(super) call_rows: &'a CallRows,
    pub(super) latent: Shape,
    /// Bytes of scratch memory that the engine has already.
    pub(super) held: usize,
    /// Earlier pipelines' ControlNets, most similar first.
    pub(super) previous: Vec<&'a ControlNets>,
}

/// The prompt and the schedule of a pipeline.
#[derive(Debug)]
pub(super) struct ControlNetInputs<'a> {
    pub(super) conditioning: &'a Conditioning,
    /// The key of `conditioning`.
    pub(super) text: &'a TextKey,
    pub(super) table: &'a StepTable,
}

/// ControlNets with loaded weights, before they are compiled.
#[derive(Debug)]
pub(super) struct LoadedControlNets<'a> {
    build: ControlNetBuild<'a>,
    /// With their indices in the list of the parameters, sorted by id.
    nets: Vec<(usize, &'a ControlNetConfig, Cached<ControlNetKey, ControlNetModel>)>,
}

/// Returns the path of a ControlNet in the parameters, for errors.
fn place(index: usize, config: &ControlNetConfig) -> String {
    format!("controlnets[{index}] {:?}", config.model_id)
}

impl<'a> LoadedControlNets<'a> {
    /// Loads the enabled ControlNets that no earlier pipeline has.
    ///
    /// # Errors
    ///
    /// `NotFound`, `BadModel` for one of another family than the model, `Unsupported`, `InvalidParams` for channels
    /// that contradict its own; each names the ControlNet.
    pub(super) fn load(build: ControlNetBuild<'a>, notices: &mut Vec<Notice>) -> Result<Self> {
        let mut wanted: Vec<(usize, &ControlNetConfig)> =
            build.params.controlnets.iter().enumerate().filter(|(_, config)| config.enabled).collect();
        wanted.sort_by(|(_, a), (_, b)| a.model_id.cmp(&b.model_id));
        let mut nets = Vec::with_capacity(wanted.len());
        for (index, config) in wanted {
            let kept = build.previous.iter().flat_map(|controls| &controls.nets).map(|control| &control.net);
            let net = Cached::reuse(kept, ControlNetKey::of(config), |key| {
                ControlNetModel::load(build.context, key, build.models, index).map(Arc::new)
            });
            let net = net.and_then(|net| {
                net.get().check_fits(build.models)?;
                Ok(net)
            });
            nets.push((index, config, net.map_err(|error| error.within(place(index, config)))?));
        }
        let loaded = Self { build, nets };
        notices.extend(loaded.missing_images());
        notices.extend(loaded.new_nets().flat_map(|net| net.save_packed()));
        Ok(loaded)
    }

    /// Whether there is any.
    pub(super) fn any(&self) -> bool {
        !self.nets.is_empty()
    }

    /// Returns notices of new `external` preprocessors for which the host gave no image.
    fn missing_images(&self) -> impl Iterator<Item = Notice> {
        let Self { build, nets } = self;
        let had = |net: &Cached<ControlNetKey, ControlNetModel>| {
            build.previous.iter().any(|controls| {
                let mut same = controls.nets.iter().filter(|control| control.net.key() == net.key());
                same.any(|control| controls.is_external(control.image))
            })
        };
        nets.iter().filter_map(move |(index, config, net)| {
            let is_external = config.preprocessor == Some(ProcessorName::External);
            let lacks = is_external && build.context.registry.lacks_external(Some(&config.model_id)) && !had(net);
            lacks.then(|| no_external_image(format!("controlnets[{index}].preprocessor")))
        })
    }

    fn new_nets(&self) -> impl Iterator<Item = &ControlNetModel> {
        let known = |net: &Arc<ControlNetModel>| {
            let mut known = self.build.previous.iter().flat_map(|controls| &controls.nets);
            known.any(|control| Arc::ptr_eq(control.net.get(), net))
        };
        self.nets.iter().map(|(.., net)| net.get()).filter(move |&net| !known(net)).map(|net| &**net)
    }

    /// Compiles them for the pipeline's calls, and computes their constants and weights.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`, `Unsupported` for an unavailable preprocessor, `NotFound` for its weights; each names the
    /// ControlNet.
    pub(super) fn assemble(self, inputs: &ControlNetInputs<'_>) -> Result<ControlNets> {
        let Self { build, nets } = self;
        if nets.is_empty() {
            return Ok(ControlNets::default());
        }
        let ControlNetBuild { context, params, call_rows, latent, .. } = build;
        let per_row = context.options.control_images == ControlImages::PerRow && context.is_batched(params);
        let size = (params.width as usize, params.height as usize);
        let stages = inputs.table.steps().len();
        let registry = context.registry.sized(size);
        let mut made = Vec::with_capacity(nets.len());
        let mut recipes = Vec::with_capacity(nets.len());
        for (index, config, net) in nets {
            let named = |error: crate::Error| error.within(place(index, config));
            recipes.push(images::recipe(&registry, config, net.get().channels).map_err(named)?);
            let (networks, constants) = build.compile(&net, inputs, per_row).map_err(named)?;
            let window = Window { start: config.control_guidance_start, end: config.control_guidance_end };
            let weights = call_rows
                .iter()
                .map(|call| window.weights(config.conditioning_scale as f32, call.iter().map(|row| row.stage), stages));
            made.push(ControlNet { index, net, networks, constants, weights: weights.collect(), image: 0 });
        }
        let (images, places) = share_images(recipes);
        for (control, place) in made.iter_mut().zip(places) {
            control.image = place;
        }
        let shapes = residual_shapes(&build.models.unet, latent.h, latent.w);
        Ok(ControlNets {
            nets: made,
            images,
            residual_lens: shapes.iter().map(|shape| shape.len()).collect(),
            rows: call_rows.iter().map(Vec::len).max().unwrap_or(0),
            kept_images: if per_row { stages } else { 1 },
            size,
        })
    }
}

type Compiled = (Cached<ControlNetworksKey, ControlNetworks>, Cached<ControlConstantsKey, Vec<Constants>>);

impl ControlNetBuild<'_> {
    fn compile(
        &self,
        net: &Cached<ControlNetKey, ControlNetModel>,
        inputs: &ControlNetInputs<'_>,
        per_row: bool,
    ) -> Result<Compiled> {
        let size = (self.params.width, self.params.height);
        let key = ControlNetworksKey { net: net.key().clone(), size, call_rows: self.call_rows.clone(), per_row };
        let compiler = Compiler { executor: &*self.context.executor, held: self.held };
        let kept = || self.previous.iter().flat_map(|controls| &controls.nets);
        let networks = Cached::reuse(kept().map(|control| &control.networks), key, |key| {
            ControlNetworks::compile(net.get(), &compiler, key, self.latent).map(Arc::new)
        })?;
        let key = ControlConstantsKey {
            networks: networks.key().clone(),
            text: inputs.text.clone(),
            table: inputs.table.clone(),
        };
        // Constants are valid for one set of networks only, and pipelines with equal keys may have different ones.
        let same = kept().filter(|control| Arc::ptr_eq(control.networks.get(), networks.get()));
        let constants = Cached::reuse(same.map(|control| &control.constants), key, |_| {
            networks.get().constants(net.get(), self.call_rows, inputs, size).map(Arc::new)
        })?;
        Ok((networks, constants))
    }
}

impl ControlNets {
    /// Returns the elements of scratch memory that the largest network needs.
    pub(super) fn scratch_bytes(&self) -> usize {
        self.nets.iter().map(|control| control.networks.get().scratch_bytes()).max().unwrap_or(0)
    }

    /// Returns the networks that run for a frame; some may be listed twice.
    pub(super) fn frame_networks(&self) -> impl Iterator<Item = &Arc<dyn Network>> {
        self.nets.iter().flat_map(|control| control.networks.get().all())
    }

    /// Returns how many elements are kept for them between frames.
    pub(super) fn memory(&self) -> usize {
        let embeddings: usize = self.nets.iter().map(|control| control.networks.get().embedding_len).sum();
        let (width, height) = self.size;
        Residuals::elements(&self.residual_lens, self.rows, self.nets.len())
            .saturating_add(embeddings.saturating_mul(self.kept_images))
            .saturating_add(self.gathered_len())
            .saturating_add(width * height * 3 * self.frame_copies().into_iter().filter(|&copy| copy).count())
    }

    /// Returns whether a control image is the frame itself, and whether one is made from it by a preprocessor.
    pub(in crate::engine) fn frame_copies(&self) -> [bool; 2] {
        [self.images.iter().any(Option::is_none), self.has_preprocessor()]
    }

    /// Returns the elements of the embeddings of all rows of a call, if each row has its own; otherwise 0.
    pub(in crate::engine) fn gathered_len(&self) -> usize {
        if self.kept_images == 1 {
            return 0;
        }
        let largest = self.nets.iter().map(|control| control.networks.get().embedding_len).max().unwrap_or(0);
        largest.saturating_mul(self.rows)
    }

    /// Whether the control image at this index is the host's.
    fn is_external(&self, image: usize) -> bool {
        self.images
            .get(image)
            .is_some_and(|recipe| recipe.as_ref().is_some_and(|recipe| recipe.name() == ProcessorName::External))
    }

    /// Whether any control image has a preprocessor.
    pub(super) fn has_preprocessor(&self) -> bool {
        self.images.iter().any(Option::is_some)
    }

    /// Whether any of them must run.
    pub(in crate::engine) fn any_runs(&self) -> bool {
        self.nets.iter().any(ControlNet::runs)
    }
}
