//! A gradual change of the prompt, as `PATCH` asks for it.

use dreamframe::Violation;
use dreamframe::params::Interpolation;
use serde_json::Value;

use super::Object;

/// The most pictures, and the longest duration in seconds.
const MOST_STEPS: u32 = 10_000;
const LONGEST: f64 = 600.0;
/// The seconds of a change whose length is not given.
const USUAL: f64 = 1.0;

/// How a prompt is reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Fade {
    length: Length,
    pub(crate) method: Interpolation,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Length {
    Pictures(u32),
    Seconds(f64),
}

impl Fade {
    /// Reads the object `transition` of a body. Adds values at fault to `faults`.
    pub(crate) fn read(object: &Object, faults: &mut Vec<Violation>) -> Option<Self> {
        let before = faults.len();
        let mut fault = |name: &str, text: String| faults.push(Violation::new(format!("transition.{name}"), text));
        let mut fade = Self { length: Length::Seconds(USUAL), method: Interpolation::Linear };
        for (name, value) in object {
            match name.as_str() {
                "num_steps" => {
                    match value.as_u64().and_then(|steps| u32::try_from(steps).ok()).filter(|n| *n <= MOST_STEPS) {
                        Some(steps) => fade.length = Length::Pictures(steps),
                        None => fault(name, format!("expected a whole number from 0 to {MOST_STEPS}")),
                    }
                }
                "duration" => match value.as_f64().filter(|seconds| (0.0..=LONGEST).contains(seconds)) {
                    Some(seconds) => fade.length = Length::Seconds(seconds),
                    None => fault(name, format!("expected seconds from 0 to {LONGEST}")),
                },
                "temporal_interpolation_method" => match method(value) {
                    Some(method) => fade.method = method,
                    None => fault(name, "expected \"linear\" or \"slerp\"".to_owned()),
                },
                _ => fault(name, "unknown, expected num_steps, duration or temporal_interpolation_method".to_owned()),
            }
        }
        if object.contains_key("num_steps") && object.contains_key("duration") {
            fault("duration", "got num_steps as well, expected one of them".to_owned());
        }
        (faults.len() == before).then_some(fade)
    }

    /// The number of pictures, of which a stream makes `rate` in a second.
    pub(crate) fn pictures(self, rate: f64) -> u32 {
        match self.length {
            Length::Pictures(pictures) => pictures,
            Length::Seconds(seconds) => ((seconds * rate).round() as u32).min(MOST_STEPS),
        }
    }
}

fn method(value: &Value) -> Option<Interpolation> {
    Interpolation::ALL.iter().copied().find(|method| value.as_str() == Some(method.name()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Fade, Vec<String>> {
        let mut faults = Vec::new();
        let fade = Fade::read(value.as_object().unwrap(), &mut faults);
        fade.ok_or_else(|| faults.into_iter().map(|fault| fault.path).collect())
    }

    #[test]
    fn a_length_is_a_number_of_pictures_or_seconds() {
        assert_eq!(read(json!({"num_steps": 24})).unwrap().pictures(10.0), 24);
        assert_eq!(read(json!({"duration": 2.5})).unwrap().pictures(10.0), 25);
        assert_eq!(read(json!({})).unwrap().pictures(30.0), 30);
        // Before there are pictures, the change is immediate.
        assert_eq!(read(json!({"duration": 600})).unwrap().pictures(0.0), 0);
        assert_eq!(read(json!({"temporal_interpolation_method": "slerp"})).unwrap().method, Interpolation::Slerp);
    }

    #[test]
    fn every_value_at_fault_is_named() {
        for (value, paths) in [
            (json!({"num_steps": -1, "duration": 1e9}), vec!["num_steps", "duration", "duration"]),
            (json!({"num_steps": 1, "duration": 1}), vec!["duration"]),
            (json!({"temporal_interpolation_method": 3, "odd": 1}), vec!["temporal_interpolation_method", "odd"]),
            (json!({"num_steps": 10_001}), vec!["num_steps"]),
        ] {
            let paths: Vec<_> = paths.iter().map(|name| format!("transition.{name}")).collect();
            assert_eq!(read(value).unwrap_err(), paths);
        }
    }
}
