//! Engines in int8: calibration, the quality of the pictures, and errors.

use std::path::Path;
use std::sync::Arc;

use dreamframe::cpu;
use dreamframe::exec::Dtype;
use dreamframe::frame::{Frame, PixelFormat, ssim};
use dreamframe::load::{Calibration, ModelSource};
use dreamframe::{Engine, EngineOptions, ErrorKind, StreamDiffusionParams};
use dreamframe_tests::adapters::{DEMO, copy_folder};
use dreamframe_tests::frames::{demo_engine, pictures, psnr};

const SIDE: u32 = 128;
const FRAMES: usize = 4;

/// An engine that watches, the calibration that it finds, and its pictures.
fn observed(prompt: &str) -> (Calibration, Vec<Vec<u8>>) {
    let params = StreamDiffusionParams { width: SIDE, height: SIDE, ..StreamDiffusionParams::demo() };
    let params = StreamDiffusionParams { prompt: prompt.into(), ..params };
    let mut options = EngineOptions::default();
    options.dtype = Dtype::F32;
    let mut engine = Engine::builder().params(params).options(options).observing().build().unwrap();
    assert_eq!(engine.calibration().unwrap_err().kind(), ErrorKind::InvalidArgument, "nothing was seen");
    let pictures = pictures(&mut engine, FRAMES);
    (engine.calibration().unwrap(), pictures)
}

fn in_bytes(prompt: &str, calibration: &Calibration, threads: usize) -> Vec<Vec<u8>> {
    let mut engine = demo_engine(SIDE, |params, options| {
        params.prompt = prompt.into();
        options.threads = Some(threads);
        options.dtype = Dtype::Int8;
        options.calibration = Some(Arc::new(calibration.clone()));
    });
    pictures(&mut engine, FRAMES)
}

#[test]
fn pictures_in_bytes_are_near_those_in_f32_and_threads_do_not_change_them() {
    const PROMPT: &str = "a mosaic";
    if let Err(lacks) = cpu::check_dtype(Dtype::Int8) {
        eprintln!("skipped: {lacks}");
        return;
    }
    let (calibration, exact) = observed(PROMPT);
    let (layers, kept) = calibration.layers();
    assert!(
        // The UNet has 78, the autoencoder 63.
        layers > 100 && kept * 4 < layers,
        "{layers} layers, {kept} kept: {:?}",
        calibration.kept().collect::<Vec<_>>()
    );
    let pictures = in_bytes(PROMPT, &calibration, 2);
    let decibels = psnr(&exact, &pictures);
    assert!((28.0..60.0).contains(&decibels), "{decibels} dB");
    assert!(pictures == in_bytes(PROMPT, &calibration, 1));
}

#[test]
fn an_autoencoder_that_the_calibration_does_not_contain_runs_without_int8_and_a_notice_says_so() {
    if let Err(lacks) = cpu::check_dtype(Dtype::Int8) {
        eprintln!("skipped: {lacks}");
        return;
    }
    let (whole, _) = observed("a mosaic");
    let mut file: serde_json::Value = serde_json::from_str(&whole.to_json().unwrap()).unwrap();
    file.as_object_mut().unwrap().remove("autoencoder").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("unet-alone.json");
    std::fs::write(&path, file.to_string()).unwrap();
    let unet_alone = Calibration::read(&path).unwrap();
    let engine = |calibration: &Calibration| {
        demo_engine(SIDE, |params, options| {
            params.prompt = "a mosaic".into();
            options.dtype = Dtype::Int8;
            options.calibration = Some(Arc::new(calibration.clone()));
        })
    };
    let [mut with, mut without] = [&whole, &unet_alone].map(engine);
    let says = |engine: &Engine| engine.notices().iter().any(|notice| notice.to_string().contains("this autoencoder"));
    assert_eq!([says(&with), says(&without)], [false, true]);
    assert!(pictures(&mut with, FRAMES) != pictures(&mut without, FRAMES));
}

#[test]
fn pictures_of_the_demo_model_with_its_own_calibration_have_the_required_quality_in_every_kind_of_style() {
    if let Err(lacks) = cpu::check_dtype(Dtype::Int8) {
        eprintln!("skipped: {lacks}");
        return;
    }
    for prompt in ["a photo", "ink line art", "pixel art", "a watercolor painting"] {
        let [exact, quantized] = [Dtype::F32, Dtype::Int8].map(|dtype| {
            let mut engine = demo_engine(2 * SIDE, |params, options| {
                (params.prompt, options.dtype) = (prompt.into(), dtype);
                options.output = PixelFormat::Rgb8;
            });
            let (width, height) = engine.size();
            let frame = |pixels| Frame::from_packed(PixelFormat::Rgb8, width, height, pixels).unwrap();
            pictures(&mut engine, FRAMES).into_iter().map(frame).collect::<Vec<_>>()
        });
        let similar: f64 = exact.iter().zip(&quantized).map(|(a, b)| ssim(a, b).unwrap()).sum();
        let mean = similar / FRAMES as f64;
        assert!((0.98..1.0).contains(&mean), "{prompt}: {mean}");
    }
}

#[test]
fn watching_does_not_change_the_pictures() {
    let plain = pictures(&mut demo_engine(SIDE, |params, _| params.prompt = "a photo".into()), FRAMES);
    assert!(observed("a photo").1 == plain);
}

#[test]
fn without_a_calibration_the_error_names_the_command_that_makes_one() {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(Path::new(DEMO), folder.path());
    std::fs::remove_file(folder.path().join(Calibration::FILE)).unwrap();
    let mut options = EngineOptions::default();
    options.dtype = Dtype::Int8;
    let refused = Engine::builder().models(ModelSource::folder(folder.path())).options(options).build().unwrap_err();
    let (kind, part) = if cpu::check_dtype(Dtype::Int8).is_ok() {
        (ErrorKind::NotFound, "models quantize ")
    } else {
        (ErrorKind::Unsupported, "instructions that this processor lacks")
    };
    assert_eq!(refused.kind(), kind);
    assert!(refused.to_string().contains(part), "{refused}");
}
