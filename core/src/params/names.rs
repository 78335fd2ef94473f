//! Enums whose variants travel as text: one list gives the variants, their names and their order.

/// Declares an enum of fixed wire names, with `NAMES`, `ALL`, `name` and `Display`.
macro_rules! named_enum {
    ($(#[$outer:meta])* pub enum $type:ident { $($(#[$inner:meta])* $variant:ident = $name:literal,)+ }) => {
        $(#[$outer])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash,
            serde::Serialize, serde::Deserialize, schemars::JsonSchema,
        )]
        pub enum $type {
            $($(#[$inner])* #[serde(rename = $name)] $variant,)+
        }

        impl $type {
            /// Lists the names, in the order of the variants.
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            /// Lists the variants.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the name that JSON has.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

pub(super) use named_enum;
