//! Clips on disk: `<id>.mp4`, and its description `<id>.json`, which is written last, so that a clip is complete or absent.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dreamframe::{Error, Result};

use super::{Clip, ClipInfo, PREFIX, Video};
use crate::ids;
use crate::media::{PendingFile, final_name};
use crate::saved::create_folder;

/// The longest description.
const MOST_BYTES: u64 = 1 << 20;

/// Returns the clips of a folder, oldest first. What a process that ended while it wrote or removed a clip has left is
/// removed; other files are reported in the log, and stay.
pub(super) fn load(folder: &Path) -> Result<Vec<Arc<Clip>>> {
    create_folder(folder)?;
    let failed = |error| Error::io(folder, "read", error);
    let mut clips = Vec::new();
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name());
    }
    names.sort();
    for name in &names {
        let path = folder.join(name);
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => match read(&path) {
                Ok(clip) => clips.push(Arc::new(clip)),
                Err(error) => tracing::warn!(file = %path.display(), error, "ignored: the file describes no clip"),
            },
            // Loaded with its description.
            Some("mp4")
                if names.binary_search(&path.with_extension("json").file_name().unwrap_or_default().into()).is_ok() => {
            }
            _ if name.to_str().is_some_and(is_left_over) => match remove(&path) {
                Ok(()) => tracing::info!(file = %path.display(), "removed: the file is a part of a clip"),
                Err(error) => tracing::warn!(%error, "ignored: a part of a clip cannot be removed"),
            },
            _ => tracing::warn!(file = %path.display(), "ignored: the file is no clip with a description"),
        }
    }
    clips.sort_by(|a, b| (a.info.created_at, &a.info.id).cmp(&(b.info.created_at, &b.info.id)));
    Ok(clips)
}

/// Returns whether a file with this name, which is no description and no video with one, is a part of a clip: a video, or
/// one of its files under its temporary name.
fn is_left_over(name: &str) -> bool {
    let is_of_clip = |name: &str| {
        let stem = name.strip_suffix(".mp4").or_else(|| name.strip_suffix(".json"));
        stem.is_some_and(|stem| ids::is_id(stem, PREFIX))
    };
    is_of_clip(name) || final_name(name).is_some_and(is_of_clip)
}

/// Reads the description at `path`, and compares the video with it.
fn read(path: &Path) -> Result<Clip, String> {
    let text = |error: std::io::Error| error.to_string();
    // A symbolic link could name a file that is not to be shown.
    let length = |path: &Path| match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => Ok(found.len()),
        Ok(_) => Err(format!("{}: got another kind of file, expected a plain one", path.display())),
        Err(error) => Err(format!("{}: {error}", path.display())),
    };
    let described = length(path)?;
    if described > MOST_BYTES {
        return Err(format!("description: got {described} bytes, expected at most {MOST_BYTES}"));
    }
    let info: ClipInfo = serde_json::from_slice(&fs::read(path).map_err(text)?).map_err(|error| error.to_string())?;
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if info.id != stem || !ids::is_id(stem, PREFIX) {
        return Err("id: got one that is not the file's name, expected that of a clip".into());
    }
    let video = path.with_extension("mp4");
    let bytes = length(&video)?;
    if bytes != info.bytes {
        return Err(format!("video: got {bytes} bytes, expected {}", info.bytes));
    }
    Ok(Clip { info, video: Video::File(video), size: bytes.saturating_add(described) })
}

/// Writes the two files of the clip `id`, and returns the path of the video.
pub(super) fn write(folder: &Path, id: &str, movie: &[u8], description: &[u8]) -> Result<PathBuf> {
    let video = folder.join(format!("{id}.mp4"));
    write_file(&video, movie)?;
    write_file(&video.with_extension("json"), description).inspect_err(|_| {
        if let Err(error) = remove(&video) {
            tracing::error!(%error, "a video without a description stays in the folder of clips");
        }
    })?;
    Ok(video)
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = PendingFile::create(path)?;
    file.write_all(bytes).map_err(|error| Error::io(path, "write", error))?;
    file.commit()
}

