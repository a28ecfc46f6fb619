//! From the figures of targets to `metrics.json` and the rows of `samples.parquet`.

use resect_checkpoint_records::Summary;
use resect_evaluate_params::EvaluateParams;
use resect_evaluation_records::{
    Calibration, ClassMetrics, Comparison, Estimate, FLAGS, FORMAT, Figures, Kept, Method, MethodMetrics,
    Metrics, Paired, Property, SampleRow, Settings, SizeClass, SweepPoint, Totals,
};
use resect_metrics::{Bootstrap, mean, wilcoxon};
use resect_target_records::Split;

use crate::samples::Sample;

/// Share of the draws that an interval holds.
pub(crate) const CONFIDENCE: f64 = 0.95;

/// What a method gave on a target.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Score {
    /// Figures at original resolution.
    pub original: Figures<Option<f64>>,
    /// Figures on the low-res grid.
    pub low_res: Figures<Option<f64>>,
    /// Whether not a single pixel was predicted.
    pub missed: bool,
    /// What a decoder says of its own IoU.
    pub predicted_iou: Option<f64>,
}

/// The scores of one target, by [`Method::ALL`].
pub(crate) type Scores = [Score; Method::ALL.len()];

/// Makes means and their intervals of values, one a target.
pub(crate) struct Totaller {
    bootstrap: Bootstrap,
}

