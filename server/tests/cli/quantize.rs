//! `models quantize` with the embedded model, as a shell sees it.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::{lines, words};

const SIDE: u32 = 128;

fn dreamframe(folder: &Path, arguments: &[&str]) -> Output {
    crate::dreamframe().current_dir(folder).args(arguments).output().unwrap()
}

/// Frames with edges and shades, and parameters for small pictures.
fn prepare(folder: &Path) {
    fs::create_dir(folder.join("frames")).unwrap();
    for number in 0..3 {
        let pixel = |x: u32, y: u32| {
            let disc = x.abs_diff(40 + 10 * number).pow(2) + y.abs_diff(60).pow(2) < 900;
            if disc { image::Rgb([240, 210, 60]) } else { image::Rgb([x as u8, y as u8, 120]) }
        };
        let picture = image::RgbImage::from_fn(SIDE, SIDE, pixel);
        picture.save(folder.join(format!("frames/{number}.png"))).unwrap();
    }
    fs::write(folder.join("params.json"), format!(r#"{{"width": {SIDE}, "height": {SIDE}}}"#)).unwrap();
}

fn quantize(folder: &Path, more: &[&str]) -> Output {
    let always = ["models", "quantize", "demo", "--frames", "frames", "--params", "params.json"];
    dreamframe(folder, &[&always, more].concat())
}

#[test]
fn a_calibration_is_written_and_read_by_the_commands_that_make_pictures() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let output = quantize(
        folder.path(),
        &["--output", "int8.json", "--max-frames", "2", "--prompt", "a photo", "--prompt", "a mosaic", "--json"],
    );
    if words(&output).contains("instructions that this processor lacks") {
        eprintln!("skipped: {}", words(&output));
        return;
    }
    assert!(output.status.success(), "{}", words(&output));
    let events = lines(&output);
    let count = |event: &str| events.iter().filter(|line| line["event"] == event).count();
    assert_eq!((count("start"), count("picture"), count("quality"), count("done")), (1, 4, 1, 1));
    let quality = events.iter().find(|line| line["event"] == "quality").unwrap();
    assert!(quality["good"] == true && quality["layers"].as_u64().unwrap() > 20, "{quality}");
    let file: Value = serde_json::from_slice(&fs::read(folder.path().join("int8.json")).unwrap()).unwrap();
    assert!(file["frames"] == 2 && file["quality"]["forced"] == false);
    let bench = ["bench", "--size", "128", "--frames", "1", "--dtype", "int8", "--json"];
    // With the calibration that is part of the demo model, and with this one.
    for calibration in [&[][..], &["--calibration", "int8.json"]] {
        let output = dreamframe(folder.path(), &[&bench[..], calibration].concat());
        assert!(output.status.success(), "{}", words(&output));
        assert_eq!(lines(&output).last().unwrap()["dtype"], "int8");
    }
}

#[test]
fn errors_are_reported_before_any_output() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    fs::write(folder.path().join("broken.json"), "{").unwrap();
    let refusal = |arguments: &[&str]| {
        let output = dreamframe(folder.path(), arguments);
        assert!(!output.status.success(), "{arguments:?}");
        words(&output)
    };
    let text = refusal(&["models", "quantize", "demo", "--frames", "frames"]);
    assert!(text.contains("--output"), "{text}");
    let text = refusal(&["models", "quantize", "no-such-folder", "--frames", "frames"]);
    assert!(text.contains("no-such-folder"), "{text}");
    let text = refusal(&["bench", "--dtype", "int8", "--calibration", "broken.json"]);
    assert!(text.contains("broken.json"), "{text}");
    let text = refusal(&["bench", "--dtype", "int8", "--calibration", "missing.json"]);
    assert!(text.contains("missing.json"), "{text}");
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 3);
}
