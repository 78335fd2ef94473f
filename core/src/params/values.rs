//! Typed access to the values of parameters, with which the rows of the field table compare, copy and check them.
//!
//! JSON is used only in patches, messages and serialized parameters.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::StreamDiffusionParams;
use super::choices::{Acceleration, CfgType, Interpolation, Scheduler, TimestepSpacing};
use super::constraint::{Constraint, MAX_BLEND, MAX_SETTINGS, WEIGHT, is_setting};
use super::controlnet::ControlNetConfig;
use super::img2img_turbo::TurboDirection;
use super::ip_adapter::{IPAdapterType, WeightType};
use super::processing::SingleProcessorConfig;
use super::processor::ProcessorName;
use super::style_image::StyleImageUrl;
use super::weighted::Weighted;

/// Access of a row to the value that it describes.
#[derive(Clone, Copy)]
pub(super) enum Access {
    /// A field of the parameters, or of an object in them.
    Value(&'static dyn FieldAccess<StreamDiffusionParams>),
    /// A map of names to numbers.
    Named(&'static FieldOf<StreamDiffusionParams, BTreeMap<String, f64>>),
    /// The list of ControlNets.
    ControlNets(&'static FieldOf<StreamDiffusionParams, Vec<ControlNetConfig>>),
    /// A list of processors.
    Processors(&'static FieldOf<StreamDiffusionParams, Vec<SingleProcessorConfig>>),
    /// A field of a ControlNet.
    ControlNet(&'static dyn FieldAccess<ControlNetConfig>),
    /// A field of a processor.
    Processor(&'static dyn FieldAccess<SingleProcessorConfig>),
}

impl Access {
    /// Returns the access to a value of the parameters themselves; `None` for a field of an item.
    pub(super) fn of_params(self) -> Option<&'static dyn FieldAccess<StreamDiffusionParams>> {
        match self {
            Self::Value(access) => Some(access),
            Self::Named(access) => Some(access),
            Self::ControlNets(access) => Some(access),
            Self::Processors(access) => Some(access),
            Self::ControlNet(_) | Self::Processor(_) => None,
        }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

/// Reads and writes one field of `S`.
pub(super) trait FieldAccess<S>: Sync {
    /// Returns true if the field is equal in both.
    fn is_same(&self, one: &S, other: &S) -> bool;

    /// Returns true if the value satisfies `constraint`, by the same rules as
    /// [`Checker::check`](super::constraint::Checker::check).
    fn is_within(&self, object: &S, constraint: &Constraint) -> bool;

    /// Copies the value from one object to another.
    fn copy(&self, from: &S, to: &mut S);

    /// Returns the JSON form of the value; `null` for a number that is not finite.
    fn to_json(&self, object: &S) -> Value;

    /// Sets the value from its JSON form.
    ///
    /// # Errors
    ///
    /// For JSON of another type.
    fn set_json(&self, object: &mut S, value: &Value) -> serde_json::Result<()>;
}

/// A field of `S` of type `T`.
pub(super) struct FieldOf<S, T> {
    pub(super) get: fn(&S) -> &T,
    pub(super) get_mut: fn(&mut S) -> &mut T,
}

/// Returns the [`FieldOf`] a field of a struct.
macro_rules! field_of {
    ($object:ty, $($field:ident).+) => {
        const { &$crate::params::values::FieldOf::<$object, _> { get: |s| &s.$($field).+, get_mut: |s| &mut s.$($field).+ } }
    };
}

pub(super) use field_of;

impl<S, T: FieldValue> FieldAccess<S> for FieldOf<S, T> {
    fn is_same(&self, one: &S, other: &S) -> bool {
        (self.get)(one) == (self.get)(other)
    }

    fn is_within(&self, object: &S, constraint: &Constraint) -> bool {
        (self.get)(object).is_within(constraint)
    }

    fn copy(&self, from: &S, to: &mut S) {
        (self.get_mut)(to).clone_from((self.get)(from));
    }

    fn to_json(&self, object: &S) -> Value {
        (self.get)(object).to_json()
    }

    fn set_json(&self, object: &mut S, value: &Value) -> serde_json::Result<()> {
        *(self.get_mut)(object) = T::from_json(value)?;
        Ok(())
    }
}

/// An item of a list whose fields have rows of their own.
pub(super) trait Item: Clone + PartialEq + Serialize + DeserializeOwned + 'static {
    /// Returns the access of a row, if it is about a field of this type.
    fn access(access: Access) -> Option<&'static dyn FieldAccess<Self>>;

    /// Returns the key that identifies the item; `None` if its position does.
    fn key(&self) -> Option<&str>;

    /// Returns the processor that it runs.
    fn processor(&self) -> Option<ProcessorName>;

    /// Returns its JSON form.
    fn to_json(&self) -> Value {
        to_json(self)
    }
}

impl Item for ControlNetConfig {
    fn access(access: Access) -> Option<&'static dyn FieldAccess<Self>> {
        if let Access::ControlNet(access) = access { Some(access) } else { None }
    }

    fn key(&self) -> Option<&str> {
        Some(&self.model_id)
    }

    fn processor(&self) -> Option<ProcessorName> {
        self.preprocessor
    }
}

impl Item for SingleProcessorConfig {
    fn access(access: Access) -> Option<&'static dyn FieldAccess<Self>> {
        if let Access::Processor(access) = access { Some(access) } else { None }
    }

    fn key(&self) -> Option<&str> {
        None
    }

    fn processor(&self) -> Option<ProcessorName> {
        Some(self.kind)
    }
}

/// A value of a parameter.
pub(super) trait FieldValue: Clone + PartialEq + Serialize + DeserializeOwned {
    /// Returns true if the value satisfies `constraint`, by the same rules as
    /// [`Checker::check`](super::constraint::Checker::check).
    fn is_within(&self, constraint: &Constraint) -> bool;

    /// Returns its JSON form; `null` for a number that is not finite.
    fn to_json(&self) -> Value {
        to_json(self)
    }

    /// Reads its JSON form.
    ///
    /// # Errors
    ///
    /// For JSON of another type.
    fn from_json(value: &Value) -> serde_json::Result<Self> {
        Self::deserialize(value)
    }
}

fn to_json(value: &impl Serialize) -> Value {
    // Cannot fail: all keys are text, and every type here is plain data.
    serde_json::to_value(value).expect("plain data has a JSON form")
}

impl FieldValue for bool {
    fn is_within(&self, constraint: &Constraint) -> bool {
        matches!(constraint, Constraint::Flag)
    }
}

impl FieldValue for u64 {
    fn is_within(&self, constraint: &Constraint) -> bool {
        matches!(constraint, Constraint::Integer { min, max, step } if (min..=max).contains(&self) && self.is_multiple_of(*step))
    }
}

impl FieldValue for u32 {
    fn is_within(&self, constraint: &Constraint) -> bool {
        u64::from(*self).is_within(constraint)
    }
}

impl FieldValue for f64 {
    fn is_within(&self, constraint: &Constraint) -> bool {
        matches!(constraint, Constraint::Number { min, max } if (min..=max).contains(&self))
    }
}

impl FieldValue for String {
    fn is_within(&self, constraint: &Constraint) -> bool {
        matches!(constraint, Constraint::Text { min, max } if (*min..=*max).contains(&self.chars().count()))
    }
}

impl FieldValue for StyleImageUrl {
    fn is_within(&self, constraint: &Constraint) -> bool {
        matches!(constraint, Constraint::Text { min, max } if (*min..=*max).contains(&self.chars()))
    }
}

macro_rules! choices {
    ($($type:ty),+) => {$(
        impl FieldValue for $type {
            fn is_within(&self, constraint: &Constraint) -> bool {
                matches!(constraint, Constraint::Choice(names) if names.contains(&self.name()))
            }
        }
    )+};
}

choices!(
    Acceleration,
    CfgType,
    Interpolation,
    IPAdapterType,
    ProcessorName,
    Scheduler,
    TimestepSpacing,
    TurboDirection,
    WeightType
);

impl<T: FieldValue> FieldValue for Option<T> {
    fn is_within(&self, constraint: &Constraint) -> bool {
        matches!(constraint, Constraint::Nullable(inner) if self.as_ref().is_none_or(|value| value.is_within(inner)))
    }
}

impl<T: FieldValue> FieldValue for Weighted<T> {
    fn is_within(&self, constraint: &Constraint) -> bool {
        let Constraint::Weighted(inner) = constraint else { return false };
        match self {
            Self::One(value) => value.is_within(inner),
            Self::Blend(pairs) => {
                (1..=MAX_BLEND).contains(&pairs.len())
                    && pairs.iter().all(|(value, weight)| value.is_within(inner) && weight.is_within(&WEIGHT))
            }
        }
    }
}

impl FieldValue for Vec<u32> {
    fn is_within(&self, constraint: &Constraint) -> bool {
        let Constraint::List { min, max, item } = constraint else { return false };
        (*min..=*max).contains(&self.len()) && self.iter().all(|value| value.is_within(item))
    }
}

/// The list as a whole; its items are checked field by field.
impl<I: Item> FieldValue for Vec<I> {
    fn is_within(&self, constraint: &Constraint) -> bool {
        matches!(constraint, Constraint::Items { max, .. } if self.len() <= *max)
    }
}

/// An empty map is `null` in JSON.
impl FieldValue for BTreeMap<String, f64> {
    fn is_within(&self, constraint: &Constraint) -> bool {
        let Constraint::Named { max, item } = constraint else { return false };
        self.len() <= *max && self.values().all(|value| value.is_within(item))
    }

    fn to_json(&self) -> Value {
        if self.is_empty() { Value::Null } else { to_json(self) }
    }

    fn from_json(value: &Value) -> serde_json::Result<Self> {
        Option::<Self>::deserialize(value).map(Option::unwrap_or_default)
    }
}

impl FieldValue for Map<String, Value> {
    fn is_within(&self, constraint: &Constraint) -> bool {
        matches!(constraint, Constraint::Settings) && self.len() <= MAX_SETTINGS && self.values().all(is_setting)
    }
}
