//! The registry of workers and their streams: Redis, or a server with its protocol.
//!
//! `dreamframe:worker:<id>` has a [`Worker`] as JSON, `dreamframe:workers` the ids of all, and
//! `dreamframe:stream:<digest>` the id of the worker that has a stream. Names of streams are stored as digests, since a
//! stream key allows publishing. All but the list of ids expires within [`KEPT`], and has the form of [`seal`]: entries
//! of others than members of the cluster are ignored. Answers are bounded by the requests, so that a writer cannot make
//! a gateway read without end.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use dreamframe::{Error, ErrorKind, Result};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{FromRedisValue, Pipeline, RedisResult};
use sha2::{Digest as _, Sha256};

use super::membership::Membership;
use super::proof::now;
use super::refusals::Refusals;
use super::seal::{self, KEPT, Refusal};
use super::secret::Secret;
use super::worker::{self, Worker};
use crate::listener::choose_tls;

/// The longest time for connecting and for an answer. Shorter than clients wait for a stream.
const CONNECT_TIME: Duration = Duration::from_secs(2);
const ANSWER_TIME: Duration = Duration::from_secs(1);
/// The most bytes of an entry that are read; a worker's has about 500.
const LONGEST: isize = 4096;
/// The number of ids that are requested at a time, and the number of requests: more workers than any cluster has.
const IDS: usize = 512;
const ROUNDS: usize = 16;

const WORKERS: &str = "dreamframe:workers";

fn worker_key(id: &str) -> String {
    format!("dreamframe:worker:{id}")
}

fn stream_key(name: &str) -> String {
    let digest = Sha256::digest(name.as_bytes());
    let digits: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("dreamframe:stream:{digits}")
}

