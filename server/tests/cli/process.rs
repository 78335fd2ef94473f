//! `process`, `bench` and `models` with the embedded model, as a shell sees them.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use dreamframe_tests::process::{ask_to_end, can_be_asked};

use crate::{dreamframe, lines, text, words};

const SIDE: u32 = 64;

/// `process` in `folder`, with small pictures and a prompt without style, so that a picture is close to its frame.
fn process(folder: &Path, input: &str, output: &str, rows: &str) -> Command {
    let params = format!(r#"{{"prompt": "a photo", "width": {SIDE}, "height": {SIDE}, "t_index_list": {rows}}}"#);
    fs::write(folder.join("params.json"), params).unwrap();
    let mut command = dreamframe();
    command.current_dir(folder).args(["process", input, output, "--params", "params.json"]);
    command
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap()
}

/// Frames, each of one grey, which are easily distinguished.
const GREYS: [u8; 5] = [230, 30, 180, 80, 130];

fn grey_pictures(folder: &Path) {
    fs::create_dir(folder).unwrap();
    for (name, grey) in ["a", "b", "c", "d", "e"].iter().zip(GREYS) {
        let picture = image::RgbImage::from_pixel(SIDE, SIDE, image::Rgb([grey; 3]));
        picture.save(folder.join(format!("{name}.png"))).unwrap();
    }
}

/// The mean brightness of each picture, in the order of the names.
fn brightness(folder: &Path) -> Vec<(String, u8)> {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mean = |path: &Path| {
        let bytes = image::open(path).unwrap().to_rgb8().into_raw();
        (bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>() / bytes.len() as u64) as u8
    };
    paths.iter().map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), mean(path))).collect()
}

/// Each picture has its frame's name and is nearer to its frame than to any other.
fn assert_paired(pictures: &[(String, u8)]) {
    let names: Vec<&str> = pictures.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a.png", "b.png", "c.png", "d.png", "e.png"]);
    for ((_, mean), grey) in pictures.iter().zip(GREYS) {
        let nearest = GREYS.into_iter().min_by_key(|other| other.abs_diff(*mean)).unwrap();
        assert_eq!(nearest, grey, "{pictures:?}");
    }
}

#[test]
fn every_frame_of_a_folder_gets_its_own_picture_for_any_delay() {
    for rows in ["[46]", "[44, 46]", "[44, 45, 46]"] {
        let folder = tempfile::tempdir().unwrap();
        grey_pictures(&folder.path().join("in"));
        let output = run(&mut process(folder.path(), "in", "out", rows));
        assert_eq!(output.status.code(), Some(0), "{}", words(&output));
        assert_paired(&brightness(&folder.path().join("out")));
    }
}

