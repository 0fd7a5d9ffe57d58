//! The aggregation: values grouped by the field that they stand in, as a `GROUP BY` with count and sum does.

use std::collections::HashMap;
use std::hash::Hash;

#[derive(Default)]
struct Group {
    values: u64,
    numbers: f64,
    text: usize,
}

/// Count, sum and length by key.
pub(crate) struct Tally<K> {
    groups: HashMap<K, Group>,
}

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self { groups: HashMap::new() }
    }
}

impl<K: Hash + Eq> Tally<K> {
    fn group<Q: Hash + Eq + ToOwned<Owned = K> + ?Sized>(&mut self, key: &Q) -> &mut Group
    where
        K: std::borrow::Borrow<Q>,
    {
        if !self.groups.contains_key(key) {
            self.groups.insert(key.to_owned(), Group::default());
        }
        self.groups.get_mut(key).expect("it was put in above")
    }

    pub(crate) fn number<Q: Hash + Eq + ToOwned<Owned = K> + ?Sized>(&mut self, key: &Q, number: f64)
    where
        K: std::borrow::Borrow<Q>,
    {
        let group = self.group(key);
        group.values += 1;
        group.numbers += number;
    }

    pub(crate) fn text<Q: Hash + Eq + ToOwned<Owned = K> + ?Sized>(&mut self, key: &Q, length: usize)
    where
        K: std::borrow::Borrow<Q>,
    {
        let group = self.group(key);
        group.values += 1;
        group.text += length;
    }

    /// One number of all, so that no part of the work can be left out.
    pub(crate) fn digest(&self) -> f64 {
        self.groups.values().map(|group| group.values as f64 + group.numbers + group.text as f64).sum()
    }
}
