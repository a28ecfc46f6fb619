//! The figures of several seeds beside one another, with their mean and standard deviation.
//!
//! Seeds differ in what training draws (order, prompts), on the same split. So this is the noise of training alone; how much
//! another choice of images would change is another question.

use crate::run::Outcome;
use anyhow::Context;
use resect_artifact::Store;
use serde::{Deserialize, Serialize};

/// Mean Dice and IoU over the test part, at original size and on the low-res grid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    dice: Option<f64>,
    iou: Option<f64>,
    low_res_dice: Option<f64>,
    low_res_iou: Option<f64>,
}

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

/// The part of `metrics.json` that is read here.
#[derive(Deserialize)]
struct Metrics {
    targets: u64,
    checkpoint: Kept,
    methods: Vec<Method>,
}

#[derive(Deserialize)]
struct Kept {
    epoch: u32,
}

#[derive(Deserialize)]
struct Method {
    method: String,
    all: Totals,
}

#[derive(Deserialize)]
struct Totals {
    original: Overlap,
    low_res: Overlap,
}

#[derive(Deserialize)]
struct Overlap {
    dice: Estimate,
    iou: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    mean: Option<f64>,
}

impl Method {
    fn figures(&self) -> Figures {
        let Totals { original, low_res } = &self.all;
        Figures {
            dice: original.dice.mean,
            iou: original.iou.mean,
            low_res_dice: low_res.dice.mean,
            low_res_iou: low_res.iou.mean,
        }
    }
}

impl Spread {
    /// What the evaluations of a run with several seeds say; none where there were none.
    ///
    /// # Errors
    /// An evaluation that cannot be read.
    pub fn of(stages: &[Outcome], store: &Store) -> anyhow::Result<Option<Self>> {
        let mut evaluations = Vec::new();
        for stage in stages {
            let (Some(seed), Some(id)) = (stage.seed, stage.artifacts.get("evaluation")) else { continue };
            let path = store.path("evaluation", id).join("metrics.json");
            let read = std::fs::read(&path).map_err(anyhow::Error::from);
            let metrics = read.and_then(|json| Ok(serde_json::from_slice::<Metrics>(&json)?));
            let metrics = metrics.with_context(|| format!("cannot read {}", path.display()))?;
            evaluations.push((seed, metrics));
        }
        Ok(Self::beside(&evaluations))
    }

    fn beside(evaluations: &[(u64, Metrics)]) -> Option<Self> {
        let (_, first) = evaluations.first()?;
        let tuned = evaluations.iter().filter_map(|(seed, metrics)| {
            let figures = metrics.methods.iter().find(|row| row.method == "tuned")?.figures();
            Some(Tuned { seed: *seed, epoch: metrics.checkpoint.epoch, figures })
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
                low_res_dice: one(|f| f.low_res_dice),
                low_res_iou: one(|f| f.low_res_iou),
            }
        };
        let others = first.methods.iter().filter(|row| row.method != "tuned");
        Some(Self {
            samples: first.targets,
            mean: over(mean),
            standard_deviation: over(standard_deviation),
            others: others.map(|row| (row.method.clone(), row.figures())).collect(),
            tuned,
        })
    }

    /// A table, one row a seed.
    pub fn lines(&self) -> Vec<String> {
        let tuned: Vec<String> = self.tuned.iter().map(|row| format!("tuned, seed {}", row.seed)).collect();
        let names = tuned.iter().map(String::len).max().unwrap_or_default();
        let row = |name: &str, figures: &Figures, rest: &str| {
            let Figures { dice, iou, low_res_dice, low_res_iou } = *figures;
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

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn standard_deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values.iter().map(|x| (x - mean) * (x - mean)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(dice: f64, epoch: u32) -> Metrics {
        let overlap = |dice| Overlap { dice: Estimate { mean: Some(dice) }, iou: Estimate { mean: None } };
        let figures = |dice: f64| Totals { original: overlap(dice), low_res: overlap(dice / 2.0) };
        let rows = [("untuned", 0.25), ("tuned", dice)];
        let methods = rows.map(|(method, dice)| Method { method: method.into(), all: figures(dice) });
        Metrics { targets: 7, checkpoint: Kept { epoch }, methods: methods.into() }
    }

    #[test]
    fn mean_and_deviation_are_numpys() {
        // numpy.mean([0.5, 0.75, 0.625]), numpy.std([0.5, 0.75, 0.625], ddof=1)
        let spread =
            Spread::beside(&[(0, metrics(0.5, 3)), (4, metrics(0.75, 9)), (5, metrics(0.625, 1))]).unwrap();
        assert_eq!((spread.mean.dice, spread.standard_deviation.dice), (Some(0.625), Some(0.125)));
        assert_eq!((spread.mean.iou, spread.standard_deviation.iou), (None, None));
        let lines = spread.lines();
        assert_eq!(lines[0], "3 seeds on 7 test targets, tight boxes");
        assert_eq!(lines[3], "untuned        0.2500       -    0.1250       -");
        assert_eq!(lines[5], "tuned, seed 4  0.7500       -    0.3750       -   epoch 9");
        assert_eq!(lines[8], "deviation      0.1250       -    0.0625       -   standard, over seeds");
    }

    #[test]
    fn one_seed_has_no_deviation() {
        let spread = Spread::beside(&[(2, metrics(0.5, 3))]).unwrap();
        assert_eq!((spread.mean.dice, spread.standard_deviation.dice), (Some(0.5), None));
        assert!(Spread::beside(&[]).is_none());
    }
}
