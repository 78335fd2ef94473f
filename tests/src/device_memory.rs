//! Bytes in the memory that an engine reads frames from: the host's, or that of a CUDA device.

#![allow(unsafe_code, reason = "calls functions of NVIDIA's runtime library")]

use std::ffi::{c_int, c_void};
use std::ptr::{self, NonNull};

use dreamframe::frame::FrameMemory;
use libloading::{Library, Symbol};

/// NVIDIA's runtime library, which the provider `cuda` has loaded.
const RUNTIME: &str = if cfg!(windows) { "cudart64_13.dll" } else { "libcudart.so.13" };
/// `cudaMemcpyDefault`: the addresses say which memory they are in.
const DEFAULT: c_int = 4;

/// Bytes in the memory of a device, freed when dropped.
#[derive(Debug)]
pub struct DeviceBytes {
    memory: FrameMemory,
    address: NonNull<u8>,
    len: usize,
}

impl DeviceBytes {
    /// Copies bytes into `memory`.
    ///
    /// # Panics
    ///
    /// If the runtime library is missing or fails.
    pub fn new(memory: FrameMemory, bytes: &[u8]) -> Self {
        let len = bytes.len();
        let address = if let FrameMemory::Cuda { device } = memory {
            let mut address: *mut c_void = ptr::null_mut();
            set_device(device);
            call(c"cudaMalloc", |function: &Symbol<unsafe extern "C" fn(*mut *mut c_void, usize) -> c_int>| {
                // SAFETY: the function has this type, and writes the address.
                unsafe { function(&raw mut address, len) }
            });
            address.cast()
        } else {
            Box::into_raw(vec![0_u8; len].into_boxed_slice()).cast()
        };
        let mut whole = Self { memory, address: NonNull::new(address).expect("the memory has an address"), len };
        whole.write(bytes);
        whole
    }

    /// Allocates bytes of a CUDA device, which are not initialized; `None` if the allocation fails.
    ///
    /// # Panics
    ///
    /// If the runtime library is missing.
    pub fn allocate(device: u32, len: usize) -> Option<Self> {
        let mut address: *mut c_void = ptr::null_mut();
        set_device(device);
        with(c"cudaMalloc", |function: &Symbol<unsafe extern "C" fn(*mut *mut c_void, usize) -> c_int>| {
            // SAFETY: the function has this type, and writes the address.
            unsafe { function(&raw mut address, len) }
        });
        let memory = FrameMemory::Cuda { device };
        NonNull::new(address.cast()).map(|address| Self { memory, address, len })
    }

    /// Returns the address of the first byte.
    pub fn address(&self) -> NonNull<u8> {
        self.address
    }

    /// Replaces the bytes.
    ///
    /// # Panics
    ///
    /// If there are not as many, or the runtime library fails.
    pub fn write(&mut self, bytes: &[u8]) {
        assert_eq!(bytes.len(), self.len);
        self.copy(self.address.as_ptr(), bytes.as_ptr());
    }

    /// Returns a copy of the bytes.
    ///
    /// # Panics
    ///
    /// If the runtime library fails.
    pub fn read(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        self.copy(bytes.as_mut_ptr(), self.address.as_ptr());
        bytes
    }

    fn copy(&self, to: *mut u8, from: *const u8) {
        if self.memory == FrameMemory::Host {
            // SAFETY: both have this length, and the caller's is not within this memory.
            unsafe { ptr::copy_nonoverlapping(from, to, self.len) };
            return;
        }
        type Copy = unsafe extern "C" fn(*mut c_void, *const c_void, usize, c_int) -> c_int;
        call(c"cudaMemcpy", |function: &Symbol<Copy>| {
            // SAFETY: the function has this type; both have this length, and one is in the memory of the device.
            unsafe { function(to.cast(), from.cast(), self.len, DEFAULT) }
        });
        // Few bytes of the host are still on their way when the copy returns, and the provider's stream does not wait for them.
        call(c"cudaDeviceSynchronize", |function: &Symbol<unsafe extern "C" fn() -> c_int>| {
            // SAFETY: the function has this type and no requirements.
            unsafe { function() }
        });
    }
}

impl Drop for DeviceBytes {
    fn drop(&mut self) {
        let address = self.address.as_ptr();
        if self.memory == FrameMemory::Host {
            // SAFETY: the bytes were a boxed slice of this length.
            drop(unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(address, self.len)) });
            return;
        }
        call(c"cudaFree", |function: &Symbol<unsafe extern "C" fn(*mut c_void) -> c_int>| {
            // SAFETY: the function has this type, and the address is that of an allocation.
            unsafe { function(address.cast()) }
        });
    }
}

/// Selects the device of this thread.
fn set_device(device: u32) {
    call(c"cudaSetDevice", |function: &Symbol<unsafe extern "C" fn(c_int) -> c_int>| {
        // SAFETY: the function has this type and no requirements.
        unsafe { function(c_int::try_from(device).expect("devices are few")) }
    });
}

/// Calls a function of the runtime library, which must succeed.
fn call<F>(name: &std::ffi::CStr, function: impl FnOnce(&Symbol<F>) -> c_int) {
    assert_eq!(with(name, function), 0, "{name:?}: expected success");
}

/// Calls a function of the runtime library, and returns what it returns: 0 for success.
fn with<F>(name: &std::ffi::CStr, function: impl FnOnce(&Symbol<F>) -> c_int) -> c_int {
    // SAFETY: the library has no requirements on its loading.
    let library = unsafe { Library::new(RUNTIME) }.expect("NVIDIA's runtime library is loaded");
    // SAFETY: the caller names the type of the function.
    let symbol = unsafe { library.get::<F>(name.to_bytes_with_nul()) }.expect("the runtime library has the function");
    function(&symbol)
}
