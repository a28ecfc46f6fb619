//! Whether the prompt matters, and how much: both decoders with other prompts than the tight box, from the same embeddings.

use rayon::prelude::*;
use resect_embeddings::Embeddings;
use resect_evaluate_params::EvaluateParams;
use resect_evaluation_records::{Method, PromptKind, SweepFigures, SweepPoint, SweepRow};
use resect_metrics::{Overlap, overlap};
use resect_stage::Reporter;

use crate::decode::{self, Answer, Asked, Decode, Masks};
use crate::prompt::{Form, Prompt};
use crate::samples::Sample;
use crate::score::mask_of;
use crate::totals::{Scores, Totaller};
use crate::{EvaluateError, Grids};

/// What is read and computed with.
pub(crate) struct Sweep<'a> {
    pub samples: &'a [Sample<'a>],
    /// What the tight boxes gave.
    pub scores: &'a [Scores],
    pub embeddings: &'a Embeddings,
    pub grids: Grids,
    pub batch: usize,
    pub params: &'a EvaluateParams,
    pub report: &'a Reporter,
}

impl Sweep<'_> {
    /// All rows: a form of prompt after the other, its targets in order, the untuned decoder's before the tuned one's.
    pub fn rows(&self, decoders: &mut impl Decode) -> Result<Vec<SweepRow>, EvaluateError> {
        let forms = Form::all(self.params);
        let mut rows = Vec::new();
        for (done, form) in forms.iter().enumerate() {
            self.report.progress("sweeping", done as u64, forms.len() as u64, "prompts");
            match form.kind {
                PromptKind::BoxNoisePixels if form.amount == Some(0) => rows.extend(self.tight(*form)),
                PromptKind::Multimask => {
                    let oracle = Form { kind: PromptKind::MultimaskOracle, ..*form };
                    let [likeliest, best] = self.decoded([*form, oracle], Masks::Multi, decoders)?;
                    rows.extend(likeliest.into_iter().chain(best));
                }
                // Chosen from the same three masks, right above.
                PromptKind::MultimaskOracle => {}
                _ => rows.extend(self.decoded([*form], Masks::Single, decoders)?.into_iter().flatten()),
            }
        }
        self.report.progress("sweeping", forms.len() as u64, forms.len() as u64, "prompts");
        Ok(rows)
    }

    /// The tight box, which needs no decoding once more.
    fn tight(&self, form: Form) -> Vec<SweepRow> {
        let rows = self.samples.iter().zip(self.scores).flat_map(|(sample, scores)| {
            Method::DECODERS.map(|method| {
                let score = scores[method as usize];
                let predicted_iou = score.predicted_iou.unwrap_or_default();
                let (dice, iou) = (score.original.dice, score.original.iou);
                SweepRow {
                    dice,
                    iou,
                    ..row(sample, Prompt::tight(sample.target), form, method, predicted_iou)
                }
            })
        });
        rows.collect()
    }

    /// Prompts all targets in one way, and takes a mask of each answer for each of the forms.
    fn decoded<const N: usize>(
        &self,
        forms: [Form; N],
        masks: Masks,
        decoders: &mut impl Decode,
    ) -> Result<[Vec<SweepRow>; N], EvaluateError> {
        let prompt =
            |sample: &Sample<'_>| forms[0].prompt(sample.target, || sample.truth(), self.params.seed);
        let asked = self.samples.par_iter().filter_map(|sample| {
            let prompt = prompt(sample)?;
            Some(Asked { sample: *sample, prompt })
        });
        let asked: Vec<Asked<'_>> = asked.collect();
        let mut rows = forms.map(|_| Vec::new());
        decode::each_batch(&asked, self.batch, masks, decoders, self.embeddings, |batch, answers| {
            let found =
                batch.par_iter().zip(&answers).map(|(asked, answer)| self.rows_of(asked, answer, forms));
            for of_target in found.collect::<Vec<_>>() {
                rows.iter_mut().zip(of_target).for_each(|(rows, found)| rows.extend(found));
            }
            decode::release(batch, self.embeddings);
            Ok(())
        })?;
        Ok(rows)
    }

    fn rows_of<const N: usize>(
        &self,
        asked: &Asked<'_>,
        answer: &Answer,
        forms: [Form; N],
    ) -> [[SweepRow; 2]; N] {
        let truth = asked.sample.truth();
        let decoders = [&answer.untuned, &answer.tuned].map(|masks| -> Vec<(Option<Overlap>, f64)> {
            let masks = masks.iter().map(|mask| {
                let logits = decode::original(&mask.logits, self.grids, &asked.sample);
                (overlap(&mask_of(truth.size(), &logits), &truth), f64::from(mask.predicted_iou))
            });
            masks.collect()
        });
        forms.map(|form| {
            [0, 1].map(|decoder| {
                let (overlap, predicted_iou) = choose(form.kind, &decoders[decoder]);
                let row = row(&asked.sample, asked.prompt, form, Method::DECODERS[decoder], predicted_iou);
                SweepRow { dice: overlap.map(|o| o.dice), iou: overlap.map(|o| o.iou), ..row }
            })
        })
    }

    /// Means over the rows of each form.
    pub fn points(&self, rows: &[SweepRow], totaller: &Totaller) -> Vec<SweepPoint> {
        let places =
            self.samples.iter().enumerate().map(|(place, sample)| (sample.target.id.as_str(), place));
        let places: std::collections::HashMap<&str, usize> = places.collect();
        let point = |form: Form| {
            let of_method = |method: Method| {
                let values = |value: fn(&SweepRow) -> Option<f64>| {
                    let mut values = vec![None; self.samples.len()];
                    let of_form = |row: &&SweepRow| {
                        (row.prompt, row.amount, row.method) == (form.kind, form.amount, method)
                    };
                    for row in rows.iter().filter(of_form) {
                        if let Some(&place) = places.get(row.id.as_str()) {
                            values[place] = value(row);
                        }
                    }
                    totaller.estimate(&values)
                };
                SweepFigures {
                    method,
                    dice: values(|row| row.dice),
                    iou: values(|row| row.iou),
                    predicted_iou: values(|row| Some(row.predicted_iou)),
                }
            };
            let decoders = Method::DECODERS.map(of_method).into();
            SweepPoint { prompt: form.kind, amount: form.amount, decoders }
        };
        Form::all(self.params).into_iter().map(point).collect()
    }
}

