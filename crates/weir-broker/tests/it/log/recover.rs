//! What is found after the process, or the machine, was lost.

use super::*;
use proptest::prelude::*;
use std::fs;
use std::path::PathBuf;

/// Files of a partition as they are now.
pub fn copy(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

/// The files with this ending, by name.
pub fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(ending))
        .collect();
    files.sort();
    files
}

fn cut(path: &Path, length: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

/// Three transactions and plain records, of which the ends of the batches are known.
fn mixed(lab: &Lab) -> Vec<u64> {
    let mut ends = vec![0];
    let mut note = || ends.push(lab.log.size());
    lab.put(&["a", "b"]);
    note();
    lab.transactional(1, 0, 0, &["c"]).unwrap();
    note();
    lab.append(idempotent(2, 0, 0, &["d", "e", "f"])).unwrap();
    note();
    lab.marker(1, 0, false).unwrap();
    note();
    lab.transactional(1, 0, 1, &["g"]).unwrap();
    note();
    lab.marker(1, 0, true).unwrap();
    note();
    ends
}

#[test]
fn a_tail_cut_anywhere_loses_only_the_batch_that_is_cut() {
    let lab = Lab::new(LogConfig { index_interval_bytes: 1, ..LogConfig::default() });
    let ends = mixed(&lab);
    let [path] = &files(lab.folder.path(), ".log")[..] else { panic!("one segment") };
    let bytes = fs::read(path).unwrap();
    for length in 0..=bytes.len() as u64 {
        // No garbage begins with 0, which the last byte of a batch is.
        let other: Vec<u8> = bytes[..100].iter().map(|byte| byte ^ 0x80).collect();
        for garbage in [&b""[..], &[0xa5; 100], &other] {
            let image = copy(lab.folder.path());
            let path = image.path().join(path.file_name().unwrap());
            fs::write(&path, [&bytes[..length as usize], garbage].concat()).unwrap();
            let log = lab.open(image.path());
            let whole = *ends.iter().rev().find(|end| **end <= length).unwrap();
            assert_eq!(log.size(), whole, "{length} bytes and {} more", garbage.len());
            assert_eq!(fs::metadata(&path).unwrap().len(), whole);
            let expect: Vec<_> = lab.all().into_iter().filter(|(offset, _)| *offset < log.end()).collect();
            assert_eq!(read_all(&log), expect);
            // It goes on from there.
            assert_eq!(log.append(plain(&["next"]), CLIENT, NOW).unwrap().base_offset, expect_end(&ends, whole));
        }
    }
}

/// The end of the log that [`mixed`] has written so many bytes of.
fn expect_end(ends: &[u64], size: u64) -> i64 {
    let batches = ends.iter().position(|end| *end == size).unwrap();
    [0, 2, 3, 6, 7, 8, 9][batches]
}

#[test]
fn what_follows_a_cut_is_as_if_the_rest_had_never_been() {
    let lab = Lab::new(LogConfig::default());
    let ends = mixed(&lab);
    let open_after = [-1, -1, 2, 2, -1, 7, -1];
    for (batches, end) in ends.iter().enumerate() {
        let image = copy(lab.folder.path());
        cut(&files(image.path(), ".log")[0], *end);
        let log = lab.open(image.path());
        let open = log.producers().iter().map(|state| state.transaction_start).max().unwrap_or(-1);
        assert_eq!(open, open_after[batches], "after {batches} batches");
        let stable = if open < 0 { log.end() } else { open };
        assert_eq!(log.last_stable(), stable);
        let expect: Vec<_> = lab.committed().into_iter().filter(|(offset, _)| *offset < stable).collect();
        assert_eq!(read_committed(&log), expect);
        let duplicate = log.append(idempotent(2, 0, 0, &["d", "e", "f"]), CLIENT, NOW).unwrap();
        assert_eq!(duplicate.duplicate, batches >= 3);
    }
}

#[test]
fn a_wrong_byte_in_the_last_batch_takes_it_away_and_no_other() {
    let lab = Lab::new(LogConfig::default());
    let ends = mixed(&lab);
    let path = files(lab.folder.path(), ".log").pop().unwrap();
    let bytes = fs::read(&path).unwrap();
    let last = ends[ends.len() - 2] as usize;
    // The leader epoch is not covered by the checksum, and the base offset only has to follow.
    for at in (last + 8..last + 12).chain(last + 16..bytes.len()) {
        let image = copy(lab.folder.path());
        let mut wrong = bytes.clone();
        wrong[at] ^= 0x10;
        fs::write(image.path().join(path.file_name().unwrap()), wrong).unwrap();
        assert_eq!(lab.open(image.path()).end(), 8, "byte {at}");
    }
}

#[test]
fn an_index_that_is_lost_or_wrong_is_no_harm() {
    let mut lab = Lab::new(LogConfig { index_interval_bytes: 100, segment_bytes: 4_000, ..LogConfig::default() });
    for n in 0..200 {
        lab.put(&[&format!("value {n}")]);
    }
    lab.log.close().unwrap();
    let expect: Vec<_> = (0..200).map(|n| (n, format!("value {n}"))).collect();
    let indexes = files(lab.folder.path(), ".index");
    assert!(indexes.len() > 3);
    type Damage = fn(&Path);
    let damages: [Damage; 5] = [
        |path| fs::remove_file(path).unwrap(),
        |path| cut(path, 0),
        |path| cut(path, fs::metadata(path).unwrap().len() - 5),
        |path| fs::write(path, vec![7; 160]).unwrap(),
        |path| {
            // Entries that point somewhere, with a true end.
            let mut bytes = fs::read(path).unwrap();
            let end = bytes.len() - 16;
            for (at, entry) in bytes[..end].chunks_exact_mut(16).enumerate() {
                entry[4..8].copy_from_slice(&(17 * at as u32).to_be_bytes());
            }
            fs::write(path, bytes).unwrap();
        },
    ];
    for damage in damages {
        indexes.iter().for_each(|path| damage(path));
        lab.kill();
        assert_eq!(lab.all(), expect);
        for offset in 0..200 {
            let slice = lab.log.read(offset, 1, Isolation::ReadUncommitted, true).unwrap();
            let batch = Batch::split(&mut slice.records.clone()).unwrap().unwrap();
            assert_eq!(batch.base_offset(), offset);
        }
        lab.log.close().unwrap();
    }
}

#[test]
fn recovery_reads_only_what_follows_the_snapshot() {
    let mut lab = Lab::new(LogConfig { segment_bytes: 1_000, ..LogConfig::default() });
    for n in 0..100 {
        lab.append(idempotent(5, 0, n, &["a value of some length"])).unwrap();
    }
    // Damage in a closed segment would be seen if it were read.
    let logs = files(lab.folder.path(), ".log");
    let mut bytes = fs::read(&logs[0]).unwrap();
    bytes[100] ^= 1;
    fs::write(&logs[0], &bytes).unwrap();
    lab.kill();
    assert_eq!(lab.log.end(), 100);
    assert_eq!(lab.log.producers()[0].last_sequence, 99);
    assert_eq!(fs::metadata(&logs[0]).unwrap().len(), bytes.len() as u64);
    assert!(lab.append(idempotent(5, 0, 99, &["a value of some length"])).unwrap().duplicate);
}

#[test]
fn what_recovery_would_read_is_known_and_a_checkpoint_spares_it() {
    let mut lab = Lab::new(LogConfig::default());
    assert_eq!(lab.log.unread(), 0);
    for n in 0..10 {
        lab.append(idempotent(5, 0, n, &["a value of some length"])).unwrap();
    }
    assert_eq!(lab.log.unread(), lab.log.size());
    lab.log.checkpoint(lab.log.size() + 1).unwrap();
    assert_eq!(lab.log.unread(), lab.log.size(), "it is not due yet");
    lab.log.checkpoint(1).unwrap();
    assert_eq!(lab.log.unread(), 0);
    let covered = lab.log.size();
    lab.append(idempotent(5, 0, 10, &["more"])).unwrap();
    lab.kill();
    assert_eq!(lab.log.unread(), lab.log.size() - covered);
    assert_eq!((lab.log.end(), lab.log.producers()[0].last_sequence), (11, 10));
}

#[test]
fn a_closed_segment_that_lost_its_end_keeps_the_ones_after_it() {
    let mut lab = Lab::new(LogConfig { segment_bytes: 1_000, ..LogConfig::default() });
    for n in 0..60 {
        lab.put(&[&format!("value {n}")]);
    }
    let logs = files(lab.folder.path(), ".log");
    assert!(logs.len() > 3);
    let size = fs::metadata(&logs[1]).unwrap().len();
    cut(&logs[1], size - 1);
    let all = lab.all_before_damage();
    lab.kill();
    let second: i64 = logs[2].file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let expect: Vec<_> = all.into_iter().filter(|(offset, _)| *offset != second - 1).collect();
    assert_eq!(lab.all(), expect);
    assert_eq!(lab.put(&["next"]), 60);
}

impl Lab {
    fn all_before_damage(&self) -> Vec<(i64, String)> {
        (0..60).map(|n| (n, format!("value {n}"))).collect()
    }
}

#[test]
fn a_damaged_index_of_aborted_transactions_is_made_anew() {
    let mut lab = Lab::new(LogConfig { segment_bytes: 600, ..LogConfig::default() });
    for n in 0..20 {
        lab.transactional(1, 0, n, &[&format!("{n}")]).unwrap();
        lab.marker(1, 0, n % 3 == 0).unwrap();
    }
    let expect = lab.committed();
    assert_eq!(expect.len(), 7);
    for path in files(lab.folder.path(), ".txnindex") {
        let mut bytes = fs::read(&path).unwrap();
        bytes[9] ^= 1;
        fs::write(&path, bytes).unwrap();
        lab.kill();
        assert_eq!(lab.committed(), expect);
    }
}

#[test]
fn a_foreign_offsets_file_is_refused() {
    let lab = Lab::new(LogConfig::default());
    for text in ["", "{}", "{\"version\":2,\"start\":0,\"clean\":0}"] {
        fs::write(lab.folder.path().join("offsets.json"), text).unwrap();
        let error = Log::open(lab.folder.path(), LogConfig::default(), &lab.files, NOW).unwrap_err();
        assert!(error.to_string().contains("offsets.json"), "{error}");
    }
}

/// One step of a producer or of the owner.
#[derive(Debug, Clone)]
enum Step {
    Plain(usize),
    Idempotent(i64),
    Transactional(i64),
    End(i64, bool),
    Kill,
    Close,
    Torn(u64),
    Garbage(Vec<u8>),
    Maintain,
    DeleteRecords(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..5usize).prop_map(Step::Plain),
        3 => (0..3i64).prop_map(Step::Idempotent),
        4 => (10..13i64).prop_map(Step::Transactional),
        3 => (10..13i64, any::<bool>()).prop_map(|(id, commit)| Step::End(id, commit)),
        1 => Just(Step::Kill),
        1 => Just(Step::Close),
        1 => (0..400u64).prop_map(Step::Torn),
        1 => prop::collection::vec(any::<u8>(), 1..200).prop_map(Step::Garbage),
        1 => Just(Step::Maintain),
        1 => (0..30i64).prop_map(Step::DeleteRecords),
    ]
}

