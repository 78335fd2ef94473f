//! A timeline: JSON lines `{"frame": k, "params": {…}}`, each a patch that is applied before frame k.
//!
//! All of it is checked before the first frame, in the order in which it will be applied, so that a mistake in the last
//! line does not show after an hour.

use std::collections::VecDeque;
use std::path::Path;

use dreamframe::params::{ParamsPatch, StreamDiffusionParams};
use dreamframe::{Error, ErrorKind, Result, Violation};
use serde::Deserialize;

/// Longer files are refused: no film has so many changes.
const MAX_BYTES: u64 = 16 << 20;

/// Patches that are still to come, by frame.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    // Invariant: frames never fall.
    changes: VecDeque<Change>,
}

#[derive(Debug)]
struct Change {
    frame: u64,
    patch: ParamsPatch,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    frame: u64,
    params: serde_json::Map<String, serde_json::Value>,
}

impl Timeline {
    /// Reads the timeline at `path` and checks it against the parameters at the start.
    ///
    /// # Errors
    ///
    /// `NotFound` or `Io` for the file; `InvalidParams` with one violation for each line or value at fault.
    pub(super) fn read(path: &Path, start: &StreamDiffusionParams) -> Result<Self> {
        let text = super::options::read_text(path, MAX_BYTES)?;
        Self::parse(&text, start).map_err(|error| named(&path.display().to_string(), &error))
    }

    /// As [`read`](Self::read), of text.
    fn parse(text: &str, start: &StreamDiffusionParams) -> Result<Self> {
        let mut timeline = Self::default();
        let mut params = start.clone();
        let mut violations = Vec::new();
        let mut last = 0;
        for (line, text) in text.lines().enumerate().map(|(index, text)| (index + 1, text.trim())) {
            if text.is_empty() {
                continue;
            }
            match change(text, last, &params) {
                Ok((change, next)) => {
                    (last, params) = (change.frame, next);
                    timeline.changes.push_back(change);
                }
                Err(error) => violations.extend(named(&format!("line {line}"), &error).violations().to_vec()),
            }
        }
        if violations.is_empty() { Ok(timeline) } else { Err(Error::invalid_params(violations)) }
    }

    /// Makes a timeline of `patches`, each with its frame; frames must not fall.
    pub(super) fn of(patches: impl IntoIterator<Item = (u64, ParamsPatch)>) -> Self {
        Self { changes: patches.into_iter().map(|(frame, patch)| Change { frame, patch }).collect() }
    }

    /// Takes the next patch that is due before `frame`; call it until there is none.
    pub(super) fn due(&mut self, frame: u64) -> Option<ParamsPatch> {
        Some(self.changes.pop_front_if(|change| change.frame <= frame)?.patch)
    }

    /// How many patches were never due, because the film was shorter.
    pub(super) fn left(&self) -> usize {
        self.changes.len()
    }
}

/// One line, and the parameters after it.
fn change(text: &str, last: u64, params: &StreamDiffusionParams) -> Result<(Change, StreamDiffusionParams)> {
    let parsed: Line = serde_json::from_str(text).map_err(|error| {
        Error::new(ErrorKind::InvalidParams, format!("is not {{\"frame\": k, \"params\": {{…}}}}: {error}"))
    })?;
    if parsed.frame < last {
        let text = format!("frame is {}, but must be at least {last}, as in the line before", parsed.frame);
        return Err(Error::new(ErrorKind::InvalidParams, text));
    }
    let patch = ParamsPatch::from_value(serde_json::Value::Object(parsed.params))?;
    let (next, _) = patch.merge(params)?;
    let sizes = [("width", params.width, next.width), ("height", params.height, next.height)];
    let resized = sizes.into_iter().filter(|(_, before, after)| before != after);
    let violations: Vec<_> = resized
        .map(|(name, before, after)| Violation {
            path: name.into(),
            message: format!("is {after}, but must stay {before}: all pictures of an output have one size"),
        })
        .collect();
    if !violations.is_empty() {
        return Err(Error::invalid_params(violations));
    }
    Ok((Change { frame: parsed.frame, patch }, next))
}

/// The same error with `place` before each path, or as the path of a violation of its own.
fn named(place: &str, error: &Error) -> Error {
    let of_error = [Violation { path: String::new(), message: error.to_string() }];
    let violations = if error.violations().is_empty() { &of_error } else { error.violations() };
    let named = violations.iter().map(|violation| {
        let separator = if violation.path.is_empty() { "" } else { ": " };
        Violation { path: format!("{place}{separator}{}", violation.path), message: violation.message.clone() }
    });
    Error::invalid_params(named.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Timeline> {
        Timeline::parse(text, &StreamDiffusionParams::default())
    }

    #[test]
    fn patches_are_due_before_their_frame_and_in_order() {
        let text = "{\"frame\": 2, \"params\": {\"delta\": 0.5}}\n\n{\"frame\": 2, \"params\": {\"seed\": 1}}\n\
                    {\"frame\": 9, \"params\": {\"prompt\": \"snow\"}}\n";
        let mut timeline = parse(text).unwrap();
        assert!(timeline.due(1).is_none());
        assert_eq!(timeline.due(2).unwrap().names().collect::<Vec<_>>(), ["delta"]);
        assert_eq!(timeline.due(2).unwrap().names().collect::<Vec<_>>(), ["seed"]);
        assert!(timeline.due(2).is_none());
        assert_eq!(timeline.left(), 1);
    }

    #[test]
    fn every_line_at_fault_is_named() {
        let text = "{\"frame\": 5, \"params\": {\"delta\": 0.5}}\n{\"frame\": 4, \"params\": {}}\nnonsense\n\
                    {\"frame\": 6, \"params\": {\"width\": 65, \"height\": 1}}\n";
        let error = parse(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidParams);
        let paths: Vec<&str> = error.violations().iter().map(|violation| violation.path.as_str()).collect();
        assert_eq!(paths, ["line 2", "line 3", "line 4: width", "line 4: height"]);
    }

    #[test]
    fn a_patch_is_checked_against_what_the_lines_before_it_left() {
        let steps = "{\"frame\": 0, \"params\": {\"num_inference_steps\": 20, \"t_index_list\": [5]}}\n";
        let index = "{\"frame\": 1, \"params\": {\"t_index_list\": [30]}}\n";
        assert!(parse(index).is_ok());
        assert!(parse(&format!("{steps}{index}")).is_err());
    }

    #[test]
    fn the_size_cannot_change() {
        let error = parse("{\"frame\": 1, \"params\": {\"width\": 640}}").unwrap_err();
        assert_eq!(error.violations()[0].path, "line 1: width");
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(parse("{\"frame\": 0, \"params\": {}, \"prams\": {}}").is_err());
    }
}
