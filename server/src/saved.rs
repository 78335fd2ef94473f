//! Streams on disk, so that they survive a restart: one file in the folder of `--state`.
//!
//! A thread writes changes, so that neither requests nor frames wait for the disk; of several changes of a stream the last
//! is written. What it has not written yet is lost if the process is killed, except for new streams, whose creation waits.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use dreamframe::load::rename;
use dreamframe::{Error, ErrorKind, Result};
use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, StorageError, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::auth::{Caller, ControlToken};
use crate::ids;
use crate::wire::Object;

/// The name of the file, and of one that is being created.
const FILE: &str = "streams.redb";
const PARTIAL: &str = "streams.redb.partial";
/// The version of the form of the entries.
const FORMAT: u64 = 1;
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const STREAMS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("streams");
/// The key of the version.
const FORMAT_KEY: &str = "format";
/// The time after which a failed write is repeated.
const AGAIN: Duration = Duration::from_secs(1);
/// The longest time to wait for the disk.
const LONGEST: Duration = Duration::from_secs(10);

/// An entry of the table of streams: an id, and a [`SavedStream`] as JSON.
type Entry = (String, Vec<u8>);

/// The names and secrets of a stream, which never change.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) playback_id: String,
    pub(crate) author: String,
    pub(crate) created_at: u64,
    /// The digest of the control token.
    pub(crate) control: String,
}

impl Identity {
    /// Creates that of a new stream of `caller` with the control token `token`.
    pub(crate) fn new(caller: &Caller, token: &ControlToken) -> Self {
        Self {
            id: ids::new("str_"),
            key: ids::new("stk_"),
            playback_id: ids::new("lp_"),
            author: caller.name().to_owned(),
            created_at: ids::now_ms(),
            control: token.digest(),
        }
    }
}

/// A stream as it is stored: its names and secrets, and what its clients want.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SavedStream {
    pub(crate) identity: Identity,
    pub(crate) name: String,
    pub(crate) params: Object,
    /// Whether size and steps follow the speed of the machine.
    pub(crate) adapt: bool,
    /// The seed as it was sent, if the parameters have another number for it.
    pub(crate) seed: Option<serde_json::Value>,
    /// Unknown keys.
    pub(crate) unknown: Object,
    pub(crate) output_rtmp_url: String,
    pub(crate) pipeline_id: Option<String>,
    pub(crate) updated_at: Option<u64>,
}

#[cfg(test)]
impl SavedStream {
    /// One with short values.
    pub(crate) fn for_tests(id: &str) -> Self {
        Self {
            identity: Identity {
                id: id.into(),
                key: format!("stk_{id}"),
                playback_id: format!("lp_{id}"),
                author: "local".into(),
                created_at: 1,
                control: "digest".into(),
            },
            name: "a name".into(),
            params: Object::from_iter([("prompt".to_owned(), "snow".into())]),
            adapt: true,
            seed: Some((-3).into()),
            unknown: Object::new(),
            output_rtmp_url: String::new(),
            pipeline_id: None,
            updated_at: Some(5),
        }
    }
}

impl std::fmt::Debug for SavedStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SavedStream").field("id", &self.identity.id).finish_non_exhaustive()
    }
}

/// The file, open for writing; another process cannot open it.
#[derive(Debug)]
pub(crate) struct StateFile {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    /// Writes changes to the database.
    store: Store,
    queue: Mutex<Queue>,
    /// Notified when anything in the queue changes.
    changed: Condvar,
}

/// Changes by the id of their stream; `None` for a stream that has ended.
type Changes = HashMap<String, Option<SavedStream>>;
type Store = fn(&Database, &Changes) -> std::result::Result<(), redb::Error>;

/// What waits to be written.
#[derive(Debug, Default)]
struct Queue {
    waiting: Changes,
    /// The number of changes so far, and of those that were written.
    last: u64,
    written: u64,
    /// The last error, if the last write failed.
    error: Option<String>,
    closed: bool,
}

impl StateFile {
    /// Opens the file in `folder`, or creates both, and returns it with its streams.
    ///
    /// # Errors
    ///
    /// `Io` if the file is damaged, open elsewhere or cannot be read; `Unsupported` if a newer version wrote it. The file stays
    /// as it is.
    pub(crate) fn open(folder: &Path) -> Result<(Self, Vec<SavedStream>)> {
        Self::open_with(folder, store)
    }

