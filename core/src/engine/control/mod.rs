//! The ControlNets of a pipeline, and of an engine what they keep from frame to frame.

mod calls;
mod images;
mod net;
mod state;

use std::sync::Arc;

pub(crate) use self::calls::ControlCalls;
use self::images::share_images;
use self::net::{ConstantsKey, ControlNet, NetKey, Networks, NetworksKey};
pub(crate) use self::state::{ControlState, ControlUpdate};
use super::conditioning::Conditioning;
use super::keys::TextKey;
use super::models::Models;
use super::options::ControlImages;
use super::piece::Piece;
use super::unet::Layout;
use super::workshop::{Compiler, Workshop};
use crate::control::{Residuals, Window};
use crate::error::Result;
use crate::exec::Constants;
use crate::models::residual_shapes;
use crate::net::Shape;
use crate::params::{ControlNetConfig, Notice, StreamDiffusionParams};
use crate::preprocess::Recipe;
use crate::schedule::StepTable;

/// The ControlNets of a pipeline, sorted by id, so that the order in which they are listed changes no rounding.
#[derive(Debug, Default)]
pub(crate) struct Controls {
    nets: Vec<Control>,
    /// What makes each control image; without one it is the frame itself.
    images: Vec<Option<Recipe>>,
    /// Of what the networks give, tensor by tensor, the numbers of one row.
    residual_lens: Vec<usize>,
    /// Rows of the largest call.
    rows: usize,
    /// How many embedded control images are kept of each: one, or one for each stage.
    kept_images: usize,
    size: (usize, usize),
}

/// A ControlNet of a pipeline. What is loaded and worked out is shared between pipelines, numbers are its own.
#[derive(Debug)]
struct Control {
    /// Its place in the list of the parameters.
    index: usize,
    net: Piece<NetKey, ControlNet>,
    networks: Piece<NetworksKey, Networks>,
    constants: Piece<ConstantsKey, Vec<Constants>>,
    /// For each call how much each row counts; empty where none does.
    weights: Vec<Vec<f32>>,
    /// The place of its control image.
    image: usize,
}

impl Control {
    /// Whether it counts for any row, so that it has to run.
    fn counts(&self) -> bool {
        self.weights.iter().any(|weights| !weights.is_empty())
    }
}

/// A pipeline that is being put together, as far as its ControlNets are made of it.
#[derive(Debug)]
pub(super) struct Around<'a> {
    pub(super) workshop: &'a Workshop,
    pub(super) params: &'a StreamDiffusionParams,
    pub(super) models: &'a Models,
    pub(super) layout: &'a Layout,
    pub(super) latent: Shape,
    /// Bytes of scratch memory that the engine already has.
    pub(super) held: usize,
    /// ControlNets that may be what is needed, most likely first.
    pub(super) previous: Vec<&'a Controls>,
}

/// The prompt and the schedule that ControlNets are told.
#[derive(Debug)]
pub(super) struct Told<'a> {
    pub(super) conditioning: &'a Conditioning,
    /// What `conditioning` was made from.
    pub(super) text: &'a TextKey,
    pub(super) table: &'a StepTable,
}

/// ControlNets whose weights are there.
#[derive(Debug)]
pub(super) struct Loaded<'a> {
    around: Around<'a>,
    /// With their places in the list of the parameters, sorted by id.
    nets: Vec<(usize, &'a ControlNetConfig, Piece<NetKey, ControlNet>)>,
}

/// Calls what an error is about by its place in the parameters.
fn place(index: usize, config: &ControlNetConfig) -> String {
    format!("controlnets[{index}] {:?}", config.model_id)
}

impl<'a> Loaded<'a> {
    /// Loads the ControlNets that are enabled and not there yet.
    ///
    /// # Errors
    ///
    /// `NotFound`, `BadModel` for one of another family than the model, `Unsupported`, `InvalidParams` for channels that
    /// contradict its own; each names the ControlNet.
    pub(super) fn load(around: Around<'a>, notices: &mut Vec<Notice>) -> Result<Self> {
        let mut wanted: Vec<(usize, &ControlNetConfig)> =
            around.params.controlnets.iter().enumerate().filter(|(_, config)| config.enabled).collect();
        wanted.sort_by(|(_, a), (_, b)| a.model_id.cmp(&b.model_id));
        let mut nets = Vec::with_capacity(wanted.len());
        for (index, config) in wanted {
            let kept = around.previous.iter().flat_map(|controls| &controls.nets).map(|control| &control.net);
            let net = Piece::reuse(kept, NetKey::of(config), |key| {
                ControlNet::load(around.workshop, key, around.models, index).map(Arc::new)
            });
            let net = net.and_then(|net| {
                net.get().check_fits(around.models)?;
                Ok(net)
            });
            nets.push((index, config, net.map_err(|error| error.within(place(index, config)))?));
        }
        let loaded = Self { around, nets };
        notices.extend(loaded.new_nets().flat_map(|net| net.save_packed()));
        Ok(loaded)
    }

