//! Clients against servers that answer as a test says; `serve/tests` has them against the real one.

mod fake;
mod life;
mod wire;
