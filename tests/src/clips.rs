//! Clips and models of the programs that measure pictures, as their command lines name them.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use dreamframe::ModelSource;
use dreamframe::preprocess::Image;

use crate::steadiness::noisy_clip;

/// A clip: its name, and its frames.
pub type Clip = (String, Vec<Image>);

/// Returns the source of the model that `--model` names: `demo`, a folder, or a name of random weights such as
/// `sdxs-random`.
pub fn model_source(name: &str) -> ModelSource {
    if name.ends_with("-random") { ModelSource::Random(name.to_owned()) } else { ModelSource::from(name) }
}

/// Reads the arguments of the command line: passes each `--FLAG VALUE` to `set`, and returns the others.
///
/// # Errors
///
/// For a flag without a value, and those of `set`.
pub fn arguments(
    mut set: impl FnMut(&str, String) -> Result<(), Box<dyn Error>>,
) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut others = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg.starts_with("--") {
            let value = args.next().ok_or_else(|| format!("{arg}: missing, expected a value"))?;
            set(&arg, value).map_err(|error| format!("{arg}: {error}"))?;
        } else {
            others.push(arg.into());
        }
    }
    Ok(others)
}

/// Reads up to `count` frames of each folder, PNG files in order. From the first frame of the first one, two further clips are
/// made, with the noise of a sensor: `still`, and `camera`, in which the camera moves.
///
/// # Errors
///
/// For a folder that cannot be read or has fewer than `least` frames, and without folders.
pub fn clips(folders: &[PathBuf], count: usize, least: usize) -> Result<Vec<Clip>, Box<dyn Error>> {
    let mut clips = Vec::new();
    for folder in folders {
        let name = folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let frames = frames(folder, count)?;
        if frames.len() < least {
            return Err(format!("frames of {name}: got {}, expected at least {least}", frames.len()).into());
        }
        clips.push((name, frames));
    }
    let first = clips.first().and_then(|(_, frames)| frames.first().cloned());
    let first = first.ok_or("folders of PNG files: got none, expected at least one")?;
    for (name, moves) in [("still", false), ("camera", true)] {
        clips.push((name.to_owned(), noisy_clip(&first, count, moves)?));
    }
    Ok(clips)
}

fn frames(folder: &Path, count: usize) -> Result<Vec<Image>, Box<dyn Error>> {
    let mut paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, Box<dyn Error>>>()?;
    paths.sort();
    let read = |path: &PathBuf| {
        let picture = image::open(path)?.into_rgb8();
        from_bytes(picture.width(), picture.height(), picture.into_raw().into_iter())
    };
    paths.iter().take(count).map(read).collect()
}

/// Returns the pixels of an image, `[height, width, 3]` in 0..1, in eight bits.
pub fn bytes(image: &Image) -> Vec<u8> {
    image.pixels().iter().map(|x| (x * 255.0).round() as u8).collect()
}

/// The reverse of [`bytes`].
///
/// # Errors
///
/// For another number of `bytes` than that of the pixels.
pub fn from_bytes(width: u32, height: u32, bytes: impl Iterator<Item = u8>) -> Result<Image, Box<dyn Error>> {
    let pixels = bytes.map(|x| f32::from(x) / 255.0).collect();
    Ok(Image::from_pixels(width as usize, height as usize, 3, pixels)?)
}
