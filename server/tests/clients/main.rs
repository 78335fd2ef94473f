//! The program against clients that other people wrote, and its page in a browser.
//!
//! Their packages come from npm and PyPI (`cargo xtask prepare`). Where they cannot be installed, a test prints so and
//! passes; with `DREAMFRAME_REQUIRE_TOOLS`, as in CI, it fails.

mod external;
mod page;
