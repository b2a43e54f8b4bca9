//! A store against a map in memory, through commits, losses of what was pending, and new starts.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use weir_state::{Entry, Error, Folder, Position, Store};

const AT: fn(i64) -> Position = |next| Position { next, at_ms: 1_000 + next };

#[derive(Clone, Debug)]
enum Step {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    Commit,
    Save,
    Discard,
    /// The process ends without a word and starts again.
    Crash,
    /// The entries, so often one after the other: many are written in another way than few.
    Load(Vec<(Vec<u8>, Option<Vec<u8>>)>, usize),
}

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

fn all(store: &Store, prefix: &[u8]) -> Map {
    let mut found = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        found.push((key.to_vec(), value.to_vec()));
        true
    };
    store.scan(prefix, &mut visit).unwrap();
    assert!(found.is_sorted_by(|a, b| a.0 < b.0), "in order and each once");
    found.into_iter().collect()
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0u8..4, 1..4)
}

fn step() -> impl Strategy<Value = Step> {
    let value = || prop::collection::vec(any::<u8>(), 0..5);
    prop_oneof![
        8 => (key(), value()).prop_map(|(key, value)| Step::Put(key, value)),
        4 => key().prop_map(Step::Delete),
        4 => Just(Step::Commit),
        1 => Just(Step::Save),
        1 => Just(Step::Discard),
        1 => Just(Step::Crash),
        1 => prop::collection::vec((key(), prop::option::of(value())), 0..4)
            .prop_flat_map(|entries| (Just(entries), prop_oneof![Just(1_usize), Just(5_000)]))
            .prop_map(|(entries, times)| Step::Load(entries, times)),
    ]
}

fn set(map: &mut Map, key: &[u8], value: Option<&[u8]>) {
    match value {
        Some(value) => drop(map.insert(key.to_vec(), value.to_vec())),
        None => drop(map.remove(key)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_store_is_a_map_that_keeps_what_was_committed(steps in prop::collection::vec(step(), 0..60)) {
        let folder = tempfile::tempdir().unwrap();
        let open = |path: &Path| {
            let folder = Folder::open(path).unwrap();
            let store = folder.store("view-0").unwrap();
            (folder, store)
        };
        let (mut at, mut store) = open(folder.path());
        let (mut now, mut committed, mut next) = (Map::new(), Map::new(), 0);
        let mut saved = (Map::new(), 0);
        for step in steps {
            match step {
                Step::Put(key, value) => {
                    store.put(&key, &value).unwrap();
                    set(&mut now, &key, Some(&value));
                }
                Step::Delete(key) => {
                    store.delete(&key).unwrap();
                    set(&mut now, &key, None);
                }
                Step::Commit => {
                    next += 1;
                    let changes: Vec<_> = store.changes().map(|(k, v)| (k.to_vec(), v.map(<[u8]>::to_vec))).collect();
                    changes.iter().for_each(|(key, value)| set(&mut committed, key, value.as_deref()));
                    prop_assert_eq!(&committed, &now, "the changes are all there is to tell the changelog");
                    store.commit(AT(next));
                    prop_assert!(!store.is_changed());
                }
                Step::Save => {
                    at.save(&mut [&mut store], true).unwrap();
                    saved = (committed.clone(), next);
                }
                Step::Discard => {
                    store.discard();
                    now = committed.clone();
                }
                Step::Crash => {
                    drop((store, at));
                    (at, store) = open(folder.path());
                    (committed, next) = saved.clone();
                    now = committed.clone();
                }
                Step::Load(entries, times) => {
                    store.discard();
                    next += 1;
                    let shown: Vec<Entry<'_>> =
                        entries.iter().map(|(key, value)| (key.as_slice(), value.as_deref())).collect();
                    at.load(&mut store, &shown.repeat(times), AT(next)).unwrap();
                    entries.iter().for_each(|(key, value)| set(&mut committed, key, value.as_deref()));
                    now = committed.clone();
                    saved = (committed.clone(), next);
                }
            }
            prop_assert_eq!(store.position(), (next > 0).then(|| AT(next)));
            prop_assert_eq!(&all(&store, &[]), &now);
            let begins = |map: &Map| map.iter().filter(|(k, _)| k.starts_with(&[1])).map(|(k, v)| (k.clone(), v.clone())).collect::<Map>();
            prop_assert_eq!(all(&store, &[1]), begins(&now));
            for key in now.keys().chain(committed.keys()) {
                let mut value = b"before".to_vec();
                let found = store.get(key, &mut value).unwrap();
                prop_assert_eq!(found.then(|| value[6..].to_vec()), now.get(key).cloned());
            }
        }
        at.clear(&mut store).unwrap();
        prop_assert_eq!(all(&store, &[]), Map::new());
        drop((store, at));
        let (_at, store) = open(folder.path());
        prop_assert_eq!((all(&store, &[]), store.position()), (Map::new(), None));
    }
}

#[test]
fn two_stores_are_written_together_and_know_nothing_of_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let at = Folder::open(folder.path()).unwrap();
    let (mut one, mut two) = (at.store("one").unwrap(), at.store("two").unwrap());
    one.put(b"k", b"1").unwrap();
    two.put(b"k", b"2").unwrap();
    one.commit(AT(1));
    two.commit(AT(7));
    at.save(&mut [&mut one, &mut two], true).unwrap();
    drop((one, two, at));
    let at = Folder::open(folder.path()).unwrap();
    for (name, value, next) in [("one", "1", 1), ("two", "2", 7)] {
        let store = at.store(name).unwrap();
        assert_eq!(all(&store, b""), Map::from([(b"k".to_vec(), value.into())]));
        assert_eq!(store.position(), Some(AT(next)));
    }
    // One is cleared: it is empty, goes on as a new one, and the other stays.
    at.clear(&mut at.store("one").unwrap()).unwrap();
    let mut one = at.store("one").unwrap();
    assert_eq!((all(&one, b""), one.position()), (Map::new(), None));
    one.put(b"k", b"3").unwrap();
    one.commit(AT(2));
    at.save(&mut [&mut one], true).unwrap();
    drop((one, at));
    let at = Folder::open(folder.path()).unwrap();
    assert_eq!(all(&at.store("one").unwrap(), b""), Map::from([(b"k".to_vec(), b"3".to_vec())]));
    assert_eq!(all(&at.store("two").unwrap(), b""), Map::from([(b"k".to_vec(), b"2".to_vec())]));
}

#[test]
fn a_copy_of_before_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (live, copy) = (folder.path().join("live"), folder.path().join("copy"));
    let write = |next| {
        let at = Folder::open(&live).unwrap();
        let mut store = at.store("view-0").unwrap();
        store.put(b"k", &[next as u8]).unwrap();
        store.commit(AT(next));
        at.save(&mut [&mut store], true).unwrap();
    };
    write(1);
    let copied = std::process::Command::new("cp").arg("-r").args([&live, &copy]).status().unwrap();
    assert!(copied.success());
    write(2);
    let position = |path: &Path| Folder::open(path).unwrap().store("view-0").unwrap().position();
    assert_eq!((position(&live), position(&copy)), (Some(AT(2)), Some(AT(1))));
}

