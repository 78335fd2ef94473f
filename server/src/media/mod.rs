//! Reads and writes pictures and video: files, folders, standard input and output.
//!
//! [`open`] and [`create`] choose the format by the path; the rest of the command line uses [`FrameReader`] and
//! [`PictureWriter`]. Input is checked before memory is allocated for it. Output files get their final name only when
//! they are complete.

pub(crate) mod coded;
mod fit;
mod folder;
mod mp4_read;
mod mp4_write;
mod pending;
mod picture;
pub mod y4m;

use std::fmt;
use std::io::{BufReader, BufWriter, Cursor};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

pub(crate) use self::mp4_read::Mp4Reader;
pub(crate) use self::pending::{PendingFile, final_name};
use dreamframe::frame::{ColorSpace, Frame, YuvMatrix, YuvRange};
use dreamframe::transport::IngestOptions;
use dreamframe::{Error, ErrorKind, Result};

/// Big Buck Bunny, (c) 2008 Blender Foundation, CC BY 3.0; see server/media.
pub(crate) static CLIP: &[u8] = include_bytes!("../../media/big-buck-bunny-360p.mp4");

/// Reads frames one after another.
pub trait FrameReader: Send + fmt::Debug {
    /// Reads the next frame; `None` at the end. Its number is its index, from 0; its buffer is pooled.
    ///
    /// # Errors
    ///
    /// `InvalidFrame` for broken or too large input, `Unsupported`, `Io`.
    fn next(&mut self) -> Result<Option<Frame>>;

    /// Returns width and height of the first frame.
    fn size(&self) -> (u32, u32);

    /// Returns the number of frames, if it is known beforehand.
    fn len(&self) -> Option<usize>;

    /// Returns true if it is known that there are no frames.
    fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Returns the frames per second; `None` for pictures, and for files without a rate.
    fn rate(&self) -> Option<Rate>;

    /// Returns the file name of the frame read last, if it came from a file of its own.
    fn name(&self) -> Option<&str> {
        None
    }
}

/// Writes pictures of one size one after another.
///
/// A writer that is dropped before [`finish`](Self::finish) leaves nothing under the final name, except for a folder, in
/// which the complete pictures stay.
pub trait PictureWriter: Send + fmt::Debug {
    /// Writes a picture of any pixel format; `name` is its file name in a folder, and ignored elsewhere.
    ///
    /// # Errors
    ///
    /// `InvalidFrame` for another size than announced, `InvalidArgument` for a second picture in a single file or an
    /// invalid name, `Io`.
    fn write(&mut self, picture: &Frame, name: Option<&str>) -> Result<()>;

    /// Completes the output and gives it its name.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when nothing was written, `Io`.
    fn finish(&mut self) -> Result<()>;
}

/// Frames per second, as a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// The frames …
    pub frames: NonZeroU32,
    /// … in this number of seconds.
    pub seconds: NonZeroU32,
}

impl Rate {
    /// Reduces a fraction; `None` for zero, or where it does not fit.
    pub fn new(frames: u64, seconds: u64) -> Option<Self> {
        let (mut a, mut b) = (frames, seconds);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        let part = |value: u64| NonZeroU32::new(u32::try_from(value.checked_div(a)?).ok()?);
        Some(Self { frames: part(frames)?, seconds: part(seconds)? })
    }

    /// Frames a second as a number.
    pub fn hertz(self) -> f64 {
        f64::from(self.frames.get()) / f64::from(self.seconds.get())
    }
}

impl Default for Rate {
    /// 25 frames per second.
    fn default() -> Self {
        Self { frames: NonZeroU32::MIN.saturating_add(24), seconds: NonZeroU32::MIN }
    }
}

/// The facts of an output before its first picture.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// Pixels of a row of every picture.
    pub width: u32,
    /// Rows of every picture.
    pub height: u32,
    /// Pictures a second.
    pub rate: Rate,
    /// The number of pictures, if it is known; lets players start a video before it is loaded.
    pub pictures: Option<usize>,
}

/// The kind of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// Standard input or output, as YUV4MPEG2.
    Stream,
    Y4m(PathBuf),
    Mp4(PathBuf),
    Picture(PathBuf),
    Folder(PathBuf),
}

impl Place {
    /// By what exists, then by the extension.
    fn of(path: &Path) -> Result<Self> {
        let owned = path.to_path_buf();
        if path == Path::new("-") {
            return Ok(Self::Stream);
        }
        if path.is_dir() {
            return Ok(Self::Folder(owned));
        }
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
        match ending.as_deref() {
            None => Ok(Self::Folder(owned)),
            Some("mp4" | "m4v" | "mov") => Ok(Self::Mp4(owned)),
            Some("y4m") => Ok(Self::Y4m(owned)),
            Some(ending) if picture::is_ending(ending) => Ok(Self::Picture(owned)),
            Some(ending) => Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "{}: got .{ending}, expected a folder, - or one of {}, mp4, m4v, mov, y4m",
                    path.display(),
                    picture::ENDINGS.join(", ")
                ),
            )),
        }
    }
}