/// Removes the files of a clip: the description first, as it makes the video a clip. A video that stays is removed when the
/// folder is opened again.
///
/// # Errors
///
/// `Io` if the description stays, and with it the clip.
pub(super) fn erase(video: &Path) -> Result<()> {
    remove(&video.with_extension("json"))?;
    if let Err(error) = remove(video) {
        tracing::error!(%error, "the video of a removed clip stays in the folder of clips");
    }
    Ok(())
}

/// Removes a file, if it exists.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(path, "remove", error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::info;
    use super::super::{Clips, new_id};
    use super::*;

    /// A folder with one clip, and the clip's id.
    fn with_clip() -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let id = new_id();
        Clips::open(Some(folder.path()), 10_000).unwrap().store(info(&id, 3), vec![1, 2, 3]).unwrap();
        (folder, id)
    }

    fn ids_in(folder: &Path) -> Vec<String> {
        load(folder).unwrap().iter().map(|clip| clip.info.id.clone()).collect()
    }

    #[test]
    fn files_that_are_no_clips_are_ignored_and_stay() {
        let (folder, id) = with_clip();
        let valid = fs::read_to_string(folder.path().join(format!("{id}.json"))).unwrap();
        let other = new_id();
        let foreign = [
            ("notes.txt", "text".to_owned()),
            ("film.mp4", "a film".to_owned()),
            (".clip_x.mp4.1.part", String::new()),
            ("broken.json", "{".to_owned()),
            // A valid description under another name; one whose name would be a path; one without its video.
            ("other.json", valid.clone()),
            ("clip_..json", valid.replace(&id, "clip_.")),
            (&format!("{other}.json"), valid.replace(&id, &other)),
        ];
        for (name, text) in &foreign {
            fs::write(folder.path().join(name), text).unwrap();
        }
        assert_eq!(ids_in(folder.path()), [id]);
        // Also if there is no space for them.
        drop(Clips::open(Some(folder.path()), 1).unwrap());
        for (name, text) in foreign {
            assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), text, "{name}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 7);
    }

    #[test]
    fn what_a_killed_process_has_left_of_a_clip_is_removed() {
        let (folder, id) = with_clip();
        let other = new_id();
        let left = [format!("{other}.mp4"), format!(".{other}.mp4.4711.part"), format!(".{other}.json.4711.part")];
        for name in &left {
            fs::write(folder.path().join(name), [1, 2]).unwrap();
        }
        // What cannot be removed does not keep the others from being loaded.
        fs::create_dir(folder.path().join(format!("{}.mp4", new_id()))).unwrap();
        assert_eq!(ids_in(folder.path()), [id]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_clip_whose_description_cannot_be_removed_stays() {
        let (folder, id) = with_clip();
        let clips = Clips::open(Some(folder.path()), 10_000).unwrap();
        let description = folder.path().join(format!("{id}.json"));
        let away = folder.path().join("away");
        fs::rename(&description, &away).unwrap();
        fs::create_dir(&description).unwrap();
        assert!(clips.remove(&id).unwrap_err().to_string().contains(&id));
        assert!(clips.get(&id).is_some() && folder.path().join(format!("{id}.mp4")).exists());
        fs::remove_dir(&description).unwrap();
        fs::rename(&away, &description).unwrap();
        clips.remove(&id).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(clips.get(&id).is_none());
    }

    #[test]
    fn a_video_of_another_length_is_no_clip() {
        let (folder, id) = with_clip();
        fs::write(folder.path().join(format!("{id}.mp4")), [1, 2]).unwrap();
        assert!(ids_in(folder.path()).is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn a_video_that_is_a_link_is_no_clip() {
        let (folder, id) = with_clip();
        let secret = tempfile::NamedTempFile::new().unwrap();
        fs::write(secret.path(), [1, 2, 3]).unwrap();
        let video = folder.path().join(format!("{id}.mp4"));
        fs::remove_file(&video).unwrap();
        std::os::unix::fs::symlink(secret.path(), &video).unwrap();
        assert!(ids_in(folder.path()).is_empty());
    }

    #[test]
    fn a_clip_that_cannot_be_described_leaves_no_video() {
        let (folder, id) = (tempfile::tempdir().unwrap(), new_id());
        fs::create_dir(folder.path().join(format!("{id}.json"))).unwrap();
        assert!(write(folder.path(), &id, &[1], b"{}").is_err());
        assert!(!folder.path().join(format!("{id}.mp4")).exists());
    }
}