/// What a log must hold: its batches, one after the other.
#[derive(Debug, Clone, Default)]
struct Model {
    start: i64,
    batches: Vec<ModelBatch>,
}

#[derive(Debug, Clone)]
struct ModelBatch {
    base: i64,
    values: Vec<String>,
    producer: Option<i64>,
    transactional: bool,
    /// A marker, and whether it commits.
    marker: Option<bool>,
}

impl Model {
    fn end(&self) -> i64 {
        let end = self.batches.last().map_or(0, |batch| batch.base + batch.values.len().max(1) as i64);
        // Where the machine lost what had been deleted the offsets go on all the same.
        end.max(self.start)
    }

    /// Number of batches of a producer, which is its next sequence as each has one record.
    fn sequence(&self, id: i64) -> i32 {
        self.batches.iter().filter(|batch| batch.producer == Some(id) && batch.marker.is_none()).count() as i32
    }

    fn open(&self, id: i64) -> Option<i64> {
        let mut open = None;
        for batch in self.batches.iter().filter(|batch| batch.producer == Some(id) && batch.transactional) {
            open = match batch.marker {
                Some(_) => None,
                None => open.or(Some(batch.base)),
            };
        }
        open
    }

    fn last_stable(&self) -> i64 {
        (10..13).filter_map(|id| self.open(id)).min().map_or(self.end(), |open| open.max(self.start))
    }

