//! The generated files that are committed agree with the program; `cargo xtask generate` writes them.

use std::path::Path;

fn agrees(arguments: &[&str], path: &str) {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    let committed = std::fs::read_to_string(committed).unwrap_or_default();
    let output = crate::dreamframe().args(arguments).output().unwrap();
    assert!(output.status.success());
    let generated = String::from_utf8(output.stdout).unwrap();
    // A checkout may have changed the line ends.
    assert!(generated == committed.replace("\r\n", "\n"), "{path} is out of date: run `cargo xtask generate`");
}

#[test]
fn the_parameter_table_is_up_to_date() {
    agrees(&["params", "table"], "core/parameters.md");
}

#[test]
fn the_parameter_schema_is_up_to_date() {
    agrees(&["params", "schema"], "docs/parameters.schema.json");
}
