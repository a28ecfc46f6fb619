//! Which samples look the same, so that no draw puts one of them on either side.

use crate::look::Look;
use rayon::prelude::*;
use std::sync::Arc;

/// Samples joined into clusters, by their places in the dataset.
#[derive(Debug)]
pub struct Clusters {
    /// A sample of the same cluster that comes earlier, or the sample itself.
    earlier: Vec<usize>,
}

impl Clusters {
    /// Every one of `samples` by itself.
    pub fn new(samples: usize) -> Self {
        Self { earlier: (0..samples).collect() }
    }

    /// The first sample of a sample's cluster.
    pub fn first(&self, mut sample: usize) -> usize {
        while self.earlier[sample] != sample {
            sample = self.earlier[sample];
        }
        sample
    }

    /// Makes the clusters of two samples one.
    pub fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.first(a), self.first(b));
        let (first, second) = (a.min(b), a.max(b));
        self.earlier[second] = first;
    }
}

/// Images compared with all after them at once: what their links need in memory stays small, however many look the same.
const ROWS: usize = 256;

/// Joins those of `samples` that look the same, directly or by way of others. `looks`: place in the dataset, and look.
pub fn clusters(samples: usize, looks: &[(usize, Arc<Look>)], distance: u32) -> Clusters {
    let mut clusters = Clusters::new(samples);
    let after = |i: usize| -> Vec<usize> {
        let (_, look) = &looks[i];
        let others = looks.iter().enumerate().skip(i + 1);
        others.filter(|(_, (_, other))| look.distance(other, distance).is_some()).map(|(j, _)| j).collect()
    };
    for start in (0..looks.len()).step_by(ROWS) {
        let rows: Vec<Vec<usize>> =
            (start..looks.len().min(start + ROWS)).into_par_iter().map(after).collect();
        for (i, alike) in (start..).zip(rows) {
            alike.into_iter().for_each(|j| clusters.join(looks[i].0, looks[j].0));
        }
    }
    clusters
}

#[cfg(test)]
mod tests;
