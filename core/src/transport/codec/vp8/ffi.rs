//! Safe owners of the libvpx objects that `shim.c` creates.
#![allow(unsafe_code, reason = "libvpx is C")]

use std::ffi::{c_int, c_void};
use std::ptr::{NonNull, null};
use std::slice;

/// Three planes and their size.
#[repr(C)]
struct Planes {
    pixels: [*const u8; 3],
    strides: [u32; 3],
    width: u32,
    height: u32,
}

/// An encoded picture.
#[repr(C)]
struct Coded {
    data: *const u8,
    len: usize,
    key: c_int,
}

unsafe extern "C" {
    fn dreamframe_vp8_decoder() -> *mut c_void;
    fn dreamframe_vp8_decoder_free(decoder: *mut c_void);
    fn dreamframe_vp8_decode(decoder: *mut c_void, data: *const u8, len: u32, picture: *mut Planes) -> c_int;
    fn dreamframe_vp8_encoder(width: u32, height: u32, kilobits: u32) -> *mut c_void;
    fn dreamframe_vp8_encoder_free(encoder: *mut c_void);
    fn dreamframe_vp8_encode(
        encoder: *mut c_void,
        picture: *const Planes,
        at: i64,
        ticks: u32,
        key: c_int,
        coded: *mut Coded,
    ) -> c_int;
    fn dreamframe_vp8_tune(encoder: *mut c_void, kilobits: u32) -> c_int;
}

/// The result of decoding or encoding.
pub(super) enum Outcome<T> {
    /// There is a picture.
    Made(T),
    /// There is none, without an error.
    None,
    /// libvpx rejects the input.
    Failed,
}

/// A plane: its bytes, and those from one row to the next.
pub(super) type Plane<'a> = (&'a [u8], usize);

/// A picture of three planes, the last two of half the size, rounded up.
pub(super) struct Picture<'a> {
    pub(super) planes: [Plane<'a>; 3],
    pub(super) width: u32,
    pub(super) height: u32,
}

/// The rows of each plane, and the bytes of a row.
fn extents(width: u32, height: u32) -> [(usize, usize); 3] {
    let (width, height) = (width as usize, height as usize);
    let half = (height.div_ceil(2), width.div_ceil(2));
    [(height, width), half, half]
}

/// A decoder.
pub(super) struct Decoder(NonNull<c_void>);

// SAFETY: libvpx keeps nothing by thread; all calls go through `&mut self`.
unsafe impl Send for Decoder {}

impl Decoder {
    /// Creates a decoder; `None` without memory for it.
    pub(super) fn new() -> Option<Self> {
        // SAFETY: there are no preconditions.
        NonNull::new(unsafe { dreamframe_vp8_decoder() }).map(Self)
    }

    /// Decodes a picture, which lasts until the next call.
    pub(super) fn decode(&mut self, data: &[u8]) -> Outcome<Picture<'_>> {
        let Ok(len) = u32::try_from(data.len()) else { return Outcome::Failed };
        let mut planes = Planes { pixels: [null(); 3], strides: [0; 3], width: 0, height: 0 };
        // SAFETY: the decoder is alive, and used by this call alone; `data` has `len` bytes.
        match unsafe { dreamframe_vp8_decode(self.0.as_ptr(), data.as_ptr(), len, &raw mut planes) } {
            1 => {}
            0 => return Outcome::None,
            _ => return Outcome::Failed,
        }
        let Planes { pixels, strides, width, height } = planes;
        let plane = |index: usize, (rows, bytes): (usize, usize)| {
            let stride = strides[index] as usize;
            if pixels[index].is_null() || stride < bytes || rows == 0 {
                return None;
            }
            // SAFETY: libvpx reports this number of rows, each `stride` bytes after the previous one and `bytes` long, and
            // keeps them until the decoder is used again, which borrows it mutably.
            Some((unsafe { slice::from_raw_parts(pixels[index], stride * (rows - 1) + bytes) }, stride))
        };
        let [y, u, v] = extents(width, height);
        match (plane(0, y), plane(1, u), plane(2, v)) {
            (Some(y), Some(u), Some(v)) => Outcome::Made(Picture { planes: [y, u, v], width, height }),
            _ => Outcome::Failed,
        }
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: it was made by this library, and is not used after.
        unsafe { dreamframe_vp8_decoder_free(self.0.as_ptr()) }
    }
}

/// An encoder of one size.
pub(super) struct Encoder {
    inner: NonNull<c_void>,
    size: (u32, u32),
}

// SAFETY: as for `Decoder`.
unsafe impl Send for Encoder {}

impl Encoder {
    /// Creates an encoder; `None` if libvpx refuses the size, or without memory.
    pub(super) fn new(size: (u32, u32), kilobits: u32) -> Option<Self> {
        // SAFETY: it takes numbers only.
        NonNull::new(unsafe { dreamframe_vp8_encoder(size.0, size.1, kilobits) }).map(|inner| Self { inner, size })
    }

    /// Encodes a picture of the encoder's size, displayed for `ticks` from `at` on, both in units of 1/90000 s. Returns
    /// its bytes, which are valid until the next call, and whether it is a key frame.
    pub(super) fn encode(&mut self, picture: &Picture<'_>, at: i64, ticks: u32, key: bool) -> Outcome<(&[u8], bool)> {
        let fits = |(&(pixels, stride), (rows, bytes)): (&Plane<'_>, (usize, usize))| {
            stride >= bytes && rows > 0 && pixels.len() >= stride * (rows - 1) + bytes
        };
        let extents = extents(picture.width, picture.height);
        let strides = picture.planes.map(|(_, stride)| u32::try_from(stride).unwrap_or(u32::MAX));
        let whole = picture.planes.iter().zip(extents).all(fits) && strides.iter().all(|&s| s <= i32::MAX as u32);
        if !whole || (picture.width, picture.height) != self.size {
            return Outcome::Failed;
        }
        let pixels = picture.planes.map(|(pixels, _)| pixels.as_ptr());
        let planes = Planes { pixels, strides, width: picture.width, height: picture.height };
        let mut coded = Coded { data: null(), len: 0, key: 0 };
        let inner = self.inner.as_ptr();
        // SAFETY: the encoder is alive, and used by this call alone; each plane has the bytes of its size (checked above).
        match unsafe { dreamframe_vp8_encode(inner, &raw const planes, at, ticks, key.into(), &raw mut coded) } {
            1 if !coded.data.is_null() => {
                // SAFETY: libvpx returned this many bytes, and keeps them until the encoder is used again.
                Outcome::Made((unsafe { slice::from_raw_parts(coded.data, coded.len) }, coded.key != 0))
            }
            0 => Outcome::None,
            _ => Outcome::Failed,
        }
    }

    /// Sets the bit rate, in kbit/s; returns whether libvpx accepted.
    pub(super) fn tune(&mut self, kilobits: u32) -> bool {
        // SAFETY: the encoder is alive, and used by this call alone.
        unsafe { dreamframe_vp8_tune(self.inner.as_ptr(), kilobits) != 0 }
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: it was made by this library, and is not used after.
        unsafe { dreamframe_vp8_encoder_free(self.inner.as_ptr()) }
    }
}
