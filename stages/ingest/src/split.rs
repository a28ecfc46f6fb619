//! Which sample is trained on, selects the epoch, or is reported.
//!
//! A draw gives each group a number that depends on the seed and the group's name alone; a part takes the groups
//! with the lowest numbers until its share is reached. So shares come out as near as whole groups allow, and
//! adding samples moves only those few at the edge. Groups of which two images look the same are drawn as one.

use crate::alike::Clusters;
use crate::error::IngestError;
use crate::readers::Sample;
use crate::sample::Usable;
use regex::Regex;
use resect_ingest_params::{SplitBy, SplitParams};
use resect_target_records::Split;
use std::collections::{BTreeMap, BTreeSet};

/// What names, given splits and groups say, by a sample's place in the dataset; what is drawn comes after.
#[derive(Debug)]
pub struct Plan {
    /// `None`: no part uses it. Whatever parts are drawn from stands as training part.
    pub part: Vec<Option<Split>>,
    /// What must not be split.
    pub group: Vec<String>,
    /// What is drawn for the test part, and from what is left then for the validation part, if they are drawn.
    test_share: Option<f64>,
    validation_share: Option<f64>,
    seed: u64,
}

/// Plans the split from names, given splits and groups. Flawed samples have no part and draw nothing.
///
/// # Errors
/// When a split that the settings name is not given, nothing can be reported, or a name does not fit the pattern.
pub fn plan(samples: &[Sample], params: &SplitParams) -> Result<Plan, IngestError> {
    let group = groups(samples, &params.group_pattern)?;
    let sound: Vec<usize> = (0..samples.len()).filter(|&i| samples[i].flaw.is_none()).collect();
    let mut part = vec![None; samples.len()];
    let mut carve = params.validation_share > 0.0;
    let mut test_share = None;
    match params.by {
        SplitBy::Given => {
            let roles = roles(samples, params)?;
            carve &= !roles.values().any(|&role| role == Split::Validation);
            for &i in &sound {
                part[i] = roles.get(samples[i].given_split.as_str()).copied();
            }
        }
        SplitBy::Random => {
            // Said before anything is decoded, where that is known already.
            let groups = sound.iter().map(|&i| &group[i]).collect::<BTreeSet<_>>().len();
            if groups < 2 {
                return Err(IngestError::TooFewGroups { groups });
            }
            sound.iter().for_each(|&i| part[i] = Some(Split::Train));
            test_share = Some(params.test_share);
        }
    }
    let validation_share = carve.then_some(params.validation_share);
    Ok(Plan { part, group, test_share, validation_share, seed: params.seed })
}

impl Plan {
    /// Whether any part is drawn, so that it matters which samples look the same.
    pub fn draws(&self) -> bool {
        self.test_share.is_some() || self.validation_share.is_some()
    }

    /// The part of each sample, after the draws. Groups that `alike` joins are drawn as one.
    ///
    /// # Errors
    /// When there are not two groups to draw the test part from.
    pub fn drawn(&self, alike: Clusters) -> Result<Vec<Option<Split>>, IngestError> {
        let mut part = self.part.clone();
        let train = |part: &[Option<Split>]| -> Vec<usize> {
            (0..part.len()).filter(|&i| part[i] == Some(Split::Train)).collect()
        };
        let unit = self.units(&train(&part), alike);
        if let Some(share) = self.test_share {
            let test = drawn(&train(&part), &unit, share, "split test", self.seed);
            if test.is_empty() {
                let groups = train(&part).iter().map(|&i| &unit[i]).collect::<BTreeSet<_>>().len();
                return Err(IngestError::TooFewGroups { groups });
            }
            test.into_iter().for_each(|i| part[i] = Some(Split::Test));
        }
        if let Some(share) = self.validation_share {
            let validation = drawn(&train(&part), &unit, share, "split validation", self.seed);
            validation.into_iter().for_each(|i| part[i] = Some(Split::Validation));
        }
        Ok(part)
    }

    /// What each sample is drawn with: its group, under the first name of all the groups that look-alikes join to it.
    fn units(&self, among: &[usize], mut alike: Clusters) -> Vec<&str> {
        let mut member: BTreeMap<&str, usize> = BTreeMap::new();
        for &i in among {
            alike.join(i, *member.entry(&self.group[i]).or_insert(i));
        }
        let mut names: BTreeMap<usize, &str> = BTreeMap::new();
        for &i in among {
            let name = names.entry(alike.first(i)).or_insert(&self.group[i]);
            *name = (*name).min(&self.group[i]);
        }
        let unit = |i| names.get(&alike.first(i)).copied().unwrap_or(&self.group[i]);
        (0..self.group.len()).map(unit).collect()
    }
}

