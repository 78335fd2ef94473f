//! Downloads from the Hugging Face hub into its cache layout, so that other programs find the files too.
//!
//! A file has its final name only when it is complete and its content matches the digest that the hub announces: SHA-256
//! for a large file, git's object id for a small one. Existing files are checked too. Until then it is
//! `blobs/ETAG.incomplete`, which a later attempt continues. `refs/main` is written last: a snapshot that is
//! named there has all its files.

mod blob;
mod collections;
mod http;
mod select;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use self::blob::{Blob, store};
use self::http::Client;
use self::select::needed;
use super::cache::{HubCache, MAIN, is_commit};
use super::rename::rename;
use super::source::ModelId;
use super::weight_names::{existing, is_weights};
use crate::error::{Error, ErrorKind, Result};
use crate::setters::setters;

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
/// Longest response that lists a repository, in bytes.
const MAX_LISTING: u64 = 16 << 20;

/// The address of the hub, and the cache for downloaded files.
///
/// ```
/// use std::ops::ControlFlow;
///
/// use dreamframe::ErrorKind;
/// use dreamframe::load::HubCache;
/// use dreamframe::load::hub::{Hub, HubOptions};
///
/// # fn main() -> dreamframe::Result<()> {
/// let options = HubOptions::new("https://huggingface.co", HubCache::at("/nonexistent")).with_offline(true);
/// let error = Hub::new(options)?.fetch(&"stabilityai/sd-turbo".parse()?, &mut |_| ControlFlow::Continue(())).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::NotFound);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct HubOptions {
    /// The hub's address, without a trailing slash.
    pub endpoint: String,
    /// The cache in which files are stored.
    pub cache: HubCache,
    /// Whether the network must not be used.
    pub offline: bool,
    /// The user's access token; sent to `endpoint` only, and never unencrypted to another machine.
    pub token: Option<String>,
}

setters! {
    HubOptions:
    with_endpoint, endpoint: String;
    with_cache, cache: HubCache;
    with_offline, offline: bool;
    with_token, token: Option<String>;
}

impl HubOptions {
    /// Returns options for the hub at `endpoint`, an address without a slash at the end, with access to the network and
    /// without a token.
    pub fn new(endpoint: impl Into<String>, cache: HubCache) -> Self {
        Self { endpoint: endpoint.into(), cache, offline: false, token: None }
    }

    /// Returns the options of the environment: `HF_ENDPOINT`, `HF_HUB_OFFLINE`, `HF_TOKEN`, and the variables of
    /// [`HubCache::from_env`].
    ///
    /// # Errors
    ///
    /// `NotFound` if neither a variable nor a home folder determines the cache.
    pub fn from_env() -> Result<Self> {
        let cache = HubCache::from_env()
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "no folder for models: set HF_HOME or HOME"))?;
        Ok(Self::from_env_with_cache(cache))
    }

    /// Like [`from_env`](Self::from_env), with this cache.
    pub fn from_env_with_cache(cache: HubCache) -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            endpoint: text("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned()),
            cache,
            offline: text("HF_HUB_OFFLINE").is_some_and(|value| is_yes(&value)),
            token: text("HF_TOKEN"),
        }
    }
}

impl fmt::Debug for HubOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| "…");
        f.debug_struct("HubOptions")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("offline", &self.offline)
            .field("token", &token)
            .finish()
    }
}

/// Returns true if a switch in the environment is on, with the values of huggingface_hub.
fn is_yes(value: &str) -> bool {
    matches!(value.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")
}

/// The progress of a download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The model that is being downloaded.
    pub model: &'a ModelId,
    /// The file that is being downloaded.
    pub file: &'a str,
    /// Bytes downloaded, of all files.
    pub bytes: u64,
    /// Bytes of all files together.
    pub total: u64,
}

/// A connection to the hub.
#[derive(Debug)]
pub struct Hub {
    options: HubOptions,
    client: Client,
}

/// The relevant part of the hub's description of a repository.
#[derive(Deserialize)]
struct Listing {
    sha: String,
    /// Each once: a commit has no two files at one path.
    #[serde(rename = "siblings", deserialize_with = "unique_names")]
    files: Vec<String>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// Reads the names of files without repetitions, in the order of their first places.
fn unique_names<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::<Sibling>::deserialize(deserializer)?.into_iter().map(|sibling| sibling.rfilename);
    let mut seen = HashSet::new();
    Ok(names.filter(|name| seen.insert(name.clone())).collect())
}

