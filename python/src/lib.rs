//! The native half of the Python package `dreamframe`: classes and functions for Python, and nothing that the library
//! could decide.
//!
//! What waits for the library does so without Python's interpreter, and looks up for Ctrl-C while it waits: the engine
//! lives on a thread of its own, [`worker`]. Types in the signatures are for `_dreamframe.pyi`, which is made of them.

#![expect(unsafe_code, reason = "memory that Python lends is read and written where it lies: frame.rs, picture.rs")]

mod errors;
mod facts;
mod foreign;
mod frame;
mod frames;
mod log;
mod network;
mod options;
mod params;
mod picture;
mod plain;
mod running;
mod session;
mod stream;
mod told;
mod work;
mod worker;

use pyo3::prelude::*;

/// The native half of the package. Import from `dreamframe`, not from here.
#[pymodule(gil_used = false)]
mod _dreamframe {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::network::player::{Player, play};
    #[pymodule_export]
    use crate::network::publisher::{Publisher, publish};
    #[pymodule_export]
    use crate::network::server::{Server, serve};
    #[pymodule_export]
    use crate::session::Session;
    #[pymodule_export]
    use crate::stream::StreamDiffusion;

    #[pymodule_export]
    use crate::foreign::_at_exit;
    #[pymodule_export]
    use crate::params::{_check, _check_field, _check_json, _fields, _preset, _schema};

    /// The version of the package and the library.
    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "the name that Python has for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_init]
    fn init() -> PyResult<()> {
        crate::foreign::settle();
        Python::attach(crate::log::start);
        Ok(())
    }
}
