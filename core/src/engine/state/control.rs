//! State of the ControlNets between frames: preprocessors, embedded images, residuals.

use super::chains::to_unit;
use crate::control::{History, Residuals};
use crate::engine::pipeline::controlnet::{ControlNet, ControlNets, goes_on};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{Buffer, Queue, Scratch, View};
use crate::preprocess::{Chain, ChainKind, ChainUpdate, Context, Image};
use crate::telemetry::{ControlWork, Work};

/// State of the ControlNets of an engine between frames.
#[derive(Debug, Default)]
pub(crate) struct ControlState {
    /// The preprocessor of each control image.
    images: Vec<Chain>,
    pub(super) nets: Vec<NetState>,
    pub(super) residuals: Residuals,
    /// The concatenated embedded images of the rows of a call, if each row has its own.
    pub(super) gathered: Buffer,
    /// The frame, in 0..1, if it is a control image itself.
    frame: Buffer,
    /// The frame, in 0..1, in host memory for preprocessors.
    host_frame: Image,
}

#[derive(Debug)]
pub(super) struct NetState {
    pub(super) history: History,
    pub(super) work: ControlWork,
}

/// A state for other ControlNets, which adopts the parts in common.
#[derive(Debug)]
pub(crate) struct ControlUpdate {
    state: ControlState,
    /// For each image, the old one whose preprocessor continues, and the change of its settings.
    images: Vec<Option<(usize, ChainUpdate)>>,
    /// For each network, its index before.
    nets: Vec<Option<usize>>,
    keeps_residuals: bool,
    keeps_buffers: bool,
    /// Whether frames in flight are kept.
    continues: bool,
}

impl ControlState {
    /// Takes `update`, and leaves in it what is no longer needed.
    pub(crate) fn swap(&mut self, queue: &dyn Queue, update: &mut ControlUpdate) {
        let state = &mut update.state;
        for (chain, from) in state.images.iter_mut().zip(&mut update.images) {
            if let Some((place, next)) = from
                && let Some(old) = self.images.get_mut(*place)
            {
                std::mem::swap(chain, old);
                chain.update(next);
                if !update.continues {
                    chain.reset();
                }
            }
        }
        for (net, from) in state.nets.iter_mut().zip(&update.nets) {
            if let Some(old) = from.and_then(|place| self.nets.get_mut(place)) {
                net.work = old.work;
                if update.continues && net.history.take_over(queue, &mut old.history).is_err() {
                    // The next frame fills it.
                    net.history.reset();
                }
            }
        }
        if update.keeps_residuals {
            std::mem::swap(&mut state.residuals, &mut self.residuals);
        }
        if update.keeps_buffers {
            std::mem::swap(&mut state.gathered, &mut self.gathered);
            std::mem::swap(&mut state.frame, &mut self.frame);
            std::mem::swap(&mut state.host_frame, &mut self.host_frame);
        }
        std::mem::swap(self, state);
    }

    /// Computes the control images of a frame and embeds them, for the networks with a nonzero weight. `frame` is in
    /// -1..1, `previous`, the picture before, in 0..1.
    ///
    /// # Errors
    ///
    /// Those of preprocessors and the device, and `Unsupported` for an image with another number of channels than a
    /// network takes.
    pub(crate) fn observe(
        &mut self,
        queue: &dyn Queue,
        controls: &ControlNets,
        (frame, staging): (&Buffer, &mut Vec<f32>),
        previous: Option<&Image>,
        scratch: &mut Scratch,
        work: &mut Work,
    ) -> Result<()> {
        if !controls.any_runs() {
            return Ok(());
        }
        let context = Context { previous, size: controls.size };
        let (mut has_frame, mut has_host_frame) = (false, false);
        for (place, chain) in self.images.iter_mut().enumerate() {
            let wants = |(control, _): &(&ControlNet, &mut NetState)| control.image == place && control.runs();
            let mut users = controls.nets.iter().zip(&mut self.nets).filter(wants).peekable();
            if users.peek().is_none() {
                continue;
            }
            let (image, channels) = if chain.is_empty() {
                if !std::mem::replace(&mut has_frame, true) {
                    queue.to_unit(frame.view(), self.frame.view_mut())?;
                }
                (self.frame.view(), 3)
            } else {
                if !std::mem::replace(&mut has_host_frame, true) {
                    to_unit(queue.read(frame.view(), staging)?, controls.size, &mut self.host_frame);
                }
                let image = chain.run(&self.host_frame, &context)?;
                (View::Host(image.pixels()), image.channels())
            };
            work.control_images += 1;
            for (control, state) in users {
                let expected = control.net.get().channels;
                if channels != expected {
                    let text = format!("control image: got {channels} channels, expected {expected} by its ControlNet");
                    return Err(Error::new(ErrorKind::Unsupported, text));
                }
                control.networks.get().embed(image, scratch, state.history.newest())?;
                work.control_embeddings += 1;
                state.work.embeddings += 1;
            }
            work.processor_evaluations += chain.take_evaluations();
        }
        Ok(())
    }

