//! A map that forgets what was not touched lately.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::mem;

/// A map of two generations: what is touched moves to the young one; when that is full, the old
/// one goes.
///
/// Keeps at least the last `kept` keys that were touched and never more than twice as many, at the
/// price of a hash lookup: an exact order of use would be kept on every read for nobody.
pub(crate) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    kept: usize,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    pub(crate) fn new(kept: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), kept }
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        if self.young.len() >= self.kept && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    // What is kept of another set of adapters never becomes wrong.
    #[cfg(any(feature = "embedded", test))]
    pub(crate) fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.young.remove(key);
        self.old.remove(key);
    }

    pub(crate) fn get<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        if let Some((key, value)) = self.old.remove_entry(key) {
            self.insert(key, value);
        }
        self.young.get(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_touched_stays_and_the_rest_is_bounded() {
        let mut recent = Recent::new(10);
        for n in 0..1_000 {
            recent.insert(n, n);
            assert_eq!(recent.get(&0), Some(&0), "after {n}");
            assert!(recent.young.len() + recent.old.len() <= 20, "after {n}");
        }
        assert_eq!(recent.get(&999), Some(&999));
        assert_eq!(recent.get(&500), None);
        recent.remove(&0);
        assert_eq!(recent.get(&0), None);
    }
}
