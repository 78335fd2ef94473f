//! Clips: the last seconds of streams, stored so that they can be shown to others by a link.
//!
//! Without `--clips` they are in memory. Their videos and descriptions together have the space of `--clip-space`: once a new
//! clip is written, the oldest ones that exceed the space are removed, so that a clip that cannot be written costs no other
//! one. Until then, the space is exceeded by at most the new clip.

mod folder;
mod pace;
mod sharing;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use dreamframe::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use self::pace::Pace;
pub(crate) use self::pace::Permit;
pub(crate) use self::sharing::{link_to_settings, prompt_text, shared};
use crate::error::ApiError;
use crate::ids;
use crate::wire::Object;

/// The prefix of clip ids.
pub(crate) const PREFIX: &str = "clip_";
/// The space in memory, and in a folder, unless `--clip-space` sets another.
pub(crate) const MEMORY_SPACE: u64 = 128 << 20;
pub(crate) const FOLDER_SPACE: u64 = 1024 << 20;
/// The largest number of clips, which bounds the time to find one.
const MOST: usize = 10_000;

/// The description of a clip, which its file in the folder has, too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClipInfo {
    pub(crate) id: String,
    /// The id of its stream, whose control token may delete the clip.
    pub(crate) stream: String,
    /// The owner of its stream, who may delete the clip.
    pub(crate) author: String,
    /// Milliseconds since 1970.
    pub(crate) created_at: u64,
    /// The requested duration.
    pub(crate) seconds: u64,
    pub(crate) width: u64,
    pub(crate) height: u64,
    /// The length of the video.
    pub(crate) bytes: u64,
    /// The parameters that everyone may read.
    pub(crate) params: Object,
}

/// A stored clip.
#[derive(Debug)]
pub(crate) struct Clip {
    pub(crate) info: ClipInfo,
    video: Video,
    /// The bytes of the video and the description.
    size: u64,
}

#[derive(Debug)]
enum Video {
    Memory(Bytes),
    File(PathBuf),
}

/// A part of a video.
#[derive(Debug)]
pub(crate) enum Part {
    Memory(Bytes),
    /// A file, positioned at the part's first byte, and the number of bytes.
    File(File, u64),
}

/// All clips of a server.
#[derive(Debug)]
pub(crate) struct Clips {
    folder: Option<PathBuf>,
    space: u64,
    list: Mutex<List>,
    /// Locked while a clip is stored, so that the space is not exceeded by more than one of them.
    storing: Mutex<()>,
    pace: Arc<Pace>,
}

/// The clips, oldest first, and the sum of their sizes.
#[derive(Debug, Default)]
struct List {
    clips: VecDeque<Arc<Clip>>,
    size: u64,
}

impl Clip {
    /// Opens a part of the video. Slow for a clip in a folder.
    ///
    /// # Errors
    ///
    /// Those of the file; `UnexpectedEof` for a range beyond the end.
    pub(crate) fn part(&self, range: Range<u64>) -> io::Result<Part> {
        let beyond = || io::Error::from(io::ErrorKind::UnexpectedEof);
        if range.start > range.end || range.end > self.info.bytes {
            return Err(beyond());
        }
        match &self.video {
            Video::Memory(bytes) => {
                let at = |at: u64| usize::try_from(at).map_err(|_| beyond());
                Ok(Part::Memory(bytes.slice(at(range.start)?..at(range.end)?)))
            }
            Video::File(path) => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(range.start))?;
                Ok(Part::File(file, range.end - range.start))
            }
        }
    }

    /// Removes the files.
    ///
    /// # Errors
    ///
    /// `Io` if the description stays, and with it the clip.
    fn erase(&self) -> Result<()> {
        match &self.video {
            Video::Memory(_) => Ok(()),
            Video::File(path) => folder::erase(path),
        }
    }
}

impl Clips {
    /// Creates an empty store in memory, or opens that in `folder`, which is created if it does not exist. Clips beyond
    /// `space` bytes are removed, the oldest first.
    ///
    /// # Errors
    ///
    /// `Io` if the folder cannot be created or read.
    pub(crate) fn open(folder: Option<&Path>, space: u64) -> Result<Self> {
        let mut list = List::default();
        if let Some(folder) = folder {
            for clip in folder::load(folder)? {
                list.push(clip);
            }
            let removed = list.make_room(0, space);
            erase_all(&removed);
            tracing::info!(clips = list.clips.len(), folder = %folder.display(), "clips are stored");
        }
        let folder = folder.map(Path::to_owned);
        Ok(Self { folder, space, list: Mutex::new(list), storing: Mutex::default(), pace: Arc::default() })
    }

