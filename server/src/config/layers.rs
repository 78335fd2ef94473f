//! Layers of settings: flags override the environment, which overrides the file.

use std::path::{Path, PathBuf};

use dreamframe::{Error, ErrorKind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::MAX_FILE;
use crate::cli::options::read_text;

/// The prefix of environment variables.
const PREFIX: &str = "DREAMFRAME_";

/// What can be set in each of the three ways, by the same names.
pub(crate) trait Layered: clap::Args + Serialize + DeserializeOwned {
    /// The settings that are flattened into these.
    type Flattened: DeserializeOwned;
}

/// Names the file, where no flag does.
const FILE_VARIABLE: &str = "DREAMFRAME_CONFIG";

/// Puts `flags` over the environment, and that over the file, which the environment may name.
///
/// # Errors
///
/// `InvalidArgument` naming what is not a setting, or not a value of it; errors of reading the file.
pub(crate) fn layered<S: Layered>(
    flags: &S,
    environment: impl Fn(&str) -> Option<String>,
    file: Option<&Path>,
) -> Result<S> {
    let named = environment(FILE_VARIABLE).map(PathBuf::from);
    let mut all = match file.or(named.as_deref()) {
        Some(path) => map(&of_file::<S>(path)?)?,
        None => Map::new(),
    };
    all.extend(map(&of_environment::<S>(environment)?)?);
    all.extend(map(flags)?);
    serde_json::from_value(Value::Object(all)).map_err(|error| internal(&error))
}

/// The settings that are set.
fn map(settings: &impl Layered) -> Result<Map<String, Value>> {
    match serde_json::to_value(settings).map_err(|error| internal(&error))? {
        Value::Object(map) => Ok(map),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Ok(Map::new()),
    }
}

fn of_file<S: Layered>(path: &Path) -> Result<S> {
    let text = read_text(path, MAX_FILE)?;
    let wrong =
        |error: toml::de::Error| invalid_setting(format!("{}: {}", path.display(), error.to_string().trim_end()));
    // Read separately first: for an error in flattened settings serde does not keep the position.
    toml::from_str::<S::Flattened>(&text).map_err(wrong)?;
    toml::from_str(&text).map_err(wrong)
}

/// Reads variables by the same rules as flags of the same name.
fn of_environment<S: Layered>(environment: impl Fn(&str) -> Option<String>) -> Result<S> {
    let command = S::augment_args(clap::Command::new("environment").no_binary_name(true));
    let mut arguments = Vec::new();
    for argument in command.get_arguments() {
        let name = argument.get_id().as_str();
        let variable = format!("{PREFIX}{}", name.to_uppercase());
        let Some(value) = environment(&variable).filter(|value| !value.is_empty()) else { continue };
        let flag = format!("--{}", argument.get_long().unwrap_or(name));
        let action = argument.get_action();
        if !action.takes_values() {
            match value.as_str() {
                "1" | "true" | "yes" => arguments.push(flag),
                "0" | "false" | "no" => {}
                _ => return Err(invalid_setting(format!("{variable}: got {value:?}, expected true or false"))),
            }
        } else if matches!(action, clap::ArgAction::Append) {
            arguments.extend(value.split_whitespace().map(|part| format!("{flag}={part}")));
        } else {
            arguments.push(format!("{flag}={value}"));
        }
    }
    let read = command.try_get_matches_from(arguments).and_then(|matches| S::from_arg_matches(&matches));
    read.map_err(|error| {
        // The first paragraph is the error; the rest is about a command line.
        let text = error.to_string();
        invalid_setting(format!("environment variables {PREFIX}…: {}", text.lines().next().unwrap_or_default()))
    })
}

fn invalid_setting(text: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
}

fn internal(error: &serde_json::Error) -> Error {
    Error::new(ErrorKind::Internal, format!("failed to convert the settings: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn flags_override_the_environment_which_overrides_the_file() {
        let file = file("max_streams = 1\nmax_sessions = 1\nmax_viewers = 1\nice_server = [\"stun:a\"]\n");
        let path = file.path().display().to_string();
        let environment = |name: &str| match name {
            "DREAMFRAME_CONFIG" => Some(path.clone()),
            "DREAMFRAME_MAX_SESSIONS" => Some("2".to_owned()),
            "DREAMFRAME_MAX_VIEWERS" => Some("2".to_owned()),
            "DREAMFRAME_STRICT" => Some("true".to_owned()),
            _ => None,
        };
        let flags = Settings { max_viewers: Some(3), ..Settings::default() };
        let all = layered(&flags, environment, None).unwrap();
        assert_eq!((all.max_streams, all.max_sessions, all.max_viewers), (Some(1), Some(2), Some(3)));
        assert_eq!((all.strict, all.open, all.ice_server), (true, false, vec!["stun:a".to_owned()]));
    }

    #[test]
    fn a_key_that_is_no_setting_and_a_value_of_a_wrong_type_are_refused_by_name() {
        let of = |text: &str| {
            let file = file(text);
            layered(&Settings::default(), |_| None, Some(file.path())).unwrap_err().to_string()
        };
        assert!(of("max_stream = 1").contains("max_stream"));
        assert!(of("max_streams = \"many\"").contains("max_streams"));
        assert!(of("bind = \"nowhere\"").contains("bind"));
        let variable = |name: &str| (name == "DREAMFRAME_MAX_STREAMS").then(|| "many".to_owned());
        let error = layered(&Settings::default(), variable, None).unwrap_err().to_string();
        assert!(error.contains("--max-streams") && error.contains("many"), "{error}");
    }
}
