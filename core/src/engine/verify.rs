//! Checks that a checkpoint is complete: every component's config is converted to a program, whose weights are looked
//! up.

use super::pipeline::{controlnet, interpolation};
use crate::conditioning::tokenizer::Tokenizer;
use crate::error::{Error, ErrorKind, Result};
use crate::load::{Checkpoint, Component, ModelId, ModelSource, WeightCheck};
use crate::models::{Autoencoder, ClipTextConfig, ModelFamily, UnetConfig, UnetShape, clip_program, unet_program};
use crate::net::{Footprint, Program, WeightSource as _};

/// The side of the latents of the programs, in pixels: enough to be halved by any number of blocks.
const LATENT: usize = 64;

/// The components that an engine needs.
const REQUIRED: [&str; 5] = ["scheduler", "text_encoder", "tokenizer", "unet", "vae"];

/// The state of one component of a checkpoint.
#[derive(Debug)]
#[non_exhaustive]
pub struct ComponentReport {
    /// The name in the checkpoint, such as `unet`.
    pub name: String,
    /// The class that the checkpoint names; empty for a required component that is absent.
    pub class: String,
    /// The number of elements of its weights; `None` for a component without weights.
    pub parameters: Option<usize>,
    /// The result of the check of its weights.
    pub check: WeightCheck,
    /// The reason why it cannot be used.
    pub problem: Option<Error>,
}

/// Returns the name of the model family that the UNet of `checkpoint` belongs to: `sd15`, `sd21` or `sdxl`.
///
/// # Errors
///
/// `NotFound` without a UNet; `BadModel` for a config that cannot be read.
pub fn family_name(checkpoint: &Checkpoint) -> Result<&'static str> {
    family(checkpoint).map(ModelFamily::name)
}

fn family(checkpoint: &Checkpoint) -> Result<ModelFamily> {
    Ok(ModelFamily::of(&UnetConfig::from_json(&checkpoint.component("unet")?.config)?))
}

/// Returns the memory that a stream of `checkpoint` needs on a device, with pictures of the given width and height and
/// `rows` rows, without ControlNets: the estimate of [`Footprint`] for the UNet, the autoencoder and the text encoders
/// together. Reads no weights.
///
/// # Errors
///
/// `NotFound` for a missing component, `BadModel` for a config that cannot be read, `InvalidArgument` for a size that the
/// networks do not have.
pub fn checkpoint_footprint(checkpoint: &Checkpoint, (width, height): (u32, u32), rows: usize) -> Result<Footprint> {
    let family = family(checkpoint)?;
    let scale = Autoencoder::from_json(&checkpoint.component("vae")?.config)?.scale();
    let latent = [width, height].map(|side| side as usize / scale);
    let mut total = Footprint::default();
    for name in ["unet", "vae", "text_encoder", "text_encoder_2"] {
        if name == "text_encoder_2" && checkpoint.class(name).is_none() {
            continue;
        }
        for program in programs(name, &checkpoint.component(name)?, Some(family), (rows, latent))? {
            total = total.plus(program.footprint());
        }
    }
    Ok(total)
}

/// Returns the memory that [`RegionReuse`](crate::RegionReuse) adds to a stream of `checkpoint` with pictures of the given
/// width and height: the outputs of the convolutions of its autoencoder, if that is the tiny one, and its inputs. Reads no
/// weights.
///
/// # Errors
///
/// `NotFound` without an autoencoder, `BadModel` for a config that cannot be read, `InvalidArgument` for a size that it does
/// not have.
pub fn region_reuse_footprint(checkpoint: &Checkpoint, (width, height): (u32, u32)) -> Result<Footprint> {
    let autoencoder = Autoencoder::from_json(&checkpoint.component("vae")?.config)?;
    if let Autoencoder::Kl(_) = autoencoder {
        return Ok(Footprint::default());
    }
    let (width, height) = (width as usize, height as usize);
    let halves = [autoencoder.encoder_program(1, height, width)?, autoencoder.decoder_program(1, height, width)?];
    Ok(Footprint { weights: 0, values: halves.iter().map(Program::kept_values).sum() })
}

/// Returns the memory that the ControlNet `id` adds to a stream of `checkpoint`, as
/// [`checkpoint_footprint`] does for the model. Reads no weights.
///
/// # Errors
///
/// `NotFound` for a missing ControlNet or component, `BadModel` for a config that cannot be read, `Unsupported` for a
/// ControlNet that engines reject, `InvalidArgument` for a size that it does not have.
pub fn controlnet_footprint(
    source: &ModelSource,
    id: &ModelId,
    checkpoint: &Checkpoint,
    (width, height): (u32, u32),
    rows: usize,
) -> Result<Footprint> {
    let unet = UnetConfig::from_json(&checkpoint.component("unet")?.config)?;
    let scale = Autoencoder::from_json(&checkpoint.component("vae")?.config)?.scale();
    controlnet::footprint(source, id, &unet, ([width as usize, height as usize], scale), rows)
}

/// Returns the memory that the network `interpolation.model_id` adds to a stream of pictures of `width` x `height`. Its
/// weights are `f32`, and no other stream uses them. Reads no weights.
///
/// # Errors
///
/// `NotFound` for a missing file, `BadModel` for a broken one or one of another network.
pub fn interpolation_footprint(source: &ModelSource, id: &ModelId, (width, height): (u32, u32)) -> Result<Footprint> {
    interpolation::footprint(source, id, (width as usize, height as usize))
}

