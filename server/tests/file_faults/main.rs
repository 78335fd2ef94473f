//! Operations on files that fail, files that are read and written in parts, a full disk, and a process that is killed: the
//! program reports them, and what is left is whole.
//!
//! `DREAMFRAME_FULL` tries every operation with every fault, `DREAMFRAME_FAULTS` as many as it says of each command.

#![cfg(target_os = "linux")]

mod clips;
mod state;

use std::fs;
use std::io::{self, Write as _, stdout};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use dreamframe_tests::adapters::copy_folder;
use dreamframe_tests::file_faults::{Fault, FaultLibrary, cases, operations};
use dreamframe_tests::native::root;
use dreamframe_tests::network::Program;
use dreamframe_tests::{Single, hub};

/// Faults of one command, unless all are tried.
const FEW: usize = 13;

/// A folder in which operations fail, and one in which they do not.
struct Place {
    library: FaultLibrary,
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = FaultLibrary::compile(folder.path()).unwrap();
        Self { library, folder }
    }

    /// Returns the folder in which operations fail; it exists.
    fn faulty(&self) -> PathBuf {
        let faulty = self.folder.path().join("faulty");
        fs::create_dir_all(&faulty).unwrap();
        faulty
    }

    /// Deletes everything in the folder in which operations fail.
    fn clear(&self) {
        fs::remove_dir_all(self.faulty()).unwrap();
    }

    /// Runs `command` for each of some faults, and again without one, after `prepare` in a new folder each time. Without a
    /// fault, and with one that a program must not notice, it succeeds, and `result` returns the same as without faults;
    /// with any other it does, or the command has failed.
    fn each<T: PartialEq>(
        &self,
        prepare: impl Fn(&Path),
        command: impl Fn(&Path) -> Command,
        result: impl Fn(&Path) -> Option<T>,
    ) {
        let faulty = self.faulty();
        prepare(&faulty);
        let log = self.folder.path().join("log");
        let mut counted = command(&faulty);
        self.library.log(&mut counted, &faulty, &log);
        succeed(&counted.output().unwrap());
        let expected = result(&faulty);
        assert!(expected.is_some());
        let count = operations(&log).unwrap();
        fs::remove_file(&log).unwrap();
        let mut tried = 0;
        for (fault, at) in cases(count, FEW) {
            self.clear();
            let faulty = self.faulty();
            prepare(&faulty);
            let mut broken = command(&faulty);
            self.library.inject(&mut broken, &faulty, fault, at);
            let output = broken.output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!text.contains("panicked"), "{fault:?} at {at}: {text}");
            let left = result(&faulty);
            match (output.status.code(), output.status.signal()) {
                (Some(0), None) => assert!(left == expected, "{fault:?} at {at}: it succeeded with another result"),
                (Some(1), None) => assert!(!fault.is_harmless() && !text.is_empty(), "{fault:?} at {at}: {text}"),
                (None, Some(9)) => assert_eq!(fault, Fault::Kill),
                other => panic!("{fault:?} at {at}: {other:?}: {text}"),
            }
            assert!(left.is_none() || left == expected, "{fault:?} at {at}: something half-written is left");
            succeed(&command(&faulty).output().unwrap());
            assert!(result(&faulty) == expected, "{fault:?} at {at}: another result afterwards");
            tried += 1;
        }
        let _ = writeln!(stdout(), "{count} operations, {tried} faults");
    }

    /// Runs a server whose `option` is the folder, and `change` with it, for each of some faults; then `check` with a server
    /// without a fault, and with what the client knows.
    fn each_server<K: Default>(
        &self,
        option: &str,
        change: impl Fn(&Program, &mut K) -> io::Result<()>,
        check: impl Fn(&Program, &Path, &K, &str),
    ) {
        let log = self.folder.path().join("log");
        {
            let folder = self.faulty();
            let program = serve(option, &folder, |command| self.library.log(command, &folder, &log)).unwrap();
            change(&program, &mut K::default()).unwrap();
        }
        let count = operations(&log).unwrap();
        assert!(count > 20, "{count}");
        let mut tried = 0;
        for (fault, at) in cases(count, FEW) {
            self.clear();
            let folder = self.faulty();
            let what = format!("{fault:?} at {at}");
            let mut known = K::default();
            match serve(option, &folder, |command| self.library.inject(command, &folder, fault, at)) {
                Ok(program) => {
                    let done = change(&program, &mut known);
                    assert!(done.is_ok() || !fault.is_harmless(), "{what}: {done:?}");
                    let has_ended = fault != Fault::Kill && program.streams().is_err();
                    assert!(!has_ended, "{what}: the server has ended");
                }
                Err(error) => assert!(!fault.is_harmless(), "{what}: {error}"),
            }
            check(&serve(option, &folder, |_| ()).unwrap(), &folder, &known, &what);
            tried += 1;
        }
        let _ = writeln!(stdout(), "{count} operations, {tried} faults");
    }
}

