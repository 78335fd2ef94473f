//! Memory of a device, and operations on it between networks, in the order of the calls.

use std::any::Any;
use std::fmt;
use std::time::{Duration, Instant};

use super::arena::Arena;
use super::{Buffer, View, ViewMut, memory};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{DeviceFrame, DeviceFrameMut, Fit, FrameConverter, FrameMemory, FrameView, FrameViewMut};

/// Memory of an executor's device, and the order of operations on it.
///
/// The runs of networks and all of these methods take effect in the order of the calls. A device may finish them later;
/// [`download`](Self::download) and [`finish_export`](Self::finish_export) wait. An error of the device may then be
/// returned by a later call.
pub trait Queue: Send + Sync + fmt::Debug {
    /// Allocates `len` zeros.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` with the bytes that are needed.
    fn buffer(&self, len: usize) -> Result<Buffer>;

    /// Allocates scratch memory for networks that need up to `bytes`.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` with the bytes that are needed.
    fn scratch(&self, bytes: usize) -> Result<Scratch>;

    /// Returns how many bytes of memory may still be allocated; `None` if that is unknown.
    fn available_memory(&self) -> Option<u64>;

    /// Returns how many frames may be between [`begin_export`](Self::begin_export) and
    /// [`finish_export`](Self::finish_export): 1 if a run is finished when it returns.
    fn depth(&self) -> usize;

    /// Copies elements from host memory.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for different lengths or a buffer of another device, and those of the device.
    fn upload(&self, from: &[f32], to: ViewMut<'_>) -> Result<()>;

    /// Copies elements to host memory, once all earlier work is finished.
    ///
    /// # Errors
    ///
    /// Like [`upload`](Self::upload).
    fn download(&self, from: View<'_>, to: &mut [f32]) -> Result<()>;

    /// Replaces `to` by `keep * to`, plus each of `terms` times its factor, in order. Operands with a factor of 0 are
    /// not read.
    ///
    /// # Errors
    ///
    /// Like [`upload`](Self::upload).
    fn combine(&self, to: ViewMut<'_>, keep: f32, terms: &[(f32, View<'_>)]) -> Result<()>;

    /// Converts from -1..1 to 0..1, clamped.
    ///
    /// # Errors
    ///
    /// Like [`upload`](Self::upload).
    fn to_unit(&self, from: View<'_>, to: ViewMut<'_>) -> Result<()>;

    /// Converts a frame to `[height, width, 3]` in -1..1.
    ///
    /// # Errors
    ///
    /// `InvalidFrame`, and as [`upload`](Self::upload).
    fn import(
        &self,
        frame: &FrameView<'_>,
        converter: &mut FrameConverter,
        fit: Fit,
        size: (u32, u32),
        to: ViewMut<'_>,
    ) -> Result<()>;

    /// Starts the transfer of an image, `[height, width, 3]` in -1..1, to the host. `from` must not change until
    /// [`finish_export`](Self::finish_export).
    ///
    /// # Errors
    ///
    /// Like [`upload`](Self::upload).
    fn begin_export(&self, from: View<'_>, transfer: &mut Transfer) -> Result<()>;

    /// Waits for the transfer, and converts the image `from`, of the width and height `size`, to the format of `to`.
    ///
    /// # Errors
    ///
    /// `InvalidFrame`, and as [`upload`](Self::upload).
    fn finish_export(
        &self,
        from: View<'_>,
        transfer: &mut Transfer,
        converter: &mut FrameConverter,
        size: (u32, u32),
        to: &mut FrameViewMut<'_>,
    ) -> Result<()>;

    /// Converts the image of the last [finished](Self::finish_export) export of `transfer` again, without the device, which
    /// may be lost. Returns false if `transfer` does not keep it, or for another size.
    ///
    /// # Errors
    ///
    /// `InvalidFrame`, `OutOfMemory`.
    fn export_again(
        &self,
        _transfer: &mut Transfer,
        _converter: &mut FrameConverter,
        _size: (u32, u32),
        _to: &mut FrameViewMut<'_>,
    ) -> Result<bool> {
        Ok(false)
    }

    /// Returns the memory of frames that [`import_device`](Self::import_device) reads and
    /// [`export_device`](Self::export_device) writes; `None` if there is none.
    fn frame_memory(&self) -> Option<FrameMemory> {
        None
    }

    /// Converts a frame in the memory of the device to `[height, width, 3]` in -1..1, as [`import`](Self::import) does. The
    /// frame is not read after this call.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the device has no memory for frames, `InvalidArgument` for memory of another kind or device, and as
    /// [`upload`](Self::upload).
    fn import_device(&self, frame: &DeviceFrame<'_>, fit: Fit, size: (u32, u32), to: ViewMut<'_>) -> Result<()> {
        let _ = (fit, size, to);
        check_frame_memory(frame.memory(), None)
    }

    /// Converts an image, of the width and height `size` and in -1..1, to a frame in the memory of the device. Everything
    /// is finished when it returns.
    ///
    /// # Errors
    ///
    /// `InvalidFrame` for a frame of another size, and as [`import_device`](Self::import_device).
    fn export_device(&self, from: View<'_>, size: (u32, u32), to: &mut DeviceFrameMut<'_>) -> Result<()> {
        let _ = (from, size);
        check_frame_memory(to.memory(), None)
    }

    /// Returns the point between the operations before and after this call.
    fn mark(&self) -> Mark;

    /// Returns the time between two points, once both are reached.
    fn elapsed(&self, from: &Mark, to: &Mark) -> Duration;
}

impl dyn Queue + '_ {
    /// Checks that there is enough memory, before it is allocated. If the available memory is unknown, the allocation
    /// itself may fail.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` with the bytes that `what` needs and those that are available.
    pub fn require(&self, bytes: usize, what: &str) -> Result<()> {
        memory::require_of(self.available_memory(), bytes, what)
    }