/// Checks every component of `checkpoint` that an engine uses: configs, names and shapes of weights, tokenizers. Reads no
/// weights but their headers.
///
/// ```
/// use dreamframe::load::Checkpoint;
/// use dreamframe::verify_checkpoint;
///
/// # fn main() -> dreamframe::Result<()> {
/// let reports = verify_checkpoint(&Checkpoint::demo()?);
/// assert!(reports.iter().all(|report| report.problem.is_none()));
/// # Ok(())
/// # }
/// ```
pub fn verify_checkpoint(checkpoint: &Checkpoint) -> Vec<ComponentReport> {
    let family = family(checkpoint).ok();
    let report = |(name, class): (&String, &String)| {
        let mut report = ComponentReport {
            name: name.clone(),
            class: class.clone(),
            parameters: None,
            check: WeightCheck::default(),
            problem: None,
        };
        report.problem = component(checkpoint, family, &mut report).err();
        report
    };
    let mut reports: Vec<_> = checkpoint.classes().iter().map(report).collect();
    for needed in REQUIRED {
        if checkpoint.class(needed).is_none() {
            reports.push(ComponentReport {
                name: needed.into(),
                class: String::new(),
                parameters: None,
                check: WeightCheck::default(),
                problem: Some(Error::new(ErrorKind::NotFound, "the checkpoint does not have this component")),
            });
        }
    }
    reports
}

fn component(checkpoint: &Checkpoint, family: Option<ModelFamily>, report: &mut ComponentReport) -> Result<()> {
    let name = report.name.as_str();
    match name {
        "unet" | "vae" | "text_encoder" | "text_encoder_2" => {
            let component = checkpoint.component(name)?;
            let names = component.weights.names().filter_map(|name| component.weights.shape(name));
            report.parameters = Some(names.map(|shape| shape.iter().product::<usize>()).sum());
            let programs = programs(name, &component, family, (1, [LATENT; 2]))?;
            report.check = component.weights.check(programs.iter().flat_map(Program::weights));
            report.check.require()
        }
        "tokenizer" | "tokenizer_2" => Tokenizer::new(&checkpoint.tokenizer(name)?).map(drop),
        "scheduler" => checkpoint.scheduler_config().map(drop),
        // An engine works without the others: safety checker, feature extractor.
        _ => Ok(()),
    }
}

/// The programs of a component, for latents of the given rows, width and height.
fn programs(
    name: &str,
    component: &Component,
    family: Option<ModelFamily>,
    (rows, [width, height]): (usize, [usize; 2]),
) -> Result<Vec<Program>> {
    Ok(match name {
        "unet" => {
            let config = UnetConfig::from_json(&component.config)?;
            vec![unet_program(&config, &UnetShape::new(rows, height, width))?]
        }
        "vae" => {
            let vae = Autoencoder::from_json(&component.config)?;
            let [pixels_high, pixels_wide] = [height, width].map(|side| side * vae.scale());
            vec![vae.encoder_program(1, pixels_high, pixels_wide)?, vae.decoder_program(1, pixels_high, pixels_wide)?]
        }
        _ => {
            let config = ClipTextConfig::from_json(&component.config)?;
            let states = family.unwrap_or(ModelFamily::Sd15).text_states();
            vec![clip_program(&config, 1, config.max_tokens, states)?]
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_model_is_complete_and_has_no_unused_weights() {
        let checkpoint = Checkpoint::demo().unwrap();
        let reports = verify_checkpoint(&checkpoint);
        for report in &reports {
            assert!(report.problem.is_none(), "{report:?}");
            assert_eq!(report.check.unused, Vec::<String>::new(), "{}", report.name);
        }
        let unet = reports.iter().find(|report| report.name == "unet").unwrap();
        assert!(unet.parameters.is_some_and(|count| count > 1_000_000));
    }

    #[test]
    fn memory_for_values_grows_with_the_picture_and_that_for_weights_does_not() {
        let checkpoint = Checkpoint::demo().unwrap();
        let of = |size, rows| checkpoint_footprint(&checkpoint, size, rows).unwrap();
        let (small, wide, rows) = (of((256, 256), 1), of((512, 256), 1), of((256, 256), 2));
        let reports = verify_checkpoint(&checkpoint);
        let parameters: usize = reports.iter().filter_map(|report| report.parameters).sum();
        assert!(small.weights <= parameters && small.weights * 10 > parameters * 9, "{small:?} {parameters}");
        assert_eq!((wide.weights, rows.weights), (small.weights, small.weights));
        assert!(wide.values > small.values && rows.values > small.values);
    }

    #[test]
    fn memory_for_unchanged_regions_grows_with_the_picture() {
        let checkpoint = Checkpoint::demo().unwrap();
        let [small, large] =
            [(256, 256), (512, 512)].map(|size| region_reuse_footprint(&checkpoint, size).unwrap().values);
        // At least a value of 32 channels for each pixel in both halves.
        assert!(small > 2 * 32 * 256 * 256 && large == 4 * small, "{small} {large}");
    }
}