/// Starts a server whose `option` is `folder`.
fn serve(option: &str, folder: &Path, change: impl FnOnce(&mut Command)) -> io::Result<Program> {
    Program::start_with(Path::new(env!("CARGO_BIN_EXE_dreamframe")), |command| {
        command.arg(option).arg(folder);
        change(command);
    })
}

fn succeed(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Returns a command line of the program.
fn dreamframe(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dreamframe"));
    command.stdin(Stdio::null()).env_remove("RUST_LOG").env_remove("DREAMFRAME_ONNXRUNTIME");
    command.env("XDG_CACHE_HOME", folder.join("cache")).env("HF_HUB_CACHE", folder.join("hub"));
    command
}

/// Returns the names and bytes of all files in a folder; `None` if it does not exist.
fn files(folder: &Path) -> Option<Vec<(String, Vec<u8>)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).ok()?.map(Result::unwrap) {
        let name = entry.file_name().to_string_lossy().into_owned();
        match files(&entry.path()) {
            Some(inner) => all.extend(inner.into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes))),
            None => all.push((name, fs::read(entry.path()).unwrap())),
        }
    }
    all.sort();
    Some(all)
}

/// Restyles a picture with a model in `folder`, whose packed weights are kept there.
fn process(folder: &Path) -> Command {
    let mut command = dreamframe(folder);
    command.arg("process").arg(folder.join("in.png")).arg(folder.join("out.png"));
    command.arg("--models").arg(folder.join("demo")).arg("--packed-cache").arg(folder.join("packed"));
    command.arg("--params").arg(folder.join("params.json")).args(["--dtype", "f32", "--threads", "1"]);
    command
}

fn model(folder: &Path) {
    copy_folder(&root().join("models/demo/dreamframe-tiny"), &folder.join("demo"));
    image::RgbImage::from_pixel(64, 64, image::Rgb([20, 120, 220])).save(folder.join("in.png")).unwrap();
    fs::write(folder.join("params.json"), r#"{"model_id": "demo", "width": 64, "height": 64, "prompt": "snow"}"#)
        .unwrap();
}

fn picture(folder: &Path) -> Option<Vec<u8>> {
    fs::read(folder.join("out.png")).ok()
}

#[test]
fn pictures_are_the_same_whatever_happens_while_packed_weights_are_written() {
    Place::new().each(model, process, picture);
}

#[test]
fn pictures_are_the_same_whatever_happens_while_packed_weights_are_read() {
    let place = Place::new();
    let packed = tempfile::tempdir().unwrap();
    model(packed.path());
    succeed(&process(packed.path()).output().unwrap());
    fs::remove_file(packed.path().join("out.png")).unwrap();
    place.each(|folder| copy_folder(packed.path(), folder), process, picture);
}

#[test]
fn a_converted_checkpoint_is_complete_or_absent() {
    let convert = |folder: &Path| {
        let mut command = dreamframe(folder);
        command.args(["models", "convert", "--force"]).arg(folder.join("model.safetensors")).arg(folder.join("out"));
        command
    };
    let write = |folder: &Path| Single::of_words("sd15", 64).write_file(&folder.join("model.safetensors"));
    Place::new().each(write, convert, |folder| files(&folder.join("out")));
}

#[test]
fn a_fetched_file_is_complete_or_absent() {
    let endpoint = hub::serve();
    let fetch = |folder: &Path| {
        let mut command = dreamframe(folder);
        command.args(["models", "fetch", hub::REPOSITORY]).env("HF_ENDPOINT", &endpoint);
        command.env_remove("HF_TOKEN").env_remove("HF_HUB_OFFLINE");
        command
    };
    let fetched = |folder: &Path| {
        let snapshots = folder.join("hub").join(format!("models--{}", hub::REPOSITORY.replace('/', "--")));
        let snapshot = fs::read_dir(snapshots.join("snapshots")).ok()?.next()?.unwrap().path();
        fs::read(snapshot.join("pytorch_lora_weights.safetensors")).ok()
    };
    Place::new().each(|_| (), fetch, fetched);
}

#[test]
fn a_video_is_complete_or_absent() {
    let video = |folder: &Path| {
        let mut command = dreamframe(folder);
        command.arg("process").arg(root().join("server/tests/data/b-frames.mp4")).arg(folder.join("out.mp4"));
        command.arg("--params").arg(folder.join("params.json")).args(["--threads", "1"]);
        command
    };
    let params = r#"{"width": 64, "height": 64, "skip_diffusion": true}"#;
    let write = |folder: &Path| fs::write(folder.join("params.json"), params).unwrap();
    Place::new().each(write, video, |folder| fs::read(folder.join("out.mp4")).ok());
}