    /// Returns the elements in host memory; downloads them to `staging` if they are on a device.
    ///
    /// # Errors
    ///
    /// Those of [`download`](Self::download).
    pub fn read<'a>(&self, from: View<'a>, staging: &'a mut Vec<f32>) -> Result<&'a [f32]> {
        if let View::Host(elements) = from {
            return Ok(elements);
        }
        staging.resize(from.len(), 0.0);
        self.download(from, staging)?;
        Ok(staging)
    }

    /// Calls `fill` to write all elements, in host memory; uploads them from `staging` if they are on a device.
    ///
    /// # Errors
    ///
    /// Those of [`upload`](Self::upload).
    pub fn write(&self, to: ViewMut<'_>, staging: &mut Vec<f32>, fill: impl FnOnce(&mut [f32])) -> Result<()> {
        if let ViewMut::Host(elements) = to {
            fill(elements);
            return Ok(());
        }
        staging.resize(to.len(), 0.0);
        fill(staging);
        self.upload(staging, to)
    }

    /// Copies elements within the device.
    ///
    /// # Errors
    ///
    /// Those of [`combine`](Self::combine).
    pub fn copy(&self, from: View<'_>, to: ViewMut<'_>) -> Result<()> {
        self.combine(to, 0.0, &[(1.0, from)])
    }

    /// Sets all elements to 0.
    ///
    /// # Errors
    ///
    /// Those of [`combine`](Self::combine).
    pub fn clear(&self, to: ViewMut<'_>) -> Result<()> {
        self.combine(to, 0.0, &[])
    }
}

/// Checks that a frame in `memory` can be read and written, where `expected` is the memory for frames.
///
/// # Errors
///
/// `Unsupported` if there is none, `InvalidArgument` for memory of another kind or device.
pub(crate) fn check_frame_memory(memory: FrameMemory, expected: Option<FrameMemory>) -> Result<()> {
    match expected {
        Some(expected) if memory == expected => Ok(()),
        Some(expected) => {
            let text = format!("frame on a device: got {memory}, expected {expected}");
            Err(Error::new(ErrorKind::InvalidArgument, text))
        }
        None => {
            let text = format!("frame on a device: got {memory}, expected a frame in host memory (`FrameView`)");
            Err(Error::new(ErrorKind::Unsupported, text))
        }
    }
}

/// Scratch memory of the frame loop, shared by the networks of a pipeline, which run one after the other.
#[derive(Default)]
pub struct Scratch(Option<Box<dyn Any + Send>>);

/// The state of a transfer to the host.
#[derive(Default)]
pub struct Transfer(Option<Box<dyn Any + Send>>);