/// The connection to the registry; it is renewed when it is lost.
#[derive(Clone)]
pub(crate) struct Registry {
    connection: ConnectionManager,
    secret: Option<Arc<Secret>>,
    refusals: Arc<Refusals>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

impl Registry {
    /// Creates one that connects when it is first asked. Within a runtime.
    ///
    /// # Errors
    ///
    /// `Internal`, for reasons of the client's own.
    pub(crate) fn new(membership: &Membership) -> Result<Self> {
        choose_tls();
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIME))
            .set_response_timeout(Some(ANSWER_TIME))
            // Concurrent requests get the same error; the next one connects again.
            .set_number_of_retries(1);
        let connection = ConnectionManager::new_lazy_with_config(membership.address.client(), config);
        let failed =
            |error| Error::new(ErrorKind::Internal, "failed to create a client for the registry").with_source(error);
        let (secret, refusals) = (membership.secret.clone(), Arc::default());
        Ok(Self { connection: connection.map_err(failed)?, secret, refusals })
    }

    /// The secret that the cluster's members share.
    pub(crate) fn secret(&self) -> Option<&Secret> {
        self.secret.as_deref()
    }

    /// The counter of entries that were not used.
    pub(crate) fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    async fn ask<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T> {
        // The handle of a connection that all share.
        let answer = pipeline.query_async(&mut self.connection.clone()).await;
        answer.map_err(|error| Error::new(ErrorKind::Io, "the registry does not answer").with_source(error))
    }

    /// Publishes `worker` and the names of its streams.
    ///
    /// # Errors
    ///
    /// `Io` if the registry cannot be reached, here and below.
    pub(crate) async fn announce<'a>(&self, worker: &Worker, names: impl Iterator<Item = &'a str>) -> Result<()> {
        let json = serde_json::to_string(worker);
        let json = json.map_err(|error| Error::new(ErrorKind::Internal, "no JSON form").with_source(error))?;
        let mut pipeline = redis::pipe();
        let now = now();
        let mut put = |key: String, payload: &str| {
            let entry = seal::seal(self.secret(), &key, now, payload);
            pipeline.set_ex(key, entry, KEPT).ignore();
        };
        put(worker_key(&worker.id), &json);
        for name in names {
            put(stream_key(name), &worker.id);
        }
        pipeline.atomic().sadd(WORKERS, &worker.id).ignore();
        self.ask(&pipeline).await
    }

    /// Removes a worker and its streams.
    pub(crate) async fn withdraw(&self, id: &str) -> Result<()> {
        let mut pipeline = redis::pipe();
        pipeline.atomic().del(worker_key(id)).ignore().srem(WORKERS, id).ignore();
        self.ask(&pipeline).await
    }

    /// Returns the workers.
    pub(crate) async fn workers(&self) -> Result<Vec<Worker>> {
        let ids = self.ids().await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<_> = ids.iter().map(|id| worker_key(id)).collect();
        let mut gone = redis::pipe();
        let mut workers = Vec::new();
        for (id, entry) in ids.iter().zip(self.entries(&keys).await?) {
            match entry {
                Some(entry) => workers.extend(self.read(id, &entry)),
                None => {
                    gone.srem(WORKERS, id).ignore();
                }
            }
        }
        if !gone.is_empty() {
            // A worker that vanished left its id behind; the next lookup finds it, too.
            let _: Result<()> = self.ask(&gone).await;
        }
        Ok(workers)
    }

    /// Returns the worker that has the stream with this name: its id, its stream key or its playback id.
    pub(crate) async fn worker_of(&self, name: &str) -> Result<Option<Worker>> {
        let key = stream_key(name);
        let Some(entry) = self.entry(&key).await? else { return Ok(None) };
        let Some(id) = self.opened(&key, &entry).filter(|id| worker::is_id(id)) else { return Ok(None) };
        let entry = self.entry(&worker_key(id)).await?;
        Ok(entry.and_then(|entry| self.read(id, &entry)))
    }

    /// Returns what can be ids of workers. The pattern bounds the length of each.
    async fn ids(&self) -> Result<BTreeSet<String>> {
        let mut ids = BTreeSet::new();
        let mut cursor = 0_u64;
        for _ in 0..ROUNDS {
            let mut scan = redis::cmd("SSCAN");
            scan.arg(WORKERS).arg(cursor).arg("MATCH").arg(worker::ID_PATTERN).arg("COUNT").arg(IDS);
            let ((next, some),): ((u64, Vec<Vec<u8>>),) = self.ask(redis::pipe().add_command(scan)).await?;
            ids.extend(some.into_iter().filter_map(|id| String::from_utf8(id).ok()).filter(|id| worker::is_id(id)));
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        Ok(ids)
    }

    async fn entry(&self, key: &String) -> Result<Option<String>> {
        Ok(self.entries(std::slice::from_ref(key)).await?.pop().flatten())
    }

    /// Returns the text under each key, `None` for an absent one.
    async fn entries(&self, keys: &[String]) -> Result<Vec<Option<String>>> {
        let mut pipeline = redis::pipe();
        // An entry of another type does not prevent reading the others.
        pipeline.ignore_errors();
        for key in keys {
            pipeline.getrange(key, 0, LONGEST);
        }
        let found: Vec<RedisResult<Vec<u8>>> = self.ask(&pipeline).await?;
        let text = |(key, found): (&String, RedisResult<Vec<u8>>)| {
            let bytes = found.unwrap_or_default();
            let text = (!bytes.is_empty()).then(|| String::from_utf8(bytes).ok()).flatten();
            let is_whole = |text: &String| isize::try_from(text.len()).is_ok_and(|length| length <= LONGEST);
            if text.as_ref().is_some_and(|text| !is_whole(text)) {
                self.refusals.note(key, Refusal::Form.why());
            }
            text.filter(is_whole)
        };
        Ok(keys.iter().zip(found).map(text).collect())
    }

    /// Returns the payload of an entry that a member of the cluster wrote.
    fn opened<'a>(&self, key: &str, entry: &'a str) -> Option<&'a str> {
        let opened = seal::open(self.secret(), key, now(), entry);
        opened.inspect_err(|refusal| self.refusals.note(key, refusal.why())).ok()
    }

    /// Reads the worker with this id. An entry of an incompatible version is ignored.
    fn read(&self, id: &str, entry: &str) -> Option<Worker> {
        let key = worker_key(id);
        let worker: Option<Worker> = serde_json::from_str(self.opened(&key, entry)?).ok();
        let worker = worker.filter(|worker| worker.id == id);
        if worker.is_none() {
            self.refusals.note(&key, Refusal::Form.why());
        }
        worker
    }
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
}
