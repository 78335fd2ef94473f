//! A timeline of changes, as JSON lines with a frame number k. `{"frame": k, "params": {…}}` is a patch that is applied
//! before the frame, `{"frame": k, "transition": {…}}` a transition of the prompt that begins there, and `{"frame": k,
//! "keyframe": prompt}` a prompt that is reached there by a blend from the keyframe before.
//!
//! All lines are checked before the first frame, in the order in which they will be applied, so that an error in the
//! last line is reported immediately.

use std::collections::VecDeque;
use std::path::Path;

use dreamframe::params::{Interpolation, ParamsPatch, StreamDiffusionParams, Weighted};
use dreamframe::{Error, ErrorKind, Keyframe, Result, Transition, Violation, keyframe_schedule};
use serde::Deserialize;

/// The longest file, in bytes.
const MAX_BYTES: u64 = 16 << 20;

/// Changes that are still to come, by frame.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    // Invariant: frames never decrease.
    changes: VecDeque<Change>,
}

#[derive(Debug)]
struct Change {
    frame: u64,
    what: Due,
}

/// The change of a line.
#[derive(Debug)]
pub(super) enum Due {
    Patch(ParamsPatch),
    Transition(Transition),
}

impl Due {
    /// The parameters after it.
    fn applied(&self, params: &StreamDiffusionParams) -> Result<StreamDiffusionParams> {
        match self {
            Self::Patch(patch) => Ok(patch.merge(params)?.0),
            Self::Transition(transition) => {
                let next = StreamDiffusionParams { prompt: transition.target_prompts.clone(), ..params.clone() };
                next.validate()?;
                Ok(next)
            }
        }
    }
}

/// A line as JSON; it has exactly one of the three changes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    frame: u64,
    params: Option<serde_json::Map<String, serde_json::Value>>,
    transition: Option<Transition>,
    keyframe: Option<Weighted<String>>,
    /// How the prompts before a keyframe are interpolated.
    temporal_interpolation_method: Option<Interpolation>,
}

/// A parsed line.
enum Entry {
    Due(Due),
    Keyframe(Keyframe),
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

    /// Like [`read`](Self::read), of text.
    fn parse(text: &str, start: &StreamDiffusionParams) -> Result<Self> {
        let mut timeline = Self::default();
        let mut params = start.clone();
        let mut violations = Vec::new();
        let mut keyframes = Vec::new();
        let mut last = 0;
        for (line, text) in text.lines().enumerate().map(|(index, text)| (index + 1, text.trim())) {
            if text.is_empty() {
                continue;
            }
            match parse_line(text, last).and_then(|(frame, entry)| Ok((frame, checked(&entry, &params)?, entry))) {
                Ok((frame, next, entry)) => {
                    (last, params) = (frame, next);
                    match entry {
                        Entry::Due(what) => timeline.changes.push_back(Change { frame, what }),
                        Entry::Keyframe(keyframe) => keyframes.push(keyframe),
                    }
                }
                Err(error) => violations.extend(named(&format!("line {line}"), &error).violations().to_vec()),
            }
        }
        if !violations.is_empty() {
            return Err(Error::invalid_params(violations));
        }
        let legs =
            keyframe_schedule(&keyframes).into_iter().map(|(frame, leg)| Change { frame, what: Due::Transition(leg) });
        timeline.changes.extend(legs);
        // Stable: lines of one frame keep their order, before a transition that starts there.
        timeline.changes.make_contiguous().sort_by_key(|change| change.frame);
        Ok(timeline)
    }

    /// Creates a timeline of `patches`, each with its frame; frames must not fall.
    pub(super) fn of(patches: impl IntoIterator<Item = (u64, ParamsPatch)>) -> Self {
        Self { changes: patches.into_iter().map(|(frame, patch)| Change { frame, what: Due::Patch(patch) }).collect() }
    }

    /// Removes and returns the next change that is due before `frame`; `None` if there is none.
    pub(super) fn due(&mut self, frame: u64) -> Option<Due> {
        Some(self.changes.pop_front_if(|change| change.frame <= frame)?.what)
    }

    /// The number of changes that were never due, because the video was shorter.
    pub(super) fn left(&self) -> usize {
        self.changes.len()
    }
}