    fn open_with(folder: &Path, store: Store) -> Result<(Self, Vec<SavedStream>)> {
        let path = folder.join(FILE);
        create_folder(folder)?;
        if !path.try_exists().map_err(|error| Error::io(&path, "read", error))? {
            create(folder, &path)?;
        }
        only_for_owner(&path)?;
        // The database checks every page, but was not written for files of others: a defect there must not end the process.
        let opened = catch_unwind(AssertUnwindSafe(|| read(&path)));
        let damaged =
            |_| Err(Error::new(ErrorKind::Io, format!("failed to read {}: the file is damaged", path.display())));
        let (database, streams) = opened.unwrap_or_else(damaged)?;
        let shared = Arc::new(Shared { path, store, queue: Mutex::default(), changed: Condvar::new() });
        let of_writer = shared.clone();
        let writer = std::thread::Builder::new().name("dreamframe-state".into());
        let writer = writer.spawn(move || of_writer.write_all(Some(database)));
        let writer = writer.map_err(|error| {
            Error::new(ErrorKind::Device, "failed to start a thread that writes the state").with_source(error)
        })?;
        Ok((Self { shared, writer: Some(writer) }, streams))
    }

    /// Stores a stream, soon.
    pub(crate) fn put(&self, stream: SavedStream) {
        self.shared.add(stream.identity.id.clone(), Some(stream));
    }

    /// Removes a stream, soon.
    pub(crate) fn remove(&self, id: &str) {
        self.shared.add(id.to_owned(), None);
    }

    /// Waits until everything so far is on disk.
    ///
    /// # Errors
    ///
    /// `Io` if it could not be written, which is tried again later.
    pub(crate) fn flush(&self) -> Result<()> {
        let queue = self.shared.lock();
        let last = queue.last;
        let waits = |queue: &mut Queue| queue.written < last && queue.error.is_none();
        let (queue, timeout) =
            self.shared.changed.wait_timeout_while(queue, LONGEST, waits).unwrap_or_else(PoisonError::into_inner);
        let path = self.shared.path.display();
        match &queue.error {
            Some(error) => Err(Error::new(ErrorKind::Io, format!("failed to write {path}: {error}"))),
            None if timeout.timed_out() => {
                let text = format!("failed to write {path}: the disk took longer than {} s", LONGEST.as_secs());
                Err(Error::new(ErrorKind::Io, text))
            }
            None => Ok(()),
        }
    }
}

impl Drop for StateFile {
    /// Writes what waits.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, id: String, stream: Option<SavedStream>) {
        let mut queue = self.lock();
        queue.waiting.insert(id, stream);
        queue.last += 1;
        // So that who waits for this change learns of its own write.
        queue.error = None;
        drop(queue);
        self.changed.notify_all();
    }

    /// Writes changes as they come, until the file is closed.
    fn write_all(&self, mut database: Option<Database>) {
        loop {
            let queue = self.lock();
            let waits = |queue: &mut Queue| queue.waiting.is_empty() && !queue.closed;
            let mut queue = self.changed.wait_while(queue, waits).unwrap_or_else(PoisonError::into_inner);
            if queue.waiting.is_empty() {
                return;
            }
            let (changes, last) = (std::mem::take(&mut queue.waiting), queue.last);
            drop(queue);
            let written = self.write(&mut database, &changes);
            let mut queue = self.lock();
            match written {
                Ok(()) => {
                    queue.written = last;
                    queue.error = None;
                    self.changed.notify_all();
                }
                Err(error) => {
                    tracing::error!(path = %self.path.display(), %error, "the state of streams was not written");
                    queue.error = Some(error);
                    for (id, stream) in changes {
                        queue.waiting.entry(id).or_insert(stream);
                    }
                    self.changed.notify_all();
                    if queue.closed {
                        return;
                    }
                    let closed = |queue: &mut Queue| !queue.closed;
                    drop(self.changed.wait_timeout_while(queue, AGAIN, closed));
                }
            }
        }
    }

    /// Writes changes as a whole, or none. A database accepts nothing after an error, so that it is closed then, and opened
    /// again for the next changes.
    fn write(&self, database: &mut Option<Database>, changes: &Changes) -> std::result::Result<(), String> {
        let opened = database.take();
        let written = catch_unwind(AssertUnwindSafe(|| -> std::result::Result<Database, redb::Error> {
            let database = opened.map_or_else(|| Database::open(&self.path), Ok)?;
            (self.store)(&database, changes)?;
            Ok(database)
        }));
        match written {
            Ok(Ok(written)) => {
                *database = Some(written);
                Ok(())
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the database panicked".to_owned()),
        }
    }
}