#[test]
fn frames_keep_their_pictures_where_the_timeline_changes_the_delay() {
    let folder = tempfile::tempdir().unwrap();
    grey_pictures(&folder.path().join("in"));
    let timeline = "{\"frame\": 0, \"params\": {\"delta\": 0.5}}\n{\"frame\": 1, \"params\": {\"t_index_list\": [44, 45, 46]}}\n\
                    {\"frame\": 3, \"params\": {\"t_index_list\": [46], \"seed\": 3}}\n";
    fs::write(folder.path().join("timeline"), timeline).unwrap();
    let output = run(process(folder.path(), "in", "out", "[44, 46]").args(["--timeline", "timeline", "--json"]));
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    assert_paired(&brightness(&folder.path().join("out")));
    let events = lines(&output);
    let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).collect::<Vec<_>>();
    assert_eq!(of("start").len(), 1);
    assert_eq!(of("update").iter().map(|event| event["frame"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 3]);
    assert_eq!(of("picture").iter().map(|event| event["frame"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!(events.last().unwrap()["event"], "done");
    assert_eq!(events.last().unwrap()["pictures"], 5);
}

#[test]
fn a_frame_that_is_filtered_out_gets_the_picture_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let same = folder.path().join("in");
    fs::create_dir(&same).unwrap();
    let picture = image::RgbImage::from_fn(SIDE, SIDE, |x, y| image::Rgb([x as u8, y as u8, 90]));
    for number in 0..6 {
        picture.save(same.join(format!("{number}.png"))).unwrap();
    }
    let timeline = "{\"frame\": 0, \"params\": {\"enable_similar_image_filter\": true}}\n";
    fs::write(folder.path().join("timeline"), timeline).unwrap();
    // With a batch, pictures are repeated when the picture of an earlier frame leaves; otherwise at once.
    for (out, batching) in [("batched", "as-requested"), ("in-turn", "where-faster")] {
        let options = ["--timeline", "timeline", "--json", "--batching", batching];
        let output = run(process(folder.path(), "in", out, "[44, 46]").args(options));
        assert_eq!(output.status.code(), Some(0), "{}", words(&output));
        assert_eq!(brightness(&folder.path().join(out)).len(), 6);
        assert!(lines(&output).iter().any(|event| event["kind"] == "repeated"));
    }
}

#[test]
fn the_prompt_travels_from_keyframe_to_keyframe() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("in")).unwrap();
    let picture = image::RgbImage::from_fn(SIDE, SIDE, |x, y| image::Rgb([x as u8, y as u8, 90]));
    for number in 0..5 {
        picture.save(folder.path().join(format!("in/{number}.png"))).unwrap();
    }
    let film = |timeline: &str| {
        fs::write(folder.path().join("timeline"), timeline).unwrap();
        let output = run(process(folder.path(), "in", "out", "[30]").args(["--timeline", "timeline"]));
        assert_eq!(output.status.code(), Some(0), "{}", words(&output));
        let read = |number: u32| image::open(folder.path().join(format!("out/{number}.png"))).unwrap().into_rgb8();
        let pictures: Vec<_> = (0..5).map(read).collect();
        fs::remove_dir_all(folder.path().join("out")).unwrap();
        pictures
    };
    let key = |frame: u32, prompt: &str| format!("{{\"frame\": {frame}, \"keyframe\": \"{prompt}\"}}\n");
    let travel = film(&format!("{}{}", key(0, "a mosaic"), key(3, "moonlit night")));
    let (from, to) = (film(&key(0, "a mosaic")), film(&key(0, "moonlit night")));
    // All frames are one picture, and at a keyframe it is all the prompt's.
    assert!(travel[0] == from[0] && travel[3] == to[0] && travel[4] == to[0]);
    assert!(travel[1] != from[0] && travel[1] != travel[2] && travel[2] != to[0]);
}

/// A stream of `frames` grey frames of 64x64.
fn y4m(frames: usize) -> Vec<u8> {
    let mut stream = format!("YUV4MPEG2 W{SIDE} H{SIDE} F25:1 Ip A1:1 C420jpeg\n").into_bytes();
    for _ in 0..frames {
        stream.extend(b"FRAME\n");
        stream.extend(vec![128; (SIDE * SIDE * 3 / 2) as usize]);
    }
    stream
}

#[test]
fn standard_input_and_output_have_equally_many_frames() {
    let folder = tempfile::tempdir().unwrap();
    let mut child =
        process(folder.path(), "-", "-", "[44, 46]").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&y4m(4)).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let header = output.stdout.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    assert_eq!(output.stdout.len() - header, 4 * ("FRAME\n".len() + (SIDE * SIDE * 3 / 2) as usize));
}

#[test]
fn a_stream_that_is_cut_off_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("out")).unwrap();
    let mut whole = y4m(3);
    whole.truncate(whole.len() - 5);
    fs::write(folder.path().join("in.y4m"), whole).unwrap();
    let output = run(&mut process(folder.path(), "in.y4m", "out/film.mp4", "[46]"));
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains("in.y4m"), "{}", words(&output));
    assert_eq!(fs::read_dir(folder.path().join("out")).unwrap().count(), 0);
}

#[test]
fn an_interrupted_film_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("out")).unwrap();
    let mut command = process(folder.path(), "-", "out/film.mp4", "[46]");
    let command = can_be_asked(command.arg("--json")).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&y4m(2)).unwrap();
    let mut events = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(events.by_ref().any(|line| line.unwrap().contains("\"picture\"")));
    ask_to_end(&child, "INT").unwrap();
    drop(stdin);
    assert!(events.any(|line| line.unwrap().contains("\"interrupted\"")));
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(fs::read_dir(folder.path().join("out")).unwrap().count(), 0);
}

