//! What `ingest` found in the data: `audit.json` of the `targets` artifact, and a few lines for the reader.

use crate::readers::Dataset;
use crate::sample::Usable;
use rayon::prelude::*;
use resect_geometry::Size;
use resect_stage::Reporter;
use resect_target_records::{Rejected, Split};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Format of `audit.json`.
pub const AUDIT_FORMAT: &str = "resect-audit/1.0";
/// Bounds of the size classes, as fractions of the image's area.
const SIZE_BOUNDS: [f64; 2] = [0.05, 0.2];
/// Pairs and groups listed by name; all are counted.
const LISTED: usize = 100;

/// What was found. Unless said otherwise, of the samples that have a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// [`AUDIT_FORMAT`].
    pub format: String,
    /// Samples of the dataset, up to `ingest.limit` of each given split.
    pub samples: usize,
    /// Samples left out; `rejected.json` says why.
    pub rejected: usize,
    /// Sound samples that no part of the split uses; their images are in `images`.
    pub unused: usize,
    /// Files in the dataset's folders that are no images.
    pub ignored_files: usize,
    /// Samples by the split the dataset gives them, all of them.
    pub given_splits: BTreeMap<String, usize>,
    /// What each part holds.
    pub splits: BTreeMap<Split, SplitAudit>,
    /// Groups with samples in more than one part: a patient who is trained on and reported. Only a given split
    /// can do that.
    pub groups_across_splits: usize,
    /// The first few of them.
    pub groups_across_splits_listed: Vec<String>,
    /// Pairs of images that look the same.
    pub near_duplicates: usize,
    /// Those of them of which exactly one image is reported: they make results look better than they are. Only a
    /// given split can do that.
    pub near_duplicates_across_test: usize,
    /// Those of them of which one image is trained on and the other selects the epoch. Only a given split can do that.
    pub near_duplicates_across_validation: usize,
    /// The pairs, in the order of these counts, then the most alike first; cut off after a hundred.
    pub near_duplicate_pairs: Vec<DuplicatePair>,
    /// Masks.
    pub masks: MaskAudit,
    /// Sizes of the images, after EXIF orientation.
    pub sizes: SizeAudit,
    /// Foreground of each sample as a share of its image.
    pub area: AreaAudit,
}

/// One part of the split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitAudit {
    /// Samples.
    pub samples: usize,
    /// Targets in them.
    pub targets: usize,
    /// Groups they belong to.
    pub groups: usize,
}

/// Two images that look the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DuplicatePair {
    /// Names of the samples, in the dataset's order.
    pub ids: [String; 2],
    /// The parts they lie in.
    pub splits: [Split; 2],
    /// Bits in which their perceptual hashes differ, of 64.
    pub distance: u32,
}

/// Samples by what their mask showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaskAudit {
    /// More than two values.
    pub noisy: usize,
    /// At least one speck was removed.
    pub with_specks: usize,
    /// Specks removed in all.
    pub specks: usize,
    /// A removed speck covered the pixel (0, 0).
    pub with_corner_speck: usize,
    /// Several components were kept.
    pub with_several_components: usize,
    /// The foreground touches the image's border.
    pub touching_border: usize,
    /// The box would be another one if every pixel above 0 were foreground.
    pub box_moves_above_zero: usize,
}

/// Sizes of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeAudit {
    /// Fewest pixels.
    pub smallest: Size,
    /// Most pixels.
    pub largest: Size,
    /// Different sizes.
    pub distinct: usize,
    /// Images that are not square.
    pub not_square: usize,
    /// Images turned or mirrored as their EXIF data says.
    pub turned_by_exif: usize,
}

/// Foreground shares.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AreaAudit {
    /// The least.
    pub min: f64,
    /// The middle one, the upper of the two middle ones of an even number.
    pub median: f64,
    /// The largest.
    pub max: f64,
    /// Bounds of the size classes.
    pub bounds: [f64; 2],
    /// Samples below the first bound.
    pub small: usize,
    /// Samples between the bounds.
    pub medium: usize,
    /// Samples at the second bound or above.
    pub large: usize,
}

/// What looks like what.
pub struct NearDuplicates {
    /// By [`danger`].
    pairs: [usize; 3],
    listed: Vec<(usize, usize, u32)>,
    nearest: Vec<Option<usize>>,
}

impl NearDuplicates {
    /// The name of the sample most like number `index`; empty when none is near.
    pub fn nearest(&self, index: usize, usable: &[Usable]) -> String {
        self.nearest[index].map(|other| usable[other].id.clone()).unwrap_or_default()
    }
}

