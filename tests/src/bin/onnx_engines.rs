//! Compiles networks of Stable Diffusion at full size, with random weights, to engines of TensorRT-RTX, on a machine that
//! need not have a GPU: `onnx_engines PLUG_IN ARCHITECTURE...`, such as `sm89`. `DREAMFRAME_ONNXRUNTIME` names ONNX
//! Runtime's library. Takes minutes; run manually.

use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use dreamframe::exec::onnx::{OnnxCompiler, OnnxConfig};
use dreamframe::exec::{Dtype, Provider};
use dreamframe::load::OnnxRuntimeFiles;
use dreamframe::models::known::known_model;
use dreamframe::models::{
    Autoencoder, ControlNetModelConfig, ControlNetShape, UnetConfig, UnetShape, controlnet_program, unet_program,
};
use dreamframe::net::{Program, WeightSource, Weights};

/// Sides of the pictures and latents.
const PICTURE: usize = 512;
const LATENT: usize = PICTURE / 8;

/// Pseudorandom weights of about the size of trained ones.
struct Generated;

impl WeightSource for Generated {
    fn shape(&self, _: &str) -> Option<Vec<usize>> {
        None
    }

    fn read(&self, name: &str, shape: &[usize]) -> dreamframe::Result<Vec<f32>> {
        let mut state = name.bytes().fold(7_u32, |state, byte| state.wrapping_mul(31).wrapping_add(u32::from(byte)));
        let len: usize = shape.iter().product();
        let size = 2.0 / (len as f32 / shape[0] as f32).sqrt().max(1.0);
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) as f32 / 8_388_608.0 - 1.0) * size
        };
        Ok((0..len).map(|_| next()).collect())
    }
}

fn networks() -> dreamframe::Result<Vec<(&'static str, Program)>> {
    let known = |name: &str| known_model(name).expect("the checkpoint is known");
    let unet = UnetConfig::from_json(known("sd-turbo").unet)?;
    let controlnet = ControlNetModelConfig::like(&UnetConfig::from_json(known("sd15").unet)?);
    let autoencoder = Autoencoder::from_json(known("sd-turbo").autoencoder)?;
    Ok(vec![
        ("TAESD encoder, 1 row", autoencoder.encoder_program(1, PICTURE, PICTURE)?),
        ("TAESD decoder, 1 row", autoencoder.decoder_program(1, PICTURE, PICTURE)?),
        ("SD 1.5 ControlNet, 1 row", controlnet_program(&controlnet, &ControlNetShape::new(1, LATENT, LATENT))?),
        ("SD-Turbo UNet, 1 row", unet_program(&unet, &UnetShape::new(1, LATENT, LATENT))?),
        ("SD-Turbo UNet, 4 rows", unet_program(&unet, &UnetShape::new(4, LATENT, LATENT))?),
    ])
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [plug_in, architectures @ ..] = arguments.as_slice() else {
        return Err("usage: onnx_engines PLUG_IN ARCHITECTURE...".into());
    };
    let files = OnnxRuntimeFiles::find(None)?;
    let config = OnnxConfig {
        library: files.library(),
        provider: Provider::TensorRtRtx,
        plug_in: Some(Path::new(plug_in)),
        device_index: 0,
        dtype: Dtype::F16,
        threads: 1,
        cuda_graphs: false,
    };
    for architecture in architectures {
        let compiler = OnnxCompiler::new(&config, &[("nv_target_sm", architecture)])?;
        for (name, program) in networks()? {
            let compiled = compiler.compile(&program, &Weights::new(Arc::new(Generated)));
            match compiled {
                Ok(compiled) => writeln!(
                    out,
                    "{architecture}, {name}: {} nodes to {} engines and {} other nodes in {:.1} s, {:.1} MB",
                    compiled.nodes,
                    compiled.engines,
                    compiled.other_nodes,
                    compiled.time.as_secs_f32(),
                    compiled.model.len() as f32 / 1e6,
                )?,
                Err(error) => writeln!(out, "{architecture}, {name}: {error:?}")?,
            }
        }
    }
    Ok(())
}
