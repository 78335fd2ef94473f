//! Operations between networks, in the memory of a device.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::super::queue::{check_frame_memory, same_len};
use super::super::{Buffer, HostQueue, Mark, Queue, Scratch, Transfer, View, ViewMut, memory};
use super::conversions::{Conversion, Layout};
use super::cuda_driver;
use super::device::OnnxDevice;
use super::glue::MOST_TERMS;
use super::providers::DeviceKind;
use super::runtime::{Operand, OperandMut, Session};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{
    DeviceFrame, DeviceFrameMut, Fit, FrameConverter, FrameMemory, FrameView, FrameViewMut, PixelFormat,
};

/// The queue of a device. Every operation is finished when it returns.
#[derive(Debug)]
pub(super) struct OnnxQueue {
    device: Arc<OnnxDevice>,
    /// Host memory of frames that are uploaded.
    staging: Mutex<Staging>,
}

/// Host memory of a transfer.
#[derive(Debug, Default)]
struct Staging {
    bytes: Vec<u8>,
    floats: Vec<f32>,
    /// Whether the image is in `floats`; otherwise it is in `bytes`.
    is_floats: bool,
}

impl Staging {
    /// Converts the image to the format of `to`.
    fn write(
        &self,
        converter: &mut FrameConverter,
        (width, height): (u32, u32),
        to: &mut FrameViewMut<'_>,
    ) -> Result<()> {
        if self.is_floats {
            converter.from_signed(&self.floats, width, height, to)
        } else {
            converter.from_bytes(&self.bytes, width, height, to)
        }
    }

    /// Returns the number of elements of the image.
    fn len(&self) -> usize {
        if self.is_floats { self.floats.len() } else { self.bytes.len() }
    }
}

impl OnnxQueue {
    pub(super) fn new(device: Arc<OnnxDevice>) -> Self {
        Self { device, staging: Mutex::default() }
    }

    /// Computes the sum of at most [`MOST_TERMS`] terms into `to`, which is the first of them if `keep` is a factor.
    fn sum(&self, to: OperandMut<'_>, keep: Option<f32>, terms: &[(f32, View<'_>)]) -> Result<()> {
        let mut factors = [0.0; MOST_TERMS];
        let given = keep.into_iter().chain(terms.iter().map(|(factor, _)| *factor));
        let count = factors.iter_mut().zip(given).map(|(to, factor)| *to = factor).count();
        let session = &self.device.glue.sums[count - 1];
        let memory = self.device.factors(&factors[..count])?;
        let mut operands = Vec::with_capacity(MOST_TERMS + 1);
        for (_, view) in terms {
            operands.push(self.device.on_device(view)?);
        }
        operands.push(Operand::Device(&memory, 0..count));
        if keep.is_some() { session.run_in_place(&operands, &mut [to]) } else { session.run(&operands, &mut [to]) }
    }

    /// Returns the session of a conversion of frames.
    fn conversion(&self, conversion: Conversion) -> Result<Arc<Session>> {
        let OnnxDevice { conversions, element, sessions, .. } = &*self.device;
        conversions.session(conversion, *element, sessions)
    }

    /// Checks that a frame is in this device's memory, and waits until its bytes may be used.
    fn wait_for_frame(&self, memory: FrameMemory, stream: Option<NonZeroUsize>) -> Result<()> {
        check_frame_memory(memory, self.frame_memory())?;
        let Some(stream) = stream else { return Ok(()) };
        if let FrameMemory::Cuda { .. } = memory {
            return cuda_driver::wait_for(stream);
        }
        let text = format!("CUDA stream of a frame: got {stream:#x} for {memory}, expected none");
        Err(Error::new(ErrorKind::InvalidArgument, text))
    }

    /// Calls `act` with elements on the device: those of `view`, or a copy of elements of the host.
    fn with_device<R>(&self, view: View<'_>, act: impl FnOnce(View<'_>) -> Result<R>) -> Result<R> {
        let View::Host(elements) = view else { return act(view) };
        let mut copy = self.device.allocate(elements.len(), self.device.element)?;
        self.device.fill(&mut copy, elements)?;
        act(OnnxDevice::buffer(copy).view())
    }
}