#[test]
fn what_the_arguments_alone_show_to_be_wrong_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    grey_pictures(&folder.path().join("in"));
    let output = run(&mut process(folder.path(), "in", "film.gif", "[46]"));
    assert_eq!(output.status.code(), Some(2), "{}", words(&output));
    let output = run(process(folder.path(), "in", "-", "[46]").arg("--json"));
    assert_eq!(output.status.code(), Some(2), "{}", words(&output));
    let output = run(process(folder.path(), "in", "out", "[46]").args(["--executor", "gpu"]));
    assert_eq!(output.status.code(), Some(2), "{}", words(&output));
}

#[test]
fn any_size_of_the_model_is_accepted_with_and_without_the_earlier_option() {
    let folder = tempfile::tempdir().unwrap();
    grey_pictures(&folder.path().join("in"));
    let process = |size: u32, output: &str| {
        fs::write(
            folder.path().join("params.json"),
            format!(r#"{{"model_id": "demo", "width": {size}, "height": {size}}}"#),
        )
        .unwrap();
        let mut command = dreamframe();
        command.current_dir(folder.path()).args(["process", "in", output, "--params", "params.json"]);
        command
    };
    let plain = run(&mut process(64, "plain"));
    assert!(plain.status.success(), "{}", words(&plain));
    let earlier = run(process(64, "earlier").arg("--allow-any-size"));
    assert!(earlier.status.success(), "{}", words(&earlier));
    let refused = run(&mut process(68, "refused"));
    assert_eq!(refused.status.code(), Some(3), "{}", words(&refused));
    assert!(words(&refused).contains("width"), "{}", words(&refused));
    assert!(!words(&run(dreamframe().args(["process", "--help"]))).contains("allow-any-size"));
}

#[test]
fn a_wrong_line_of_the_timeline_is_named_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    grey_pictures(&folder.path().join("in"));
    fs::write(folder.path().join("timeline"), "{\"frame\": 1, \"params\": {\"delta\": -1}}\n").unwrap();
    let output = run(process(folder.path(), "in", "out", "[46]").args(["--timeline", "timeline"]));
    assert_eq!(output.status.code(), Some(3));
    assert!(words(&output).contains("line 1: delta"), "{}", words(&output));
    assert!(!folder.path().join("out").exists());
}

#[test]
fn bench_prints_every_stage_and_a_summary() {
    let output = run(dreamframe().args(["bench", "--size", "64", "--rows", "2", "--frames", "3", "--json"]));
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    let lines = lines(&output);
    let stages: Vec<&str> = lines.iter().filter_map(|line| line["stage"].as_str()).collect();
    assert_eq!(stages, ["preprocess", "encode", "control", "unet", "decode", "postprocess", "frame"]);
    assert!(lines.iter().take(7).all(|line| line["n"] == 3 && line["median_ms"].is_f64() && line["p95_ms"].is_f64()));
    let summary = lines.last().unwrap();
    assert!(lines.iter().all(|line| line["size"] == "64x64"), "{lines:?}");
    assert_eq!(summary["summary"], true);
    assert_eq!(summary["evaluations_per_frame"], 2);
    for key in ["fps", "peak_rss_mb", "networks_mb", "first_picture_ms", "executor", "dtype", "threads"] {
        assert!(!summary[key].is_null(), "{key} is missing in {summary}");
    }
}

