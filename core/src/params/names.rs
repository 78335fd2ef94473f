//! Enums whose variants have names in JSON.

/// Declares an enum with the names of its variants in JSON, and `NAMES`, `ALL`, `name` and `Display`.
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

            /// Returns the name in JSON.
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
