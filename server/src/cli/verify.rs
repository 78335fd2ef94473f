//! Whether a checkpoint is whole: every component's config becomes a program, and the program's weights are looked for.

use dreamframe::Result;
use dreamframe::conditioning::tokenizer::Tokenizer;
use dreamframe::load::{Checkpoint, Component, WeightCheck};
use dreamframe::models::{Autoencoder, ClipTextConfig, ModelFamily, UnetConfig, UnetShape, clip_program, unet_program};
use dreamframe::net::{Program, WeightSource as _};
use dreamframe::{Error, ErrorKind};

/// Latent pixels to a side of the programs that are laid out: enough to be halved by any number of blocks.
const LATENT: usize = 64;

/// What was found of one component.
#[derive(Debug)]
pub(super) struct ComponentReport {
    /// Its name in the checkpoint.
    pub(super) name: String,
    /// Its class.
    pub(super) class: String,
    /// How many numbers its weights have, where it has weights.
    pub(super) parameters: Option<usize>,
    /// How its weights fit.
    pub(super) check: WeightCheck,
    /// Why it cannot be used.
    pub(super) problem: Option<Error>,
}

/// Which line of models the UNet of `checkpoint` belongs to.
///
/// # Errors
///
/// Those of reading its config.
pub(super) fn family(checkpoint: &Checkpoint) -> Result<ModelFamily> {
    Ok(ModelFamily::of(&UnetConfig::from_json(&checkpoint.component("unet")?.config)?))
}

/// Checks every component that a stream uses, and names the others.
pub(super) fn components(checkpoint: &Checkpoint) -> Vec<ComponentReport> {
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
    for needed in ["scheduler", "text_encoder", "tokenizer", "unet", "vae"] {
        if checkpoint.class(needed).is_none() {
            reports.push(ComponentReport {
                name: needed.into(),
                class: String::new(),
                parameters: None,
                check: WeightCheck::default(),
                problem: Some(Error::new(ErrorKind::NotFound, "the checkpoint does not have it")),
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
            let programs = programs(name, &component, family)?;
            report.check = component.weights.check(programs.iter().flat_map(Program::weights));
            report.check.require()
        }
        "tokenizer" | "tokenizer_2" => Tokenizer::new(&checkpoint.tokenizer(name)?).map(drop),
        "scheduler" => checkpoint.scheduler_config().map(drop),
        // A stream does without the rest: safety checker, feature extractor.
        _ => Ok(()),
    }
}

/// The programs that a stream makes of a component.
fn programs(name: &str, component: &Component, family: Option<ModelFamily>) -> Result<Vec<Program>> {
    Ok(match name {
        "unet" => vec![unet(&UnetConfig::from_json(&component.config)?)?],
        "vae" => {
            let vae = Autoencoder::from_json(&component.config)?;
            let side = LATENT * vae.scale();
            vec![vae.encoder_program(1, side, side)?, vae.decoder_program(1, side, side)?]
        }
        _ => {
            let config = ClipTextConfig::from_json(&component.config)?;
            let states = family.unwrap_or(ModelFamily::Sd15).text_states();
            vec![clip_program(&config, 1, config.max_tokens, states)?]
        }
    })
}

fn unet(config: &UnetConfig) -> Result<Program> {
    let shape = UnetShape { text_tokens: 1, ..UnetShape::new(1, LATENT, LATENT) };
    unet_program(config, &shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_model_is_whole_and_has_no_weight_too_many() {
        let checkpoint = Checkpoint::demo().unwrap();
        let reports = components(&checkpoint);
        for report in &reports {
            assert!(report.problem.is_none(), "{report:?}");
            assert_eq!(report.check.unused, Vec::<String>::new(), "{}", report.name);
        }
        let unet = reports.iter().find(|report| report.name == "unet").unwrap();
        assert!(unet.parameters.is_some_and(|count| count > 1_000_000));
    }
}
