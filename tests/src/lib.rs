//! What the tests of this crate share: where their data lies, and how numbers are compared.