impl Queue for OnnxQueue {
    fn buffer(&self, len: usize) -> Result<Buffer> {
        self.device.zeros(len).map(OnnxDevice::buffer)
    }

    fn scratch(&self, _bytes: usize) -> Result<Scratch> {
        Ok(Scratch::new())
    }

    fn available_memory(&self) -> Option<u64> {
        // The library does not report that of a device.
        if self.device.row.memory == DeviceKind::Host { memory::available() } else { None }
    }

    fn depth(&self) -> usize {
        1
    }

    fn upload(&self, from: &[f32], mut to: ViewMut<'_>) -> Result<()> {
        same_len(from.len(), to.len())?;
        if let ViewMut::Host(to) = to {
            to.copy_from_slice(from);
            return Ok(());
        }
        if from.is_empty() {
            return Ok(());
        }
        self.device.glue.upload.run(&[Operand::Floats(from)], &mut [self.device.on_device_mut(&mut to)?])
    }

    fn download(&self, from: View<'_>, to: &mut [f32]) -> Result<()> {
        same_len(from.len(), to.len())?;
        if let View::Host(from) = from {
            to.copy_from_slice(from);
            return Ok(());
        }
        if to.is_empty() {
            return Ok(());
        }
        let from = self.device.on_device(&from)?;
        self.device.glue.download.run(&[from], &mut [OperandMut::Floats(to)])
    }