fn store(database: &Database, changes: &Changes) -> std::result::Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(STREAMS)?;
        for (id, stream) in changes {
            match stream {
                // Text and numbers with names can always be represented in JSON.
                Some(stream) => {
                    let bytes = serde_json::to_vec(stream).unwrap_or_default();
                    table.insert(id.as_str(), bytes.as_slice())?;
                }
                None => {
                    table.remove(id.as_str())?;
                }
            }
        }
    }
    Ok(transaction.commit()?)
}

/// Creates a folder that only this user may read, unless it exists.
pub(crate) fn create_folder(folder: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|error| Error::io(folder, "create", error))
}

/// Creates the file with no streams. It gets its name when it is complete: an empty file is a damaged one.
fn create(folder: &Path, path: &Path) -> Result<()> {
    let partial = folder.join(PARTIAL);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&partial).map_err(|error| Error::io(&partial, "create", error))?;
    let made = || -> std::result::Result<(), redb::Error> {
        let database = Database::create(&partial)?;
        let transaction = database.begin_write()?;
        transaction.open_table(META)?.insert(FORMAT_KEY, FORMAT)?;
        transaction.open_table(STREAMS)?;
        Ok(transaction.commit()?)
    };
    made().map_err(|error| failed(&partial, "create", error))?;
    rename(&partial, path).map_err(|error| Error::io(path, "create", error))?;
    // The name is on disk, too; some systems have no such operation.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

/// Takes the permissions of others from the file, which has secrets.
fn only_for_owner(path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(path, mode).map_err(|error| Error::io(path, "protect", error))?;
    }
    let size = fs::metadata(path).map_err(|error| Error::io(path, "read", error))?.len();
    if size == 0 {
        let text = format!("{}: got an empty file, expected one that this program wrote", path.display());
        return Err(Error::new(ErrorKind::Io, text));
    }
    Ok(())
}

/// Opens the file, and reads its streams in order of creation.
fn read(path: &Path) -> Result<(Database, Vec<SavedStream>)> {
    let mut builder = Database::builder();
    let database = builder.set_check_integrity_on_open(true).open(path);
    let database = database.map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            let text = format!("{} is in use by another process", path.display());
            Error::new(ErrorKind::Io, text)
        }
        DatabaseError::UpgradeRequired(version) => unsupported(path, u64::from(version)),
        DatabaseError::Storage(StorageError::Io(error)) => Error::io(path, "read", error),
        other @ (DatabaseError::RepairAborted
        | DatabaseError::TransactionInProgress
        | DatabaseError::Storage(_)
        | _) => failed(path, "read", other.into()),
    })?;
    let mut streams = entries(&database, path)?;
    streams.sort_by(|a, b| (a.identity.created_at, &a.identity.id).cmp(&(b.identity.created_at, &b.identity.id)));
    Ok((database, streams))
}

fn entries(database: &Database, path: &Path) -> Result<Vec<SavedStream>> {
    let read = || -> std::result::Result<(Option<u64>, Vec<Entry>), redb::Error> {
        let transaction = database.begin_read()?;
        let format = transaction.open_table(META)?.get(FORMAT_KEY)?.map(|format| format.value());
        let table = transaction.open_table(STREAMS)?;
        let mut all = Vec::new();
        for entry in table.iter()? {
            let (id, bytes) = entry?;
            all.push((id.value().to_owned(), bytes.value().to_vec()));
        }
        Ok((format, all))
    };
    let (format, all) = read().map_err(|error| failed(path, "read", error))?;
    match format {
        Some(FORMAT) => {}
        Some(other) => return Err(unsupported(path, other)),
        None => {
            return Err(Error::new(ErrorKind::Io, format!("{}: format: missing, expected {FORMAT}", path.display())));
        }
    }
    let parsed = all.into_iter().map(|(id, bytes)| {
        serde_json::from_slice::<SavedStream>(&bytes).map_err(|error| {
            // The error of a value would repeat it, and values are secret.
            let text = format!("{}: stream {id}: failed to read the entry (column {})", path.display(), error.column());
            Error::new(ErrorKind::Io, text)
        })
    });
    parsed.collect()
}

fn unsupported(path: &Path, format: u64) -> Error {
    let text =
        format!("{}: format: got {format}, expected {FORMAT}: another version of dreamframe wrote it", path.display());
    Error::new(ErrorKind::Unsupported, text)
}

