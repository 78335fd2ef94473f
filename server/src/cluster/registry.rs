//! Where workers and their streams are written down: in Redis, or in what speaks its protocol.
//!
//! `dreamframe:worker:<id>` has a [`Worker`] as JSON, `dreamframe:workers` the ids of all, and `dreamframe:stream:<digest>`
//! the id of the worker that has a stream. A digest stands for each of a stream's names, as a stream key lets anybody
//! publish. All but the list of ids is forgotten within [`KEPT`].

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use dreamframe::{Error, ErrorKind, Result};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, FromRedisValue, Pipeline};
use sha2::{Digest as _, Sha256};

use super::worker::Worker;
use crate::door::choose_tls;

/// For how long what a worker tells is kept, in seconds.
const KEPT: u64 = 8;
/// How long connecting and an answer may take. Shorter than what a client waits for a stream.
const CONNECT_TIME: Duration = Duration::from_secs(2);
const ANSWER_TIME: Duration = Duration::from_secs(1);

const WORKERS: &str = "dreamframe:workers";

fn worker_key(id: &str) -> String {
    format!("dreamframe:worker:{id}")
}

fn stream_key(name: &str) -> String {
    let digest = Sha256::digest(name.as_bytes());
    let digits: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("dreamframe:stream:{digits}")
}

/// Where a registry is: `redis://host:6379/0`, `rediss://user:password@host` and the like.
#[derive(Clone)]
pub(crate) struct Address(Client);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        // It may have a password, so that it is not repeated.
        let wrong = |_| "is no address of Redis, such as redis://host:6379/0 or rediss://user:password@host".to_owned();
        Client::open(text).map(Self).map_err(wrong)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(…)")
    }
}

/// The way to the registry; it is found anew where it is lost.
#[derive(Clone)]
pub(crate) struct Registry {
    connection: ConnectionManager,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

impl Registry {
    /// Makes one that connects when it is first asked. Within a runtime.
    ///
    /// # Errors
    ///
    /// `Internal`, for reasons of the client's own.
    pub(crate) fn new(address: &Address) -> Result<Self> {
        choose_tls();
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIME))
            .set_response_timeout(Some(ANSWER_TIME))
            // Who asks again is told again; the next request tries anew.
            .set_number_of_retries(1);
        let connection = ConnectionManager::new_lazy_with_config(address.0.clone(), config);
        let failed = |error| Error::new(ErrorKind::Internal, "no client for the registry").with_source(error);
        Ok(Self { connection: connection.map_err(failed)? })
    }

    async fn ask<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T> {
        // The handle of a connection that all share.
        let answer = pipeline.query_async(&mut self.connection.clone()).await;
        answer.map_err(|error| Error::new(ErrorKind::Io, "the registry does not answer").with_source(error))
    }

    /// Tells that `worker` is there and has streams of these names.
    ///
    /// # Errors
    ///
    /// `Io` where the registry cannot be reached, here and below.
    pub(crate) async fn announce<'a>(&self, worker: &Worker, names: impl Iterator<Item = &'a str>) -> Result<()> {
        let json = serde_json::to_string(worker);
        let json = json.map_err(|error| Error::new(ErrorKind::Internal, "no JSON form").with_source(error))?;
        let mut pipeline = redis::pipe();
        pipeline.atomic().set_ex(worker_key(&worker.id), json, KEPT).ignore().sadd(WORKERS, &worker.id).ignore();
        for name in names {
            pipeline.set_ex(stream_key(name), &worker.id, KEPT).ignore();
        }
        self.ask(&pipeline).await
    }

    /// Tells that a worker is gone, and its streams with it.
    pub(crate) async fn withdraw(&self, id: &str) -> Result<()> {
        let mut pipeline = redis::pipe();
        pipeline.atomic().del(worker_key(id)).ignore().srem(WORKERS, id).ignore();
        self.ask(&pipeline).await
    }

    /// Gives the workers that are there.
    pub(crate) async fn workers(&self) -> Result<Vec<Worker>> {
        let (ids,): (Vec<String>,) = self.ask(redis::pipe().smembers(WORKERS)).await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<_> = ids.iter().map(|id| worker_key(id)).collect();
        let (found,): (Vec<Option<String>>,) = self.ask(redis::pipe().mget(keys)).await?;
        let mut gone = redis::pipe();
        let mut workers = Vec::new();
        for (id, text) in ids.iter().zip(found) {
            match text {
                Some(text) => workers.extend(read(&text)),
                None => {
                    gone.srem(WORKERS, id).ignore();
                }
            }
        }
        if workers.len() < ids.len() {
            // Who vanished left its id behind; the next who looks finds it, too.
            let _: Result<()> = self.ask(&gone).await;
        }
        Ok(workers)
    }

    /// Gives the worker that has the stream with this name: its id, its stream key or its playback id.
    pub(crate) async fn worker_of(&self, name: &str) -> Result<Option<Worker>> {
        let (id,): (Option<String>,) = self.ask(redis::pipe().get(stream_key(name))).await?;
        let Some(id) = id else { return Ok(None) };
        let (text,): (Option<String>,) = self.ask(redis::pipe().get(worker_key(&id))).await?;
        Ok(text.and_then(|text| read(&text)))
    }
}

/// Reads a worker. What another version wrote otherwise is as if it were not there.
fn read(text: &str) -> Option<Worker> {
    serde_json::from_str(text).inspect_err(|error| tracing::warn!(%error, "a worker that is not understood")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_written_down_and_each_has_a_place_of_its_own() {
        let key = stream_key("stk_7mQ2xJ5LpYh6GtSa");
        assert!(!key.contains("7mQ2") && key != stream_key("str_7mQ2xJ5LpYh6GtSa"), "{key}");
        assert_eq!(key, stream_key("stk_7mQ2xJ5LpYh6GtSa"));
    }

    #[test]
    fn what_is_no_address_is_refused_and_no_address_is_repeated() {
        for url in ["", "host", "http://user:secret@host", "redis://:secret@host:port/0"] {
            let error = url.parse::<Address>().unwrap_err();
            assert!(error.starts_with("is no address") && !error.contains("secret"), "{error}");
        }
        for url in ["redis://host", "rediss://user:secret@host:7000/2", "valkey://host", "redis+unix:///redis.sock"] {
            let address: Address = url.parse().unwrap();
            assert!(!format!("{address:?}").contains("secret"));
        }
    }
}
