//! The native part of the Python package `dreamframe`: bindings without logic of their own.
//!
//! Calls that wait for the library release the interpreter and check for Ctrl-C meanwhile: the engine runs on a thread
//! of its own, [`worker`]. Types in the signatures are for `_dreamframe.pyi`, which is generated from them.

#![expect(unsafe_code, reason = "memory that Python lends is read and written where it lies: frame.rs, picture.rs")]

mod errors;
mod fetch;
mod frame;
mod frames;
mod hooks;
mod interpreter;
mod log;
mod network;
mod onnx;
mod options;
mod params;
mod picture;
mod plain;
mod recommend;
mod results;
mod running;
mod session;
mod shared_state;
mod stream;
mod work;
mod worker;

use pyo3::prelude::*;

/// The native part of the package. Import from `dreamframe` instead.
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
    use crate::fetch::{_fetch, _fetch_for};
    #[pymodule_export]
    use crate::interpreter::_at_exit;
    #[pymodule_export]
    use crate::params::{_check, _check_field, _check_json, _fields, _for_model, _preset, _schema};
    #[pymodule_export]
    use crate::recommend::_recommend;

    /// The version of the package and the library.
    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "the name that Python has for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_init]
    fn init() -> PyResult<()> {
        crate::interpreter::record_process();
        Python::attach(crate::log::start);
        Ok(())
    }
}
