//! The int8 quantization of a base model, and its calibration.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::context::{BuildContext, Observers};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::Executor;
use crate::exec::observe::{Observer, byte_scales};
use crate::load::{Calibration, Checkpoint, ModelId, ModelSource, NetworkCalibration};
use crate::models::{
    Autoencoder, UnetConfig, UnetShape, smallest_unet, time_ids_embedding, timestep_embedding, unet_program,
};
use crate::net::bytes::{ByteScales, candidates};
use crate::net::{Program, Rate, WeightSource, WeightSpec, Weights};
use crate::params::Notice;

/// The maximum error of a layer's output for int8, see
/// [`Observed::error`](crate::exec::observe::Observed::error).
const MAX_ERROR: f64 = 0.05;

/// The int8 layers of a model.
#[derive(Debug, Default)]
pub(super) struct ModelScales {
    pub(super) unet: ByteScales,
    pub(super) autoencoder: ByteScales,
}

/// Returns whether the model `id` of `source` has a calibration of sufficient quality: `given`, or that of the file in its
/// folder. Whatever prevents reading it is reported when the model is loaded.
pub(in crate::engine) fn is_calibrated(source: &ModelSource, id: &str, given: Option<&Calibration>) -> bool {
    let good = |calibration: &Calibration| calibration.quality().is_some_and(|quality| !quality.forced);
    let own = || {
        let id: ModelId = id.parse().ok()?;
        source.base(&id).ok()?.checkpoint.calibration().ok()?
    };
    given.map_or_else(|| own().as_ref().is_some_and(good), good)
}

/// Returns the calibration of a checkpoint's UNet and of `autoencoder`, as [`of_checkpoint`] does; if int8 was not asked
/// for, none for a model without one that fits, with a notice.
pub(super) fn scales(
    context: &BuildContext,
    checkpoint: &Checkpoint,
    networks: (&UnetConfig, &Autoencoder),
    notices: &mut Vec<Notice>,
) -> Result<ModelScales> {
    let given = context.options.calibration.as_deref();
    let found = of_checkpoint(checkpoint, given, networks, notices);
    if !context.automatic_dtype {
        return found;
    }
    found.or_else(|error| {
        let message = format!("runs without int8, which dtype auto chose for an earlier model: {error}");
        notices.push(Notice { path: "model_id".into(), message });
        Ok(ModelScales::default())
    })
}

/// Returns the calibration of a checkpoint's UNet and of `autoencoder`: `given`, or that of the file in its folder.
///
/// # Errors
///
/// `NotFound` if there is none, naming the command that makes it; `BadModel` for one that does not fit.
fn of_checkpoint(
    checkpoint: &Checkpoint,
    given: Option<&Calibration>,
    (config, autoencoder): (&UnetConfig, &Autoencoder),
    notices: &mut Vec<Notice>,
) -> Result<ModelScales> {
    let own = if given.is_none() { checkpoint.calibration()? } else { None };
    let Some(calibration) = given.or(own.as_ref()) else {
        let model = checkpoint.location();
        let text = format!(
            "dtype int8 needs the calibration {}; create it with `dreamframe models quantize {model} --frames \
             CLIP_OR_FOLDER`",
            Calibration::FILE
        );
        return Err(Error::new(ErrorKind::NotFound, text));
    };
    let mut notice = |message: &str| notices.push(Notice { path: "model_id".into(), message: message.into() });
    if calibration.quality().is_some_and(|quality| quality.forced) {
        notice("the calibration for int8 does not reach the required image quality and was written with --force");
    }
    let within = |error: Error| error.within(Calibration::FILE);
    let unet = smallest_unet(config)?;
    let unet = calibration.unet_scales(unet.weights(), &candidate_names([&unet])).map_err(within)?;
    let programs = smallest_autoencoder(autoencoder)?;
    let weights = weights_of(&programs);
    let scales = calibration.autoencoder_scales(&weights, &candidate_names(&programs)).map_err(within)?;
    if scales.is_none() {
        notice("the calibration for int8 does not contain this autoencoder, which runs without int8");
    }
    Ok(ModelScales { unet, autoencoder: scales.unwrap_or_default() })
}

/// The encoder and the decoder, at the smallest size.
pub(super) fn smallest_autoencoder(config: &Autoencoder) -> Result<[Program; 2]> {
    autoencoder_programs(config, 1)
}

/// The encoder and the decoder, for a latent of this width and height.
fn autoencoder_programs(config: &Autoencoder, latent: usize) -> Result<[Program; 2]> {
    let side = latent * config.scale();
    Ok([config.encoder_program(1, side, side)?, config.decoder_program(1, side, side)?])
}