macro_rules! opaque {
    ($name:ident) => {
        impl $name {
            /// Returns an empty value, for an executor to fill.
            pub fn new() -> Self {
                Self::default()
            }

            /// Wraps the executor's own type.
            pub fn of<T: Send + 'static>(value: T) -> Self {
                Self(Some(Box::new(value)))
            }

            /// Returns the executor's own type; another one is replaced by the default.
            pub fn get_or_default<T: Default + Send + 'static>(&mut self) -> &mut T {
                if !self.0.as_deref().is_some_and(<dyn Any + Send>::is::<T>) {
                    self.0 = Some(Box::new(T::default()));
                }
                let own = self.0.as_deref_mut().and_then(<dyn Any + Send>::downcast_mut);
                own.expect("it was just set to a value of this type")
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

opaque!(Scratch);
opaque!(Transfer);

/// A point in the order of a queue.
#[derive(Debug)]
pub struct Mark(MarkAt);

enum MarkAt {
    Host(Instant),
    Device(Box<dyn Any + Send>),
}

impl Mark {
    /// Wraps the executor's own type.
    pub fn device<T: Send + 'static>(value: T) -> Self {
        Self(MarkAt::Device(Box::new(value)))
    }

    /// Returns the executor's own form, if `T` is its type.
    pub fn get<T: 'static>(&self) -> Option<&T> {
        match &self.0 {
            MarkAt::Host(_) => None,
            MarkAt::Device(value) => value.downcast_ref(),
        }
    }
}

impl fmt::Debug for MarkAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(at) => at.fmt(f),
            Self::Device(_) => f.write_str("Device"),
        }
    }
}

/// Host memory: everything is finished when the call returns.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostQueue;

impl Queue for HostQueue {
    fn buffer(&self, len: usize) -> Result<Buffer> {
        Buffer::zeros(len)
    }

    fn scratch(&self, bytes: usize) -> Result<Scratch> {
        Ok(Scratch::of(Arena::with_capacity(bytes.div_ceil(size_of::<f32>()))?))
    }

    fn available_memory(&self) -> Option<u64> {
        memory::available()
    }

    fn depth(&self) -> usize {
        1
    }

    fn upload(&self, from: &[f32], to: ViewMut<'_>) -> Result<()> {
        self.combine(to, 0.0, &[(1.0, from.into())])
    }

    fn download(&self, from: View<'_>, to: &mut [f32]) -> Result<()> {
        self.combine(to.into(), 0.0, &[(1.0, from)])
    }

    fn combine(&self, mut to: ViewMut<'_>, keep: f32, terms: &[(f32, View<'_>)]) -> Result<()> {
        let to = to.host()?;
        for (_, from) in terms {
            same_len(from.host()?.len(), to.len())?;
        }
        let mut terms = terms.iter().filter(|(factor, _)| *factor != 0.0);
        let mut next = || terms.next().and_then(|(factor, from)| Some((*factor, from.host().ok()?)));
        // Each sum is rounded to `f32`, so that it does not matter how many terms a pass adds.
        if keep == 0.0 {
            match (next(), next()) {
                (None, _) => to.fill(0.0),
                (Some((1.0, x)), None) => to.copy_from_slice(x),
                (Some((a, x)), None) => to.iter_mut().zip(x).for_each(|(to, x)| *to = a * x),
                (Some((a, x)), Some((b, y))) => {
                    to.iter_mut().zip(x.iter().zip(y)).for_each(|(to, (x, y))| *to = a * x + b * y);
                }
            }
        } else if keep != 1.0 {
            to.iter_mut().for_each(|to| *to *= keep);
        }
        while let Some((a, x)) = next() {
            to.iter_mut().zip(x).for_each(|(to, x)| *to += a * x);
        }
        Ok(())
    }

    fn to_unit(&self, from: View<'_>, mut to: ViewMut<'_>) -> Result<()> {
        let (from, to) = (from.host()?, to.host()?);
        same_len(from.len(), to.len())?;
        to.iter_mut().zip(from).for_each(|(to, from)| *to = (from * 0.5 + 0.5).clamp(0.0, 1.0));
        Ok(())
    }

    fn import(
        &self,
        frame: &FrameView<'_>,
        converter: &mut FrameConverter,
        fit: Fit,
        (width, height): (u32, u32),
        mut to: ViewMut<'_>,
    ) -> Result<()> {
        converter.to_signed(frame, fit, width, height, to.host()?)
    }

    fn begin_export(&self, from: View<'_>, _: &mut Transfer) -> Result<()> {
        from.host().map(drop)
    }

    fn finish_export(
        &self,
        from: View<'_>,
        _: &mut Transfer,
        converter: &mut FrameConverter,
        (width, height): (u32, u32),
        to: &mut FrameViewMut<'_>,
    ) -> Result<()> {
        converter.from_signed(from.host()?, width, height, to)
    }

    fn mark(&self) -> Mark {
        Mark(MarkAt::Host(Instant::now()))
    }

    fn elapsed(&self, from: &Mark, to: &Mark) -> Duration {
        match (&from.0, &to.0) {
            (MarkAt::Host(from), MarkAt::Host(to)) => to.saturating_duration_since(*from),
            (MarkAt::Device(_), _) | (_, MarkAt::Device(_)) => Duration::ZERO,
        }
    }
}

