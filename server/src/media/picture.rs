//! Reads and writes single pictures.

use std::fs::File;
use std::io::{BufWriter, Cursor, Read as _, Write};
use std::path::Path;

use dreamframe::frame::{ColorSpace, Frame, FramePool, MAX_SIDE, PixelFormat};
use dreamframe::{Error, ErrorKind, Result};
use image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use super::fit::{Wanted, write_error};
use super::pending::PendingFile;
use super::{Output, broken, unsupported};
use crate::panics::contain;

/// The endings of pictures that are read and written.
pub(super) const ENDINGS: [&str; 5] = ["png", "jpg", "jpeg", "webp", "bmp"];

/// JPEG quality, of 100; above this, files grow without visible difference.
const JPEG_QUALITY: u8 = 95;

/// Memory that a decoder may use in addition to the picture: a picture of the largest size with 16 bits per channel.
const DECODER_BYTES: u64 = 8 * MAX_SIDE as u64 * MAX_SIDE as u64;

/// Whether files with this ending (lower case, without dot) are taken for pictures.
pub(super) fn is_ending(ending: &str) -> bool {
    ENDINGS.contains(&ending)
}

/// Returns the size of a picture without decoding it.
pub(super) fn size(path: &Path) -> Result<(u32, u32)> {
    contained(path, || Ok(decoder(path, &bytes(path)?)?.dimensions()))
}

/// Decodes a picture to RGB8, upright; transparency is dropped.
pub(super) fn read(path: &Path, pool: &FramePool) -> Result<Frame> {
    contained(path, || decode(path, pool))
}

/// Returns the result of a decoder: that of JPEG panics on some invalid files in builds with overflow checks.
fn contained<T>(path: &Path, decode: impl FnOnce() -> Result<T>) -> Result<T> {
    contain(path.display(), decode)
        .unwrap_or_else(|| Err(broken(format!("{}: damaged: its decoder panicked", path.display()))))
}

fn decode(path: &Path, pool: &FramePool) -> Result<Frame> {
    let failed = |error| image_error(path, error);
    let bytes = bytes(path)?;
    let mut decoder = decoder(path, &bytes)?;
    check_end(path, &bytes)?;
    let orientation = decoder.orientation().map_err(failed)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(failed)?;
    image.apply_orientation(orientation);
    let rgb = image.into_rgb8();
    let mut frame = pool.frame(PixelFormat::Rgb8, rgb.width(), rgb.height())?;
    frame.pixels_mut().copy_from_slice(&rgb);
    Ok(frame)
}

/// Reads the file at once: the decoders take a signal during a read for an error.
fn bytes(path: &Path) -> Result<Vec<u8>> {
    let mut file = File::open(path).map_err(|error| Error::io(path, "open", error))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|error| Error::io(path, "read", error))?;
    Ok(bytes)
}

/// A decoder that has read the header, with its size checked.
fn decoder<'a>(path: &Path, bytes: &'a [u8]) -> Result<impl ImageDecoder + 'a> {
    let reader = ImageReader::new(Cursor::new(bytes));
    let mut reader = reader.with_guessed_format().map_err(|error| Error::io(path, "read", error))?;
    if reader.format().is_none() {
        return Err(broken(format!("{}: got another format, expected PNG, JPEG, WebP or BMP", path.display())));
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(DECODER_BYTES);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|error| image_error(path, error))?;
    let (width, height) = decoder.dimensions();
    if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
        let text = format!("{}: got {width}x{height}, expected sides from 1 to {MAX_SIDE}", path.display());
        return Err(broken(text));
    }
    Ok(decoder)
}

/// Checks that a JPEG has its end marker, without which the decoder fills the rest with grey.
fn check_end(path: &Path, bytes: &[u8]) -> Result<()> {
    if !bytes.starts_with(&[0xFF, 0xD8]) {
        return Ok(());
    }
    // Neither marker can occur within a scan, so the end of the last scan follows its start.
    let last = |marker: u8| bytes.windows(2).rposition(|pair| pair == [0xFF, marker]);
    if last(0xD9) > last(0xDA) {
        return Ok(());
    }
    Err(broken(format!("{}: damaged or truncated: the end of the JPEG is missing", path.display())))
}

fn image_error(path: &Path, error: ImageError) -> Error {
    let path = path.display();
    let made = match &error {
        ImageError::IoError(cause) if cause.kind() != std::io::ErrorKind::UnexpectedEof => {
            Error::new(ErrorKind::Io, format!("failed to read {path}"))
        }
        ImageError::Unsupported(cause) => unsupported(format!("{path}: {cause}")),
        ImageError::Limits(cause) => broken(format!("{path}: too large: {cause}")),
        ImageError::IoError(_) | ImageError::Decoding(_) | ImageError::Encoding(_) | ImageError::Parameter(_) => {
            broken(format!("{path}: damaged or truncated: {error}"))
        }
    };
    made.with_source(error)
}

/// Writes pictures of one size, each to a file of its own.
#[derive(Debug)]
pub(super) struct Encoder {
    wanted: Wanted,
}

impl Encoder {
    pub(super) fn new(output: Output) -> Self {
        Self { wanted: Wanted::new(PixelFormat::Rgb8, ColorSpace::default(), output) }
    }

    /// Writes a picture in the format of the extension of `path`; it gets its name when it is complete.
    pub(super) fn write(&mut self, picture: &Frame, path: &Path) -> Result<()> {
        let format = ImageFormat::from_path(path).map_err(|error| {
            let text = format!("{}: expected a name that ends in one of {}", path.display(), ENDINGS.join(", "));
            Error::new(ErrorKind::InvalidArgument, text).with_source(error)
        })?;
        let rgb = self.wanted.of(picture)?;
        let mut file = BufWriter::new(PendingFile::create(path)?);
        let (pixels, width, height) = (rgb.pixels(), rgb.width(), rgb.height());
        let written = if format == ImageFormat::Jpeg {
            image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, JPEG_QUALITY).encode(
                pixels,
                width,
                height,
                ExtendedColorType::Rgb8,
            )
        } else {
            // BMP needs seeking; other formats work without a buffer.
            image::write_buffer_with_format(&mut file, pixels, width, height, ExtendedColorType::Rgb8, format)
        };
        written.map_err(|error| encode_error(path, error))?;
        file.flush().map_err(|error| write_error(path, error))?;
        let file = file.into_inner().map_err(|error| write_error(path, error.into_error()))?;
        file.commit()
    }
}

fn encode_error(path: &Path, error: ImageError) -> Error {
    match error {
        ImageError::IoError(cause) => write_error(path, cause),
        ImageError::Unsupported(_)
        | ImageError::Limits(_)
        | ImageError::Decoding(_)
        | ImageError::Encoding(_)
        | ImageError::Parameter(_) => {
            let text = format!("failed to write {} as a picture: {error}", path.display());
            Error::new(ErrorKind::InvalidArgument, text).with_source(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_decoder_is_an_error_that_names_the_file() {
        let refused = contained(Path::new("picture.jpg"), || -> Result<()> { panic!("an overflow") }).unwrap_err();
        assert_eq!(refused.to_string(), "picture.jpg: damaged: its decoder panicked");
    }
}