impl Hub {
    /// Creates a client; no request is sent yet.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if the endpoint is not an `http` or `https` address, and if a token would be sent
    /// over plain `http` to another machine.
    pub fn new(options: HubOptions) -> Result<Self> {
        Self::with_pause(options, Duration::from_millis(500))
    }

    /// Like `new`, with another delay before the first retry.
    fn with_pause(options: HubOptions, pause: Duration) -> Result<Self> {
        let client = Client::new(options.endpoint.trim_end_matches('/'), options.token.clone(), pause)?;
        Ok(Self { options, client })
    }

    /// Downloads the files of `id` that this crate reads, and returns their path. Existing files are kept if their
    /// content matches the digest that the hub announces; an interrupted download continues.
    ///
    /// | `id` | files |
    /// |---|---|
    /// | a repository with a pipeline | its networks, tokenizers and schedule |
    /// | a repository with one network | a ControlNet, an autoencoder or a LoRA with its configs |
    /// | `h94/IP-Adapter`, `h94/IP-Adapter-FaceID` | the adapters that are used, with their image encoders |
    /// | `lllyasviel/Annotators` | the networks of processors |
    /// | `organisation/name/path` | a file or a folder inside a repository |
    ///
    /// Of several copies of weights, those in half precision are downloaded, and pickled files only if there is no
    /// safetensors file. `progress` is called with each piece, and can end the download; a later call continues it.
    ///
    /// ```no_run
    /// use std::ops::ControlFlow;
    ///
    /// use dreamframe::load::hub::{Hub, HubOptions};
    /// use dreamframe::{Engine, ModelSource, StreamDiffusionParams};
    ///
    /// # fn main() -> dreamframe::Result<()> {
    /// let hub = Hub::new(HubOptions::from_env()?)?;
    /// let folder = hub.fetch(&"stabilityai/sd-turbo".parse()?, &mut |progress| {
    ///     println!("{}: {} of {} bytes", progress.file, progress.bytes, progress.total);
    ///     ControlFlow::Continue(())
    /// })?;
    /// let params = StreamDiffusionParams::default();
    /// let engine = Engine::builder().models(ModelSource::folder(folder)).params(params).build()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `NotFound` if the hub has no such model, if it has several and `id` does not name one by its path, or if `offline`
    /// is set and the cache does not have it; `BadModel` if a file does not match its digest; `Cancelled` if `progress`
    /// ended it; `Io` if the network or the disk fails.
    pub fn fetch(&self, id: &ModelId, progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>) -> Result<PathBuf> {
        check_hub_id(id)?;
        let cache = &self.options.cache;
        if self.options.offline {
            let file = |path: PathBuf| existing(&path).or_else(|| path.is_dir().then_some(path));
            let found = match id.in_repository() {
                Some((repository, path)) => cache.snapshot(&repository).and_then(|folder| file(folder.join(path))),
                None => cache.snapshot(id),
            };
            return found.ok_or_else(|| {
                let place = cache.root().display();
                let what = format!("model {id} is not in {place}, and HF_HUB_OFFLINE prevents fetching it");
                Error::new(ErrorKind::NotFound, what)
            });
        }
        self.fetch_online(id, progress).map_err(|error| error.within(format_args!("model {id}")))
    }

    fn fetch_online(&self, id: &ModelId, progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>) -> Result<PathBuf> {
        let (repository, inside) = match id.in_repository() {
            Some((repository, path)) => (repository, Some(path)),
            None => (id.clone(), None),
        };
        let listing = self.list(&repository)?;
        let place = self.options.cache.repository(&repository);
        let snapshot = place.join("snapshots").join(&listing.sha);
        let names = listing.files;
        let needed = needed(&names, &repository, inside)?;
        let mut blobs = Vec::new();
        for &name in &needed {
            let url = self.client.url(&[repository.as_str(), "resolve", &listing.sha, name]);
            blobs.push((name, Blob::announced(&self.client, url).map_err(|error| error.within(name))?));
        }
        let total = blobs.iter().map(|(_, blob)| blob.size).fold(0, u64::saturating_add);
        let mut before = 0_u64;
        for (name, blob) in &blobs {
            let mut report =
                |bytes: u64| progress(Progress { model: id, file: name, bytes: before.saturating_add(bytes), total });
            let path =
                store(&self.client, blob, &place.join("blobs"), &mut report).map_err(|error| error.within(name))?;
            link(&path, blob, &snapshot, name)?;
            before = before.saturating_add(blob.size);
        }
        write_whole(&place.join("refs"), MAIN, &listing.sha)?;
        Ok(match (inside, &*needed) {
            (None, _) => snapshot,
            (Some(path), [file, ..]) if is_weights(Path::new(path)) => snapshot.join(file),
            (Some(path), _) => snapshot.join(path),
        })
    }

