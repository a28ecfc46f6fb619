//! Whether the prompt matters, and how much: both decoders with other prompts than the tight box.

use rayon::prelude::*;
use resect_evaluate_params::EvaluateParams;
use resect_evaluation_records::{Method, PromptKind, SweepFigures, SweepPoint, SweepRow};
use resect_layers::Layers;
use resect_metrics::{Overlap, overlap};
use resect_prompt::Prompt;
use resect_segment::Prediction;
use resect_stage::Reporter;

use crate::EvaluateError;
use crate::decode::{self, Answer, Pair, Prompted};
use crate::encodings::Encodings;
use crate::prompt::{self, Form};
use crate::samples::Sample;
use crate::totals::{Scores, Totaller};

/// What is read and computed with.
pub(crate) struct Sweep<'a> {
    pub samples: &'a [Sample<'a>],
    /// What the tight boxes gave.
    pub scores: &'a [Scores],
    pub encodings: &'a Encodings,
    pub batch: usize,
    pub params: &'a EvaluateParams,
    pub report: &'a Reporter,
}

impl Sweep<'_> {
    /// All rows: a form of prompt after the other, its targets in order, the untuned decoder's before the tuned one's.
    pub fn rows<B: Layers>(&self, decoders: &Pair<B>) -> Result<Vec<SweepRow>, EvaluateError> {
        let forms = Form::all(self.params);
        let mut rows = Vec::new();
        for (done, form) in forms.iter().enumerate() {
            self.report.progress("sweeping", done as u64, forms.len() as u64, "prompts");
            match form.kind {
                PromptKind::BoxNoisePixels if form.amount == Some(0) => rows.extend(self.tight(*form)?),
                PromptKind::Multimask => {
                    let oracle = Form { kind: PromptKind::MultimaskOracle, ..*form };
                    let [likeliest, best] = self.decoded([*form, oracle], true, decoders)?;
                    rows.extend(likeliest.into_iter().chain(best));
                }
                // Chosen from the same three masks, right above.
                PromptKind::MultimaskOracle => {}
                _ => {
                    let [found] = self.decoded([*form], false, decoders)?;
                    rows.extend(found);
                }
            }
        }
        self.report.progress("sweeping", forms.len() as u64, forms.len() as u64, "prompts");
        Ok(rows)
    }

    /// The tight box, which needs no decoding once more.
    fn tight(&self, form: Form) -> Result<Vec<SweepRow>, EvaluateError> {
        let mut rows = Vec::with_capacity(Method::DECODERS.len() * self.samples.len());
        for (sample, scores) in self.samples.iter().zip(self.scores) {
            for method in Method::DECODERS {
                let score = scores[method as usize];
                let predicted_iou = score.predicted_iou.ok_or_else(|| {
                    let id = &sample.target.id;
                    EvaluateError::Internal(format!(
                        "target {id} has no predicted IoU of the {method} decoder"
                    ))
                })?;
                let (dice, iou) = (score.original.dice, score.original.iou);
                let row = row(sample, &prompt::tight(sample.target), form, method, predicted_iou)?;
                rows.push(SweepRow { dice, iou, ..row });
            }
        }
        Ok(rows)
    }

    /// Prompts all targets in one way, and takes a mask of each answer for each of the forms. A target whose truth has no pixel to
    /// point at has no row.
    fn decoded<const N: usize, B: Layers>(
        &self,
        forms: [Form; N],
        multimask: bool,
        decoders: &Pair<B>,
    ) -> Result<[Vec<SweepRow>; N], EvaluateError> {
        let prompted = self.samples.par_iter().map(|sample| {
            let prompt = forms[0].prompt(sample.target, || sample.truth(), self.params.seed)?;
            Ok(prompt.map(|prompt| Prompted { sample: *sample, prompt }))
        });
        let prompted: Vec<Option<Prompted<'_>>> = prompted.collect::<Result<_, EvaluateError>>()?;
        let prompted: Vec<Prompted<'_>> = prompted.into_iter().flatten().collect();
        let mut rows = forms.map(|_| Vec::new());
        decoders.each_batch(&prompted, self.batch, multimask, self.encodings, |batch, answers| {
            let found = batch.par_iter().zip(&answers).map(|(asked, answer)| rows_of(asked, answer, forms));
            for of_target in found.collect::<Result<Vec<_>, _>>()? {
                rows.iter_mut().zip(of_target).for_each(|(rows, found)| rows.extend(found));
            }
            decode::release(batch, self.encodings);
            Ok(())
        })?;
        Ok(rows)
    }

    /// Means over the rows of each form.
    ///
    /// # Errors
    /// A row of no target.
    pub fn points(&self, rows: &[SweepRow], totaller: &Totaller) -> Result<Vec<SweepPoint>, EvaluateError> {
        let places =
            self.samples.iter().enumerate().map(|(place, sample)| (sample.target.id.as_str(), place));
        let places: std::collections::HashMap<&str, usize> = places.collect();
        let of_method = |form: Form, method: Method| {
            let found: Vec<&SweepRow> = rows
                .iter()
                .filter(|row| (row.prompt, row.amount, row.method) == (form.kind, form.amount, method))
                .collect();
            let values = |value: fn(&SweepRow) -> Option<f64>| {
                let mut values = vec![None; self.samples.len()];
                for row in &found {
                    let place = *places.get(row.id.as_str()).ok_or_else(|| {
                        EvaluateError::Internal(format!(
                            "the sweep has a row of {}, which is no target",
                            row.id
                        ))
                    })?;
                    values[place] = value(row);
                }
                Ok::<_, EvaluateError>(totaller.estimate(&values))
            };
            Ok(SweepFigures {
                method,
                dice: values(|row| row.dice)?,
                iou: values(|row| row.iou)?,
                predicted_iou: values(|row| Some(row.predicted_iou))?,
            })
        };
        let point = |form: Form| {
            let decoders = Method::DECODERS.into_iter().map(|method| of_method(form, method));
            let decoders = decoders.collect::<Result<_, EvaluateError>>()?;
            Ok(SweepPoint { prompt: form.kind, amount: form.amount, decoders })
        };
        Form::all(self.params).into_iter().map(point).collect()
    }
}