#[test]
fn much_is_saved_by_itself_and_little_after_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let at = Folder::open(folder.path()).unwrap();
    let value = vec![7; 1_000];
    let mut store = at.store("view-0").unwrap();
    let put = |store: &mut Store, keys: std::ops::Range<u32>, next| {
        keys.for_each(|key| store.put(&key.to_be_bytes(), &value).unwrap());
        store.delete(b"gone").unwrap();
        store.commit(Position { next, at_ms: next });
        at.save(&mut [store], false).unwrap();
    };
    let saved = || at.store("view-0").unwrap().position().map(|at| at.next);
    put(&mut store, 0..1, 1);
    assert_eq!(saved(), Some(1), "the first time it is written, so that a copy has an age");
    put(&mut store, 0..9, 2);
    assert_eq!(saved(), Some(1));
    // The same keys again take no more room.
    (3..60).for_each(|next| put(&mut store, 0..900, next));
    assert_eq!(saved(), Some(1));
    put(&mut store, 0..40_000, 60);
    assert_eq!(saved(), Some(60));
    assert_eq!(all(&at.store("view-0").unwrap(), b"").len(), 40_000);
    put(&mut store, 0..1, 61);
    assert_eq!(saved(), Some(60));
    put(&mut store, 0..1, 10_060);
    assert_eq!(saved(), Some(10_060));
}

/// Tables that are written past the memory empty it, and once kept the journal from ever being cut.
#[test]
fn the_journal_is_cut_though_much_goes_past_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = Folder::open(folder.path()).unwrap();
    let mut store = at.store("view-0").unwrap();
    let journal = || -> u64 {
        let files = std::fs::read_dir(folder.path()).unwrap().flatten();
        let journals = files.filter(|file| file.path().extension().is_some_and(|kind| kind == "jnl"));
        // One may be gone since it was listed.
        journals.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
    };
    let mut most = 0;
    for next in 1..=60 {
        // Few that are large go by the journal, many that are small do not.
        let (count, size) = if next % 2 == 0 { (1_000_u32, 8_000) } else { (6_000, 10) };
        for key in 0..count {
            // What the journal cannot make smaller.
            let mut word = (next as u64) << 32 | u64::from(key) | 1;
            let value = std::iter::repeat_with(|| {
                word = word.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31);
                word as u8
            });
            store.put(&key.to_be_bytes(), &value.take(size).collect::<Vec<_>>()).unwrap();
        }
        store.commit(AT(next));
        at.save(&mut [&mut store], true).unwrap();
        most = most.max(journal());
    }
    let until = Instant::now() + Duration::from_secs(30);
    while journal() >= 128 << 20 {
        assert!(Instant::now() < until, "waited in vain for the journal to be cut");
        std::thread::yield_now();
    }
    assert!(most < 192 << 20, "{most} bytes");
}

#[test]
fn what_cannot_be_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = Folder::open(folder.path()).unwrap();
    assert!(matches!(Folder::open(folder.path()), Err(Error::Taken(_))));
    for name in ["", "a/b", "ä", &"x".repeat(256)] {
        assert!(matches!(at.store(name), Err(Error::Name(_))), "{name}");
    }
    let mut store = at.store("s").unwrap();
    for key in [&[][..], &[0xFF], &[0xFF, b'p'], &[1; 60_001]] {
        assert!(matches!(store.put(key, b""), Err(Error::Key(_))));
        assert!(matches!(at.load(&mut store, &[(key, None)], AT(1)), Err(Error::Key(_))));
    }
    store.put(&[1; 60_000], b"").unwrap();
    let file = folder.path().join("no folder");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(Folder::open(&file), Err(Error::Open(..))));
}
