//! Clients against servers with responses defined by a test; `serve/tests` has them against the real server.

mod fake;
mod ice_server;
mod life;
mod trickle;
mod wire;