/// The rows of a target: for each of the forms that of either decoder.
fn rows_of<const N: usize>(
    prompted: &Prompted<'_>,
    answer: &Answer,
    forms: [Form; N],
) -> Result<[[SweepRow; 2]; N], EvaluateError> {
    let Prompted { sample, prompt } = prompted;
    let truth = sample.truth();
    let scored = |prediction: &Prediction| -> Result<Vec<(Option<Overlap>, f64)>, EvaluateError> {
        let masks = prediction.masks().iter().map(|mask| {
            let overlap = overlap(&mask.mask(&sample.frame)?, &truth);
            Ok((overlap, f64::from(mask.predicted_iou)))
        });
        masks.collect()
    };
    let [untuned, tuned] = [scored(&answer.untuned)?, scored(&answer.tuned)?];
    let of = |form: Form, method: Method, masks: &[(Option<Overlap>, f64)]| {
        let (overlap, predicted_iou) = choose(form.kind, masks)?;
        let row = row(sample, prompt, form, method, predicted_iou)?;
        Ok::<_, EvaluateError>(SweepRow { dice: overlap.map(|o| o.dice), iou: overlap.map(|o| o.iou), ..row })
    };
    let mut rows = Vec::with_capacity(N);
    for form in forms {
        rows.push([of(form, Method::Untuned, &untuned)?, of(form, Method::Tuned, &tuned)?]);
    }
    rows.try_into()
        .map_err(|rows: Vec<_>| EvaluateError::Internal(format!("{} rows of {N} forms", rows.len())))
}

/// The mask that counts: the one there is, the one of highest predicted IoU, or the one of highest Dice; of equal ones the first.
fn choose(
    kind: PromptKind,
    masks: &[(Option<Overlap>, f64)],
) -> Result<(Option<Overlap>, f64), EvaluateError> {
    let value = |(overlap, predicted_iou): &(Option<Overlap>, f64)| match kind {
        PromptKind::MultimaskOracle => overlap.map_or(0.0, |overlap| overlap.dice),
        _ => *predicted_iou,
    };
    let best = masks.iter().rev().max_by(|a, b| value(a).total_cmp(&value(b)));
    best.copied().ok_or_else(|| EvaluateError::Internal("a decoder predicted no mask".into()))
}

/// A row without figures.
fn row(
    sample: &Sample<'_>,
    prompt: &Prompt,
    form: Form,
    method: Method,
    predicted_iou: f64,
) -> Result<SweepRow, EvaluateError> {
    let id = &sample.target.id;
    let pixel = |at: f64| {
        pixel(at).ok_or_else(|| {
            EvaluateError::Internal(format!("the sweep prompts target {id} at {at}, which is no pixel"))
        })
    };
    let corners = prompt
        .bounds
        .map(|b| Ok::<_, EvaluateError>([pixel(b.x0)?, pixel(b.y0)?, pixel(b.x1)?, pixel(b.y1)?]));
    let corners = corners.transpose()?;
    let point =
        prompt.points.first().map(|p| Ok::<_, EvaluateError>([pixel(p.x)?, pixel(p.y)?])).transpose()?;
    let corner = |side: usize| corners.map(|corners| corners[side]);
    Ok(SweepRow {
        id: id.clone(),
        prompt: form.kind,
        amount: form.amount,
        method,
        x0: corner(0),
        y0: corner(1),
        x1: corner(2),
        y1: corner(3),
        point_x: point.map(|[x, _]| x),
        point_y: point.map(|[_, y]| y),
        dice: None,
        iou: None,
        predicted_iou,
    })
}

/// The pixel at a coordinate, which must be a whole one.
fn pixel(at: f64) -> Option<u32> {
    let pixel = at as u32;
    (f64::from(pixel) == at).then_some(pixel)
}

#[cfg(test)]
mod tests;
