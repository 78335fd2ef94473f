//! Conversion between frames and images of floats or bytes.
//!
//! Cropping, scaling and YUV conversion work on bytes, which is fast; the conversion to floats comes last. Images are
//! channels-last RGB, `[h, w, 3]`, top row first.

use dreamframe_kernels::resize::F32x3;
use half::f16;

use super::pixels::{self, Channels};
use super::pool::grow;
use super::resize::{Placement, Rect, Scaler};
use super::value_range::{Bytes, Signed, Unit, ValueRange};
use super::view::{FrameView, FrameViewMut};
use super::{Fit, MAX_SIDE, PixelFormat, yuv};
use crate::{Error, ErrorKind, Result};

/// Converts between frames and images of floats or bytes.
///
/// It keeps its scratch memory between calls: with unchanged sizes and formats it allocates nothing,
/// except for the filter's tables (a few kilobytes) if it has to scale.
/// Scaling is Catmull-Rom, widened when the image shrinks (what PIL calls bicubic).
#[derive(Debug)]
pub struct FrameConverter {
    scaler: Scaler,
    // Packed bytes of a frame that is not packed RGB.
    packed: Vec<u8>,
    // Packed bytes after scaling.
    scaled: Vec<u8>,
    // Packed planes of a YUV frame that is not packed.
    planes: Vec<u8>,
    // The same two for half-precision frames.
    floats: Vec<F32x3>,
    scaled_floats: Vec<F32x3>,
}

/// The size of a frame, its placement in the image, and the order of its rows.
#[derive(Clone, Copy)]
struct Job {
    size: (u32, u32),
    place: Placement,
    bottom_up: bool,
    // Width of the image in pixels.
    image_width: usize,
}

impl Default for FrameConverter {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameConverter {
    /// Creates a converter without scratch memory; it grows with the first frames.
    pub fn new() -> Self {
        Self {
            scaler: Scaler::default(),
            packed: Vec::new(),
            scaled: Vec::new(),
            planes: Vec::new(),
            floats: Vec::new(),
            scaled_floats: Vec::new(),
        }
    }

    /// Writes a frame into `out`, `[height, width, 3]` in -1..=1 (`x / 127.5 - 1`); bars of [`Fit::Fit`] are -1.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for an image side outside 1..=8192 or an `out` of another length; `OutOfMemory`.
    pub fn to_signed(
        &mut self,
        view: &FrameView<'_>,
        fit: Fit,
        width: u32,
        height: u32,
        out: &mut [f32],
    ) -> Result<()> {
        self.read::<Signed>(view, fit, (width, height), out)
    }

    /// Writes a frame into `out`, `[height, width, 3]` as bytes; otherwise as [`to_signed`](Self::to_signed). Frames in
    /// half precision are rounded.
    ///
    /// # Errors
    ///
    /// Those of [`to_signed`](Self::to_signed).
    pub fn to_bytes(&mut self, view: &FrameView<'_>, fit: Fit, width: u32, height: u32, out: &mut [u8]) -> Result<()> {
        self.read::<Bytes>(view, fit, (width, height), out)
    }

    /// Writes `rgb`, `[height, width, 3]` as bytes, into a view of the same size; otherwise as
    /// [`from_signed`](Self::from_signed).
    ///
    /// # Errors
    ///
    /// Those of [`from_signed`](Self::from_signed).
    pub fn from_bytes(&mut self, rgb: &[u8], width: u32, height: u32, view: &mut FrameViewMut<'_>) -> Result<()> {
        self.write::<Bytes>(rgb, (width, height), view)
    }

    /// Writes a frame into `out`, `[height, width, 3]` in 0..=1; otherwise as [`to_signed`](Self::to_signed).
    ///
    /// # Errors
    ///
    /// Those of [`to_signed`](Self::to_signed).
    pub fn to_unit(&mut self, view: &FrameView<'_>, fit: Fit, width: u32, height: u32, out: &mut [f32]) -> Result<()> {
        self.read::<Unit>(view, fit, (width, height), out)
    }

    /// Writes `rgb`, `[height, width, 3]` in -1..=1, into a view of the same size: `round((x * 0.5 + 0.5) * 255)`.
    ///
    /// Values outside are clamped, NaN becomes 0, alpha is opaque. Half-precision views are not rounded to bytes.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if `rgb` has another length than `width * height * 3`, `InvalidFrame` if the view has
    /// another size, `OutOfMemory`.
    pub fn from_signed(&mut self, rgb: &[f32], width: u32, height: u32, view: &mut FrameViewMut<'_>) -> Result<()> {
        self.write::<Signed>(rgb, (width, height), view)
    }