    /// Drops what belongs to frames: the images of those in flight, the state of preprocessors, and sums of residuals.
    pub(crate) fn reset(&mut self) {
        self.images.iter_mut().for_each(Chain::reset);
        self.nets.iter_mut().for_each(|net| net.history.reset());
        self.residuals.reset();
    }

    /// Returns how often the network at `index` of the parameters' list ran.
    pub(crate) fn work(&self, controls: &ControlNets, index: usize) -> Option<ControlWork> {
        let place = controls.nets.iter().position(|control| control.index == index)?;
        self.nets.get(place).map(|net| net.work)
    }

    /// Moves the images of every frame in flight to the next stage, after a step of the stream.
    ///
    /// # Errors
    ///
    /// Those of the device.
    pub(crate) fn advance(&mut self, queue: &dyn Queue, controls: &ControlNets) -> Result<()> {
        for (control, state) in controls.nets.iter().zip(&mut self.nets) {
            if control.runs() {
                state.history.advance(queue)?;
            } else {
                // It has no embedding of this frame.
                state.history.reset();
            }
        }
        Ok(())
    }
}

impl ControlUpdate {
    /// Allocates what `new` needs and a state for `old` lacks. Images of frames in flight are kept only if the frames
    /// are, as `continues` says.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`.
    pub(crate) fn new(
        queue: &dyn Queue,
        new: &ControlNets,
        old: Option<&ControlNets>,
        continues: bool,
    ) -> Result<Self> {
        let nothing = ControlNets::default();
        let old = old.unwrap_or(&nothing);
        let images: Vec<Option<(usize, ChainUpdate)>> = goes_on(&old.images, &new.images)
            .into_iter()
            .zip(&new.images)
            .map(|(from, image)| {
                let place = from?;
                let before = old.images.get(place)?.as_slice();
                Some((place, ChainUpdate::prepare(before, image.as_slice())))
            })
            .collect();
        let chains = new.images.iter().zip(&images).map(|(image, from)| match from {
            Some(_) => Chain::new(ChainKind::Control),
            None => Chain::start(ChainKind::Control, image.as_slice()),
        });
        let place = |control: &ControlNet| old.nets.iter().position(|other| other.net.key() == control.net.key());
        let nets: Vec<Option<usize>> = new.nets.iter().map(place).collect();
        let shape =
            |controls: &ControlNets, control: &ControlNet| (control.networks.get().embedding_len, controls.kept_images);
        let histories = new.nets.iter().zip(&nets).map(|(control, from)| {
            let before =
                from.filter(|_| continues).and_then(|place| old.nets.get(place)).map(|before| shape(old, before));
            let (len, stages) = shape(new, control);
            // Nothing is allocated if only numbers change.
            let history = match before == Some((len, stages)) {
                true => History::default(),
                false => History::new(queue, len, stages)?,
            };
            Ok(NetState { history, work: ControlWork::default() })
        });
        let room = |controls: &ControlNets| (controls.residual_lens.clone(), controls.rows, controls.nets.len() > 1);
        let keeps_residuals = room(old) == room(new);
        let residuals = match keeps_residuals {
            true => Residuals::default(),
            false => Residuals::new(queue, new.residual_lens.clone(), new.rows, new.nets.len())?,
        };
        let mut state = ControlState {
            images: chains.collect(),
            nets: histories.collect::<Result<_>>()?,
            residuals,
            ..ControlState::default()
        };
        let buffers = |controls: &ControlNets| (controls.size, controls.gathered_len(), controls.frame_copies());
        let keeps_buffers = buffers(old) == buffers(new);
        if !keeps_buffers {
            let (width, height) = new.size;
            state.gathered = queue.buffer(new.gathered_len())?;
            let [on_device, on_host] = new.frame_copies();
            state.frame = queue.buffer(if on_device { width * height * 3 } else { 0 })?;
            if on_host {
                state.host_frame.resize(width, height, 3);
            }
        }
        let update = Self { state, images, nets, keeps_residuals, keeps_buffers, continues };
        Ok(update)
    }
}