    /// Whether there is any.
    pub(super) fn any(&self) -> bool {
        !self.nets.is_empty()
    }

    fn new_nets(&self) -> impl Iterator<Item = &ControlNet> {
        let known = |net: &Arc<ControlNet>| {
            let mut known = self.around.previous.iter().flat_map(|controls| &controls.nets);
            known.any(|control| Arc::ptr_eq(control.net.get(), net))
        };
        self.nets.iter().map(|(.., net)| net.get()).filter(move |&net| !known(net)).map(|net| &**net)
    }

    /// Compiles them for the pipeline's calls, works out what is constant, and says which counts for how much.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`, `Unsupported` for a preprocessor that is not there, `NotFound` for its weights; each names the
    /// ControlNet.
    pub(super) fn assemble(self, told: &Told<'_>) -> Result<Controls> {
        let Self { around, nets } = self;
        if nets.is_empty() {
            return Ok(Controls::default());
        }
        let Around { workshop, params, layout, latent, .. } = around;
        let per_row = workshop.options.control_images == ControlImages::PerRow && params.use_denoising_batch;
        let size = (params.width as usize, params.height as usize);
        let stages = told.table.steps().len();
        let registry = workshop.registry.sized(size);
        let mut made = Vec::with_capacity(nets.len());
        let mut recipes = Vec::with_capacity(nets.len());
        for (index, config, net) in nets {
            let named = |error: crate::Error| error.within(place(index, config));
            recipes.push(images::recipe(&registry, config, net.get().channels).map_err(named)?);
            let (networks, constants) = around.compile(&net, told, per_row).map_err(named)?;
            let window = Window { start: config.control_guidance_start, end: config.control_guidance_end };
            let weights = layout
                .iter()
                .map(|call| window.weights(config.conditioning_scale as f32, call.iter().map(|row| row.stage), stages));
            made.push(Control { index, net, networks, constants, weights: weights.collect(), image: 0 });
        }
        let (images, places) = share_images(recipes);
        for (control, place) in made.iter_mut().zip(places) {
            control.image = place;
        }
        let shapes = residual_shapes(&around.models.unet, latent.h, latent.w);
        Ok(Controls {
            nets: made,
            images,
            residual_lens: shapes.iter().map(|shape| shape.len()).collect(),
            rows: layout.iter().map(Vec::len).max().unwrap_or(0),
            kept_images: if per_row { stages } else { 1 },
            size,
        })
    }
}

type Compiled = (Piece<NetworksKey, Networks>, Piece<ConstantsKey, Vec<Constants>>);

impl Around<'_> {
    fn compile(&self, net: &Piece<NetKey, ControlNet>, told: &Told<'_>, per_row: bool) -> Result<Compiled> {
        let size = (self.params.width, self.params.height);
        let key = NetworksKey { net: net.key().clone(), size, layout: self.layout.clone(), per_row };
        let compiler = Compiler { executor: &*self.workshop.executor, held: self.held };
        let kept = || self.previous.iter().flat_map(|controls| &controls.nets);
        let networks = Piece::reuse(kept().map(|control| &control.networks), key, |key| {
            Networks::compile(net.get(), &compiler, key, self.latent).map(Arc::new)
        })?;
        let key = ConstantsKey { networks: networks.key().clone(), text: told.text.clone(), table: told.table.clone() };
        // Of several pipelines with the same key each has networks of its own, which take no others' constants.
        let same = kept().filter(|control| Arc::ptr_eq(control.networks.get(), networks.get()));
        let constants = Piece::reuse(same.map(|control| &control.constants), key, |_| {
            networks.get().constants(net.get(), self.layout, told, size).map(Arc::new)
        })?;
        Ok((networks, constants))
    }
}

impl Controls {
    /// Numbers of scratch memory that the largest network needs.
    pub(super) fn arena_len(&self) -> usize {
        self.nets.iter().map(|control| control.networks.get().arena_len()).max().unwrap_or(0)
    }

    /// Numbers that are kept for them from frame to frame.
    pub(super) fn memory(&self) -> usize {
        let embeddings: usize = self.nets.iter().map(|control| control.networks.get().embedding_len).sum();
        let (width, height) = self.size;
        Residuals::room(&self.residual_lens, self.rows, self.nets.len())
            .saturating_add(embeddings.saturating_mul(self.kept_images))
            .saturating_add(self.gathered_len())
            .saturating_add(width * height * 3)
    }

    /// Numbers of the embeddings of all rows of a call, where each row has its own.
    fn gathered_len(&self) -> usize {
        if self.kept_images == 1 {
            return 0;
        }
        let largest = self.nets.iter().map(|control| control.networks.get().embedding_len).max().unwrap_or(0);
        largest.saturating_mul(self.rows)
    }

    /// Whether any control image is made by a preprocessor.
    pub(super) fn has_preprocessor(&self) -> bool {
        self.images.iter().any(Option::is_some)
    }

    /// Whether any of them runs.
    fn any_counts(&self) -> bool {
        self.nets.iter().any(Control::counts)
    }
}