    /// Writes `rgb`, `[height, width, 3]` in 0..=1, into a view; otherwise as [`from_signed`](Self::from_signed).
    ///
    /// # Errors
    ///
    /// Those of [`from_signed`](Self::from_signed).
    pub fn from_unit(&mut self, rgb: &[f32], width: u32, height: u32, view: &mut FrameViewMut<'_>) -> Result<()> {
        self.write::<Unit>(rgb, (width, height), view)
    }

    fn read<R: ValueRange>(
        &mut self,
        view: &FrameView<'_>,
        fit: Fit,
        image: (u32, u32),
        out: &mut [R::Value],
    ) -> Result<()> {
        check_image(image, out.len())?;
        let size = (view.width(), view.height());
        let bottom_up = view.head().bottom_up();
        let mut place = Placement::new(fit, size, image);
        if bottom_up {
            place = place.bottom_up(size.1);
        }
        if (place.target.width, place.target.height) != image {
            out.fill(R::of_byte(0));
        }
        let job = Job { size, place, bottom_up, image_width: image.0 as usize };
        match view.format() {
            PixelFormat::Rgb8 => self.read_bytes::<R>(view, Channels::Rgb, &job, out),
            PixelFormat::Rgba8 => self.read_bytes::<R>(view, Channels::Rgba, &job, out),
            PixelFormat::Bgra8 => self.read_bytes::<R>(view, Channels::Bgra, &job, out),
            PixelFormat::Rgba16F => self.read_halves::<R>(view, &job, out),
            PixelFormat::Nv12 | PixelFormat::I420 => {
                let rgb = grow(&mut self.packed, PixelFormat::Rgb8.packed_len(size.0, size.1))?;
                if view.is_packed() {
                    yuv::to_rgb(view, rgb)?;
                } else {
                    let planes = grow(&mut self.planes, view.format().packed_len(size.0, size.1))?;
                    let mut copy = FrameViewMut::split(*view.head(), planes);
                    copy.copy_rows(view);
                    yuv::to_rgb(&copy.as_view(), rgb)?;
                }
                place_bytes::<R>(&mut self.scaler, &self.packed, Channels::Rgb, &job, &mut self.scaled, out)
            }
        }
    }

    fn read_bytes<R: ValueRange>(
        &mut self,
        view: &FrameView<'_>,
        channels: Channels,
        job: &Job,
        out: &mut [R::Value],
    ) -> Result<()> {
        if let Some(plane) = view.plane(0).filter(|_| view.is_packed()) {
            return place_bytes::<R>(&mut self.scaler, plane.pixels, channels, job, &mut self.scaled, out);
        }
        let packed = grow(&mut self.packed, view.format().packed_len(job.size.0, job.size.1))?;
        FrameViewMut::split(*view.head(), packed).copy_rows(view);
        place_bytes::<R>(&mut self.scaler, &self.packed, channels, job, &mut self.scaled, out)
    }

    fn read_halves<R: ValueRange>(&mut self, view: &FrameView<'_>, job: &Job, out: &mut [R::Value]) -> Result<()> {
        let (width, height) = (job.size.0 as usize, job.size.1 as usize);
        let floats = grow(&mut self.floats, width * height)?;
        for (to, from) in floats.chunks_exact_mut(width).zip(view.rows(0)) {
            for (to, from) in to.iter_mut().zip(from.as_chunks::<8>().0) {
                let [r0, r1, g0, g1, b0, b1, ..] = *from;
                let unit = |low, high| Unit::of_unit(f16::from_ne_bytes([low, high]).to_f32());
                *to = F32x3::new([unit(r0, r1), unit(g0, g1), unit(b0, b1)]);
            }
        }
        let Rect { width: to_width, height: to_height, .. } = job.place.target;
        let store = |from: &[F32x3], to: &mut [[R::Value; 3]]| {
            for (to, from) in to.iter_mut().zip(from) {
                *to = from.0.map(R::of_unit);
            }
        };
        if job.place.keeps_size() {
            store_rows(&self.floats, 1, job.size.0, job.place.source, job, out, store);
            return Ok(());
        }
        let scaled = grow(&mut self.scaled_floats, to_width as usize * to_height as usize)?;
        self.scaler.scale(&self.floats, job.size, job.place.source, scaled, (to_width, to_height))?;
        let whole = Rect { left: 0, top: 0, ..job.place.target };
        store_rows(scaled, 1, to_width, whole, job, out, store);
        Ok(())
    }

