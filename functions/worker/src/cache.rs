//! A few decoded values, the most recently used first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Remembers up to a number of values; few enough that a look through all of them is quick.
pub(crate) struct Cache<K, V> {
    entries_max: usize,
    entries: Mutex<VecDeque<(K, Arc<V>)>>,
}

impl<K: PartialEq, V> Cache<K, V> {
    pub(crate) fn new(entries_max: usize) -> Self {
        Self { entries_max, entries: Mutex::new(VecDeque::new()) }
    }

    pub(crate) fn get(&self, key: &K) -> Option<Arc<V>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let place = entries.iter().position(|(known, _)| known == key)?;
        if place > 0 {
            let entry = entries.remove(place)?;
            entries.push_front(entry);
        }
        entries.front().map(|(_, value)| Arc::clone(value))
    }

    /// Keeps a value; the one that was not asked for the longest goes.
    pub(crate) fn insert(&self, key: K, value: Arc<V>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|(known, _)| *known != key);
        entries.push_front((key, value));
        entries.truncate(self.entries_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_value_goes() {
        let cache = Cache::new(2);
        cache.insert("a", Arc::new(1));
        cache.insert("b", Arc::new(2));
        assert_eq!(cache.get(&"a").as_deref(), Some(&1));
        cache.insert("c", Arc::new(3));
        assert_eq!(cache.get(&"b"), None);
        assert_eq!(cache.get(&"a").as_deref(), Some(&1));
        assert_eq!(cache.get(&"c").as_deref(), Some(&3));
    }
}
