//! The last offset of each key of the part of a log that was not compacted yet, in memory of a fixed size.
//!
//! Keys are kept as 128 bits of two keyed hashes, so that two keys are never taken for one, not even on purpose.

use std::hash::{BuildHasher, RandomState};

/// Bytes of one slot.
pub(super) const SLOT: usize = size_of::<Slot>();
const EMPTY: i64 = -1;

#[derive(Clone, Copy)]
struct Slot {
    hash: [u64; 2],
    offset: i64,
}

/// Key to last offset, by open addressing.
pub(super) struct Keys {
    slots: Vec<Slot>,
    used: usize,
    hashers: [RandomState; 2],
}

impl Keys {
    /// Room for nine tenths of this many keys; at least one.
    pub(super) fn new(slots: usize) -> Keys {
        let empty = Slot { hash: [0; 2], offset: EMPTY };
        Keys { slots: vec![empty; slots.max(2)], used: 0, hashers: [RandomState::new(), RandomState::new()] }
    }

    /// Takes note of a key at an offset, which ascends from call to call; false where there is no room left.
    pub(super) fn put(&mut self, key: &[u8], offset: i64) -> bool {
        let hash = self.hash(key);
        let at = self.slot(hash);
        if self.slots[at].offset == EMPTY {
            if self.used * 10 >= self.slots.len() * 9 || self.used + 1 >= self.slots.len() {
                return false;
            }
            self.used += 1;
        }
        self.slots[at] = Slot { hash, offset };
        true
    }

    /// The last offset of a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<i64> {
        Some(self.slots[self.slot(self.hash(key))].offset).filter(|offset| *offset != EMPTY)
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        [self.hashers[0].hash_one(key), self.hashers[1].hash_one(key)]
    }

    /// The slot of a key, or the empty one where it belongs; there is always an empty one.
    fn slot(&self, hash: [u64; 2]) -> usize {
        let mut at = (hash[0] % self.slots.len() as u64) as usize;
        while self.slots[at].offset != EMPTY && self.slots[at].hash != hash {
            at = (at + 1) % self.slots.len();
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_offset_of_each_key_is_kept_until_there_is_no_room() {
        let mut keys = Keys::new(100);
        let mut taken = 0;
        while keys.put(format!("key {taken}").as_bytes(), taken) {
            taken += 1;
        }
        assert_eq!(taken, 90);
        assert!(keys.put(b"key 7", 1_000));
        for n in 0..taken {
            let expect = if n == 7 { 1_000 } else { n };
            assert_eq!(keys.get(format!("key {n}").as_bytes()), Some(expect));
        }
        assert_eq!(keys.get(b"another"), None);
        let mut smallest = Keys::new(0);
        assert!(smallest.put(b"", 3) && smallest.put(b"", 4));
        assert_eq!(smallest.get(b""), Some(4));
        assert!(!smallest.put(b"x", 5));
    }
}