/// Each sample's group: from its name, else from the dataset, else the sample itself.
fn groups(samples: &[Sample], pattern: &str) -> Result<Vec<String>, IngestError> {
    if pattern.is_empty() {
        let own = |s: &Sample| if s.group.is_empty() { s.id.clone() } else { s.group.clone() };
        return Ok(samples.iter().map(own).collect());
    }
    let fail = |message: String| IngestError::Pattern { pattern: pattern.into(), message };
    let regex = Regex::new(pattern).map_err(|e| fail(format!("is not a regular expression: {e}")))?;
    if regex.captures_len() < 2 {
        return Err(fail("has no capture group: put parentheses around what names the group".into()));
    }
    let of = |sample: &Sample| match regex.captures(&sample.id).and_then(|found| found.get(1)) {
        Some(group) => Ok(group.as_str().to_owned()),
        None if sample.flaw.is_some() => Ok(String::new()),
        None => Err(fail(format!("does not match the name \"{}\" ({})", sample.id, sample.place))),
    };
    samples.iter().map(of).collect()
}

/// What each given split is used for.
fn roles<'a>(
    samples: &'a [Sample],
    params: &'a SplitParams,
) -> Result<BTreeMap<&'a str, Split>, IngestError> {
    let given: BTreeSet<&str> = samples.iter().map(|sample| sample.given_split.as_str()).collect();
    let available = || given.iter().map(|&name| name.to_owned()).collect();
    for (setting, names) in [("train", &params.train), ("test", &params.test)] {
        if let Some(name) = names.iter().find(|name| !given.contains(name.as_str())) {
            return Err(IngestError::UnknownSplit { setting, name: name.clone(), available: available() });
        }
    }
    let mut roles: BTreeMap<&str, Split> =
        params.train.iter().map(|name| (name.as_str(), Split::Train)).collect();
    let free = |name: &&str| given.contains(name) && !params.train.iter().any(|train| train == name);
    if params.test.is_empty() {
        let Some(name) = ["test", "validation"].into_iter().find(free) else {
            return Err(IngestError::NoTestSplit { available: available() });
        };
        roles.insert(name, Split::Test);
    }
    roles.extend(params.test.iter().map(|name| (name.as_str(), Split::Test)));
    // A share of 0 says that no epoch is to be selected, by whatever samples.
    if params.validation_share > 0.0 && given.contains("validation") {
        roles.entry("validation").or_insert(Split::Validation);
    }
    Ok(roles)
}

/// The samples of the groups drawn for a part that is to hold `share` of `among`: at least one group, never all.
/// Empty when there are fewer than two groups.
fn drawn(among: &[usize], group: &[&str], share: f64, purpose: &str, seed: u64) -> Vec<usize> {
    let mut members: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for &i in among {
        members.entry(group[i]).or_default().push(i);
    }
    let number = |group: &str| {
        resect_seed::below(&mut resect_seed::stream(purpose, seed, &[group.as_bytes()]), u32::MAX)
    };
    let mut order: Vec<(u32, &str)> = members.keys().map(|group| (number(group), *group)).collect();
    order.sort_unstable();
    order.pop();
    let wanted = share * among.len() as f64;
    let mut taken: Vec<usize> = Vec::new();
    for (_, group) in order {
        let group = &members[group];
        // Half a group too many is nearer than half a group too few.
        if !taken.is_empty() && taken.len() as f64 + group.len() as f64 / 2.0 > wanted {
            break;
        }
        taken.extend(group);
    }
    taken
}

/// Fails when there is nothing left to train on or to report.
///
/// # Errors
/// Naming the part that is empty.
pub fn none_is_empty(usable: &[Usable]) -> Result<(), IngestError> {
    for (part, purpose) in [(Split::Train, "train on"), (Split::Test, "report (split.test)")] {
        if !usable.iter().any(|sample| sample.split == part) {
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            for sample in usable {
                *counts.entry(&sample.given_split).or_default() += 1;
            }
            let by_split: Vec<String> = counts.iter().map(|(name, n)| format!("\"{name}\" {n}")).collect();
            let by_split = if by_split.is_empty() { "none".into() } else { by_split.join(", ") };
            return Err(IngestError::EmptyPart { purpose, by_split });
        }
    }
    Ok(())
}