/// The weights of some programs.
pub(super) fn weights_of(programs: &[Program]) -> Vec<WeightSpec> {
    programs.iter().flat_map(|program| program.weights().iter().cloned()).collect()
}

/// The int8 layers of an autoencoder with random weights, calibrated with noise: for benchmarks.
pub(super) fn of_noise_autoencoder(
    config: &Autoencoder,
    source: &Arc<dyn WeightSource>,
    executor: &Arc<dyn Executor>,
) -> Result<ByteScales> {
    /// Width and height of the latent: enough for statistics.
    const SIDE: usize = 8;

    let mut all = Vec::new();
    for program in autoencoder_programs(config, SIDE)? {
        let program = Arc::new(program);
        let frame = numbers(&program, Rate::Frame);
        let frame: Vec<&[f32]> = frame.iter().map(Vec::as_slice).collect();
        all.extend(byte_scales(executor, &program, source, &[], &frame)?);
    }
    Ok(all.into_iter().collect())
}

/// Noise for the inputs of a program.
fn numbers(program: &Program, rate: Rate) -> Vec<Vec<f32>> {
    program.inputs_at(rate).zip(1..).map(|(input, seed)| noise(seed, program.shape(input.value).len())).collect()
}

/// The int8 layers of a UNet with random weights, calibrated with noise: for benchmarks.
pub(super) fn of_noise(
    config: &UnetConfig,
    source: &Arc<dyn WeightSource>,
    executor: &Arc<dyn Executor>,
) -> Result<ByteScales> {
    /// Width and height of the latent: enough for statistics.
    const SIDE: usize = 16;

    let side = SIDE.next_multiple_of(config.latent_multiple());
    let shape = UnetShape { text_tokens: 1, ..UnetShape::new(1, side, side) };
    let program = Arc::new(unet_program(config, &shape)?);
    let mut constant = numbers(&program, Rate::Constant);
    let timestep = timestep_embedding(&[500.0], config);
    let added = config.added.is_some().then(|| time_ids_embedding(&[[512.0, 512.0, 0.0, 0.0, 512.0, 512.0]], config));
    // In the order of the engine: texts, time, pooled texts, sizes.
    for (place, known) in [(1, Some(timestep)), (3, added)] {
        if let (Some(numbers), Some(known)) = (constant.get_mut(place), known) {
            *numbers = known;
        }
    }
    let frame = numbers(&program, Rate::Frame);
    let [constant, frame]: [Vec<&[f32]>; 2] = [&constant, &frame].map(|all| all.iter().map(Vec::as_slice).collect());
    byte_scales(executor, &program, source, &constant, &frame)
}

/// Values of variance close to one.
fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1_u32 << 24) as f32 - 0.5
    };
    // The sum of four uniform values is approximately normal.
    (0..len).map(|_| (uniform() + uniform() + uniform() + uniform()) * 3.0_f32.sqrt()).collect()
}

/// Returns what `observers` recorded of a UNet and of an autoencoder, each over its weights, as the calibration of the
/// model at `location`.
pub(in crate::engine) fn calibrate(
    (unet, unet_weights): (&UnetConfig, &Weights),
    (autoencoder, autoencoder_weights): (&Autoencoder, &Weights),
    location: &str,
    observers: &Observers,
    frames: usize,
) -> Result<Calibration> {
    let of_unet = network(&[smallest_unet(unet)?], unet_weights, &observers.unet)?;
    let programs = smallest_autoencoder(autoencoder)?;
    let of_autoencoder = network(&programs, autoencoder_weights, &observers.autoencoder)?;
    Ok(Calibration::new(location.to_owned(), frames, of_unet, of_autoencoder))
}

/// What was recorded of a network, which has these programs.
fn network(programs: &[Program], weights: &Weights, observer: &Observer) -> Result<NetworkCalibration> {
    let mut seen = observer.layers_seen(weights.source())?;
    let found = candidate_names(programs).into_iter().map(|name| {
        let found = match seen.remove(&name) {
            Some(seen) if seen.error <= MAX_ERROR => Ok((seen.scale, seen.error)),
            Some(seen) => Err(format!("loses {:.1} % of its output", seen.error * 100.0)),
            None => Err("did not run during calibration".to_owned()),
        };
        (name, found)
    });
    Ok(NetworkCalibration::new(&weights_of(programs), found))
}

fn candidate_names<'a>(programs: impl IntoIterator<Item = &'a Program>) -> BTreeSet<String> {
    let names = |program: &'a Program| {
        candidates(program).into_iter().map(|candidate| program.weight(candidate.weight).name.clone())
    };
    programs.into_iter().flat_map(names).collect()
}