    fn all(&self) -> Vec<(i64, String)> {
        let all = self.batches.iter().flat_map(|batch| (batch.base..).zip(batch.values.iter().cloned()));
        all.filter(|(offset, _)| *offset >= self.start).collect()
    }

    fn committed(&self) -> Vec<(i64, String)> {
        let mut all = Vec::new();
        for (at, batch) in self.batches.iter().enumerate() {
            let fate = self.batches[at..].iter().find(|end| end.producer == batch.producer && end.marker.is_some());
            let aborted = batch.transactional && fate.is_some_and(|end| end.marker == Some(false));
            if !aborted {
                all.extend((batch.base..).zip(batch.values.iter().cloned()));
            }
        }
        all.retain(|(offset, _)| (self.start..self.last_stable()).contains(offset));
        all
    }
}

/// The offset after the last whole batch in the files; what is below the first segment was there once.
fn end_of_files(folder: &Path) -> i64 {
    let mut end = 0;
    for path in files(folder, ".log") {
        end = end.max(path.file_stem().unwrap().to_str().unwrap().parse().unwrap());
        let mut bytes = Bytes::from(fs::read(path).unwrap());
        while let Ok(Some(batch)) = Batch::split(&mut bytes) {
            end = batch.last_offset() + 1;
        }
    }
    end
}

