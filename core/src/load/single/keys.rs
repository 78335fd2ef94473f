//! Access to the tensors of one network in a file of several, and their renaming.

use std::collections::HashMap;

use super::super::header::Tensor;
use crate::error::{Error, ErrorKind, Result};

/// The tensors whose names begin with a prefix, by the rest of their names.
#[derive(Debug)]
pub(super) struct Keys<'a> {
    prefix: &'static str,
    tensors: HashMap<&'a str, &'a Tensor>,
}

impl<'a> Keys<'a> {
    /// Returns the tensors under `prefix`, which ends in a dot.
    pub(super) fn under(prefix: &'static str, all: &'a HashMap<String, Tensor>) -> Self {
        let tensors = all.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?, tensor)));
        Self { prefix, tensors: tensors.collect() }
    }

    /// Returns true if there is a tensor `name`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Returns how many of `name(0)`, `name(1)` … there are without a gap.
    pub(super) fn count(&self, name: impl Fn(usize) -> String) -> usize {
        (0..).take_while(|&i| self.has(&name(i))).count()
    }

    /// Returns the shape of `name`.
    pub(super) fn shape(&self, name: &str) -> Result<&'a [usize]> {
        let missing = || Error::new(ErrorKind::BadModel, format!("tensor {:?}: missing", self.full(name)));
        Ok(&self.tensors.get(name).ok_or_else(missing)?.shape)
    }

    /// Entry `axis` of the shape of `name`.
    pub(super) fn dim(&self, name: &str, axis: usize) -> Result<usize> {
        let shape = self.shape(name)?;
        shape.get(axis).copied().ok_or_else(|| {
            let text =
                format!("tensor {:?}: got shape {shape:?}, expected at least {} dimensions", self.full(name), axis + 1);
            Error::new(ErrorKind::BadModel, text)
        })
    }

    /// Returns the file's name for `name`.
    pub(super) fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Returns all names and tensors.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a str, &'a Tensor)> {
        self.tensors.iter().map(|(&name, &tensor)| (name, tensor))
    }
}

/// Names of modules in the file and in diffusers. They apply to all tensors of a module.
#[derive(Debug, Default)]
pub(super) struct Modules(HashMap<String, String>);

impl Modules {
    /// Renames the module `old`.
    pub(super) fn add(&mut self, old: impl Into<String>, new: impl Into<String>) {
        self.0.insert(old.into(), new.into());
    }

    /// Renames parts of the module `old`, which becomes `new`.
    pub(super) fn add_parts(&mut self, old: &str, new: &str, parts: &[(&str, &str)]) {
        for (old_part, new_part) in parts {
            self.add(format!("{old}.{old_part}"), format!("{new}.{new_part}"));
        }
    }

    /// Returns the new name of a tensor; `None` if no module of its name is known.
    pub(super) fn rename(&self, name: &str) -> Option<String> {
        let mut ends = name.char_indices().rev().filter(|&(_, c)| c == '.').map(|(end, _)| end);
        ends.find_map(|end| {
            let (module, rest) = name.split_at_checked(end)?;
            Some(format!("{}{rest}", self.0.get(module)?))
        })
    }

    /// Returns all tensors of `keys` by their new names; unknown ones keep their names.
    pub(super) fn rename_all(&self, keys: &Keys<'_>) -> HashMap<String, Tensor> {
        let renamed =
            |(name, tensor): (&str, &Tensor)| (self.rename(name).unwrap_or_else(|| keys.full(name)), tensor.clone());
        keys.iter().map(renamed).collect()
    }
}

/// Returns the error of a network whose config does not follow from its tensors.
pub(super) fn untold(text: String) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{text}; use the model as a diffusers folder"))
}

/// Groups of every group norm in these models.
pub(super) const NORM_GROUPS: usize = 32;

/// Rejects channels that are not a multiple of the usual number of groups: the file then has another number, which it
/// does not state.
pub(super) fn check_groups(network: &str, channels: &[usize]) -> Result<()> {
    match channels.iter().find(|&&channels| channels == 0 || channels % NORM_GROUPS != 0) {
        None => Ok(()),
        Some(odd) => Err(untold(format!("channels of the {network}: got {odd}, expected a multiple of {NORM_GROUPS}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_module_that_is_known_gives_the_name() {
        let mut modules = Modules::default();
        modules.add("a", "x");
        modules.add_parts("a.b", "y", &[("c", "d")]);
        assert_eq!(modules.rename("a.b.c.weight").as_deref(), Some("y.d.weight"));
        assert_eq!(modules.rename("a.b.weight").as_deref(), Some("x.b.weight"));
        assert_eq!(modules.rename("b.weight"), None);
        assert_eq!(modules.rename("a"), None);
    }
}
