//! Reads and writes a picture, or a folder of pictures.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use dreamframe::frame::{Frame, FrameId, FramePool};
use dreamframe::{Error, Result};

use super::{FrameReader, Output, PictureWriter, Rate, misused, picture};

/// Reads the pictures of a folder in the order of their names, or one picture.
#[derive(Debug)]
pub(super) struct PictureReader {
    paths: Vec<PathBuf>,
    read: usize,
    size: (u32, u32),
    pool: FramePool,
}

impl PictureReader {
    /// Opens one picture.
    pub(super) fn one(path: PathBuf) -> Result<Self> {
        let size = picture::size(&path)?;
        Ok(Self { paths: vec![path], read: 0, size, pool: FramePool::new(4) })
    }

    /// Lists the pictures of a folder; hidden files and those with other endings are skipped.
    pub(super) fn folder(folder: &Path) -> Result<Self> {
        let failed = |error| Error::io(folder, "list", error);
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if is_picture(&path) && path.is_file() {
                paths.push(path);
            }
        }
        paths.sort_unstable();
        let Some(first) = paths.first() else {
            let endings = picture::ENDINGS.join(", ");
            return Err(misused(format!(
                "{}: got no picture, expected files that end in one of {endings}",
                folder.display()
            )));
        };
        let size = picture::size(first)?;
        Ok(Self { paths, read: 0, size, pool: FramePool::new(4) })
    }
}

fn is_picture(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
    !hidden && ending.is_some_and(|ending| picture::is_ending(&ending))
}

impl FrameReader for PictureReader {
    fn next(&mut self) -> Result<Option<Frame>> {
        let Some(path) = self.paths.get(self.read) else {
            return Ok(None);
        };
        let mut frame = picture::read(path, &self.pool)?;
        frame.set_id(FrameId(self.read as u64));
        self.read += 1;
        Ok(Some(frame))
    }

    fn size(&self) -> (u32, u32) {
        self.size
    }

    fn len(&self) -> Option<usize> {
        Some(self.paths.len())
    }

    fn rate(&self) -> Option<Rate> {
        None
    }

    fn name(&self) -> Option<&str> {
        self.paths.get(self.read.checked_sub(1)?)?.file_name().and_then(OsStr::to_str)
    }
}

/// Writes pictures into a folder: under the names of the pictures they were made from, or numbered as PNG.
#[derive(Debug)]
pub(super) struct FolderWriter {
    folder: PathBuf,
    encoder: picture::Encoder,
    written: usize,
}

impl FolderWriter {
    /// Creates the folder if it does not exist.
    pub(super) fn create(folder: PathBuf, output: Output) -> Result<Self> {
        std::fs::create_dir_all(&folder).map_err(|error| Error::io(&folder, "create", error))?;
        Ok(Self { folder, encoder: picture::Encoder::new(output), written: 0 })
    }
}

impl PictureWriter for FolderWriter {
    fn write(&mut self, picture: &Frame, name: Option<&str>) -> Result<()> {
        let path = match name {
            Some(name) if Path::new(name).file_name() == Some(OsStr::new(name)) => self.folder.join(name),
            Some(name) => {
                return Err(misused(format!(
                    "name of the picture: got {name:?}, expected a file name without a folder"
                )));
            }
            None => self.folder.join(format!("{:06}.png", self.written)),
        };
        self.encoder.write(picture, &path)?;
        self.written += 1;
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        if self.written == 0 {
            return Err(misused(format!("no picture was written to {}", self.folder.display())));
        }
        Ok(())
    }
}

/// Writes a single picture.
#[derive(Debug)]
pub(super) struct OnePicture {
    path: PathBuf,
    encoder: picture::Encoder,
    written: bool,
}

impl OnePicture {
    pub(super) fn new(path: PathBuf, output: Output) -> Self {
        Self { path, encoder: picture::Encoder::new(output), written: false }
    }
}

impl PictureWriter for OnePicture {
    fn write(&mut self, picture: &Frame, _name: Option<&str>) -> Result<()> {
        if self.written {
            let text =
                format!("{}: got more than one picture, expected one; use a folder or a video", self.path.display());
            return Err(misused(text));
        }
        self.encoder.write(picture, &self.path)?;
        self.written = true;
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        if !self.written {
            return Err(misused(format!("no picture was written to {}", self.path.display())));
        }
        Ok(())
    }
}
