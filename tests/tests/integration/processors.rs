//! Processors without networks against OpenCV's canny, bit for bit, and against plain torch and Pillow's Lanczos.

use std::path::{Path, PathBuf};

use dreamframe::params::{Constraint, ProcessorName};
use dreamframe::preprocess::{Chain, ChainKind, Context, Image, Registry};
use dreamframe_tests::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Sums of numbers up to one in another order, and results stored in steps of 1/65535.
const TOLERANCE: f32 = 3e-5;

#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "pictures of processors")]
    small: Vec<String>,
    #[serde(rename = "pictures of canny")]
    edged: Vec<String>,
    cases: Vec<Case>,
    canny: Vec<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Case {
    processor: ProcessorName,
    settings: Map<String, Value>,
}

/// Every setting of a processor at both of its ends, the others at their default; but lines are looked for in few pixels.
fn extremes(name: ProcessorName) -> Vec<Map<String, Value>> {
    let few = Map::from_iter([("detect_resolution".to_owned(), 32.into())]);
    let base = if name == ProcessorName::StandardLineart { few } else { Map::new() };
    let mut all = vec![base.clone()];
    for (setting, allowed) in name.parameters() {
        let ends: Vec<Value> = if let Constraint::Choice(names) = allowed {
            names.iter().map(|&name| name.into()).collect()
        } else if let Constraint::Integer { min, max, .. } = *allowed {
            vec![min.into(), max.min(64).into()]
        } else if let Constraint::Number { min, max } = *allowed {
            vec![min.into(), max.into()]
        } else {
            assert_eq!(*allowed, Constraint::Flag, "{name} {setting}");
            vec![true.into(), false.into()]
        };
        for end in ends {
            let mut settings = base.clone();
            settings.insert((*setting).to_owned(), end);
            all.push(settings);
        }
    }
    all
}

fn without_networks() -> impl Iterator<Item = ProcessorName> {
    ProcessorName::ALL.iter().copied().filter(|name| !name.has_weights())
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/processors")
}

fn meta() -> Meta {
    serde_json::from_slice(&std::fs::read(folder().join("meta.json")).unwrap()).unwrap()
}

fn golden() -> Bytes {
    Bytes::open(folder().join("golden.safetensors"))
}

/// The picture `name`, in 0..1.
fn picture(golden: &Bytes, name: &str) -> Image {
    let (shape, bytes) = golden.get(&format!("picture.{name}"));
    let pixels = bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect();
    Image::from_pixels(shape[1], shape[0], 3, pixels).unwrap()
}

fn run(name: ProcessorName, settings: &Map<String, Value>, input: &Image) -> Image {
    let recipe = Registry::new().recipe(name, settings).unwrap();
    let mut chain = Chain::start(ChainKind::Picture, &[recipe]);
    let context = Context { previous: None, size: (input.width(), input.height()) };
    chain.run(input, &context).unwrap().clone()
}

#[test]
fn canny_is_that_of_opencv_bit_for_bit() {
    let (meta, golden) = (meta(), golden());
    assert_eq!((meta.edged.len(), meta.canny.len()), (13, 3));
    let mut edges = 0;
    for (index, settings) in meta.canny.iter().enumerate() {
        for name in &meta.edged {
            let result = run(ProcessorName::Canny, settings, &picture(&golden, name));
            let (_, bits) = golden.get(&format!("canny.{index}.{name}"));
            for (place, pixel) in result.pixels().as_chunks::<3>().0.iter().enumerate() {
                let edge = f32::from(bits[place / 8] >> (7 - place % 8) & 1);
                assert_eq!(*pixel, [edge; 3], "{name}, {settings:?}, pixel {place} of rows of {}", result.width());
                edges += edge as usize;
            }
        }
    }
    assert!(edges > 5000, "{edges} edges compare little");
}

#[test]
fn processors_give_what_torch_and_pillow_give() {
    let (meta, golden) = (meta(), golden());
    for (index, Case { processor, settings }) in meta.cases.iter().enumerate() {
        for name in &meta.small {
            let result = run(*processor, settings, &picture(&golden, name));
            let (shape, bytes) = golden.get(&format!("{index}.{name}"));
            assert_eq!(shape, [result.height(), result.width(), 3], "{processor} {settings:?} {name}");
            // Lines are rounded down to bytes, and a sum in another order may round to the next one.
            let steps = if *processor == ProcessorName::StandardLineart { 1.0 / 255.0 } else { 0.0 };
            let mut rounded = 0;
            for (got, expected) in result.pixels().iter().zip(bytes.as_chunks().0) {
                let apart = (got - f32::from(u16::from_le_bytes(*expected)) / 65535.0).abs();
                assert!(apart <= TOLERANCE + steps, "{processor} {settings:?} {name}: {apart}");
                rounded += usize::from(TOLERANCE < apart);
            }
            assert!(rounded * 50 <= result.pixels().len(), "{processor} {settings:?} {name}: {rounded} rounded");
        }
    }
}

#[test]
fn every_setting_at_its_ends_and_every_tiny_image_gives_numbers_in_range() {
    for name in without_networks() {
        for settings in extremes(name) {
            for (width, height) in [(1, 1), (1, 5), (7, 2), (16, 9)] {
                for value in [0.0, 0.5, 1.0] {
                    let input = Image::from_pixels(width, height, 3, vec![value; width * height * 3]).unwrap();
                    let result = run(name, &settings, &input);
                    assert!(
                        result.pixels().iter().all(|value| (0.0..=1.0).contains(value)),
                        "{name} {settings:?} {width}x{height} of {value}"
                    );
                }
            }
        }
    }
}