    fn list(&self, id: &ModelId) -> Result<Listing> {
        let url = self.client.url(&["api/models", id.as_str(), "revision", MAIN]);
        let text = self.client.text(&url, MAX_LISTING)?;
        let listing: Listing = serde_json::from_str(&text).map_err(|error| {
            Error::new(ErrorKind::Io, format!("{url}: invalid answer of the hub: {error}")).with_source(error)
        })?;
        if !is_commit(&listing.sha) {
            let what = format!("commit at {url}: got {:?}, expected 40 hexadecimal digits", listing.sha);
            return Err(Error::new(ErrorKind::Io, what));
        }
        Ok(listing)
    }
}

/// Returns the files that are downloaded of a repository with `files`, for the fuzzer.
#[cfg(feature = "internals")]
pub(super) fn files_to_fetch<'a>(files: &'a [String], id: &ModelId) -> Result<Vec<&'a str>> {
    check_hub_id(id)?;
    match id.in_repository() {
        Some((repository, inside)) => needed(files, &repository, Some(inside)),
        None => needed(files, id, None),
    }
}

/// Checks an id of the hub, which becomes part of URLs: plain characters only.
fn check_hub_id(id: &ModelId) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    let path = id.in_repository();
    let repository = path.as_ref().map_or(id, |(repository, _)| repository);
    // A path is compared with the names in the repository, and does not become part of a URL.
    if repository.as_str().chars().all(plain) {
        return Ok(());
    }
    let what = format!(
        "hub id: got {id}, expected `organisation/name` of letters, digits, `.`, `_` and `-`, or a path in such a repository"
    );
    Err(Error::new(ErrorKind::InvalidArgument, what))
}

/// Makes `snapshot/name` refer to the blob at `stored`: by a link or, if links are not supported, by a copy. An
/// existing file with the blob's content is kept.
fn link(stored: &Path, blob: &Blob, snapshot: &Path, name: &str) -> Result<()> {
    let path = snapshot.join(name);
    let is_link = || matches!((path.canonicalize(), stored.canonicalize()), (Ok(path), Ok(stored)) if path == stored);
    if is_link() || blob.is_at(&path) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(snapshot);
    fs::create_dir_all(folder).map_err(|error| Error::io(folder, "create", error))?;
    #[cfg(unix)]
    {
        // From `snapshots/COMMIT/` up to the repository is two steps, and one more for each folder in the name.
        let mut target: PathBuf = "../..".into();
        target.extend(std::iter::repeat_n("..", name.matches('/').count()));
        target.push("blobs");
        target.extend(stored.file_name());
        let _ = fs::remove_file(&path); // Remove a link to another target, or another content.
        if std::os::unix::fs::symlink(&target, &path).is_ok() {
            return Ok(());
        }
    }
    let half = folder.join(format!("{}.incomplete", path.file_name().unwrap_or_default().display()));
    let _ = fs::remove_file(&path);
    let copied = fs::hard_link(stored, &path).or_else(|_| {
        fs::copy(stored, &half)?;
        rename(&half, &path)
    });
    copied.map_err(|error| {
        let _ = fs::remove_file(&half);
        Error::io(&path, "write", error)
    })
}

/// Writes a small file so that it is never seen in part.
fn write_whole(folder: &Path, name: &str, text: &str) -> Result<()> {
    let (half, path) = (folder.join(format!("{name}.incomplete")), folder.join(name));
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&half, text)).and_then(|()| rename(&half, &path));
    written.map_err(|error| Error::io(&path, "write", error))
}
