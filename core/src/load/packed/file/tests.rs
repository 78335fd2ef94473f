use proptest::prelude::*;

use super::*;
use crate::net::PackedLayout;

fn purpose() -> Purpose {
    Purpose::new(&PackedLayout { name: "portable.f32".into(), version: 3 }, [9; 32])
}

fn serial(count: usize, piece: &(dyn Fn(usize) + Sync)) {
    (0..count).for_each(piece);
}

/// Runs on threads, as the pool does.
fn threaded(count: usize, piece: &(dyn Fn(usize) + Sync)) {
    std::thread::scope(|scope| {
        for first in 0..3 {
            scope.spawn(move || (first..count).step_by(3).for_each(piece));
        }
    });
}

fn written(sections: &[(&str, Vec<&[u8]>)]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    write(&path, &Secret::KNOWN, &purpose(), sections).unwrap();
    fs::read(path).unwrap()
}

fn read_back(bytes: Vec<u8>, parallel: Parallel<'_>) -> Result<Sections, PackedError> {
    read(&Bytes::Owned(bytes.into()), &Secret::KNOWN, &purpose(), parallel)
}

/// Returns a file with every part that the format has.
fn sample() -> Vec<u8> {
    written(&[("a.weight", vec![&[1, 2, 3, 4], &[5]]), ("b", vec![]), ("c", vec![&[], &[6; 70]])])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn frames_round_trip_through_writers(
        sections in prop::collection::btree_map(
            ".{0,9}",
            prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..5),
            0..6,
        ),
        on_threads: bool,
    ) {
        let borrowed: Vec<(&str, Vec<&[u8]>)> =
            sections.iter().map(|(key, parts)| (key.as_str(), parts.iter().map(Vec::as_slice).collect())).collect();
        let read = read_back(written(&borrowed), if on_threads { &threaded } else { &serial }).unwrap();
        prop_assert_eq!(read.len(), sections.len());
        for (key, parts) in sections {
            let found: Vec<Vec<u8>> = read[&key].iter().map(|part| part.to_vec()).collect();
            prop_assert_eq!(found, parts);
        }
    }
}

#[test]
fn a_memory_longer_than_a_chunk_is_read_whole() {
    let long: Vec<u8> = (0..3 * CHUNK + 5).map(|i| (i * i) as u8).collect();
    let read = read_back(written(&[("long", vec![&long, &long[..CHUNK]])]), &threaded).unwrap();
    assert!(*read["long"][0] == long && *read["long"][1] == long[..CHUNK]);
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = sample();
    assert_eq!(read_back(whole.clone(), &serial).unwrap().len(), 3);
    for len in 0..whole.len() {
        assert!(read_back(whole[..len].to_vec(), &serial).is_err(), "cut at {len}");
    }
}

#[test]
fn a_file_that_grew_is_refused() {
    let mut grown = sample();
    grown.push(0);
    assert!(matches!(read_back(grown, &serial), Err(PackedError::Length { .. })));
}

#[test]
fn a_file_with_any_bit_altered_is_refused() {
    let whole = sample();
    for bit in 0..8 * whole.len() {
        let mut altered = whole.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(read_back(altered, &serial).is_err(), "bit {bit}");
    }
}

#[test]
fn a_file_with_another_secret_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let own = Secret::read_or_make(folder.path()).unwrap();
    let refused = read(&Bytes::Owned(sample().into()), &own, &purpose(), &serial);
    assert!(matches!(refused, Err(PackedError::Untrusted)));
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_of_another_user_is_not_written_to() {
    let folder = tempfile::tempdir().unwrap();
    // Only root may change the owner of a folder; other users may not write to one of root's.
    let (place, is_root) = match std::os::unix::fs::chown(folder.path(), Some(65_534), None) {
        Ok(()) => (folder.path(), true),
        Err(_) => (Path::new("/"), false),
    };
    let refused = replace(&place.join("dreamframe-test"), &|file| file.write_all(b"whole")).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    assert!(!is_root || refused.to_string().contains("belongs to user 65534"), "{refused}");
    assert!(!is_root || fs::read_dir(place).unwrap().count() == 0);
}

