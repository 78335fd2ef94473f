//! YUV4MPEG2, the uncompressed video format of pipes: a header line, then `FRAME` lines and planes.
//!
//! Sizes are checked before memory is allocated, so that any input is safe.

use std::io::{BufRead, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use dreamframe::frame::{ColorSpace, Frame, FrameId, FramePool, MAX_SIDE, PixelFormat, YuvRange};
use dreamframe::{Error, ErrorKind, Result};

use super::fit::{Wanted, write_error};
use super::pending::PendingFile;
use super::{FrameReader, Output, PictureWriter, Rate, assumed_color, broken, misused, unsupported};

const MAGIC: &[u8] = b"YUV4MPEG2";
const FRAME: &[u8] = b"FRAME";

/// The longest line of text that is read; ffmpeg's are about 100 bytes.
const MAX_LINE: usize = 1024;

/// The names of 4:2:0 with 8 bits. They differ in where chroma samples lie, by half a pixel at most.
const LAYOUTS: [&str; 4] = ["420", "420jpeg", "420mpeg2", "420paldv"];

/// The header of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Pixels of a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Frames per second, where the stream has it.
    pub rate: Option<Rate>,
    /// The colour space: the range of the stream, the matrix by the number of rows.
    pub color: ColorSpace,
}

/// Reads the first line of a stream, without its end of line.
///
/// # Errors
///
/// `InvalidFrame` for a line of another format, a size that is missing or outside 1..=8192 or a rate that is no
/// fraction; `Unsupported` for interlaced video and all but 8-bit 4:2:0.
pub fn parse_header(line: &[u8]) -> Result<Header> {
    let rest = line.strip_prefix(MAGIC).filter(|rest| rest.is_empty() || rest.starts_with(b" "));
    let Some(rest) = rest else {
        return Err(broken("first line: expected one that starts with YUV4MPEG2"));
    };
    let text = std::str::from_utf8(rest).map_err(|error| broken("the header is not UTF-8").with_source(error))?;
    let (mut width, mut height, mut rate, mut full) = (None, None, None, false);
    for field in text.split(' ').filter(|field| !field.is_empty()) {
        let mut chars = field.chars();
        let tag = chars.next();
        let value = chars.as_str();
        match tag {
            Some('W') => width = Some(side("width", value)?),
            Some('H') => height = Some(side("height", value)?),
            Some('F') => rate = parse_rate(value)?,
            Some('I') if !matches!(value, "p" | "?") => {
                return Err(unsupported(format!("interlacing: got {value:?}, expected progressive video (Ip)")));
            }
            Some('C') if !LAYOUTS.contains(&value) => {
                return Err(unsupported(format!(
                    "colour space: got {value:?}, expected one of {}",
                    LAYOUTS.join(", ")
                )));
            }
            Some('X') if value == "COLORRANGE=FULL" => full = true,
            _ => {}
        }
    }
    let (Some(width), Some(height)) = (width, height) else {
        return Err(broken("width (W) or height (H): missing in the header"));
    };
    let mut color = assumed_color(height);
    if full {
        color.range = YuvRange::Full;
    }
    Ok(Header { width, height, rate, color })
}

fn side(what: &str, value: &str) -> Result<u32> {
    let parsed = value.parse().ok().filter(|side| (1..=MAX_SIDE).contains(side));
    parsed.ok_or_else(|| broken(format!("{what}: got {value:?}, expected 1 to {MAX_SIDE}")))
}

/// `frames:seconds`; 0:0 means that it is not known.
fn parse_rate(value: &str) -> Result<Option<Rate>> {
    let parts = value.split_once(':').and_then(|(a, b)| Some((a.parse::<u32>().ok()?, b.parse::<u32>().ok()?)));
    match parts {
        Some((0, 0)) => Ok(None),
        Some((frames, seconds)) if frames > 0 && seconds > 0 => Ok(Rate::new(frames.into(), seconds.into())),
        _ => Err(broken(format!("rate: got {value:?}, expected a fraction such as 25:1"))),
    }
}

/// Reads a stream of frames.
#[derive(Debug)]
pub struct Y4mReader<R> {
    input: R,
    header: Header,
    line: Vec<u8>,
    read: u64,
    pool: FramePool,
}

