//! The server as its clients meet it: the program itself, on a port of its own, asked by plain HTTP. Lines are those of
//! `docs/compatibility.md`.

mod auth;
mod bodies;
mod changes;
mod client;
mod create;
mod gateway;
mod life;
mod media;
mod patch;
mod recorded;
mod redis;
mod robust;
mod scope;
mod status;
mod viewers;
