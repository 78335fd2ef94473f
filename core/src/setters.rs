//! Setters of option types.
//!
//! Option types are `#[non_exhaustive]`, so that an option can be added without a breaking change. Hosts can then not
//! write them as literals; they start with the default values and call setters.

/// Defines a method for each named field of `$options`, which returns the options with another value of that field.
macro_rules! setters {
    ($options:ident: $($method:ident, $field:ident: $type:ty;)+) => {
        impl $options {
            $(
                #[doc = concat!("Returns the options with another [`", stringify!($field), "`](Self::", stringify!($field), ").")]
                #[must_use]
                pub fn $method(mut self, $field: $type) -> Self {
                    self.$field = $field;
                    self
                }
            )+
        }
    };
}

pub(crate) use setters;
