//! Converts plans, tickets, events and statistics to the classes of `_types.py`.

use dreamframe::frame::Fit;
use dreamframe::params::{Change, Cost, Notice};
use dreamframe::{Error, Event, FailedFrame, Plan, Ticket};
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use serde::Serialize;
use serde_json::Value;

use crate::errors::{exception, invalid_call};
use crate::{params, plain};

/// Returns a class of `_types.py`.
fn class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import(intern!(py, "dreamframe._types"))?.getattr(name)
}

/// Converts a value to a dict by its serialization.
pub(crate) fn serialized<'py>(py: Python<'py>, value: &impl Serialize) -> PyResult<Bound<'py, PyAny>> {
    plain::to_python(py, &serde_json::to_value(value).unwrap_or(Value::Null))
}

/// Returns the member of `Cost`.
pub(crate) fn cost(py: Python<'_>, cost: Cost) -> PyResult<Py<PyAny>> {
    let class = py.import(intern!(py, "dreamframe.params"))?.getattr(intern!(py, "Cost"))?;
    Ok(class.call1((cost.name(),))?.unbind())
}

/// Converts notices to a list of `Notice`.
pub(crate) fn notices<'py>(py: Python<'py>, notices: &[Notice]) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let class = class(py, "Notice")?;
    notices.iter().map(|notice| class.call1((&notice.path, &notice.message))).collect()
}

fn changes<'py>(py: Python<'py>, changes: &[Change]) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let class = class(py, "Change")?;
    let value = |value: &Option<Value>| plain::to_python(py, value.as_ref().unwrap_or(&Value::Null));
    let change =
        |change: &Change| class.call1((&change.path, cost(py, change.cost)?, value(&change.old)?, value(&change.new)?));
    changes.iter().map(change).collect()
}

/// Converts a plan to a `Plan`.
pub(crate) fn plan(py: Python<'_>, plan: &Plan) -> PyResult<Py<PyAny>> {
    let cost = plan.cost().map(|of| cost(py, of)).transpose()?;
    let (changes, notices) = (changes(py, plan.changes())?, notices(py, plan.notices())?);
    let params = params::to_python(py, plan.params())?;
    Ok(class(py, "Plan")?.call1((cost, changes, notices, params, plan.frees_first()))?.unbind())
}

/// The library's own ticket inside a `Ticket`.
#[pyclass(module = "dreamframe._dreamframe", frozen)]
pub(crate) struct Accepted(pub(crate) Ticket);

/// Converts an accepted update to a `Ticket`.
pub(crate) fn ticket(py: Python<'_>, ticket: Ticket) -> PyResult<Py<PyAny>> {
    let cost = ticket.cost.map(|of| cost(py, of)).transpose()?;
    let (changes, notices) = (changes(py, &ticket.changes)?, notices(py, &ticket.notices)?);
    let version = ticket.version;
    Ok(class(py, "Ticket")?.call1((version, cost, changes, notices, Accepted(ticket)))?.unbind())
}

/// Returns the library's own ticket of a `Ticket`.
pub(crate) fn accepted<'py>(ticket: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Accepted>> {
    let accepted = ticket.getattr_opt(intern!(ticket.py(), "_accepted"))?;
    let accepted = accepted.and_then(|accepted| accepted.cast_into::<Accepted>().ok());
    accepted.ok_or_else(|| {
        let name = plain::type_name(ticket);
        PyTypeError::new_err(format!("ticket: got a {name}, expected a Ticket that update() returned"))
    })
}

/// Converts an event to an `Event`.
pub(crate) fn event(py: Python<'_>, event: &Event) -> PyResult<Py<PyAny>> {
    let fields = PyDict::new(py);
    let error = |error: &Error| fields.set_item("error", exception(py, error).into_value(py));
    let kind = match event {
        Event::UpdateApplied { version, notices: list } => {
            fields.set_item("version", version)?;
            fields.set_item("notices", PyTuple::new(py, notices(py, list)?)?)?;
            "update_applied"
        }
        Event::UpdateRejected { version, error: why } => {
            fields.set_item("version", version)?;
            error(why)?;
            "update_rejected"
        }
        Event::UpdateSuperseded { version } => {
            fields.set_item("version", version)?;
            "update_superseded"
        }
        Event::FrameFailed { id, error: why } => {
            fields.set_item("id", id.0)?;
            error(why)?;
            "frame_failed"
        }
        Event::TransitionFailed { error: why } => {
            error(why)?;
            "transition_failed"
        }
        Event::Degraded { error: why } => {
            error(why)?;
            "degraded"
        }
        Event::Recovered => "recovered",
        Event::CallbackFailed { error: why } => {
            error(why)?;
            "callback_failed"
        }
        Event::Stopped { error: why } => {
            why.iter().try_for_each(|why| error(why))?;
            "stopped"
        }
        // Kinds added by later versions of the library.
        _ => "other",
    };
    Ok(class(py, "Event")?.call((kind,), Some(&fields))?.unbind())
}

/// Returns the context manager of a `with` block that changes parameters.
pub(crate) fn edit<'py>(target: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    target.py().import("dreamframe._edit")?.getattr("Edit")?.call1((target,))
}

/// Returns the value of the given name.
pub(crate) fn named<T: Copy, const N: usize>(
    py: Python<'_>,
    what: &str,
    name: &str,
    known: [(&str, T); N],
) -> PyResult<T> {
    known.iter().find(|(known, _)| *known == name).map(|(_, value)| *value).ok_or_else(|| {
        let names = known.map(|(name, _)| name).join(", ");
        invalid_call(py, format!("{what}: got {name:?}, expected one of {names}"))
    })
}

/// Parses how a frame with another aspect ratio is fitted to the stream's size.
pub(crate) fn fit(py: Python<'_>, name: &str) -> PyResult<Fit> {
    named(py, "fit", name, [("cover", Fit::Cover), ("fit", Fit::Fit), ("stretch", Fit::Stretch)])
}

/// Parses what is shown in place of a frame that fails.
pub(crate) fn failed_frame(py: Python<'_>, name: &str) -> PyResult<FailedFrame> {
    named(py, "failed_frame", name, [("repeat", FailedFrame::Repeat), ("skip", FailedFrame::Skip)])
}
