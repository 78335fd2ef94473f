//! Processing of frames in the memory of the device.

use super::{Engine, PictureInfo};
use crate::error::Result;
use crate::exec::check_frame_memory;
use crate::frame::{DeviceFrame, DeviceFrameMut, FrameId, FrameMemory};

impl Engine {
    /// Returns the memory of the frames that [`process_device`](Self::process_device) reads and writes; `None` if the
    /// executor has none, as the executor `cpu`.
    pub fn frame_memory(&self) -> Option<FrameMemory> {
        self.state.queue().frame_memory()
    }

    /// Like [`process_into`](Self::process_into), with frame and picture in the memory of the device: nothing is
    /// transferred to the host. Everything is finished when it returns.
    ///
    /// Pixels are converted and scaled on the device, with the filter for frames in host memory: bytes are the same without
    /// scaling, and differ by at most 1 with it. The first frame of a size, format, stride and origin takes longer, since
    /// its conversion is prepared; the last eight conversions are kept.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the executor has no memory for frames, `InvalidArgument` for other memory than
    /// [`frame_memory`](Self::frame_memory); for a frame with a stream, `Unsupported` without NVIDIA's driver and `Device`
    /// with the driver's error; and like `process_into`.
    pub fn process_device(&mut self, frame: &DeviceFrame<'_>, out: &mut DeviceFrameMut<'_>) -> Result<PictureInfo> {
        self.check_frame_memory(out.memory())?;
        self.check_none_in_flight()?;
        self.submit_device(frame)?;
        self.collect_into_device(out)
    }

    /// Like [`submit`](Self::submit), for a frame in the memory of the device, which is not read after this call.
    ///
    /// # Errors
    ///
    /// Those of [`process_device`](Self::process_device) about frames, and like `submit`.
    pub fn submit_device(&mut self, frame: &DeviceFrame<'_>) -> Result<FrameId> {
        self.check_frame_memory(frame.memory())?;
        self.submit_with(frame.stamp(), |queue, _, fit, size, to| queue.import_device(frame, fit, size, to))
    }

    /// Like [`collect_into`](Self::collect_into), into memory of the device. Everything is finished when it returns.
    ///
    /// # Errors
    ///
    /// Those of [`process_device`](Self::process_device) about frames, and like `collect_into`. For other memory than
    /// [`frame_memory`](Self::frame_memory), the frame is still in flight.
    pub fn collect_into_device(&mut self, out: &mut DeviceFrameMut<'_>) -> Result<PictureInfo> {
        self.check_frame_memory(out.memory())?;
        self.collect_with(false, |queue, from, _, _, size| queue.export_device(from, size, out))
    }

    /// # Errors
    ///
    /// `Unsupported` if the executor has no memory for frames, `InvalidArgument` for memory of another kind or device.
    fn check_frame_memory(&self, memory: FrameMemory) -> Result<()> {
        check_frame_memory(memory, self.frame_memory())
            .map_err(|error| error.within(format!("executor {}", self.context.executor.describe())))
    }
}