#[test]
fn bench_compares_sizes_in_one_table() {
    let bench = |more: &[&str]| run(dreamframe().args(["bench", "--frames", "2"]).args(more));
    let output = bench(&["--size", "64,128x64"]);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    let out = text(&output);
    let firsts: Vec<&str> = out.lines().map(|line| line.split_whitespace().next().unwrap_or_default()).collect();
    let expected = ["size", "64x64", "128x64", "", "model", "evaluations", "executor", "provider", "dtype", "threads"];
    assert_eq!(firsts, expected, "{out}");

    let output = bench(&["--size", "128x64", "--size", "64", "--json"]);
    let lines = lines(&output);
    let summaries: Vec<_> = lines.iter().filter(|line| line["summary"] == true).collect();
    let sizes: Vec<_> = summaries.iter().map(|summary| summary["size"].as_str().unwrap()).collect();
    assert_eq!(sizes, ["128x64", "64x64"]);
    assert!(summaries.iter().all(|summary| summary["fps"].is_f64() && summary["peak_rss_mb"].is_null()), "{lines:?}");
    let stages = |size: &str| lines.iter().filter(|line| line["size"] == size && line["n"] == 2).count();
    assert_eq!((stages("128x64"), stages("64x64")), (7, 7));

    // None is measured if one is out of bounds.
    let output = bench(&["--size", "64,8", "--json"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output).lines().all(|line| line.contains("\"event\":\"error\"")), "{}", text(&output));
}

/// The names that `DREAMFRAME_CPU` may have.
const INSTRUCTIONS: &str = if cfg!(target_arch = "x86_64") {
    "portable, avx2, avx-vnni, avx512, avx512-vnni, bf16, int8, amx-bf16, amx-int8"
} else if cfg!(target_arch = "aarch64") {
    "portable, neon, neon-dot, neon-bf16, neon-i8mm"
} else {
    "portable"
};

#[test]
fn the_environment_names_the_instructions() {
    let bench = |name: &str, more: &[&str]| {
        let mut command = dreamframe();
        command.args(["bench", "--size", "64", "--frames", "1", "--json"]).args(more).env("DREAMFRAME_CPU", name);
        run(&mut command)
    };
    let output = bench("portable", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    assert_eq!(lines(&output).last().unwrap()["dtype"], "f32");
    for (name, more, part) in [
        ("sse9", &[][..], format!("\"sse9\", expected one of {INSTRUCTIONS}").as_str()),
        ("portable", &["--dtype", "bf16"], "dtype: got bf16, expected f32 for the instructions portable"),
    ] {
        let output = bench(name, more);
        assert_ne!(output.status.code(), Some(0));
        assert!(words(&output).contains(part), "{}", words(&output));
    }
}

#[test]
fn the_embedded_model_is_listed_and_whole() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(dreamframe().args(["models", "list", "--json"]).env("HF_HUB_CACHE", folder.path()));
    assert_eq!(lines(&output).iter().map(|model| model["id"].as_str().unwrap()).collect::<Vec<_>>(), ["demo"]);
    let output = run(dreamframe().args(["models", "verify", "demo", "--json"]));
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    assert!(lines(&output).iter().any(|component| component["component"] == "unet"));
}

#[test]
fn broken_model_is_reported_by_component() {
    let folder = tempfile::tempdir().unwrap();
    let index = r#"{"unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderTiny"]}"#;
    fs::write(folder.path().join("model_index.json"), index).unwrap();
    let output = run(dreamframe().args(["models", "verify"]).arg(folder.path()));
    assert_eq!(output.status.code(), Some(1));
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(out.contains("unet/config.json") && out.contains("text_encoder"), "{out}");
}

#[test]
fn the_demo_writes_a_film_and_a_contact_sheet() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["demo", "--frames", "7", "--size", "64", "--out"];
    let output = run(dreamframe().args(arguments).arg(folder.path()));
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(out.contains("unet") && out.contains("fps"), "{out}");
    assert!(fs::metadata(folder.path().join("demo.mp4")).unwrap().len() > 0);
    let sheet = image::open(folder.path().join("demo.png")).unwrap();
    assert_eq!((sheet.width(), sheet.height()), (6 * 256, 2 * 256));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn without_a_size_the_demo_chooses_one_for_the_machine() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(dreamframe().args(["demo", "--frames", "2", "--json", "--out"]).arg(folder.path()));
    let first = &lines(&output)[0];
    let size = [&first["width"], &first["height"]].map(|side| side.as_u64().unwrap());
    let sizes = [[640, 384], [512, 320], [448, 256], [384, 224], [320, 192], [288, 160], [256, 160], [224, 128]];
    assert!(sizes.contains(&size) || (64..=192).contains(&size[0]), "{first}");
}
