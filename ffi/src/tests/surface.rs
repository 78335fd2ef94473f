//! The header, the functions and the tables of these tests have the same names.

use std::collections::BTreeSet;

use super::calls::{ENGINE, NULLS, REPLY, SESSION};
use super::network::{PLAYER, PUBLISHER, SERVER};

const HEADER: &str = include_str!("../../../include/dreamframe.h");

/// Functions that return no status, with the test that covers each.
const WITHOUT_STATUS: &[&str] = &[
    "dreamframe_abi_version",
    "dreamframe_build_info",
    "dreamframe_engine_free",
    "dreamframe_last_error",
    "dreamframe_last_error_json",
    "dreamframe_player_free",
    "dreamframe_publisher_free",
    "dreamframe_server_free",
    "dreamframe_session_free",
    "dreamframe_status_name",
    "dreamframe_string_free",
    "dreamframe_version",
];

/// Returns the declarations of the header, without comments.
fn declarations() -> Vec<String> {
    let mut code = String::new();
    let mut rest = HEADER;
    while let Some((before, after)) = rest.split_once("/*") {
        code.push_str(before);
        rest = after.split_once("*/").map_or("", |(_, after)| after);
    }
    code.push_str(rest);
    let code: Vec<&str> = code.lines().filter(|line| !line.starts_with('#')).collect();
    code.join("\n").split(';').map(|part| part.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Returns the functions that the header declares, with their parameters.
fn functions() -> Vec<(String, String)> {
    let function = |declaration: String| {
        if declaration.contains("(*") {
            return None;
        }
        let (head, arguments) = declaration.split_once('(')?;
        let name = head.rsplit([' ', '*']).next()?;
        name.starts_with("dreamframe_").then(|| (name.to_owned(), arguments.to_owned()))
    };
    declarations().into_iter().filter_map(function).collect()
}

fn names<T>(table: &[(&'static str, T)]) -> BTreeSet<String> {
    table.iter().map(|(name, _)| (*name).to_owned()).collect()
}

#[test]
fn every_function_of_the_header_is_tested() {
    let declared: BTreeSet<String> = functions().into_iter().map(|(name, _)| name).collect();
    let mut tested = names(NULLS);
    tested.extend(names(super::network::NULLS));
    tested.extend(WITHOUT_STATUS.iter().map(|name| (*name).to_owned()));
    assert_eq!(declared, tested);
}

#[test]
fn every_function_of_an_object_is_tested_with_a_freed_handle() {
    for (object, table) in [
        ("dreamframe_engine_t *engine", names(ENGINE)),
        ("dreamframe_session_t *session", names(SESSION)),
        ("dreamframe_reply_t *reply", names(REPLY)),
        ("dreamframe_server_t *server", names(SERVER)),
        ("dreamframe_publisher_t *publisher", names(PUBLISHER)),
        ("dreamframe_player_t *player", names(PLAYER)),
    ] {
        let takes = |arguments: &str| arguments.starts_with(object);
        let declared = functions().into_iter().filter(|(_, arguments)| takes(arguments)).map(|(name, _)| name);
        let declared: BTreeSet<String> = declared.filter(|name| !WITHOUT_STATUS.contains(&name.as_str())).collect();
        assert_eq!(declared, table, "{object}");
    }
}

#[test]
fn every_function_documents_its_threads() {
    for (name, _) in functions() {
        let at = HEADER.match_indices(&format!("{name}(")).find(|(at, _)| {
            let line = HEADER[..*at].rsplit('\n').next().unwrap_or_default();
            !line.trim_start().starts_with('*') && !line.trim_start().starts_with("/*")
        });
        let (at, _) = at.unwrap_or_else(|| panic!("{name} is not declared"));
        let comment = HEADER[..at].rsplit("/**").next().unwrap_or_default();
        let lines = [
            "- Threads: any thread",
            "- Threads: one call at a time per object",
            "- Threads: only inside the callback",
        ];
        assert!(lines.iter().any(|line| comment.contains(line)), "{name}: {comment}");
    }
}

#[test]
fn every_input_struct_has_an_init_macro() {
    let structs: Vec<String> =
        declarations().into_iter().filter(|declaration| declaration.contains("{ size_t struct_size")).collect();
    assert_eq!(structs.len(), 17);
    assert_eq!(HEADER.matches("_INIT {sizeof(").count(), structs.len());
}
