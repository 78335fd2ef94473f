//! What this machine can run: the speed of every named model, computed from its programs and a short measurement.
//!
//! A frame takes the sum over the steps of its networks; a step takes its work at the measured rate of its kind, the reading
//! of its weights at the measured bandwidth, and a measured time for starting and finishing it.

mod networks;
mod probes;
mod speed;

use serde::Serialize;

use self::networks::Networks;
pub use self::speed::{MachineSpeed, Rates};
use crate::error::Result;
use crate::exec::cost::{CostKind, StepCost};
use crate::exec::memory;
use crate::params::{StreamDiffusionParams, named_model};

/// Sides of pictures in pixels that are estimated if none are given.
const SIDES: [u32; 4] = [256, 384, 512, 1024];
/// The licence of the embedded model.
const DEMO_LICENCE: &str = "MIT OR Apache-2.0";
/// Bytes that preparing a frame and a picture reads and writes for each pixel: the frame and the picture with four bytes,
/// and three `f32`s that are written once and read once on both sides.
const PIXEL_BYTES: f64 = 56.0;
/// Bytes of the buffers of a frame and a picture for each pixel: as bytes and as `f32`s.
const PIXEL_BUFFERS: u64 = 32;

/// A model at one size, with what it needs on a machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Recommendation {
    /// The short name, as in [`NAMED_MODELS`](crate::params::NAMED_MODELS), or `demo`.
    pub model: &'static str,
    /// The id of its repository: the parameter `model_id`.
    pub model_id: String,
    /// Width of the pictures in pixels.
    pub width: u32,
    /// Height of the pictures in pixels.
    pub height: u32,
    /// Denoising steps of each frame, as [`for_model`](StreamDiffusionParams::for_model) sets them.
    pub steps: usize,
    /// Estimated pictures per second.
    pub pictures_per_second: f64,
    /// Estimated milliseconds of a frame.
    pub frame_ms: f64,
    /// Milliseconds of the encoder in it.
    pub encode_ms: f64,
    /// Milliseconds of the UNet in it, for all steps.
    pub unet_ms: f64,
    /// Milliseconds of the decoder in it.
    pub decode_ms: f64,
    /// Estimated bytes of memory while it runs: packed weights, text encoders and values. Loading takes more.
    pub memory_bytes: u64,
    /// Whether this fits into the memory that was available; `None` if the system does not report that.
    pub fits: Option<bool>,
    /// About how many megabytes (10^6 bytes) are downloaded, with all that its parameters need; 0 for the embedded model,
    /// `None` if it is not known.
    pub download_mb: Option<u32>,
    /// The licence that its page names.
    pub licence: &'static str,
    /// The command that downloads it; `None` for the embedded model.
    pub command: Option<String>,
}

/// Returns every model with a short name and the embedded one, at each of `sizes` (width and height in pixels) that it
/// supports, with estimates for a machine of the given speed; without sizes at squares from half of the side that it was
/// trained with.
///
/// Models that fit into the memory are before others, then those with more pictures per second.
///
/// The estimate is for the executor `cpu` with nothing else running, for `for_model`'s parameters at that size: no
/// guidance, no ControlNets. [docs/models.md](https://github.com/dreamframe/dreamframe/blob/main/docs/models.md) compares it
/// with measurements.
///
/// ```no_run
/// use dreamframe::{MachineSpeed, recommend};
///
/// # fn main() -> dreamframe::Result<()> {
/// let speed = MachineSpeed::measure(None, &mut |_| {})?;
/// for model in recommend(&speed, &[])? {
///     println!("{} {}: {:.1} pictures per second", model.model, model.width, model.pictures_per_second);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// `InvalidArgument` for a size that no model supports.
pub fn recommend(speed: &MachineSpeed, sizes: &[(u32, u32)]) -> Result<Vec<Recommendation>> {
    let available = memory::available();
    let mut found = Vec::new();
    for model in networks::all() {
        let networks = Networks::of(model)?;
        found.extend(at_sizes(speed, model, &networks, sizes, available)?);
    }
    if let (true, Some(&size)) = (found.is_empty(), sizes.first()) {
        networks::all().next().map_or(Ok(()), |model| Networks::of(model)?.check_size(size))?;
    }
    found.sort_by(|a, b| {
        let by_speed = b.pictures_per_second.total_cmp(&a.pictures_per_second);
        (a.fits == Some(false)).cmp(&(b.fits == Some(false))).then(by_speed)
    });
    Ok(found)
}

