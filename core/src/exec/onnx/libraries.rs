//! Loads shared libraries, after a check that they are complete.

#![allow(unsafe_code, reason = "loads libraries")]

use std::error::Error as _;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use libloading::Library;

/// Loads the library `path` for the whole process.
///
/// # Errors
///
/// Why the file is not a library for this system and processor.
pub(super) fn load(path: &Path) -> Result<(), String> {
    check_complete(path)?;
    // SAFETY: the library is part of the installation that the user chose to load.
    match unsafe { Library::new(path) } {
        Ok(library) => {
            std::mem::forget(library);
            Ok(())
        }
        Err(error) => Err(reason(&path.display().to_string(), &error)),
    }
}

/// Returns the system's reason why it cannot load `library`, with its name, which Windows leaves out.
pub(super) fn reason(library: &str, error: &libloading::Error) -> String {
    let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    if reason.contains(library) { reason } else { format!("{library}: {reason}") }
}

/// Checks that a library of Linux is for this processor, and has all segments that its header lists: the system ends a
/// process that reads others. Any other file passes.
///
/// # Errors
///
/// The length of the file and what its header needs, or the numbers of the processors in the format ELF.
pub(super) fn check_complete(path: &Path) -> Result<(), String> {
    let Ok(mut file) = File::open(path) else { return Ok(()) };
    let Ok(len) = file.metadata().map(|metadata| metadata.len()) else { return Ok(()) };
    let mut start = vec![0; len.min(HEADERS) as usize];
    if file.read_exact(&mut start).is_err() {
        return Ok(());
    }
    let machine = start.get(18..20).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    match end_of_segments(&start) {
        Some(_) if MACHINE.is_some() && machine != MACHINE => {
            let (got, expected) = (machine.unwrap_or_default(), MACHINE.unwrap_or_default());
            Err(format!("{}: got a library for the processor {got}, expected {expected}", path.display()))
        }
        Some(end) if end > len => Err(format!("{}: got {len} bytes, expected at least {end}", path.display())),
        _ => Ok(()),
    }
}

/// The number of this processor in the format ELF, if it is known here.
const MACHINE: Option<u16> = if cfg!(target_arch = "x86_64") {
    Some(62)
} else if cfg!(target_arch = "aarch64") {
    Some(183)
} else {
    None
};

/// The bytes of a library that its headers are in.
const HEADERS: u64 = 4096;

/// Returns the end of the last segment in the file; `None` if `start` is not that of a library of 64 bits for Linux.
fn end_of_segments(start: &[u8]) -> Option<u64> {
    let number = |at: usize, len: usize| {
        let bytes = start.get(at..at.checked_add(len)?)?;
        Some(bytes.iter().rev().fold(0_u64, |number, &byte| number << 8 | u64::from(byte)))
    };
    // 64 bits, the least significant byte first.
    start.starts_with(b"\x7fELF\x02\x01").then_some(())?;
    let [first, size, count] = [number(32, 8)?, number(54, 2)?, number(56, 2)?];
    let segments = (0..count).map(|index| {
        let at = usize::try_from(first.checked_add(index * size)?).ok()?;
        number(at.checked_add(8)?, 8)?.checked_add(number(at.checked_add(32)?, 8)?)
    });
    segments.collect::<Option<Vec<u64>>>()?.into_iter().max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(all(target_os = "linux", target_endian = "little", target_pointer_width = "64"))]
    #[test]
    fn a_library_that_was_cut_off_is_an_error_and_not_the_end_of_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libcut.so");
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        std::fs::write(&path, &program).unwrap();
        assert_eq!(check_complete(&path), Ok(()));
        for len in [program.len() / 2, 5000] {
            std::fs::write(&path, &program[..len]).unwrap();
            let error = load(&path).unwrap_err();
            assert!(error.contains(&format!("got {len} bytes, expected at least ")), "{error}");
        }
        if MACHINE.is_some() {
            let mut program = program;
            program[18] ^= 1;
            std::fs::write(&path, &program).unwrap();
            let error = load(&path).unwrap_err();
            assert!(error.contains("got a library for the processor "), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_no_library_is_an_error_with_the_reason_of_the_system() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libonnxruntime.so");
        for bytes in [&b""[..], b"not a library", b"\x7fELF\x02\x01"] {
            std::fs::write(&path, bytes).unwrap();
            let error = load(&path).unwrap_err();
            assert!(error.contains("libonnxruntime.so"), "{error}");
        }
        load(folder.path()).unwrap_err();
        load(&folder.path().join("missing")).unwrap_err();
    }
}