/// Opens a picture, a folder of pictures, an H.264 `.mp4` of up to `max_video_side` pixels a side, a `.y4m`, or `-` for
/// YUV4MPEG2 on standard input.
///
/// # Errors
///
/// `NotFound`, `InvalidArgument` for a path of no known kind or a folder without pictures, `Unsupported` for a codec,
/// layout or size of video that is not read, `InvalidFrame` for a broken, cut off or oversized file, `Io`.
pub fn open(path: &Path, max_video_side: u32) -> Result<Box<dyn FrameReader>> {
    const BUFFER: usize = 1 << 16;
    let open_file = |path: &Path| std::fs::File::open(path).map_err(|error| Error::io(path, "open", error));
    match Place::of(path)? {
        Place::Stream => {
            let input = BufReader::with_capacity(BUFFER, std::io::stdin());
            Named::open("standard input".into(), || y4m::Y4mReader::new(input))
        }
        Place::Y4m(path) => {
            let input = BufReader::with_capacity(BUFFER, open_file(&path)?);
            Named::open(path.display().to_string(), || y4m::Y4mReader::new(input))
        }
        Place::Mp4(path) => {
            let file = open_file(&path)?;
            Named::open(path.display().to_string(), || mp4_read::Mp4Reader::new(file, max_video_side))
        }
        // These name the picture themselves.
        Place::Picture(path) => Ok(Box::new(folder::PictureReader::one(path)?)),
        Place::Folder(path) => Ok(Box::new(folder::PictureReader::folder(&path)?)),
    }
}

/// A reader whose errors name the file.
#[derive(Debug)]
struct Named<R> {
    source: String,
    inner: R,
}

impl<R: FrameReader + 'static> Named<R> {
    fn open(source: String, open: impl FnOnce() -> Result<R>) -> Result<Box<dyn FrameReader>> {
        match open() {
            Ok(inner) => Ok(Box::new(Self { source, inner })),
            Err(error) => Err(error.within(source)),
        }
    }
}

impl<R: FrameReader> FrameReader for Named<R> {
    fn next(&mut self) -> Result<Option<Frame>> {
        self.inner.next().map_err(|error| error.within(&self.source))
    }

    fn size(&self) -> (u32, u32) {
        self.inner.size()
    }

    fn len(&self) -> Option<usize> {
        self.inner.len()
    }

    fn rate(&self) -> Option<Rate> {
        self.inner.rate()
    }

    fn name(&self) -> Option<&str> {
        self.inner.name()
    }
}

/// Opens an H.264 `.mp4` in memory, of the usual size at most.
///
/// # Errors
///
/// Like [`open`].
pub fn open_mp4(bytes: &'static [u8]) -> Result<Box<dyn FrameReader>> {
    Ok(Box::new(mp4_read::Mp4Reader::new(Cursor::new(bytes), IngestOptions::default().max_side)?))
}

/// Creates a picture, a folder of pictures, an H.264 `.mp4`, a `.y4m`, or writes YUV4MPEG2 to standard output for `-`.
///
/// An existing file is replaced when the new one is complete. A path without an extension is a folder.
///
/// # Errors
///
/// `InvalidArgument` for a path of no known kind or a size that the format cannot hold, `Io`.
pub fn create(path: &Path, output: Output) -> Result<Box<dyn PictureWriter>> {
    Ok(match Place::of(path)? {
        Place::Stream => {
            let stdout = BufWriter::with_capacity(1 << 16, std::io::stdout());
            Box::new(y4m::Y4mWriter::new(stdout, PathBuf::from("standard output"), output)?)
        }
        Place::Y4m(file) => Box::new(y4m::Y4mWriter::create(&file, output)?),
        Place::Mp4(file) => Box::new(mp4_write::Mp4Writer::create(&file, output)?),
        Place::Picture(file) => Box::new(folder::OnePicture::new(file, output)),
        Place::Folder(folder) => Box::new(folder::FolderWriter::create(folder, output)?),
    })
}

/// The colour space of a video that does not name it: BT.601 below 720 rows and BT.709 from there on, limited range.
///
/// It is what browsers and players assume.
fn assumed_color(height: u32) -> ColorSpace {
    let matrix = if height < 720 { YuvMatrix::Bt601 } else { YuvMatrix::Bt709 };
    ColorSpace { matrix, range: YuvRange::Limited }
}

/// Something in a file that cannot be a frame.
fn broken(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidFrame, text)
}

fn unsupported(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, text)
}

fn misused(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_reduced_and_never_zero() {
        assert_eq!(Rate::new(12800, 512), Some(Rate::default()));
        assert_eq!(Rate::new(30000, 1001).map(|rate| (rate.frames.get(), rate.seconds.get())), Some((30000, 1001)));
        assert_eq!(Rate::new(0, 1), None);
        assert_eq!(Rate::new(1, 0), None);
        assert_eq!(Rate::new(u64::MAX, 2), None);
    }

    #[test]
    fn extension_determines_the_kind_and_an_unknown_one_is_rejected() {
        assert_eq!(Place::of(Path::new("-")).unwrap(), Place::Stream);
        assert_eq!(Place::of(Path::new("a.MP4")).unwrap(), Place::Mp4("a.MP4".into()));
        assert_eq!(Place::of(Path::new("a.jpeg")).unwrap(), Place::Picture("a.jpeg".into()));
        assert_eq!(Place::of(Path::new("pictures")).unwrap(), Place::Folder("pictures".into()));
        let error = Place::of(Path::new("a.gif")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("got .gif") && error.to_string().contains("png"), "{error}");
    }
}