/// The estimates of one model.
fn at_sizes(
    speed: &MachineSpeed,
    model: &'static str,
    networks: &Networks,
    sizes: &[(u32, u32)],
    available: Option<u64>,
) -> Result<Vec<Recommendation>> {
    let params = StreamDiffusionParams::for_model(model)?;
    let squares = SIDES.into_iter().filter(|side| (params.width / 2..=params.width).contains(side));
    let squares: Vec<(u32, u32)> = squares.map(|side| (side, side)).collect();
    let sizes = if sizes.is_empty() { &squares } else { sizes };
    let sizes = sizes.iter().filter(|&&size| networks.check_size(size).is_ok());
    sizes.map(|&size| estimate(speed, &params, (model, networks), size, available)).collect()
}

fn estimate(
    speed: &MachineSpeed,
    params: &StreamDiffusionParams,
    (model, networks): (&'static str, &Networks),
    (width, height): (u32, u32),
    available: Option<u64>,
) -> Result<Recommendation> {
    let costs = networks.costs(&speed.executor, (width, height))?;
    let named = named_model(model);
    let steps = params.t_index_list.len();
    let pixels = u64::from(width) * u64::from(height);
    let [encode, unet, decode] = costs.frame().map(|cost| speed.seconds(cost) * 1e3);
    // Steps run one after the other on a CPU; a batch takes about as long.
    let unet = unet * steps as f64;
    let frame = encode + unet + decode + speed.step(&outside(pixels)) * 1e3;
    let memory_bytes = costs.bytes(speed).saturating_add(pixels * PIXEL_BUFFERS);
    Ok(Recommendation {
        model,
        model_id: params.model_id.clone(),
        width,
        height,
        steps,
        pictures_per_second: 1e3 / frame,
        frame_ms: frame,
        encode_ms: encode,
        unet_ms: unet,
        decode_ms: decode,
        memory_bytes,
        fits: available.map(|available| memory_bytes <= available),
        download_mb: named.map_or(Some(0), |named| named.download_mb),
        licence: named.map_or(DEMO_LICENCE, |named| named.licence),
        command: named.map(|named| format!("dreamframe models fetch {}", named.name)),
    })
}

/// The conversion of a frame and a picture outside the networks.
fn outside(pixels: u64) -> StepCost {
    let bytes = pixels as f64 * PIXEL_BYTES;
    StepCost { kind: CostKind::Elements, operations: 0.0, work: bytes, scale: bytes.max(1.0).ln(), bytes: 0.0 }
}

/// For the repository's bench: the estimate of the steps of a known network.
#[cfg(feature = "internals")]
pub mod check {
    use std::sync::Arc;

    use super::{MachineSpeed, Networks, Result};
    use crate::exec::cpu::CpuExecutor;
    use crate::net::Program;

    /// Returns the programs of a known checkpoint (encoder, UNet, decoder), with an executor to compile them, and the
    /// estimated seconds of every step of each.
    ///
    /// # Errors
    ///
    /// `NotFound` for an unknown name, `InvalidArgument` for a size that it does not have.
    pub fn steps(speed: &MachineSpeed, name: &str, size: (u32, u32)) -> Result<Vec<(Arc<Program>, Vec<f64>)>> {
        let networks = if name == super::networks::DEMO { Networks::of(name)? } else { Networks::known(name)? };
        networks.check_size(size)?;
        let of = |program: Program| {
            let steps = speed.executor.cost(&program).steps.iter().map(|step| speed.step(step)).collect();
            (Arc::new(program), steps)
        };
        Ok(networks.programs(size)?.map(of).into())
    }

    /// Returns the executor whose rates were measured.
    pub fn executor(speed: &MachineSpeed) -> &CpuExecutor {
        &speed.executor
    }
}

#[cfg(test)]
mod tests;