#[test]
fn other_file_types_are_recognized() {
    for foreign in [&b""[..], b"PK\x03\x04 and more than thirty-two bytes of it", &[0; 100]] {
        assert!(matches!(read_back(foreign.to_vec(), &serial), Err(PackedError::Foreign)), "{foreign:?}");
    }
}

#[test]
fn other_format_version_layout_or_source_is_reported_specifically() {
    let mut format = sample();
    format[8] += 1;
    let refused = read_back(format, &serial).unwrap_err().to_string();
    assert_eq!(refused, "format: got 3, expected 2");

    let of = |change: fn(&mut Purpose)| {
        let mut other = purpose();
        change(&mut other);
        other.check(&purpose()).unwrap_err().to_string()
    };
    assert!(of(|other| other.version = "0.0.1".into()).starts_with("version: got 0.0.1, expected "));
    assert_eq!(of(|other| other.layout.version = 2), "layout: got portable.f32 2, expected portable.f32 3");
    assert_eq!(of(|other| other.layout.name = "x".into()), "layout: got x 3, expected portable.f32 3");
    assert_eq!(of(|other| other.fingerprint = [8; 32]), "written for other weights");
}

#[test]
fn the_other_byte_order_is_refused() {
    let mut bytes = sample();
    bytes[12..16].reverse();
    assert!(matches!(read_back(bytes, &serial), Err(PackedError::ByteOrder)));
}

#[test]
fn lengths_past_the_file_take_no_memory() {
    for len in [u64::MAX, u64::MAX / 2, 1 << 40] {
        let memory = Memory { len, digest: [0; 32] };
        let section = |key: &str| Section { key: key.into(), memories: vec![memory] };
        let head = Head { purpose: purpose(), sections: vec![section("a")] };
        let refused = head.encode(&Secret::KNOWN).map(|bytes| read_back(bytes, &serial).unwrap_err());
        assert!(refused.is_none_or(|error| matches!(error, PackedError::Length { .. })));
        // With a table of this length, in a file with a matching length field.
        let mut bytes = sample();
        bytes[16..24].copy_from_slice(&len.to_le_bytes());
        assert!(matches!(read_back(bytes, &serial), Err(PackedError::Damaged(_))));
    }
}

#[test]
fn failed_write_keeps_the_old_file_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    replace(&path, &|file| file.write_all(b"old")).unwrap();
    let full = replace(&path, &|file| {
        file.write_all(b"half of the n")?;
        Err(io::ErrorKind::StorageFull.into())
    });
    assert_eq!(full.unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn concurrent_readers_and_writers_see_complete_files_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let write = |number: u8| write(&path, &Secret::KNOWN, &purpose(), &[("a", vec![&vec![number; 40_000]])]).unwrap();
    write(0);
    std::thread::scope(|scope| {
        for number in [1, 2] {
            scope.spawn(move || (0..20).for_each(|_| write(number)));
        }
        for _ in 0..40 {
            let read = read(&Bytes::open(&path).unwrap(), &Secret::KNOWN, &purpose(), &serial).unwrap();
            assert!(read["a"][0].iter().all(|&byte| byte == read["a"][0][0]));
        }
    });
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn files_aside_are_removed_once_their_writers_must_be_dead() {
    let folder = tempfile::tempdir().unwrap();
    let [old, young] = ["a.1-1-0.tmp", "a.2-2-0.tmp"].map(|name| folder.path().join(name));
    for path in [&old, &young] {
        fs::write(path, "half").unwrap();
    }
    let yesterday = SystemTime::now() - 24 * ABANDONED;
    File::options().write(true).open(&old).unwrap().set_modified(yesterday).unwrap();
    replace(&folder.path().join("file"), &|file| file.write_all(b"whole")).unwrap();
    assert!(!old.exists() && young.exists());
}