fn failed(path: &Path, doing: &str, error: redb::Error) -> Error {
    Error::new(ErrorKind::Io, format!("failed to {doing} {}", path.display())).with_source(error)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn stream(id: &str, created_at: u64) -> SavedStream {
        let mut stream = SavedStream::for_tests(id);
        stream.identity.created_at = created_at;
        stream
    }

    /// A folder with the file of two streams.
    fn written() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (file, streams) = StateFile::open(folder.path()).unwrap();
        assert_eq!(streams, []);
        file.put(stream("second", 2));
        file.put(stream("first", 1));
        file.put(stream("third", 3));
        file.remove("third");
        file.flush().unwrap();
        let path = folder.path().join(FILE);
        (folder, path)
    }

    #[test]
    fn streams_are_there_again_in_order_of_creation() {
        let (folder, path) = written();
        let (file, streams) = StateFile::open(folder.path()).unwrap();
        assert_eq!(streams, [stream("first", 1), stream("second", 2)]);
        // What waits is written at the end.
        file.put(SavedStream { name: "other".into(), ..stream("first", 1) });
        drop(file);
        let (file, streams) = StateFile::open(folder.path()).unwrap();
        assert_eq!(streams[0].name, "other");
        let error = StateFile::open(folder.path()).unwrap_err();
        assert!(error.to_string().contains("in use by another process"), "{error}");
        drop(file);
        assert!(path.exists() && !folder.path().join(PARTIAL).exists());
    }

    #[test]
    fn after_a_panic_of_the_database_changes_are_written_again() {
        fn panicking_once(database: &Database, changes: &Changes) -> std::result::Result<(), redb::Error> {
            static HAS_PANICKED: AtomicBool = AtomicBool::new(false);
            assert!(HAS_PANICKED.swap(true, Ordering::Relaxed), "a defect of the database");
            store(database, changes)
        }
        let (folder, _) = written();
        let (file, _) = StateFile::open_with(folder.path(), panicking_once).unwrap();
        file.put(SavedStream { name: "other".into(), ..stream("first", 1) });
        let error = file.flush().unwrap_err().to_string();
        assert!(error.ends_with("the database panicked"), "{error}");
        file.remove("second");
        file.flush().unwrap();
        drop(file);
        let (_, streams) = StateFile::open(folder.path()).unwrap();
        assert_eq!(streams, [SavedStream { name: "other".into(), ..stream("first", 1) }]);
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_the_file() {
        use std::os::unix::fs::PermissionsExt as _;
        let (folder, path) = written();
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        drop(StateFile::open(folder.path()).unwrap());
        assert_eq!(mode(), 0o600);
    }

    #[test]
    fn a_truncated_or_damaged_file_is_refused_and_stays() {
        let (folder, path) = written();
        let whole = fs::read(&path).unwrap();
        let mut damaged = whole.clone();
        let place = whole.windows(4).position(|four| four == b"snow").unwrap();
        damaged[place] ^= 1;
        for bytes in [Vec::new(), whole[..whole.len() / 2].to_vec(), whole[..100].to_vec(), vec![7; 5000], damaged] {
            fs::write(&path, &bytes).unwrap();
            let error = StateFile::open(folder.path()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Io, "{error:#}");
            assert!(error.to_string().contains(FILE), "{error:#}");
            assert!(path.exists());
        }
        fs::write(&path, &whole).unwrap();
        assert_eq!(StateFile::open(folder.path()).unwrap().1.len(), 2);
    }

    #[test]
    fn a_file_of_another_version_is_refused_by_its_number() {
        let (folder, path) = written();
        let database = Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(META).unwrap().insert(FORMAT_KEY, FORMAT + 1).unwrap();
        transaction.commit().unwrap();
        drop(database);
        let error = StateFile::open(folder.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("format: got 2, expected 1"), "{error}");
    }

    #[test]
    fn an_entry_that_cannot_be_read_is_named_without_its_secrets() {
        let (folder, path) = written();
        let database = Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        let bytes = br#"{"id": "first", "key": "stk_secret", "later": "secret"}"#.as_slice();
        transaction.open_table(STREAMS).unwrap().insert("first", bytes).unwrap();
        transaction.commit().unwrap();
        drop(database);
        let error = format!("{:#}", StateFile::open(folder.path()).unwrap_err());
        assert!(error.contains("stream first") && !error.contains("secret"), "{error}");
    }
}
