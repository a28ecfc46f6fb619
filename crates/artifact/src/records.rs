use crate::{Action, ArtifactId, Store, StoreError};
use std::collections::{BTreeSet, HashMap};

/// All action records of a store, read once, for what asks where artifacts come from.
///
/// Reading them costs with their number, so nothing on the way of a run without work does.
pub struct Records {
    actions: Vec<Action>,
    unreadable: Vec<StoreError>,
    /// Which records name an artifact as what came out: those that made it before those that accepted it, the latest first.
    makers: HashMap<(String, ArtifactId), Vec<usize>>,
}

/// An artifact's kind and id.
pub type Named = (String, ArtifactId);

/// Artifacts together with all that they were made from, as far as there are records.
#[derive(Clone, Debug, Default)]
pub struct Ancestry {
    /// The artifacts, whether they are in the store or not.
    pub artifacts: BTreeSet<Named>,
    /// One record for each artifact that has one, that which made it; each after those of its inputs.
    pub actions: Vec<Action>,
}

impl Records {
    /// Reads all records that can be read, and remembers which cannot.
    ///
    /// # Errors
    /// When the folder of records cannot be listed.
    pub fn read(store: &Store) -> Result<Self, StoreError> {
        let (mut actions, mut unreadable) = (Vec::new(), Vec::new());
        for stage in store.stages()? {
            let listed = store.actions(&stage);
            actions.extend(listed.records);
            unreadable.extend(listed.unreadable);
        }
        // Stable, so that the latest still comes first.
        actions.sort_by_key(|action| action.accepted.is_some());
        let mut makers: HashMap<Named, Vec<usize>> = HashMap::new();
        for (i, action) in actions.iter().enumerate() {
            for outputs in [&action.outputs].into_iter().chain(&action.other_outputs) {
                for (kind, id) in outputs {
                    makers.entry((kind.clone(), id.clone())).or_default().push(i);
                }
            }
        }
        Ok(Self { actions, unreadable, makers })
    }

    /// The records that cannot be read. What only they say is not known.
    pub fn unreadable(&self) -> &[StoreError] {
        &self.unreadable
    }

    /// The same, where every record counts.
    ///
    /// # Errors
    /// The first record that cannot be read.
    pub fn complete(mut self) -> Result<Self, StoreError> {
        match self.unreadable.is_empty() {
            true => Ok(self),
            false => Err(self.unreadable.remove(0)),
        }
    }

    /// The records: those that made something before those that accepted it, and of one stage the latest first.
    pub fn actions(&self) -> &[Action] {
        &self.actions
    }

    /// All records that name an artifact as what came out: those that made it before those that accepted it, the latest first.
    pub fn makers(&self, kind: &str, id: &ArtifactId) -> impl Iterator<Item = &Action> {
        let makers = self.makers.get(&(kind.to_owned(), id.clone()));
        makers.into_iter().flatten().map(|i| &self.actions[*i])
    }

    /// Artifacts with all behind them.
    pub fn ancestry(&self, artifacts: impl IntoIterator<Item = Named>) -> Ancestry {
        let mut found = Ancestry::default();
        for artifact in artifacts {
            self.add(artifact, &mut found);
        }
        found
    }

    fn add(&self, artifact: Named, found: &mut Ancestry) {
        if !found.artifacts.insert(artifact.clone()) {
            return;
        }
        let Some(maker) = self.makers(&artifact.0, &artifact.1).next() else { return };
        for input in maker.inputs() {
            self.add(input, found);
        }
        // Of a stage with two outputs the record is there already when the second is asked for.
        if !found.actions.iter().any(|known| (&known.stage, &known.key) == (&maker.stage, &maker.key)) {
            found.actions.push(maker.clone());
        }
    }
}

#[cfg(test)]
mod tests;
