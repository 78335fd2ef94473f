//! The C header: generated from `ffi/src` and committed.

use std::fmt::Write as _;

use crate::report::{Outcome, Report};

const HEADER: &str = "include/dreamframe.h";

/// Generates the header.
pub(crate) fn run(report: &mut Report) {
    report.step(HEADER, || {
        let written = generate().and_then(|text| {
            std::fs::create_dir_all("include")
                .and_then(|()| std::fs::write(HEADER, text))
                .map_err(|error| format!("{HEADER}: {error}"))
        });
        written.into()
    });
}

/// Compares the generated header with the committed one.
pub(crate) fn check() -> Outcome {
    let same = generate().and_then(|text| match std::fs::read_to_string(HEADER) {
        Ok(committed) if committed == text => Ok(()),
        Ok(_) => Err(format!("{HEADER} is not what ffi/src gives: run `cargo xtask header`")),
        Err(error) => Err(format!("{HEADER}: {error}")),
    });
    same.into()
}

fn generate() -> Result<String, String> {
    let read = |path: &str| std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let mut config = cbindgen::Config::from_file("ffi/cbindgen.toml")?;
    config.header = Some(read("ffi/header.txt")?.trim_end().to_owned());
    config.after_includes = Some(version_macros());
    let bindings = cbindgen::generate_with_config("ffi", config).map_err(|error| error.to_string())?;
    let mut text = Vec::new();
    bindings.write(&mut text);
    let text = String::from_utf8(text).map_err(|error| error.to_string())?;
    with_init_macros(&text)
}

fn version_macros() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!(
        "\n/**\n * The version of this header; `dreamframe_version()` gives that of the library.\n */\n\
         #define DREAMFRAME_VERSION \"{version}\""
    );
    let numbers = version.split(['.', '-', '+']);
    for (name, number) in ["MAJOR", "MINOR", "PATCH"].into_iter().zip(numbers) {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "\n#define DREAMFRAME_VERSION_{name} {number}");
    }
    text
}

/// Adds, after each struct that starts with `struct_size`, a macro that sets it, and all other fields to zero.
fn with_init_macros(header: &str) -> Result<String, String> {
    let mut text = String::new();
    let mut fields: Option<Vec<&str>> = None;
    for line in header.lines() {
        text.push_str(line);
        text.push('\n');
        if line == "typedef struct {" || (line.starts_with("typedef struct ") && line.ends_with('{')) {
            fields = Some(Vec::new());
        } else if let Some(name) = line.strip_prefix("} ").and_then(|rest| rest.strip_suffix(';')) {
            if let Some(fields) = fields.take().filter(|fields| fields.first() == Some(&"size_t struct_size;")) {
                text.push_str(&init_macro(name, &fields)?);
            }
        } else if let Some(fields) = &mut fields
            && line.ends_with(';')
            && !line.trim_start().starts_with(['*', '/'])
        {
            fields.push(line.trim());
        }
    }
    Ok(text)
}

fn init_macro(name: &str, fields: &[&str]) -> Result<String, String> {
    let zero = |field: &&str| match field.split_once('[') {
        None => Ok("0".to_owned()),
        Some((_, length)) => {
            let length = length.trim_end_matches("];").parse::<usize>();
            let length = length.map_err(|_| format!("{name}: length of `{field}`: expected a number"))?;
            Ok(format!("{{{}}}", vec!["0"; length].join(", ")))
        }
    };
    let zeros = fields.iter().skip(1).map(zero).collect::<Result<Vec<_>, String>>()?;
    let macro_name = name.trim_end_matches("_t").to_uppercase();
    let values = [vec![format!("sizeof({name})")], zeros].concat().join(", ");
    Ok(format!("\n/**\n * What a `{name}` begins with.\n */\n#define {macro_name}_INIT {{{values}}}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_structs_with_a_size_have_an_init_macro() {
        let header = "typedef struct {\n  size_t struct_size;\n  /**\n   * Doc; more;\n   */\n  uint32_t width;\n  \
                      uint8_t *planes[2];\n} a_b_t;\ntypedef struct {\n  int x;\n} c_t;\n";
        let text = with_init_macros(header).unwrap();
        assert!(text.contains("#define A_B_INIT {sizeof(a_b_t), 0, {0, 0}}\n"), "{text}");
        assert!(!text.contains("C_INIT"), "{text}");
    }
}