/// What a near-duplicate pair does: 0, it is trained on (or selects) and reported; 1, it is trained on and selects;
/// 2, nothing.
fn danger(a: Split, b: Split) -> usize {
    match (a, b) {
        (a, b) if a == b => 2,
        (Split::Test, _) | (_, Split::Test) => 0,
        _ => 1,
    }
}

/// Compares every image with every other: an exclusive or each, and a look at the thumbnails of the few that remain.
pub fn near_duplicates(usable: &[Usable], distance: u32) -> NearDuplicates {
    #[derive(Default)]
    struct Row {
        pairs: [usize; 3],
        listed: [Vec<(usize, usize, u32)>; 3],
        nearest: Option<(u32, usize)>,
    }
    let row = |i: usize| {
        let mut row = Row::default();
        for (j, other) in usable.iter().enumerate().filter(|&(j, _)| j != i) {
            let Some(bits) = usable[i].look.distance(&other.look, distance) else { continue };
            row.nearest = Some(row.nearest.map_or((bits, j), |nearest| nearest.min((bits, j))));
            if j > i {
                let danger = danger(usable[i].split, other.split);
                row.pairs[danger] += 1;
                if row.listed[danger].len() < LISTED {
                    row.listed[danger].push((i, j, bits));
                }
            }
        }
        row
    };
    let rows: Vec<Row> = (0..usable.len()).into_par_iter().map(row).collect();
    let listed = |danger: usize| {
        let mut pairs: Vec<_> = rows.iter().flat_map(|row| row.listed[danger].iter().copied()).collect();
        pairs.sort_by_key(|&(i, j, bits)| (bits, i, j));
        pairs
    };
    NearDuplicates {
        pairs: [0, 1, 2].map(|danger| rows.iter().map(|row| row.pairs[danger]).sum()),
        listed: (0..3).flat_map(listed).take(LISTED).collect(),
        nearest: rows.iter().map(|row| row.nearest.map(|(_, j)| j)).collect(),
    }
}

impl Audit {
    /// Counts what was found. `usable` is not empty.
    pub(crate) fn of(
        dataset: &Dataset,
        usable: &[Usable],
        rejected: &[Rejected],
        twins: &NearDuplicates,
    ) -> Self {
        let samples = dataset.samples();
        let mut given_splits: BTreeMap<String, usize> = BTreeMap::new();
        for sample in samples {
            *given_splits.entry(sample.given_split.clone()).or_default() += 1;
        }
        let mut parts_of: BTreeMap<&str, BTreeSet<Split>> = BTreeMap::new();
        for sample in usable {
            parts_of.entry(&sample.group).or_default().insert(sample.split);
        }
        let mixed: Vec<&str> =
            parts_of.iter().filter(|(_, parts)| parts.len() > 1).map(|(&group, _)| group).collect();
        let pair = |&(i, j, distance): &(usize, usize, u32)| DuplicatePair {
            ids: [usable[i].id.clone(), usable[j].id.clone()],
            splits: [usable[i].split, usable[j].split],
            distance,
        };
        let count = |holds: &dyn Fn(&Usable) -> bool| usable.iter().filter(|sample| holds(sample)).count();
        Self {
            format: AUDIT_FORMAT.into(),
            samples: samples.len(),
            rejected: rejected.len(),
            unused: samples.len() - rejected.len() - usable.len(),
            ignored_files: dataset.ignored_files(),
            given_splits,
            splits: [Split::Train, Split::Validation, Split::Test]
                .map(|split| (split, SplitAudit::of(split, usable)))
                .into(),
            groups_across_splits: mixed.len(),
            groups_across_splits_listed: mixed.iter().take(LISTED).map(|&group| group.to_owned()).collect(),
            near_duplicates: twins.pairs.iter().sum(),
            near_duplicates_across_test: twins.pairs[0],
            near_duplicates_across_validation: twins.pairs[1],
            near_duplicate_pairs: twins.listed.iter().map(pair).collect(),
            masks: MaskAudit {
                noisy: count(&|s| s.found.noisy),
                with_specks: count(&|s| s.found.specks > 0),
                specks: usable.iter().map(|s| s.found.specks as usize).sum(),
                with_corner_speck: count(&|s| s.found.corner_speck),
                with_several_components: count(&|s| s.found.components > 1),
                touching_border: count(&|s| s.found.touches_border),
                box_moves_above_zero: count(&|s| s.found.box_moves_above_zero),
            },
            sizes: SizeAudit::of(usable),
            area: AreaAudit::of(usable),
        }
    }

