//! Session descriptions (RFC 8866), as far as this library uses them, and trickled fragments of them (RFC 8840).
//!
//! All descriptions of peers are parsed here, into bounded values, before any other use. Parsing does not panic,
//! allocates no more than the text, and its errors have the reason.

mod candidate;
mod fragment;
mod lines;
mod section;
#[cfg(test)]
mod tests;

use thiserror::Error;

pub use candidate::Candidate;
pub use fragment::Fragment;
pub(super) use section::DATA_FORMAT;
pub use section::{Codec, Direction, Fingerprint, Kind, Section, Setup};

use lines::Line;

/// The longest description or fragment that is read, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;
/// The most lines.
const MAX_LINES: usize = 2000;
/// The longest line, in bytes.
const MAX_LINE: usize = 4096;
/// The most media sections.
const MAX_SECTIONS: usize = 16;

/// The error of a description or fragment.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Malformed(String);

impl Malformed {
    /// Returns the reason.
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// An offer or an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Description {
    /// The media sections, in order. Attributes of the whole session are in each of them.
    pub sections: Vec<Section>,
    /// The `mid`s that share a transport, in order; empty where none do.
    pub bundle: Vec<String>,
    /// Whether the peer is ICE-lite: it waits for checks and makes none.
    pub ice_lite: bool,
    /// Whether one-byte and two-byte header extensions may be mixed.
    pub mixed_extensions: bool,
}

impl Description {
    /// Reads a description.
    ///
    /// Fails where the text is too large, is no session description, or lacks what each section of a WebRTC description
    /// needs: a `mid` of its own, ICE credentials and a fingerprint. A section that is rejected needs only its
    /// `mid`.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let mut description = Self::default();
        let mut session = Section::default();
        let mut started = false;
        for line in lines::read(text)? {
            if !started {
                if line != (Line { kind: 'v', value: "0" }) {
                    return Err(Malformed::new("first line: expected v=0"));
                }
                started = true;
            } else if line.kind == 'm' {
                if description.sections.len() == MAX_SECTIONS {
                    return Err(Malformed::new(format!(
                        "media sections: got more than {MAX_SECTIONS}, expected at most {MAX_SECTIONS}"
                    )));
                }
                description.sections.push(Section::parse(line.value, &session)?);
            } else if line.kind == 'a' {
                match description.sections.last_mut() {
                    Some(section) => section.attribute(line.value)?,
                    None => description.attribute(&mut session, line.value)?,
                }
            }
        }
        if !started {
            return Err(Malformed::new("got no lines"));
        }
        for section in &mut description.sections {
            section.rejected = section.port == 0 && !section.bundle_only && !description.bundle.contains(&section.mid);
        }
        description.check()?;
        Ok(description)
    }

    /// Parses an attribute of the whole session.
    fn attribute(&mut self, session: &mut Section, text: &str) -> Result<(), Malformed> {
        let (name, value) = lines::attribute(text);
        match name {
            "group" => {
                if let Some(mids) = value.strip_prefix("BUNDLE")
                    && self.bundle.is_empty()
                {
                    self.bundle = mids.split_ascii_whitespace().take(MAX_SECTIONS).map(str::to_owned).collect();
                }
            }
            "ice-lite" => self.ice_lite = true,
            "extmap-allow-mixed" => self.mixed_extensions = true,
            // Attributes of sections apply to all sections without their own.
            "ice-ufrag" | "ice-pwd" | "fingerprint" | "setup" | "sendrecv" | "sendonly" | "recvonly" | "inactive" => {
                session.attribute(text)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Malformed> {
        if self.sections.is_empty() {
            return Err(Malformed::new("media sections: got none, expected at least one"));
        }
        for (index, section) in self.sections.iter().enumerate() {
            section.check().map_err(|e| Malformed::new(format!("section {index} ({}): {e}", section.kind)))?;
            let twice = self.sections.iter().take(index).any(|s| s.mid == section.mid);
            if twice {
                return Err(Malformed::new(format!(
                    "mid of section {index}: got {:?} a second time, expected a unique one",
                    section.mid
                )));
            }
        }
        if self.sections.iter().all(|s| s.rejected) {
            return Err(Malformed::new("media sections: got rejected ones only, expected at least one that is not"));
        }
        Ok(())
    }

    /// Finds the section of a `mid`.
    pub fn section(&self, mid: &str) -> Option<&Section> {
        self.sections.iter().find(|s| s.mid == mid)
    }

    /// The sections that were not rejected.
    pub fn live(&self) -> impl Iterator<Item = &Section> {
        self.sections.iter().filter(|s| !s.rejected)
    }
}