    /// Permits the creation of a clip of `stream`.
    ///
    /// # Errors
    ///
    /// 429 if too many were created in the last minute, or are being created.
    pub(crate) fn begin(&self, stream: &str) -> Result<Permit, ApiError> {
        self.pace.begin(stream)
    }

    /// Stores a clip with the video `movie`, and then removes the oldest ones if they exceed the space with it. If it cannot
    /// be written, all others stay. Slow for a folder.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` for one that is larger than the whole space; `Io` if it cannot be written.
    pub(crate) fn store(&self, info: ClipInfo, movie: Vec<u8>) -> Result<Arc<Clip>> {
        let description = serde_json::to_vec(&info)
            .map_err(|error| Error::new(ErrorKind::Internal, "failed to describe a clip").with_source(error))?;
        let size = (movie.len() as u64).saturating_add(description.len() as u64);
        if size > self.space {
            let text = format!("clip: got {size} bytes, expected at most {}", self.space);
            return Err(Error::new(ErrorKind::OutOfMemory, text));
        }
        let _storing = self.storing.lock().unwrap_or_else(PoisonError::into_inner);
        let video = match &self.folder {
            Some(folder) => Video::File(folder::write(folder, &info.id, &movie, &description)?),
            None => Video::Memory(movie.into()),
        };
        let clip = Arc::new(Clip { info, video, size });
        let mut list = self.list();
        let removed = list.make_room(size, self.space);
        list.push(clip.clone());
        drop(list);
        erase_all(&removed);
        Ok(clip)
    }

    /// Returns the clip with this id.
    pub(crate) fn get(&self, id: &str) -> Option<Arc<Clip>> {
        self.list().clips.iter().rev().find(|clip| clip.info.id == id).cloned()
    }