/// The mask that counts: the one there is, the one the decoder thinks best of, or the one that is best.
fn choose(kind: PromptKind, masks: &[(Option<Overlap>, f64)]) -> (Option<Overlap>, f64) {
    let best = |of: fn(&(Option<Overlap>, f64)) -> f64| {
        // Of equal ones the first, as `argmax` takes it.
        masks.iter().rev().max_by(|a, b| of(a).total_cmp(&of(b))).copied().unwrap_or((None, 0.0))
    };
    match kind {
        PromptKind::MultimaskOracle => best(|(overlap, _)| overlap.map_or(0.0, |overlap| overlap.dice)),
        _ => best(|(_, predicted_iou)| *predicted_iou),
    }
}

/// A row without figures.
fn row(sample: &Sample<'_>, prompt: Prompt, form: Form, method: Method, predicted_iou: f64) -> SweepRow {
    let Prompt { bounds, point } = prompt;
    SweepRow {
        id: sample.target.id.clone(),
        prompt: form.kind,
        amount: form.amount,
        method,
        x0: bounds.map(|b| b.x0),
        y0: bounds.map(|b| b.y0),
        x1: bounds.map(|b| b.x1),
        y1: bounds.map(|b| b.y1),
        point_x: point.map(|[x, _]| x),
        point_y: point.map(|[_, y]| y),
        dice: None,
        iou: None,
        predicted_iou,
    }
}

#[cfg(test)]
mod tests;
