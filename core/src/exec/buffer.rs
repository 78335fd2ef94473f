//! Memory that networks read and write: made by an executor's [`Queue`](super::Queue), in the memory of its device.

use std::any::Any;
use std::fmt;
use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};
use crate::net::elements;

/// `f32` elements in the memory of an executor's device. Only that executor reads and writes them; on the CPU it is
/// host memory.
pub struct Buffer {
    memory: Memory,
    len: usize,
}

enum Memory {
    Host(Vec<f32>),
    Device(Box<dyn Any + Send + Sync>),
}

impl Buffer {
    /// Allocates `len` zeros in host memory.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` with the bytes that are needed.
    pub fn zeros(len: usize) -> Result<Self> {
        elements::zeros(len).map(Self::from).map_err(|error| error.within("buffer"))
    }

    /// Wraps `len` elements in an executor's own memory.
    pub fn device<T: Send + Sync + 'static>(memory: T, len: usize) -> Self {
        Self { memory: Memory::Device(Box::new(memory)), len }
    }

    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns true if it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns all elements for reading.
    pub fn view(&self) -> View<'_> {
        self.range(0..self.len)
    }

    /// Returns all elements for writing.
    pub fn view_mut(&mut self) -> ViewMut<'_> {
        self.range_mut(0..self.len)
    }

    /// Returns the elements of `range` for reading; none if it ends after the last.
    pub fn range(&self, range: Range<usize>) -> View<'_> {
        match &self.memory {
            Memory::Host(elements) => View::Host(elements.get(range).unwrap_or_default()),
            Memory::Device(memory) => {
                View::Device(DeviceView { memory: &**memory, elements: Elements::of(range, self.len) })
            }
        }
    }

    /// Returns the elements of `range` for writing; none if it ends after the last.
    pub fn range_mut(&mut self, range: Range<usize>) -> ViewMut<'_> {
        match &mut self.memory {
            Memory::Host(elements) => ViewMut::Host(elements.get_mut(range).unwrap_or_default()),
            Memory::Device(memory) => {
                ViewMut::Device(DeviceViewMut { memory: &mut **memory, elements: Elements::of(range, self.len) })
            }
        }
    }
}

/// The range of elements of a view in a buffer.
#[derive(Debug, Clone, Copy)]
struct Elements {
    start: usize,
    len: usize,
}

impl Elements {
    /// Returns those of `range`, in a buffer of `len`; none if it ends after the last.
    fn of(range: Range<usize>, len: usize) -> Self {
        let range = if range.start <= range.end && range.end <= len { range } else { 0..0 };
        Self { start: range.start, len: range.len() }
    }

    fn range(self) -> Range<usize> {
        self.start..self.start + self.len
    }
}

impl Buffer {
    /// Swaps the elements with those of a vector, which then has the length of the buffer. Returns false, without
    /// effect, if they are in the memory of a device.
    pub fn exchange(&mut self, elements: &mut Vec<f32>) -> bool {
        let Memory::Host(own) = &mut self.memory else { return false };
        elements.resize(self.len, 0.0);
        std::mem::swap(own, elements);
        true
    }
}

impl From<Vec<f32>> for Buffer {
    /// Returns the host memory.
    fn from(elements: Vec<f32>) -> Self {
        Self { len: elements.len(), memory: Memory::Host(elements) }
    }
}

impl Default for Buffer {
    /// Returns a buffer without elements.
    fn default() -> Self {
        Self::from(Vec::new())
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("len", &self.len).finish_non_exhaustive()
    }
}

/// Elements to read: of a [`Buffer`], or of a slice, which an executor with a device transfers at each use.
#[derive(Debug, Clone, Copy)]
pub enum View<'a> {
    /// Elements in host memory.
    Host(&'a [f32]),
    /// Elements in the memory of a device.
    Device(DeviceView<'a>),
}

/// Elements in the memory of a device, to read.
#[derive(Clone, Copy)]
pub struct DeviceView<'a> {
    memory: &'a (dyn Any + Send + Sync),
    elements: Elements,
}

/// Elements to write: of a [`Buffer`], or of a slice, which an executor with a device transfers at each use.
#[derive(Debug)]
pub enum ViewMut<'a> {
    /// Elements in host memory.
    Host(&'a mut [f32]),
    /// Elements in the memory of a device.
    Device(DeviceViewMut<'a>),
}

/// Elements in the memory of a device, to write.
pub struct DeviceViewMut<'a> {
    memory: &'a mut (dyn Any + Send + Sync),
    elements: Elements,
}