    /// Removes a clip, if it exists. Slow for a folder.
    ///
    /// # Errors
    ///
    /// `Io` if it cannot be removed, and stays.
    pub(crate) fn remove(&self, id: &str) -> Result<()> {
        if let Some(clip) = self.get(id) {
            clip.erase()?;
            self.list().remove(id);
        }
        Ok(())
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes the files of clips that are not in the list any more. One that cannot be removed is a clip again after a restart.
fn erase_all(clips: &[Arc<Clip>]) {
    for error in clips.iter().filter_map(|clip| clip.erase().err()) {
        tracing::error!(%error, "a clip without space for it stays in the folder of clips");
    }
}

impl List {
    fn push(&mut self, clip: Arc<Clip>) {
        self.size = self.size.saturating_add(clip.size);
        self.clips.push_back(clip);
    }

    fn remove(&mut self, id: &str) {
        let at = self.clips.iter().position(|clip| clip.info.id == id);
        if let Some(clip) = at.and_then(|at| self.clips.remove(at)) {
            self.size = self.size.saturating_sub(clip.size);
        }
    }

    /// Takes the oldest clips out until one more of `size` bytes fits into `space`.
    fn make_room(&mut self, size: u64, space: u64) -> Vec<Arc<Clip>> {
        let mut removed = Vec::new();
        while self.size.saturating_add(size) > space || self.clips.len() >= MOST {
            let Some(oldest) = self.clips.pop_front() else { break };
            self.size = self.size.saturating_sub(oldest.size);
            removed.push(oldest);
        }
        removed
    }
}

/// Creates the id of a clip.
pub(crate) fn new_id() -> String {
    ids::new(PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn info(id: &str, bytes: usize) -> ClipInfo {
        ClipInfo {
            id: id.into(),
            stream: "str_1".into(),
            author: "local".into(),
            created_at: 1,
            seconds: 5,
            width: 128,
            height: 64,
            bytes: bytes as u64,
            params: Object::from_iter([("prompt".to_owned(), "snow".into())]),
        }
    }

    fn add(clips: &Clips, length: usize) -> Result<Arc<Clip>> {
        clips.store(info(&new_id(), length), vec![7; length])
    }

    fn video(clip: &Clip, range: Range<u64>) -> Vec<u8> {
        match clip.part(range).unwrap() {
            Part::Memory(bytes) => bytes.to_vec(),
            Part::File(file, length) => {
                let mut bytes = Vec::new();
                io::Read::read_to_end(&mut io::Read::take(file, length), &mut bytes).unwrap();
                bytes
            }
        }
    }

    /// The sum of the lengths of all files.
    fn on_disk(folder: &Path) -> u64 {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
    }

    #[test]
    fn the_oldest_clips_make_room_for_new_ones() {
        let folder = tempfile::tempdir().unwrap();
        for place in [None, Some(folder.path())] {
            let clips = Clips::open(place, 10_000).unwrap();
            let added: Vec<_> = (0..6).map(|_| add(&clips, 3000).unwrap().info.id.clone()).collect();
            let are_there: Vec<_> = added.iter().map(|id| clips.get(id).is_some()).collect();
            assert_eq!(are_there, [false, false, false, true, true, true], "{place:?}");
            let size: u64 = clips.list().clips.iter().map(|clip| clip.size).sum();
            assert_eq!(clips.list().size, size);
            assert!(size <= 10_000 && place.is_none_or(|folder| on_disk(folder) == size), "{place:?}: {size}");
        }
    }

    #[test]
    fn a_clip_larger_than_the_space_is_refused_and_removes_no_others() {
        let clips = Clips::open(None, 10_000).unwrap();
        let small = add(&clips, 5000).unwrap();
        let error = add(&clips, 10_000).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        assert!(error.to_string().starts_with("clip: got 10"), "{error}");
        assert!(clips.get(&small.info.id).is_some());
    }

    #[test]
    fn a_clip_that_cannot_be_written_removes_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let clips = Clips::open(Some(folder.path()), 10_000).unwrap();
        let old: Vec<_> = (0..3).map(|_| add(&clips, 3000).unwrap().info.id.clone()).collect();
        let size = clips.list().size;
        let away = folder.path().with_extension("away");
        std::fs::rename(folder.path(), &away).unwrap();
        assert_eq!(add(&clips, 3000).unwrap_err().kind(), ErrorKind::NotFound);
        std::fs::rename(&away, folder.path()).unwrap();
        for id in &old {
            assert_eq!(video(&clips.get(id).unwrap(), 0..3000), vec![7; 3000]);
        }
        assert_eq!((clips.list().size, on_disk(folder.path())), (size, size));
        // The next one is written, and takes the place of the oldest.
        add(&clips, 3000).unwrap();
        let are_there: Vec<_> = old.iter().map(|id| clips.get(id).is_some()).collect();
        assert_eq!(are_there, [false, true, true]);
        assert!(clips.list().size <= 10_000 && on_disk(folder.path()) == clips.list().size);
    }

    #[test]
    fn a_removed_clip_frees_its_space_and_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let clips = Clips::open(Some(folder.path()), 10_000).unwrap();
        let clip = add(&clips, 3000).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        clips.remove("clip_of_nobody").unwrap();
        assert!(clips.get(&clip.info.id).is_some());
        clips.remove(&clip.info.id).unwrap();
        assert!(clips.get(&clip.info.id).is_none());
        assert_eq!((clips.list().size, on_disk(folder.path())), (0, 0));
    }

    #[test]
    fn parts_of_a_video_are_the_same_in_memory_and_in_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let movie: Vec<u8> = (0..=255).collect();
        for place in [None, Some(folder.path())] {
            let clips = Clips::open(place, 10_000).unwrap();
            let clip = clips.store(info(&new_id(), movie.len()), movie.clone()).unwrap();
            assert_eq!(video(&clip, 0..256), movie, "{place:?}");
            assert_eq!(video(&clip, 10..12), [10, 11], "{place:?}");
            assert!(clip.part(200..257).is_err(), "{place:?}");
        }
    }

    #[test]
    fn clips_of_a_folder_are_there_again_and_the_oldest_make_room_for_a_smaller_space() {
        let folder = tempfile::tempdir().unwrap();
        let clips = Clips::open(Some(folder.path()), 10_000).unwrap();
        let with_time = |at: u64| {
            let info = ClipInfo { created_at: at, ..info(&new_id(), 3000) };
            clips.store(info, vec![7; 3000]).unwrap().info.clone()
        };
        let (second, first) = (with_time(2), with_time(1));
        drop(clips);
        let again = Clips::open(Some(folder.path()), 10_000).unwrap();
        assert_eq!(
            [&first, &second].map(|info| again.get(&info.id).unwrap().info.clone()),
            [first.clone(), second.clone()]
        );
        assert_eq!(video(&again.get(&first.id).unwrap(), 0..3000), vec![7; 3000]);
        let smaller = Clips::open(Some(folder.path()), 4000).unwrap();
        assert!(smaller.get(&first.id).is_none() && smaller.get(&second.id).is_some());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
