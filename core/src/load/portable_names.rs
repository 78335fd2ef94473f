//! Names of files that every system supports: models are copied between systems.

/// Names that mean a device on Windows, with any ending and in any case.
const DEVICES: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];

/// Names that mean a device if a digit follows.
const NUMBERED: [&str; 2] = ["COM", "LPT"];

/// Returns the first part of `path`, whose parts end at `/`, that cannot be the name of a file on Windows: a reserved
/// name, or one that ends in a dot or a space, which Windows removes.
pub(super) fn unportable_part(path: &str) -> Option<&str> {
    path.split('/').find(|part| part.ends_with(['.', ' ']) || is_device(part))
}

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim_end().to_uppercase();
    // Windows takes the superscripts of Latin-1 for digits.
    let is_digit =
        |text: &str| text.chars().count() == 1 && text.starts_with(|c| matches!(c, '1'..='9' | '¹' | '²' | '³'));
    DEVICES.contains(&stem.as_str()) || NUMBERED.iter().any(|name| stem.strip_prefix(name).is_some_and(is_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_names_are_found_in_any_case_and_with_any_ending() {
        for (path, part) in [
            ("NUL", "NUL"),
            ("org/con", "con"),
            ("org/aux.safetensors", "aux.safetensors"),
            ("Com1/name", "Com1"),
            ("a/LPT9.tar.gz/b", "LPT9.tar.gz"),
            ("lpt²", "lpt²"),
            ("conout$", "conout$"),
            ("a/prn .txt", "prn .txt"),
        ] {
            assert_eq!(unportable_part(path), Some(part), "{path}");
        }
    }

    #[test]
    fn names_that_windows_shortens_are_found() {
        assert_eq!(unportable_part("org/name."), Some("name."));
        assert_eq!(unportable_part("org /name"), Some("org "));
    }

    #[test]
    fn other_names_are_portable() {
        for path in
            ["stabilityai/sd-turbo", "console", "com", "com0", "com10", "nul-model", "a.con", "lpt", "unet/a.b c"]
        {
            assert_eq!(unportable_part(path), None, "{path}");
        }
    }
}
