//! Operands of a session, bound where they are.

use std::ffi::CString;

use ort::AsPointer as _;
use ort::memory::{Allocator, MemoryInfo};
use ort::session::{IoBinding, RunOptions};

use super::graph_captures::Runs;
use super::operand::Place;
use super::{Port, element_type};

/// The inputs and outputs of a session.
pub(super) struct Ports {
    pub(super) inputs: Vec<NamedPort>,
    pub(super) outputs: Vec<NamedPort>,
    /// Where memory of the device is.
    pub(super) info: MemoryInfo<'static>,
}

/// An input or output, with its name as the library takes it.
pub(super) struct NamedPort {
    pub(super) port: Port,
    pub(super) name: CString,
}

impl NamedPort {
    pub(super) fn all(ports: &[Port]) -> Vec<Self> {
        let named = |port: &Port| Self { port: port.clone(), name: CString::new(&*port.name).unwrap_or_default() };
        ports.iter().map(named).collect()
    }
}

/// Operands that are bound to a session.
pub(super) struct Binding {
    pub(super) binding: IoBinding,
    pub(super) inputs: Vec<Place>,
    pub(super) outputs: Vec<Place>,
    /// How it runs, if the runs of the session may be captured.
    pub(super) options: Option<GraphOptions>,
}

/// The options of runs that may be captured.
pub(super) struct GraphOptions {
    /// Those of a run without a graph.
    pub(super) without: RunOptions,
    /// Those with the number of the graph; `None` if there is none.
    pub(super) graph: Option<(RunOptions, Runs)>,
}

impl Binding {
    /// Binds operands at other places than before. Inputs that are copied to the device are always bound, since that copies
    /// them.
    pub(super) fn bind(&mut self, ports: &Ports, inputs: &[Place], outputs: &[Place]) -> ort::Result<()> {
        let api = ort::api();
        let is_new = self.outputs.is_empty();
        for (place, port) in inputs.iter().zip(&ports.inputs).filter(|(place, _)| is_new || place.is_copied) {
            let value = TensorView::new(place, &port.port, &ports.info)?;
            // SAFETY: the binding, the name and the value are valid; the binding has its own reference to the value. The
            // elements of the value are read by the next run only, during which the caller keeps them.
            unsafe {
                let status = (api.BindInput)(self.binding.ptr_mut(), port.name.as_ptr(), value.0);
                ort::Error::result_from_status(status)?;
            }
        }
        for (index, (place, port)) in outputs.iter().zip(&ports.outputs).enumerate() {
            if self.outputs.get(index) == Some(place) {
                continue;
            }
            let value = TensorView::new(place, &port.port, &ports.info)?;
            // SAFETY: as for inputs; the caller has exclusive access to the elements during the run.
            unsafe {
                let status = (api.BindOutput)(self.binding.ptr_mut(), port.name.as_ptr(), value.0);
                ort::Error::result_from_status(status)?;
            }
        }
        for (own, places) in [(&mut self.inputs, inputs), (&mut self.outputs, outputs)] {
            own.clear();
            own.extend_from_slice(places);
        }
        Ok(())
    }
}

/// A tensor of the library that refers to elements elsewhere.
struct TensorView(*mut ort::sys::OrtValue);

impl TensorView {
    /// Refers to the elements at a place, with the dimensions of `port`.
    fn new(place: &Place, port: &Port, device: &MemoryInfo<'_>) -> ort::Result<Self> {
        let (allocator, dims) = (Allocator::default(), dims_of(port, place.len));
        let info = if place.is_host { allocator.memory_info() } else { device };
        let (bytes, element) = (place.len * place.element.size(), element_type(place.element).into());
        let mut value = std::ptr::null_mut();
        // SAFETY: the pointer is that of `place.len` elements of this type in the memory that `info` describes. The library
        // does not take ownership of them; the value is used by the run for which it was made only.
        unsafe {
            let status = (ort::api().CreateTensorWithDataAsOrtValue)(
                info.ptr(),
                place.address as *mut _,
                bytes,
                dims.as_ptr(),
                dims.len(),
                element,
                &mut value,
            );
            ort::Error::result_from_status(status)?;
        }
        Ok(Self(value))
    }
}

impl Drop for TensorView {
    fn drop(&mut self) {
        // SAFETY: the value was created in `new`, and nothing else releases it.
        unsafe { (ort::api().ReleaseValue)(self.0) }
    }
}

/// Returns true if the dimensions of `port`, of which a negative one is any number, have `len` elements.
pub(super) fn takes(port: &Port, len: usize) -> bool {
    let fixed: i64 = port.dims.iter().filter(|&&dim| dim >= 0).product();
    let is_dynamic = port.dims.iter().any(|&dim| dim < 0);
    if is_dynamic { fixed > 0 && len.is_multiple_of(fixed as usize) } else { len as i64 == fixed }
}

/// Returns the dimensions of `len` elements.
fn dims_of(port: &Port, len: usize) -> Vec<i64> {
    let fixed: i64 = port.dims.iter().filter(|&&dim| dim >= 0).product();
    port.dims.iter().map(|&dim| if dim < 0 { len as i64 / fixed.max(1) } else { dim }).collect()
}