impl<'a> View<'a> {
    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::Host(elements) => elements.len(),
            Self::Device(view) => view.elements.len,
        }
    }

    /// Returns true if there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the elements, which must be in host memory.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for memory of a device.
    pub fn host(&self) -> Result<&'a [f32]> {
        match self {
            Self::Host(elements) => Ok(elements),
            Self::Device(_) => Err(not_host()),
        }
    }
}

impl ViewMut<'_> {
    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::Host(elements) => elements.len(),
            Self::Device(view) => view.elements.len,
        }
    }

    /// Returns true if there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the elements, which must be in host memory.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for memory of a device.
    pub fn host(&mut self) -> Result<&mut [f32]> {
        match self {
            Self::Host(elements) => Ok(elements),
            Self::Device(_) => Err(not_host()),
        }
    }

    /// Returns the elements for reading.
    pub fn as_view(&self) -> View<'_> {
        match self {
            Self::Host(elements) => View::Host(elements),
            Self::Device(view) => View::Device(DeviceView { memory: &*view.memory, elements: view.elements }),
        }
    }

    /// Returns the same elements for a shorter time.
    pub fn reborrow(&mut self) -> ViewMut<'_> {
        match self {
            Self::Host(elements) => ViewMut::Host(elements),
            Self::Device(view) => ViewMut::Device(DeviceViewMut { memory: &mut *view.memory, elements: view.elements }),
        }
    }
}

fn not_host() -> Error {
    Error::new(ErrorKind::InvalidArgument, "buffer: got memory of a device, expected host memory")
}

impl<'a> DeviceView<'a> {
    /// Returns the executor's own memory, if `T` is its type.
    pub fn memory<T: 'static>(&self) -> Option<&'a T> {
        self.memory.downcast_ref()
    }

    /// Returns the range of elements in the memory.
    pub fn range(&self) -> Range<usize> {
        self.elements.range()
    }
}

impl DeviceViewMut<'_> {
    /// Returns the executor's own memory, if `T` is its type.
    pub fn memory<T: 'static>(&mut self) -> Option<&mut T> {
        self.memory.downcast_mut()
    }

    /// Returns the range of elements in the memory.
    pub fn range(&self) -> Range<usize> {
        self.elements.range()
    }
}

impl fmt::Debug for DeviceView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceView").field("elements", &self.elements).finish_non_exhaustive()
    }
}

impl fmt::Debug for DeviceViewMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceViewMut").field("elements", &self.elements).finish_non_exhaustive()
    }
}

impl Default for View<'_> {
    fn default() -> Self {
        Self::Host(&[])
    }
}

impl Default for ViewMut<'_> {
    fn default() -> Self {
        Self::Host(&mut [])
    }
}

impl<'a> From<&'a Buffer> for View<'a> {
    fn from(buffer: &'a Buffer) -> Self {
        buffer.view()
    }
}

impl<'a> From<&'a mut Buffer> for ViewMut<'a> {
    fn from(buffer: &'a mut Buffer) -> Self {
        buffer.view_mut()
    }
}

impl<'a, T: AsRef<[f32]> + ?Sized> From<&'a T> for View<'a> {
    fn from(elements: &'a T) -> Self {
        Self::Host(elements.as_ref())
    }
}

impl<'a, T: AsMut<[f32]> + ?Sized> From<&'a mut T> for ViewMut<'a> {
    fn from(elements: &'a mut T) -> Self {
        Self::Host(elements.as_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_past_the_end_is_empty() {
        let mut host = Buffer::zeros(4).unwrap();
        let mut device = Buffer::device(7_u8, 4);
        for buffer in [&mut host, &mut device] {
            assert_eq!((buffer.len(), buffer.view().len(), buffer.range(1..3).len()), (4, 4, 2));
            assert_eq!(
                (buffer.range(2..5).len(), buffer.range_mut(4..4).len(), buffer.range_mut(5..6).len()),
                (0, 0, 0)
            );
        }
    }

    #[test]
    fn memory_of_a_device_is_its_executors_alone() {
        let mut buffer = Buffer::device(7_u8, 4);
        assert_eq!(buffer.view().host().unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(buffer.view_mut().host().unwrap_err().kind(), ErrorKind::InvalidArgument);
        let View::Device(view) = buffer.range(1..4) else { panic!("host memory") };
        assert_eq!((view.memory::<u8>(), view.memory::<u16>(), view.range()), (Some(&7), None, 1..4));
    }

    #[test]
    fn a_buffer_without_memory_is_refused_with_its_bytes() {
        let refused = Buffer::zeros(usize::MAX / 8).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::OutOfMemory);
        assert!(refused.to_string().contains(&(usize::MAX / 8 * 4).to_string()), "{refused}");
    }
}