    fn write<R: ValueRange>(&mut self, rgb: &[R::Value], image: (u32, u32), view: &mut FrameViewMut<'_>) -> Result<()> {
        check_image(image, rgb.len())?;
        if (view.width(), view.height()) != image {
            let text =
                format!("output frame: got {}x{}, expected {}x{}", view.width(), view.height(), image.0, image.1);
            return Err(Error::new(ErrorKind::InvalidFrame, text));
        }
        let bottom_up = view.head().bottom_up();
        let rows = rgb.chunks_exact(image.0 as usize * 3);
        let packed = |channels, view: &mut FrameViewMut<'_>| {
            pair_rows(rows.clone(), view.rows_mut(0), bottom_up, |from, to| pixels::write::<R>(channels, from, to));
        };
        match view.format() {
            PixelFormat::Rgb8 => packed(Channels::Rgb, view),
            PixelFormat::Rgba8 => packed(Channels::Rgba, view),
            PixelFormat::Bgra8 => packed(Channels::Bgra, view),
            PixelFormat::Rgba16F => {
                pair_rows(rows, view.rows_mut(0), bottom_up, |from, to| pixels::write_halves::<R>(from, to));
            }
            PixelFormat::Nv12 | PixelFormat::I420 => {
                let packed = grow(&mut self.packed, rgb.len())?;
                pair_rows(rows, packed.chunks_exact_mut(image.0 as usize * 3), bottom_up, |from, to| {
                    pixels::write::<R>(Channels::Rgb, from, to);
                });
                if view.as_view().is_packed() {
                    return yuv::from_rgb(packed, view);
                }
                let planes = grow(&mut self.planes, view.format().packed_len(image.0, image.1))?;
                let mut copy = FrameViewMut::split(*view.head(), planes);
                yuv::from_rgb(packed, &mut copy)?;
                view.copy_rows(&copy.as_view());
            }
        }
        Ok(())
    }
}

/// Checks the size of an image and the length of its memory.
fn check_image((width, height): (u32, u32), len: usize) -> Result<()> {
    if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
        let text = format!("image: got {width}x{height}, expected sides from 1 to {MAX_SIDE}");
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    }
    let needed = width as usize * height as usize * 3;
    if len == needed {
        return Ok(());
    }
    let text = format!("image of {width}x{height}: got {len} elements, expected {needed}");
    Err(Error::new(ErrorKind::InvalidArgument, text))
}

/// Crops and scales packed bytes, and writes them as values.
fn place_bytes<R: ValueRange>(
    scaler: &mut Scaler,
    bytes: &[u8],
    channels: Channels,
    job: &Job,
    scaled: &mut Vec<u8>,
    out: &mut [R::Value],
) -> Result<()> {
    let Placement { source, target } = job.place;
    if job.place.keeps_size() {
        store_bytes::<R>(bytes, channels, job.size.0, source, job, out);
        return Ok(());
    }
    let to = (target.width, target.height);
    let pixels = target.width as usize * target.height as usize;
    let scaled = grow(scaled, pixels * 4)?;
    let channels = match channels {
        Channels::Rgb => {
            scaler.scale_rgb(bytes, job.size, source, scaled, to)?;
            Channels::Rgba
        }
        Channels::Rgba | Channels::Bgra => {
            scaler.scale_bytes(bytes, job.size, source, scaled, to)?;
            channels
        }
    };
    store_bytes::<R>(scaled, channels, target.width, Rect { left: 0, top: 0, ..target }, job, out);
    Ok(())
}

/// Writes a part of packed bytes as values.
fn store_bytes<R: ValueRange>(bytes: &[u8], channels: Channels, row: u32, part: Rect, job: &Job, out: &mut [R::Value]) {
    store_rows(bytes, channels.count(), row, part, job, out, |from, to| pixels::read::<R>(channels, from, to));
}

/// Writes the rectangle `part` of packed pixels to the target of the job; a row has `row` pixels of `count` items each.
fn store_rows<P, V>(
    items: &[P],
    count: usize,
    row: u32,
    part: Rect,
    job: &Job,
    out: &mut [V],
    store: impl Fn(&[P], &mut [[V; 3]]),
) {
    let target = job.place.target;
    let [left, top, width, height] = [part.left, part.top, part.width, part.height].map(|side| side as usize);
    let rows = items.chunks_exact(row as usize * count).skip(top).take(height);
    let image = out.as_chunks_mut::<3>().0;
    let image_rows = image.chunks_exact_mut(job.image_width).skip(target.top as usize).take(height);
    pair_rows(rows, image_rows, job.bottom_up, |from, to| {
        let from = from.get(left * count..(left + width) * count).unwrap_or_default();
        let to = to.get_mut(target.left as usize..target.left as usize + width).unwrap_or_default();
        store(from, to);
    });
}

/// Calls `each` for pairs of rows; the second list is reversed if `reversed`.
fn pair_rows<A, B>(
    rows: impl Iterator<Item = A>,
    others: impl DoubleEndedIterator<Item = B>,
    reversed: bool,
    each: impl Fn(A, B),
) {
    if reversed {
        rows.zip(others.rev()).for_each(|(a, b)| each(a, b));
    } else {
        rows.zip(others).for_each(|(a, b)| each(a, b));
    }
}
