//! The server as its clients meet it: the program itself, on a port of its own, asked by plain HTTP. Lines are those of
//! `docs/compatibility.md`.

mod adapt;
mod auth;
mod bodies;
mod changes;
mod client;
mod clips;
mod cluster;
mod connections;
mod create;
mod examples;
mod gateway;
mod impostor;
mod life;
mod media;
mod origins;
mod osc;
mod patch;
mod recorded;
mod redis;
mod robust;
mod scope;
mod secrets;
mod state;
mod status;
mod viewers;