    fn combine(&self, mut to: ViewMut<'_>, keep: f32, terms: &[(f32, View<'_>)]) -> Result<()> {
        for (_, from) in terms {
            same_len(from.len(), to.len())?;
            if let View::Device(_) = from {
                self.device.on_device(from)?;
            }
        }
        if to.is_empty() {
            return Ok(());
        }
        if let ViewMut::Host(elements) = to {
            let mut sum = self.buffer(elements.len())?;
            self.upload(elements, sum.view_mut())?;
            self.combine(sum.view_mut(), keep, terms)?;
            return self.download(sum.view(), elements);
        }
        let mut keep = (keep != 0.0).then_some(keep);
        let mut rest = terms;
        let mut is_empty = true;
        while let Some(start) = rest.iter().position(|(factor, _)| *factor != 0.0) {
            rest = &rest[start..];
            let most = MOST_TERMS - usize::from(keep.is_some());
            let len = rest.iter().take(most).take_while(|(factor, from)| *factor != 0.0 && !is_host(from)).count();
            if len == 0 {
                let (factor, from) = rest[0];
                self.with_device(from, |from| self.sum(self.device.on_device_mut(&mut to)?, keep, &[(factor, from)]))?;
            } else {
                self.sum(self.device.on_device_mut(&mut to)?, keep, &rest[..len])?;
            }
            (keep, rest, is_empty) = (Some(1.0), &rest[len.max(1)..], false);
        }
        match keep {
            _ if !is_empty => Ok(()),
            None => self.device.glue.clear.run_in_place(&[], &mut [self.device.on_device_mut(&mut to)?]),
            Some(1.0) => Ok(()),
            Some(_) => self.sum(self.device.on_device_mut(&mut to)?, keep, &[]),
        }
    }

    fn to_unit(&self, from: View<'_>, mut to: ViewMut<'_>) -> Result<()> {
        same_len(from.len(), to.len())?;
        if let (View::Host(_), ViewMut::Host(_)) = (&from, &to) {
            return HostQueue.to_unit(from, to);
        }
        self.with_device(from, |from| {
            self.device.glue.to_unit.run(&[self.device.on_device(&from)?], &mut [self.device.on_device_mut(&mut to)?])
        })
    }

    fn import(
        &self,
        frame: &FrameView<'_>,
        converter: &mut FrameConverter,
        fit: Fit,
        (width, height): (u32, u32),
        mut to: ViewMut<'_>,
    ) -> Result<()> {
        let to = match to {
            ViewMut::Host(to) => return converter.to_signed(frame, fit, width, height, to),
            ViewMut::Device(_) => self.device.on_device_mut(&mut to)?,
        };
        let mut staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        let len = width as usize * height as usize * 3;
        // Half-precision frames have more than bytes.
        if frame.format() == PixelFormat::Rgba16F {
            staging.floats.resize(len, 0.0);
            converter.to_signed(frame, fit, width, height, &mut staging.floats)?;
            return self.device.glue.upload.run(&[Operand::Floats(&staging.floats)], &mut [to]);
        }
        staging.bytes.resize(len, 0);
        converter.to_bytes(frame, fit, width, height, &mut staging.bytes)?;
        self.device.glue.import.run(&[Operand::Bytes(&staging.bytes)], &mut [to])
    }

    /// Nothing is in flight on this device: the transfer is in [`finish_export`](Self::finish_export), which knows whether
    /// bytes are wanted.
    fn begin_export(&self, from: View<'_>, _: &mut Transfer) -> Result<()> {
        if is_host(&from) { Ok(()) } else { self.device.on_device(&from).map(drop) }
    }

    fn finish_export(
        &self,
        from: View<'_>,
        transfer: &mut Transfer,
        converter: &mut FrameConverter,
        (width, height): (u32, u32),
        to: &mut FrameViewMut<'_>,
    ) -> Result<()> {
        if let View::Host(from) = from {
            return converter.from_signed(from, width, height, to);
        }
        let staging: &mut Staging = transfer.get_or_default();
        // Half-precision pictures are not rounded to bytes.
        staging.is_floats = to.format() == PixelFormat::Rgba16F;
        if staging.is_floats {
            staging.floats.resize(from.len(), 0.0);
            self.download(from, &mut staging.floats)?;
        } else {
            staging.bytes.resize(from.len(), 0);
            let from = self.device.on_device(&from)?;
            self.device.glue.export.run(&[from], &mut [OperandMut::Bytes(&mut staging.bytes)])?;
        }
        staging.write(converter, (width, height), to)
    }

    fn export_again(
        &self,
        transfer: &mut Transfer,
        converter: &mut FrameConverter,
        (width, height): (u32, u32),
        to: &mut FrameViewMut<'_>,
    ) -> Result<bool> {
        let staging: &mut Staging = transfer.get_or_default();
        let is_kept = staging.len() == width as usize * height as usize * 3;
        if is_kept {
            staging.write(converter, (width, height), to)?;
        }
        Ok(is_kept)
    }

    fn frame_memory(&self) -> Option<FrameMemory> {
        self.device.frame_memory()
    }

    fn import_device(
        &self,
        frame: &DeviceFrame<'_>,
        fit: Fit,
        (width, height): (u32, u32),
        mut to: ViewMut<'_>,
    ) -> Result<()> {
        same_len(to.len(), width as usize * height as usize * 3)?;
        let to = self.device.on_device_mut(&mut to)?;
        self.wait_for_frame(frame.memory(), frame.stream())?;
        let session = self.conversion(Conversion::Import(Layout::of(frame), fit, (width, height)))?;
        let parts: Vec<Operand<'_>> = frame.parts().map(Operand::Frame).collect();
        session.run(&parts, &mut [to])
    }

    fn export_device(&self, from: View<'_>, (width, height): (u32, u32), to: &mut DeviceFrameMut<'_>) -> Result<()> {
        if (to.width(), to.height()) != (width, height) {
            let text = format!("output frame: got {}x{}, expected {width}x{height}", to.width(), to.height());
            return Err(Error::new(ErrorKind::InvalidFrame, text));
        }
        same_len(from.len(), width as usize * height as usize * 3)?;
        let from = self.device.on_device(&from)?;
        self.wait_for_frame(to.memory(), to.stream())?;
        let session = self.conversion(Conversion::Export(Layout::of_mut(to)))?;
        let [padded, rest] = to.parts_mut();
        if padded.len() == 0 {
            session.run(&[from], &mut [OperandMut::Frame(rest)])
        } else {
            session.run_in_place(&[from], &mut [OperandMut::Frame(padded), OperandMut::Frame(rest)])
        }
    }

    fn mark(&self) -> Mark {
        HostQueue.mark()
    }

    fn elapsed(&self, from: &Mark, to: &Mark) -> Duration {
        HostQueue.elapsed(from, to)
    }
}

fn is_host(view: &View<'_>) -> bool {
    matches!(view, View::Host(_))
}