fn run(steps: Vec<Step>, segment_bytes: u64) {
    let mut lab = Lab::new(LogConfig { segment_bytes, index_interval_bytes: 150, ..LogConfig::default() });
    let mut model = Model::default();
    for (number, step) in steps.iter().enumerate() {
        let base = model.end();
        let value = format!("step {number}");
        let mut batch =
            ModelBatch { base, values: vec![value.clone()], producer: None, transactional: false, marker: None };
        match step {
            Step::Plain(count) => {
                batch.values = vec![value; *count];
                let values: Vec<&str> = batch.values.iter().map(String::as_str).collect();
                assert_eq!(lab.put(&values), base);
                model.batches.push(batch);
            }
            Step::Idempotent(id) => {
                let bytes = idempotent(*id, 0, model.sequence(*id), &[&value]);
                assert_eq!(lab.append(bytes.clone()).unwrap().base_offset, base);
                assert!(lab.append(bytes).unwrap().duplicate);
                batch.producer = Some(*id);
                model.batches.push(batch);
            }
            Step::Transactional(id) => {
                let appended = lab.transactional(*id, 0, model.sequence(*id), &[&value]).unwrap();
                assert_eq!(appended.base_offset, base);
                batch.producer = Some(*id);
                batch.transactional = true;
                model.batches.push(batch);
            }
            Step::End(id, commit) => {
                assert_eq!(lab.marker(*id, 0, *commit).unwrap().base_offset, base);
                batch = ModelBatch { values: vec![], marker: Some(*commit), transactional: true, ..batch };
                batch.producer = Some(*id);
                model.batches.push(batch);
            }
            Step::Kill => lab.kill(),
            Step::Close => {
                lab.log.close().unwrap();
                lab.kill();
            }
            Step::Torn(bytes) => {
                // As much of the active segment is lost as was not yet covered by a snapshot.
                let active = files(lab.folder.path(), ".log").pop().unwrap();
                let covered = files(lab.folder.path(), ".snapshot").pop().map_or(0, |path| {
                    let bytes = fs::read(path).unwrap();
                    u64::from_be_bytes(bytes[24..32].try_into().unwrap())
                });
                let length = fs::metadata(&active).unwrap().len();
                cut(&active, length.saturating_sub(*bytes).max(covered).min(length));
                let end = end_of_files(lab.folder.path());
                model.batches.retain(|batch| batch.base < end);
                lab.kill();
            }
            Step::Garbage(bytes) => {
                let active = files(lab.folder.path(), ".log").pop().unwrap();
                let all = [fs::read(&active).unwrap(), bytes.clone()].concat();
                fs::write(&active, all).unwrap();
                lab.kill();
            }
            Step::Maintain => lab.log.maintain(NOW + 10).unwrap(),
            Step::DeleteRecords(more) => {
                let before = (model.start + more).min(base);
                assert_eq!(lab.log.delete_records(before).unwrap(), before.max(model.start));
                model.start = before;
            }
        }
        assert_eq!((lab.log.start(), lab.log.end()), (model.start, model.end()), "after {step:?}");
        assert_eq!(lab.log.last_stable(), model.last_stable(), "after {step:?}");
    }
    assert_eq!(lab.all(), model.all());
    assert_eq!(lab.committed(), model.committed());
    lab.kill();
    assert_eq!(lab.all(), model.all());
    assert_eq!(lab.committed(), model.committed());
}

#[test]
fn a_transaction_outlives_the_segment_it_began_in() {
    // Without a snapshot the open transaction was forgotten with the segment, and its end with it.
    let plain = || Step::Plain(1);
    let mut steps =
        vec![Step::Transactional(11), plain(), Step::DeleteRecords(2), Step::Torn(1), plain(), Step::Maintain];
    steps.extend([plain(), plain(), Step::Kill, plain()]);
    run(steps, 375);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn a_log_holds_what_a_list_of_batches_holds(
        steps in prop::collection::vec(step(), 1..60),
        segment_bytes in 300..3_000u64,
    ) {
        run(steps, segment_bytes);
    }
}