impl<R: BufRead> Y4mReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    ///
    /// Those of [`parse_header`], `InvalidFrame` for an empty stream or a line without end, `Io`.
    pub fn new(mut input: R) -> Result<Self> {
        let mut line = Vec::new();
        if !read_line(&mut input, &mut line)? {
            return Err(broken("got no bytes, expected a YUV4MPEG2 header"));
        }
        let header = parse_header(&line)?;
        Ok(Self { input, header, line, read: 0, pool: FramePool::new(4) })
    }

    /// Returns the header.
    pub fn header(&self) -> Header {
        self.header
    }

    /// Reads the next frame as I420; `None` at the end.
    ///
    /// # Errors
    ///
    /// `InvalidFrame` if something else than a frame follows or a frame is cut off, `Io`.
    pub fn read_frame(&mut self) -> Result<Option<Frame>> {
        let number = self.read;
        if !read_line(&mut self.input, &mut self.line)? {
            return Ok(None);
        }
        let rest = self.line.strip_prefix(FRAME);
        if !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b" ")) {
            return Err(broken(format!("frame {number}: expected a line that starts with FRAME")));
        }
        let Header { width, height, color, .. } = self.header;
        let mut frame = self.pool.frame(PixelFormat::I420, width, height)?;
        let mut missing = frame.pixels_mut();
        let wanted = missing.len();
        while !missing.is_empty() {
            match self.input.read(missing) {
                Ok(0) => {
                    let got = wanted - missing.len();
                    return Err(broken(format!(
                        "frame {number}: got {got} bytes, expected {wanted}; the stream is truncated"
                    )));
                }
                Ok(count) => missing = missing.split_at_mut(count).1,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(read_error(error)),
            }
        }
        frame.set_color(color);
        frame.set_id(FrameId(number));
        self.read += 1;
        Ok(Some(frame))
    }
}

/// Reads a line without its end; `false` at the end of the stream.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> Result<bool> {
    line.clear();
    let count = input.by_ref().take(MAX_LINE as u64).read_until(b'\n', line).map_err(read_error)?;
    if count == 0 {
        return Ok(false);
    }
    if line.pop() != Some(b'\n') {
        return Err(broken(format!("line: got no end within {MAX_LINE} bytes")));
    }
    Ok(true)
}

fn read_error(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "failed to read the stream").with_source(error)
}

impl<R: BufRead + Send + std::fmt::Debug> FrameReader for Y4mReader<R> {
    fn next(&mut self) -> Result<Option<Frame>> {
        self.read_frame()
    }

    fn size(&self) -> (u32, u32) {
        (self.header.width, self.header.height)
    }

    fn len(&self) -> Option<usize> {
        None
    }

    fn rate(&self) -> Option<Rate> {
        self.header.rate
    }
}

/// Writes a stream of frames.
#[derive(Debug)]
pub(super) struct Y4mWriter<W: Sink> {
    // Gone once it is finished.
    output: Option<W>,
    path: PathBuf,
    wanted: Wanted,
    written: bool,
}

/// The destination of a stream.
pub(super) trait Sink: Write + Send + std::fmt::Debug {
    /// Does what completes it, after the last byte.
    fn complete(self, path: &Path) -> Result<()>;
}

impl Sink for BufWriter<std::io::Stdout> {
    fn complete(mut self, path: &Path) -> Result<()> {
        self.flush().map_err(|error| write_error(path, error))
    }
}

impl Sink for BufWriter<PendingFile> {
    fn complete(self, path: &Path) -> Result<()> {
        self.into_inner().map_err(|error| write_error(path, error.into_error()))?.commit()
    }
}

impl Y4mWriter<BufWriter<PendingFile>> {
    /// Writes to a file.
    pub(super) fn create(path: &Path, output: Output) -> Result<Self> {
        let file = BufWriter::with_capacity(1 << 16, PendingFile::create(path)?);
        Self::new(file, path.to_path_buf(), output)
    }
}

impl<W: Sink> Y4mWriter<W> {
    /// Writes the header; `path` is for messages.
    pub(super) fn new(mut sink: W, path: PathBuf, output: Output) -> Result<Self> {
        let Output { width, height, rate: Rate { frames, seconds }, .. } = output;
        // The range is named, so that no reader has to guess it.
        writeln!(sink, "YUV4MPEG2 W{width} H{height} F{frames}:{seconds} Ip A1:1 C420jpeg XCOLORRANGE=LIMITED")
            .map_err(|error| write_error(&path, error))?;
        let wanted = Wanted::new(PixelFormat::I420, assumed_color(height), output);
        Ok(Self { output: Some(sink), path, wanted, written: false })
    }
}

impl<W: Sink> PictureWriter for Y4mWriter<W> {
    fn write(&mut self, picture: &Frame, _name: Option<&str>) -> Result<()> {
        let Some(output) = &mut self.output else {
            return Err(misused(format!("{} is already complete", self.path.display())));
        };
        let planes = self.wanted.of(picture)?.pixels();
        let written = output.write_all(b"FRAME\n").and_then(|()| output.write_all(planes));
        written.map_err(|error| write_error(&self.path, error))?;
        self.written = true;
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        match self.output.take() {
            Some(output) if self.written => output.complete(&self.path),
            _ => Err(misused(format!("no picture was written to {}", self.path.display()))),
        }
    }
}
