//! Trickle messages (RFC 8840, `application/trickle-ice-sdpfrag`).

use std::fmt;

use super::candidate::Candidate;
use super::{MAX_SECTIONS, Malformed, lines, section};

/// The most candidates of one fragment.
const MAX_CANDIDATES: usize = 64;

/// A trickle message: candidates and, in an ICE restart, new credentials.
///
/// Its `Display` is the message's text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fragment {
    /// The sender's ICE user name fragment, if it is present.
    pub ufrag: Option<String>,
    /// The sender's ICE password, if it is present.
    pub pwd: Option<String>,
    /// The candidates, in order.
    pub candidates: Vec<Candidate>,
    /// Whether the sender announces the end of candidates.
    pub complete: bool,
}

impl Fragment {
    /// Parses a fragment.
    ///
    /// Credentials may be before the sections or in the first section that has them. Other attributes are skipped.
    /// Candidates are not interpreted: see [`Candidate::usable`].
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let mut fragment = Self::default();
        let mut sections: u16 = 0;
        let mut mid = None;
        for line in lines::read(text)? {
            if line.kind == 'm' {
                if usize::from(sections) == MAX_SECTIONS {
                    return Err(Malformed::new(format!(
                        "media sections: got more than {MAX_SECTIONS}, expected at most {MAX_SECTIONS}"
                    )));
                }
                sections += 1;
                mid = None;
            } else if line.kind == 'a' {
                fragment.attribute(line.value, &mut mid, sections)?;
            }
        }
        if fragment.ufrag.is_some() != fragment.pwd.is_some() {
            return Err(Malformed::new("got only one of ice-ufrag and ice-pwd, expected both or neither"));
        }
        if fragment.ufrag.is_none() && fragment.candidates.is_empty() && !fragment.complete {
            return Err(Malformed::new("got neither candidates nor credentials, expected some"));
        }
        Ok(fragment)
    }

    fn attribute(&mut self, text: &str, mid: &mut Option<String>, sections: u16) -> Result<(), Malformed> {
        let (name, value) = lines::attribute(text);
        match name {
            "mid" => *mid = Some(section::mid(value)?),
            "ice-ufrag" if self.ufrag.is_none() => self.ufrag = Some(section::ufrag(value)?),
            "ice-pwd" if self.pwd.is_none() => self.pwd = Some(section::pwd(value)?),
            "end-of-candidates" => self.complete = true,
            "candidate" if !value.is_empty() => {
                if self.candidates.len() == MAX_CANDIDATES {
                    return Err(Malformed::new(format!(
                        "candidates: got more than {MAX_CANDIDATES}, expected at most {MAX_CANDIDATES}"
                    )));
                }
                let line = mid.is_none().then(|| sections.checked_sub(1)).flatten();
                self.candidates.push(Candidate { text: format!("candidate:{value}"), mid: mid.clone(), line });
            }
            _ => {}
        }
        Ok(())
    }
}

impl fmt::Display for Fragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(ufrag) = &self.ufrag {
            write!(f, "a=ice-ufrag:{ufrag}\r\n")?;
        }
        if let Some(pwd) = &self.pwd {
            write!(f, "a=ice-pwd:{pwd}\r\n")?;
        }
        let mut section = None;
        for candidate in &self.candidates {
            let mid = candidate.mid.as_deref().unwrap_or("0");
            if section != Some(mid) {
                write!(f, "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:{mid}\r\n")?;
                section = Some(mid);
            }
            write!(f, "a={}\r\n", candidate.text)?;
        }
        if self.complete {
            write!(f, "a=end-of-candidates\r\n")?;
        }
        Ok(())
    }
}
