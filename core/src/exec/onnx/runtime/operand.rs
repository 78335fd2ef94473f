//! Where the inputs and outputs of a run are.

use std::ops::Range;

use half::f16;

use super::{ElementType, Memory};
use crate::frame::{DeviceBytes, DeviceBytesMut};

/// An input of a run.
#[derive(Debug, Clone)]
pub(in super::super) enum Operand<'a> {
    Device(&'a Memory, Range<usize>),
    Floats(&'a [f32]),
    Halves(&'a [f16]),
    Bytes(&'a [u8]),
    /// Bytes of a frame in the memory of the device.
    Frame(DeviceBytes<'a>),
}

/// An output of a run.
#[derive(Debug)]
pub(in super::super) enum OperandMut<'a> {
    Device(&'a mut Memory, Range<usize>),
    Floats(&'a mut [f32]),
    Halves(&'a mut [f16]),
    Bytes(&'a mut [u8]),
    /// Bytes of a frame in the memory of the device.
    Frame(DeviceBytesMut<'a>),
}

/// Where the elements of an operand are. It is valid as long as that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) address: usize,
    pub(super) len: usize,
    pub(super) element: ElementType,
    /// Whether it is an operand in memory of the host.
    pub(super) is_host: bool,
    /// Whether an input is bound for each run, since that copies it to the device if it is elsewhere.
    pub(super) is_copied: bool,
}

impl Place {
    fn host<T>(elements: &[T], element: ElementType) -> Self {
        Self { address: elements.as_ptr() as usize, len: elements.len(), element, is_host: true, is_copied: true }
    }

    fn device(memory: &Memory, range: &Range<usize>) -> Self {
        let address = memory.address + range.start * memory.element.size();
        Self { address, len: range.len(), element: memory.element, is_host: false, is_copied: memory.device.is_copied }
    }

    /// Frames are at changing addresses, so that they are bound for each run.
    fn frame(address: usize, len: usize) -> Self {
        Self { address, len, element: ElementType::U8, is_host: false, is_copied: true }
    }

    pub(super) fn of(operand: &Operand<'_>) -> Self {
        match operand {
            Operand::Device(memory, range) => Self::device(memory, range),
            Operand::Floats(elements) => Self::host(elements, ElementType::F32),
            Operand::Halves(elements) => Self::host(elements, ElementType::F16),
            Operand::Bytes(elements) => Self::host(elements, ElementType::U8),
            Operand::Frame(bytes) => Self::frame(bytes.address(), bytes.len()),
        }
    }

    pub(super) fn of_mut(operand: &OperandMut<'_>) -> Self {
        match operand {
            OperandMut::Device(memory, range) => Self::device(memory, range),
            OperandMut::Floats(elements) => Self::host(elements, ElementType::F32),
            OperandMut::Halves(elements) => Self::host(elements, ElementType::F16),
            OperandMut::Bytes(elements) => Self::host(elements, ElementType::U8),
            OperandMut::Frame(bytes) => Self::frame(bytes.address(), bytes.len()),
        }
    }
}