/// Checks the length of an operand.
///
/// # Errors
///
/// `InvalidArgument` with both lengths.
pub(super) fn same_len(got: usize, expected: usize) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidArgument, format!("buffer: got {got} elements, expected {expected}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn combined(old: [f32; 2], keep: f32, terms: &[(f32, &[f32])]) -> Result<[f32; 2]> {
        let mut to = old;
        let terms: Vec<(f32, View<'_>)> = terms.iter().map(|&(factor, from)| (factor, from.into())).collect();
        HostQueue.combine((&mut to).into(), keep, &terms).map(|()| to)
    }

    #[test]
    fn combinations_are_sums_in_the_order_of_the_terms() {
        let (x, y, z) = ([1.0, 2.0], [10.0, 20.0], [0.5, 0.25]);
        assert_eq!(combined([9.0; 2], 0.0, &[]).unwrap(), [0.0; 2]);
        assert_eq!(combined([9.0; 2], 1.0, &[]).unwrap(), [9.0; 2]);
        assert_eq!(combined([9.0; 2], 0.0, &[(1.0, &x)]).unwrap(), x);
        assert_eq!(combined([9.0; 2], 0.0, &[(3.0, &x)]).unwrap(), [3.0, 6.0]);
        assert_eq!(combined([9.0; 2], 0.0, &[(2.0, &x), (-1.0, &y), (4.0, &z)]).unwrap(), [-6.0, -15.0]);
        assert_eq!(combined([1.0, 2.0], 2.0, &[(1.0, &y), (4.0, &z)]).unwrap(), [14.0, 25.0]);
    }

    #[test]
    fn operands_with_factor_zero_are_not_read() {
        let bad = [f32::NAN, f32::INFINITY];
        assert_eq!(combined(bad, 0.0, &[(0.0, &bad), (1.0, &[1.0, 2.0])]).unwrap(), [1.0, 2.0]);
        assert_eq!(combined([1.0, 2.0], 1.0, &[(0.0, &bad)]).unwrap(), [1.0, 2.0]);
    }

    #[test]
    fn other_lengths_and_other_devices_are_refused_and_nothing_is_written() {
        let mut to = [7.0; 2];
        let device = Buffer::device(0_u8, 2);
        for from in [View::from(&[1.0; 3]), device.view()] {
            let refused = HostQueue.combine((&mut to).into(), 0.0, &[(1.0, (&[1.0; 2]).into()), (1.0, from)]);
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
            assert!(HostQueue.to_unit(from, (&mut to).into()).is_err() && HostQueue.download(from, &mut to).is_err());
        }
        assert_eq!(to, [7.0; 2]);
    }

    #[test]
    fn host_memory_is_read_and_written_in_place() {
        let queue: &dyn Queue = &HostQueue;
        let (mut buffer, mut staging) = (queue.buffer(2).unwrap(), Vec::new());
        queue.write(buffer.view_mut(), &mut staging, |elements| elements.fill(3.0)).unwrap();
        let place = buffer.view().host().unwrap().as_ptr();
        let seen = queue.read(buffer.view(), &mut staging).unwrap();
        assert_eq!((seen, seen.as_ptr()), (&[3.0; 2][..], place));
        assert!(staging.is_empty());
    }

    #[test]
    fn values_of_another_executor_are_replaced() {
        let mut scratch = Scratch::of(7_u8);
        assert_eq!(*scratch.get_or_default::<u8>(), 7);
        assert_eq!(scratch.get_or_default::<String>(), "");
        assert_eq!(*Scratch::new().get_or_default::<u8>(), 0);
    }
}