impl Totaller {
    pub fn new(samples: &[Sample<'_>], params: &EvaluateParams) -> Self {
        let groups: Vec<&str> = samples.iter().map(|sample| sample.target.group.as_str()).collect();
        Self { bootstrap: Bootstrap::new(&groups, params.resamples, params.seed) }
    }

    pub fn estimate(&self, values: &[Option<f64>]) -> Estimate {
        Estimate {
            targets: values.iter().flatten().count(),
            mean: mean(values.iter().flatten().copied()),
            interval: self.bootstrap.interval(values, CONFIDENCE),
        }
    }

    /// Totals over the targets of which `counts` is true.
    fn totals(&self, scores: &[&Score], counts: &[bool]) -> Totals {
        let figures = |of: fn(&Score) -> &Figures<Option<f64>>| {
            Figures::from_each(std::array::from_fn(|metric| {
                let value = |(score, counts): (&&Score, &bool)| of(score).each()[metric].filter(|_| *counts);
                self.estimate(&scores.iter().zip(counts).map(value).collect::<Vec<_>>())
            }))
        };
        let counted = || scores.iter().zip(counts).filter(|(_, counts)| **counts);
        Totals {
            targets: counted().count(),
            missed: counted().filter(|(score, _)| score.missed).count(),
            original: figures(|score| &score.original),
            low_res: figures(|score| &score.low_res),
        }
    }

    /// Tuned against untuned, one metric after the other.
    fn comparison(&self, untuned: &[&Score], tuned: &[&Score]) -> Comparison {
        let figures = |of: fn(&Score) -> &Figures<Option<f64>>| {
            Figures::from_each(std::array::from_fn(|metric| {
                let pairs = untuned.iter().zip(tuned);
                let pairs = pairs.map(|(a, b)| of(a).each()[metric].zip(*of(b).each()[metric]));
                let differences: Vec<_> = pairs.map(|pair| pair.map(|(a, b)| b - a)).collect();
                self.paired(&differences, Figures::<()>::higher_is_better(Figures::<()>::NAMES[metric]))
            }))
        };
        Comparison { original: figures(|score| &score.original), low_res: figures(|score| &score.low_res) }
    }

    fn paired(&self, differences: &[Option<f64>], higher_is_better: bool) -> Paired {
        let there: Vec<f64> = differences.iter().flatten().copied().collect();
        let higher = there.iter().filter(|d| **d > 0.0).count();
        let lower = there.iter().filter(|d| **d < 0.0).count();
        let (wins, losses) = if higher_is_better { (higher, lower) } else { (lower, higher) };
        Paired {
            targets: there.len(),
            difference: mean(there.iter().copied()),
            interval: self.bootstrap.interval(differences, CONFIDENCE),
            wins,
            ties: there.len() - higher - lower,
            losses,
            p: wilcoxon(&there),
        }
    }
}

/// Everything that `metrics.json` says; `rows` are those of [`sample_rows`].
pub(crate) fn metrics(
    samples: &[Sample<'_>],
    scores: &[Scores],
    rows: &[SampleRow],
    summary: &Summary,
    params: &EvaluateParams,
    totaller: &Totaller,
    sweep: Vec<SweepPoint>,
) -> Metrics {
    let images: std::collections::HashSet<_> = samples.iter().map(|s| &s.target.pixel_hash).collect();
    let of = |method: Method| -> Vec<&Score> { scores.iter().map(|s| &s[method as usize]).collect() };
    let everyone = vec![true; samples.len()];
    let classes = classes(rows);
    let methods = Method::ALL.map(|method| {
        let scores = of(method);
        let of_class = |(by, class, members): &(Property, &str, Vec<bool>)| ClassMetrics {
            by: *by,
            class: (*class).into(),
            totals: totaller.totals(&scores, members),
        };
        MethodMetrics {
            method,
            all: totaller.totals(&scores, &everyone),
            classes: classes.iter().map(of_class).collect(),
            calibration: Method::DECODERS.contains(&method).then(|| calibration(&scores)),
        }
    });
    let &Summary { epoch, epochs, selected_by, validation_dice, .. } = summary;
    Metrics {
        format: FORMAT.into(),
        split: Split::Test,
        targets: samples.len(),
        images: images.len(),
        groups: totaller.bootstrap.groups(),
        checkpoint: Kept { epoch, epochs, selected_by, validation_dice },
        settings: Settings {
            size_bounds: params.size_bounds,
            surface_tolerance: params.surface_tolerance,
            resamples: params.resamples,
            seed: params.seed,
            confidence: CONFIDENCE,
        },
        methods: methods.into(),
        comparison: totaller.comparison(&of(Method::Untuned), &of(Method::Tuned)),
        sweep,
    }
}

/// All classes of all properties, and which targets belong to each. What a target is, each of its rows says.
fn classes(rows: &[SampleRow]) -> Vec<(Property, &'static str, Vec<bool>)> {
    let members = |is: &dyn Fn(&SampleRow) -> bool| rows.iter().step_by(Method::ALL.len()).map(is).collect();
    let sizes = SizeClass::ALL
        .map(|class| (Property::Size, class.name(), members(&|row: &SampleRow| row.size_class == class)));
    let components = [
        (Property::Components, "one", members(&|row: &SampleRow| row.components == 1)),
        (Property::Components, "several", members(&|row: &SampleRow| row.components > 1)),
    ];
    let flags = FLAGS
        .map(|flag| (Property::Flag, flag, members(&|row: &SampleRow| row.flags().any(|of| of == flag))));
    let none = (Property::Flag, "none", members(&|row: &SampleRow| row.flags().next().is_none()));
    sizes.into_iter().chain(components).chain(flags).chain([none]).collect()
}

fn calibration(scores: &[&Score]) -> Calibration {
    let pairs: Vec<_> = scores.iter().filter_map(|s| s.predicted_iou.zip(s.original.iou)).collect();
    resect_metrics::calibration(&pairs)
}

/// The rows of `samples.parquet`: target after target, the methods of each in the order of [`Method::ALL`].
pub(crate) fn sample_rows(
    samples: &[Sample<'_>],
    scores: &[Scores],
    size_bounds: [f64; 2],
) -> Vec<SampleRow> {
    let rows = samples.iter().zip(scores).flat_map(|(sample, scores)| {
        let target = sample.target;
        Method::ALL.into_iter().zip(scores).map(move |(method, score)| SampleRow {
            id: target.id.clone(),
            sample: target.sample.clone(),
            group: target.group.clone(),
            method,
            dice: score.original.dice,
            iou: score.original.iou,
            precision: score.original.precision,
            recall: score.original.recall,
            hd95: score.original.hd95,
            surface_dice: score.original.surface_dice,
            mean_absolute_error: score.original.mean_absolute_error,
            low_res_dice: score.low_res.dice,
            low_res_iou: score.low_res.iou,
            low_res_precision: score.low_res.precision,
            low_res_recall: score.low_res.recall,
            low_res_hd95: score.low_res.hd95,
            low_res_surface_dice: score.low_res.surface_dice,
            low_res_mean_absolute_error: score.low_res.mean_absolute_error,
            predicted_iou: score.predicted_iou,
            area_fraction: target.area_fraction,
            size_class: SizeClass::of(target.area_fraction, size_bounds),
            components: target.components,
            touches_border: target.touches_border,
            noisy_mask: target.noisy_mask,
            specks_removed: target.specks_removed > 0,
            near_duplicate: !target.near_duplicate_of.is_empty(),
        })
    });
    rows.collect()
}

#[cfg(test)]
mod tests;
