//! Guidance: the rows of the UNet's calls.
//!
//! `full` runs the negative prompt for every row. Residual guidance (RCFG) replaces these runs by the stock noise, a
//! running estimate of the negative prompt's prediction: `self` starts it from the fixed noise, `initialize` from one
//! negative prediction for the newest frame.

use crate::params::CfgType;

impl CfgType {
    /// Returns whether guidance at `guidance_scale` uses the stock noise.
    pub fn uses_stock(self, guidance_scale: f32) -> bool {
        self.active(guidance_scale) && matches!(self, Self::SelfNegative | Self::Initialize)
    }
}

/// The text of a UNet row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TextRow {
    /// The blended prompt.
    Prompt,
    /// The negative prompt.
    Negative,
}

/// One row of a UNet call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UnetRow {
    /// The entry of the step table that gives the row's timestep.
    pub stage: usize,
    /// The text that the row attends to.
    pub text: TextRow,
}

/// Lists the rows of the UNet call for a frame, in a stream batch of `stages` stages; negative rows come first.
pub fn rows(cfg: CfgType, active: bool, stages: usize) -> Vec<UnetRow> {
    let negative = negative_rows(cfg, active, 0, stages);
    join(0..negative, 0..stages)
}

/// Lists the rows of the UNet call of `stage`, without batching.
pub fn stage_rows(cfg: CfgType, active: bool, stage: usize) -> Vec<UnetRow> {
    let negative = negative_rows(cfg, active, stage, 1);
    join(stage..stage + negative, stage..stage + 1)
}

/// Returns the number of negative rows before the prompt's in a call whose prompt rows are `first..first + count`.
pub(super) fn negative_rows(cfg: CfgType, active: bool, first: usize, count: usize) -> usize {
    match cfg {
        CfgType::Full if active => count,
        CfgType::Initialize if active && first == 0 => 1,
        CfgType::None | CfgType::Full | CfgType::SelfNegative | CfgType::Initialize => 0,
    }
}

fn join(negative: std::ops::Range<usize>, prompt: std::ops::Range<usize>) -> Vec<UnetRow> {
    let row = |text| move |stage| UnetRow { stage, text };
    negative.map(row(TextRow::Negative)).chain(prompt.map(row(TextRow::Prompt))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brief(rows: &[UnetRow]) -> String {
        let one = |row: &UnetRow| format!("{}{}", if row.text == TextRow::Prompt { "p" } else { "n" }, row.stage);
        rows.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn rows_of_each_kind_of_guidance() {
        let cases = [
            (CfgType::None, "p0 p1 p2", "p0", "p2"),
            (CfgType::SelfNegative, "p0 p1 p2", "p0", "p2"),
            (CfgType::Initialize, "n0 p0 p1 p2", "n0 p0", "p2"),
            (CfgType::Full, "n0 n1 n2 p0 p1 p2", "n0 p0", "n2 p2"),
        ];
        for (cfg, batch, first, last) in cases {
            let active = cfg.active(1.4);
            assert_eq!(brief(&rows(cfg, active, 3)), batch, "{cfg}");
            assert_eq!(brief(&stage_rows(cfg, active, 0)), first, "{cfg}");
            assert_eq!(brief(&stage_rows(cfg, active, 2)), last, "{cfg}");
            assert_eq!(brief(&rows(cfg, false, 3)), "p0 p1 p2", "{cfg} inactive");
            assert_eq!(brief(&stage_rows(cfg, false, 1)), "p1", "{cfg} inactive");
        }
    }

    #[test]
    fn stock_noise_is_used_by_active_residual_guidance() {
        let using = |scale| CfgType::ALL.iter().copied().filter(move |cfg| cfg.uses_stock(scale));
        assert_eq!(using(1.0).count(), 0);
        assert_eq!(using(1.4).collect::<Vec<_>>(), [CfgType::SelfNegative, CfgType::Initialize]);
    }
}
