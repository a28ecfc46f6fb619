//! The figures of several seeds beside one another, with their mean and standard deviation.
//!
//! Seeds differ in what training draws (order, prompts), on the same split. So this is the noise of training alone; how much
//! another choice of images would change is another question.

use crate::figures::{Figures, Metrics};
use crate::ranking;
use crate::run::Outcome;
use serde::Serialize;

/// What an evaluation says of a seed.
#[derive(Clone, Debug, Serialize)]
struct Tuned {
    seed: u64,
    /// The kept epoch.
    epoch: u32,
    #[serde(flatten)]
    figures: Figures,
}

/// Part of a run's record: what several seeds gave.
#[derive(Clone, Debug, Serialize)]
pub struct Spread {
    /// Targets that each seed was scored on.
    samples: u64,
    /// The tuned decoder of each seed.
    tuned: Vec<Tuned>,
    /// Their mean.
    mean: Figures,
    /// Their standard deviation, that of a sample (divided by one less than the seeds); absent for a single seed.
    standard_deviation: Figures,
    /// What does not depend on the seed.
    others: Vec<(String, Figures)>,
}

impl Spread {
    /// What the evaluations of a run with several seeds say; none where there were none.
    pub fn of(stages: &[Outcome]) -> Option<Self> {
        let evaluations: Vec<_> =
            stages.iter().filter_map(|stage| Some((stage.seed?, stage.metrics.clone()?))).collect();
        Self::beside(&evaluations)
    }

    fn beside(evaluations: &[(u64, Metrics)]) -> Option<Self> {
        let (_, first) = evaluations.first()?;
        let tuned = evaluations.iter().filter_map(|(seed, metrics)| {
            Some(Tuned { seed: *seed, epoch: metrics.epoch, figures: *metrics.methods.get("tuned")? })
        });
        let tuned: Vec<Tuned> = tuned.collect();
        let over = |statistic: fn(&[f64]) -> Option<f64>| {
            let one = |figure: fn(&Figures) -> Option<f64>| {
                let values: Option<Vec<f64>> = tuned.iter().map(|row| figure(&row.figures)).collect();
                values.and_then(|values| statistic(&values))
            };
            Figures {
                dice: one(|f| f.dice),
                iou: one(|f| f.iou),
                hd95: one(|f| f.hd95),
                nsd: one(|f| f.nsd),
                low_res_dice: one(|f| f.low_res_dice),
                low_res_iou: one(|f| f.low_res_iou),
            }
        };
        let others = first.methods.iter().filter(|(method, _)| *method != "tuned");
        Some(Self {
            samples: first.targets,
            mean: over(|values| (!values.is_empty()).then(|| ranking::mean(values))),
            standard_deviation: over(ranking::deviation),
            others: others.map(|(method, figures)| (method.clone(), *figures)).collect(),
            tuned,
        })
    }

    /// A table, one row a seed.
    pub fn lines(&self) -> Vec<String> {
        let tuned: Vec<String> = self.tuned.iter().map(|row| format!("tuned, seed {}", row.seed)).collect();
        let names = tuned.iter().map(String::len).max().unwrap_or_default();
        let row = |name: &str, figures: &Figures, rest: &str| {
            let Figures { dice, iou, low_res_dice, low_res_iou, .. } = *figures;
            let [dice, iou, low_dice, low_iou] = [dice, iou, low_res_dice, low_res_iou]
                .map(|figure| figure.map_or_else(|| "-".into(), |x| format!("{x:.4}")));
            let row = format!("{name:<names$} {dice:>7} {iou:>7}   {low_dice:>7} {low_iou:>7}   {rest}");
            row.trim_end().to_owned()
        };
        let mut lines = vec![
            format!("{} seeds on {} test targets, tight boxes", self.tuned.len(), self.samples),
            format!("{:<names$} {:^15}   {:>13}", "", "original size", "low-res grid"),
            format!("{:<names$} {:>7} {:>7}   {:>7} {:>7}", "", "Dice", "IoU", "Dice", "IoU"),
        ];
        lines.extend(self.others.iter().map(|(method, figures)| row(method, figures, "")));
        for (name, Tuned { epoch, figures, .. }) in tuned.iter().zip(&self.tuned) {
            lines.push(row(name, figures, &format!("epoch {epoch}")));
        }
        lines.push(row("mean", &self.mean, ""));
        lines.push(row("deviation", &self.standard_deviation, "standard, over seeds"));
        lines
    }
}

#[cfg(test)]
mod tests;
