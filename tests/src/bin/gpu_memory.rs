//! Prints the memory that networks need on a GPU in half precision, as a table for `docs/gpu.md`: `gpu_memory`.
//!
//! The numbers follow from the programs: see [`dreamframe::net::Footprint`].

use std::io::Write as _;
use std::process::ExitCode;

use dreamframe::Result;
use dreamframe::models::known::known_model;
use dreamframe::models::{
    Autoencoder, ClipTextConfig, ControlNetModelConfig, ControlNetShape, TextStates, UnetConfig, UnetShape,
    clip_program, controlnet_program, unet_program,
};
use dreamframe::net::{Footprint, Program};

/// Bytes of a number in half precision.
const BYTES: usize = 2;

fn main() -> ExitCode {
    match table() {
        Ok(table) if std::io::stdout().write_all(table.as_bytes()).is_ok() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn table() -> Result<String> {
    let mut table = String::from(
        "| networks | size | rows | weights, GB | values, GB | together, GB |\n|---|---|---|---|---|---|\n",
    );
    let cases = [
        ("SD-Turbo", "sd-turbo", 0, 512, 1),
        ("SD-Turbo", "sd-turbo", 0, 512, 4),
        ("SD 1.5", "sd15", 0, 512, 1),
        ("SD 1.5, 1 ControlNet", "sd15", 1, 512, 4),
        ("SD 1.5, 3 ControlNets", "sd15", 3, 512, 4),
        ("SDXL-Turbo", "sdxl-turbo", 0, 512, 1),
        ("SDXL-Turbo", "sdxl-turbo", 0, 1024, 1),
        ("SDXL-Turbo", "sdxl-turbo", 0, 1024, 4),
    ];
    for (title, model, controlnets, side, rows) in cases {
        let programs = programs(model, controlnets, side, rows)?;
        let Footprint { weights, values } =
            programs.iter().map(Program::footprint).fold(Footprint::default(), Footprint::plus);
        let [weights, values] = [weights, values].map(|elements| (elements * BYTES) as f64 / 1e9);
        let row = format!("| {title} | {side} | {rows} | {weights:.1} | {values:.1} | {:.1} |\n", weights + values);
        table.push_str(&row);
    }
    Ok(table)
}

/// Returns the networks of a stream.
fn programs(model: &str, controlnets: usize, side: usize, rows: usize) -> Result<Vec<Program>> {
    let known = known_model(model).unwrap_or_else(|| panic!("{model} is a known model"));
    let latent = side / 8;
    let autoencoder = Autoencoder::from_json(known.autoencoder)?;
    let mut programs = vec![autoencoder.encoder_program(1, side, side)?, autoencoder.decoder_program(1, side, side)?];
    for text in known.text_encoders {
        programs.push(clip_program(&ClipTextConfig::from_json(text)?, 1, 77, TextStates::Last)?);
    }
    let mut shape = UnetShape::new(rows, latent, latent);
    shape.residuals = controlnets > 0;
    programs.push(unet_program(&UnetConfig::from_json(known.unet)?, &shape)?);
    for _ in 0..controlnets {
        let config = ControlNetModelConfig::from_json(known.unet)?;
        programs.push(controlnet_program(&config, &ControlNetShape::new(rows, latent, latent))?);
    }
    Ok(programs)
}
