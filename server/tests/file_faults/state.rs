//! The file of `--state`, which keeps streams across restarts.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Write as _, stdout};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use dreamframe_tests::file_faults::{Fault, cases, operations};
use dreamframe_tests::network::{LiveStream, Program};
use serde_json::{Value, json};

use super::{FEW, Place};

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);

fn serve(folder: &Path, change: impl FnOnce(&mut Command)) -> std::io::Result<Program> {
    Program::start_with(Path::new(env!("CARGO_BIN_EXE_dreamframe")), |command| {
        command.arg("--state").arg(folder);
        change(command);
    })
}

/// What a client knows of the streams that it made.
#[derive(Debug, Default)]
struct Known {
    /// Those whose creation was answered, with the seeds that they may have.
    kept: BTreeMap<String, Vec<u64>>,
    /// The number of those whose end was requested.
    ended: usize,
}

/// Creates three streams, changes one of them and ends another; stops at the first request that fails.
fn change(program: &Program, known: &mut Known) -> std::io::Result<()> {
    let create = |known: &mut Known| -> std::io::Result<LiveStream> {
        let stream = program.create(&json!({"seed": 1}))?;
        known.kept.insert(stream.id().to_owned(), vec![1]);
        Ok(stream)
    };
    let first = create(known)?;
    let second = create(known)?;
    for seed in 2..5 {
        known.kept.entry(first.id().to_owned()).or_default().push(seed);
        program.patch(&first, &json!({ "seed": seed }))?;
    }
    known.kept.remove(second.id());
    known.ended += 1;
    program.end(&second)?;
    create(known)?;
    Ok(())
}

/// Every stream whose creation was answered is there, as it was created or changed, and no other that was not requested.
fn check(program: &Program, known: &Known, what: &str) {
    let streams = program.streams().unwrap();
    let streams = streams["data"].as_array().unwrap();
    let found = |id: &str| streams.iter().find(|stream| stream["id"] == id);
    for (id, seeds) in &known.kept {
        let stream = found(id).unwrap_or_else(|| panic!("{what}: stream {id} is lost"));
        assert!(seeds.iter().any(|seed| seed_of(stream) == Some(*seed)), "{what}: {stream}");
    }
    // One more may have been created without an answer.
    let others = streams.iter().filter(|stream| !known.kept.contains_key(stream["id"].as_str().unwrap())).count();
    assert!(others <= 1 + known.ended, "{what}: {streams:?}");
}

fn seed_of(stream: &Value) -> Option<u64> {
    let seed = &stream["params"]["seed"];
    seed.as_u64().or_else(|| seed[0][0].as_u64())
}

#[test]
fn streams_are_kept_across_faults_and_kills_at_any_operation() {
    let place = Place::new();
    let log = place.folder.path().join("log");
    let mut known = Known::default();
    {
        let folder = place.faulty();
        let program = serve(&folder, |command| place.library.log(command, &folder, &log)).unwrap();
        change(&program, &mut known).unwrap();
    }
    let count = operations(&log).unwrap();
    assert!(count > 20, "{count}");
    let mut tried = 0;
    for (fault, at) in cases(count, FEW) {
        place.clear();
        let folder = place.faulty();
        let what = format!("{fault:?} at {at}");
        let mut known = Known::default();
        match serve(&folder, |command| place.library.inject(command, &folder, fault, at)) {
            Ok(program) => {
                let done = change(&program, &mut known);
                assert!(done.is_ok() || !fault.is_harmless(), "{what}: {done:?}");
                let panicked = fault != Fault::Kill && program.streams().is_err();
                assert!(!panicked, "{what}: the server has ended");
            }
            Err(error) => assert!(!fault.is_harmless(), "{what}: {error}"),
        }
        check(&serve(&folder, |_| ()).unwrap(), &known, &what);
        tried += 1;
    }
    let _ = writeln!(stdout(), "{count} operations, {tried} faults");
}

#[test]
fn after_a_full_disk_has_room_again_changes_are_written() {
    let place = Place::new();
    let (folder, full) = (place.faulty(), place.folder.path().join("full"));
    let program = serve(&folder, |command| place.library.fill_while(command, &folder, &full)).unwrap();
    let first = program.create(&json!({"seed": 1})).unwrap();
    fs::write(&full, "").unwrap();
    // A change is not lost, and a stream that is not stored is not promised.
    program.patch(&first, &json!({"seed": 2})).unwrap();
    let refused = program.create(&json!({"seed": 3})).unwrap_err().to_string();
    assert!(refused.contains("failed to write"), "{refused}");
    fs::remove_file(&full).unwrap();
    let start = Instant::now();
    let third = loop {
        match program.create(&json!({"seed": 4})) {
            Ok(stream) => break stream,
            Err(error) => assert!(start.elapsed() < LIMIT, "not written after {:?}: {error}", start.elapsed()),
        }
    };
    // Its creation has waited for everything before it.
    drop(program);
    let program = serve(&folder, |_| ()).unwrap();
    let streams = program.streams().unwrap();
    let seed =
        |id: &str| streams["data"].as_array().unwrap().iter().find(|stream| stream["id"] == id).and_then(seed_of);
    assert_eq!((seed(first.id()), seed(third.id())), (Some(2), Some(4)), "{streams}");
}
