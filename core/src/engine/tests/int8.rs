//! Engines in int8: with the calibration of the embedded model, and of models without one.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::context::context;
use super::packed::demo_folder;
use crate::engine::pipeline::quantization::is_calibrated;
use crate::engine::{Engine, EngineOptions};
use crate::error::{ErrorKind, Result};
use crate::exec::Dtype;
use crate::exec::cpu::{CpuExecutor, CpuOptions};
use crate::load::{Calibration, ModelSource};
use crate::params::{DEMO_MODEL, StreamDiffusionParams};

const SIDE: u32 = 64;

/// Writes the demo model to `folder`; returns the path of its calibration.
fn with_calibration(folder: &Path) -> std::path::PathBuf {
    demo_folder(folder);
    folder.join(Calibration::FILE)
}

#[test]
fn models_without_a_calibration_run_without_int8_only_if_the_format_was_chosen_automatically() {
    let executor = match CpuExecutor::new(CpuOptions { dtype: Dtype::Int8, ..CpuOptions::default() }) {
        Ok(executor) => Arc::new(executor),
        Err(lacks) => return eprintln!("skipped: {lacks}"),
    };
    let folder = tempfile::tempdir().unwrap();
    let calibration = with_calibration(folder.path());
    let build = |automatic_dtype| -> Result<Vec<String>> {
        let mut params = StreamDiffusionParams::demo();
        (params.model_id, params.width, params.height) = ("model".into(), SIDE, SIDE);
        let options = EngineOptions { dtype: Dtype::Int8, ..EngineOptions::default() };
        let mut context = context(ModelSource::folder(folder.path()), options, executor.clone());
        context.automatic_dtype = automatic_dtype;
        let engine = Engine::new(context, params, Vec::new())?;
        Ok(engine.notices().iter().map(ToString::to_string).filter(|notice| notice.contains("int8")).collect())
    };
    assert_eq!([build(false).unwrap(), build(true).unwrap()], [Vec::<String>::new(), Vec::new()]);
    fs::remove_file(calibration).unwrap();
    assert_eq!(build(false).unwrap_err().kind(), ErrorKind::NotFound);
    let notices = build(true).unwrap();
    assert!(matches!(&notices[..], [one] if one.contains("runs without int8")), "{notices:?}");
}

#[test]
fn a_calibration_counts_for_the_automatic_format_only_with_sufficient_quality() {
    let folder = tempfile::tempdir().unwrap();
    let calibration = with_calibration(folder.path());
    let source = ModelSource::folder(folder.path());
    let good = fs::read_to_string(&calibration).unwrap();
    assert!(is_calibrated(&ModelSource::Demo, DEMO_MODEL, None) && is_calibrated(&source, "model", None));
    let forced = good.replace("\"forced\": false", "\"forced\": true");
    let unmeasured = format!("{}\"quality\": null\n}}\n", good.split_at(good.find("\"quality\"").unwrap()).0);
    for text in [forced, unmeasured, "{".to_owned()] {
        fs::write(&calibration, &text).unwrap();
        assert!(!is_calibrated(&source, "model", None), "{text}");
    }
    fs::remove_file(&calibration).unwrap();
    assert!(!is_calibrated(&source, "model", None));
    fs::write(&calibration, good).unwrap();
    let given = Calibration::read(&calibration).unwrap();
    assert!(is_calibrated(&ModelSource::folder("nowhere"), "model", Some(&given)));
}