    /// The findings in a few lines, what is dangerous first.
    pub(crate) fn summarise(&self, report: &Reporter) {
        for pair in self.near_duplicate_pairs.iter().filter(|pair| pair.splits[0] != pair.splits[1]).take(5) {
            let ([a, b], [part_a, part_b]) = (&pair.ids, pair.splits.map(name));
            report.note(format!("warning: {a} ({part_a}) and {b} ({part_b}) look the same"));
        }
        let across = [
            (
                self.near_duplicates_across_test,
                "the reported split and another: results will look better than they are",
            ),
            (
                self.near_duplicates_across_validation,
                "training and validation: the epoch is selected on images that were trained on",
            ),
        ];
        for (pairs, consequence) in across.into_iter().filter(|&(pairs, _)| pairs > 0) {
            report.note(format!(
                "warning: {pairs} near-duplicate pairs across {consequence}; the dataset's own split does that, what is \
                 drawn does not"
            ));
        }
        if self.groups_across_splits > 0 {
            report.note(format!(
                "warning: {} groups lie in more than one split, such as {}: the dataset's own split does that, \
                 split.by = \"random\" does not",
                self.groups_across_splits, self.groups_across_splits_listed[0]
            ));
        }
        let parts: Vec<String> = self
            .splits
            .iter()
            .map(|(&split, part)| match part.targets {
                targets if targets == part.samples => format!("{} {}", name(split), part.samples),
                targets => format!("{} {} ({targets} targets)", name(split), part.samples),
            })
            .collect();
        report.note(format!(
            "{} samples: {}; {} unused, {} rejected",
            self.samples,
            parts.join(", "),
            self.unused,
            self.rejected
        ));
        let masks = &self.masks;
        report.note(format!(
            "masks: {} hold more than two values, {} specks removed from {} ({} at the top left pixel), {} with \
             several components, {} at the image's border; taking every value above 0 would move {} boxes",
            masks.noisy,
            masks.specks,
            masks.with_specks,
            masks.with_corner_speck,
            masks.with_several_components,
            masks.touching_border,
            masks.box_moves_above_zero
        ));
        let (sizes, area) = (&self.sizes, &self.area);
        report.note(format!(
            "images: {} to {}, {} sizes; foreground {:.3} to {:.3} of the image, median {:.3} ({} small, {} \
             medium, {} large); {} near-duplicate pairs",
            sizes.smallest,
            sizes.largest,
            sizes.distinct,
            area.min,
            area.max,
            area.median,
            area.small,
            area.medium,
            area.large,
            self.near_duplicates
        ));
    }
}

fn name(split: Split) -> &'static str {
    match split {
        Split::Train => "train",
        Split::Validation => "validation",
        Split::Test => "test",
    }
}

impl SplitAudit {
    fn of(split: Split, usable: &[Usable]) -> Self {
        let part: Vec<&Usable> = usable.iter().filter(|sample| sample.split == split).collect();
        Self {
            samples: part.len(),
            targets: part.iter().map(|sample| sample.found.pieces.len()).sum(),
            groups: part.iter().map(|sample| &sample.group).collect::<BTreeSet<_>>().len(),
        }
    }
}

impl SizeAudit {
    fn of(usable: &[Usable]) -> Self {
        let mut sizes: Vec<Size> = usable.iter().map(|sample| sample.original).collect();
        let not_square = sizes.iter().filter(|size| size.height != size.width).count();
        sizes.sort_by_key(|size| (size.pixels(), size.height));
        sizes.dedup();
        let none = Size::new(0, 0);
        Self {
            smallest: sizes.first().copied().unwrap_or(none),
            largest: sizes.last().copied().unwrap_or(none),
            distinct: sizes.len(),
            not_square,
            turned_by_exif: usable.iter().filter(|sample| sample.turned).count(),
        }
    }
}

impl AreaAudit {
    fn of(usable: &[Usable]) -> Self {
        let mut areas: Vec<f64> = usable.iter().map(|sample| sample.found.area_fraction).collect();
        areas.sort_by(f64::total_cmp);
        let at = |index: usize| areas.get(index).copied().unwrap_or(0.0);
        let below = |bound: f64| areas.partition_point(|&area| area < bound);
        let [small, large] = SIZE_BOUNDS.map(below);
        Self {
            min: at(0),
            median: at(areas.len() / 2),
            max: at(areas.len().saturating_sub(1)),
            bounds: SIZE_BOUNDS,
            small,
            medium: large - small,
            large: areas.len() - large,
        }
    }
}