/// The frame of a line, and its change.
fn parse_line(text: &str, last: u64) -> Result<(u64, Entry)> {
    let refuse = |text: String| Err(Error::new(ErrorKind::InvalidParams, text));
    let parsed: Line = match serde_json::from_str(text) {
        Ok(line) => line,
        Err(error) => return refuse(format!("expected {{\"frame\": k, \"params\": {{…}}}}: {error}")),
    };
    let Line { frame, params, transition, keyframe, temporal_interpolation_method: method } = parsed;
    if frame < last {
        return refuse(format!("frame: got {frame}, expected at least {last}, the frame of the line before"));
    }
    let entry = match (params, transition, keyframe) {
        (Some(params), None, None) if method.is_none() => {
            Entry::Due(Due::Patch(ParamsPatch::from_value(serde_json::Value::Object(params))?))
        }
        (None, Some(transition), None) if method.is_none() => Entry::Due(Due::Transition(transition)),
        (None, None, Some(prompt)) => {
            Entry::Keyframe(Keyframe { frame, prompt, method: method.unwrap_or(Interpolation::Linear) })
        }
        _ => return refuse("expected exactly one of params, transition and keyframe".into()),
    };
    Ok((frame, entry))
}

/// Returns the parameters after an entry, if it is valid.
fn checked(entry: &Entry, params: &StreamDiffusionParams) -> Result<StreamDiffusionParams> {
    let next = match entry {
        Entry::Due(due) => due.applied(params)?,
        Entry::Keyframe(keyframe) => {
            let next = StreamDiffusionParams { prompt: keyframe.prompt.clone(), ..params.clone() };
            next.validate()?;
            next
        }
    };
    let sizes = [("width", params.width, next.width), ("height", params.height, next.height)];
    let resized = sizes.into_iter().filter(|(_, before, after)| before != after);
    let violations: Vec<_> = resized
        .map(|(name, before, after)| {
            Violation::new(
                name,
                format!("got {after}, expected {before}: all pictures of an output have the same size"),
            )
        })
        .collect();
    if violations.is_empty() { Ok(next) } else { Err(Error::invalid_params(violations)) }
}

/// The same error with `place` before each path, or as the path of a violation of its own.
fn named(place: &str, error: &Error) -> Error {
    if error.violations().is_empty() {
        return Error::invalid_params(vec![Violation::new(place, error.to_string())]);
    }
    let named = error
        .violations()
        .iter()
        .map(|violation| Violation::new(format!("{place}: {}", violation.path), violation.message.clone()));
    Error::invalid_params(named.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Timeline> {
        Timeline::parse(text, &StreamDiffusionParams::default())
    }

    /// The parameters that a patch names; of a transition, its length.
    fn names(due: Option<Due>) -> Vec<String> {
        match due.unwrap() {
            Due::Patch(patch) => patch.names().map(str::to_owned).collect(),
            Due::Transition(transition) => vec![format!("{} steps", transition.num_steps)],
        }
    }

    #[test]
    fn transitions_begin_and_keyframes_are_reached_at_their_frame() {
        let text = "{\"frame\": 0, \"keyframe\": \"snow\"}\n{\"frame\": 1, \"params\": {\"seed\": 1}}\n\
                    {\"frame\": 9, \"keyframe\": [[\"fog\", 1]], \"temporal_interpolation_method\": \"slerp\"}\n\
                    {\"frame\": 9, \"transition\": {\"target_prompts\": \"rain\", \"num_steps\": 3}}\n";
        let mut timeline = parse(text).unwrap();
        assert_eq!(names(timeline.due(0)), ["1 steps"]);
        assert!(timeline.due(0).is_none());
        assert_eq!(names(timeline.due(1)), ["seed"]);
        assert_eq!(names(timeline.due(1)), ["9 steps"]);
        assert_eq!(names(timeline.due(9)), ["3 steps"]);
    }

    #[test]
    fn line_has_one_change_and_prompts_are_validated() {
        for (line, path) in [
            ("{\"frame\": 0}", "line 1"),
            ("{\"frame\": 0, \"params\": {}, \"keyframe\": \"snow\"}", "line 1"),
            ("{\"frame\": 0, \"params\": {}, \"temporal_interpolation_method\": \"slerp\"}", "line 1"),
            ("{\"frame\": 0, \"transition\": {\"num_steps\": 3}}", "line 1"),
            ("{\"frame\": 0, \"keyframe\": []}", "line 1: prompt"),
            ("{\"frame\": 0, \"transition\": {\"target_prompts\": [[\"snow\", -1]]}}", "line 1: prompt[0][1]"),
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.violations()[0].path, path, "{line}");
        }
    }

    #[test]
    fn patches_are_due_before_their_frame_and_in_order() {
        let text = "{\"frame\": 2, \"params\": {\"delta\": 0.5}}\n\n{\"frame\": 2, \"params\": {\"seed\": 1}}\n\
                    {\"frame\": 9, \"params\": {\"prompt\": \"snow\"}}\n";
        let mut timeline = parse(text).unwrap();
        assert!(timeline.due(1).is_none());
        assert_eq!(names(timeline.due(2)), ["delta"]);
        assert_eq!(names(timeline.due(2)), ["seed"]);
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
