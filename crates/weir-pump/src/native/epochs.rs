//! In which leader epochs what was read was written, so that a log that was cut is found out (KIP-101, KIP-320).
//!
//! A leader that died may have had records that its successor has not, and others stand at their offsets now. A reader that
//! says with each fetch in which epoch it read last is told where the two logs part. It goes back to there, which may take
//! more than one answer, since the leader knows nothing of the epochs before.

use std::collections::VecDeque;

/// More changes of leaders than this are not remembered; what lies before them counts as not known.
const MOST: usize = 64;

/// The offset of what is to be read next, and the epoch in which the record before was written, -1 where it is not known.
pub(super) type Position = (i64, i32);

/// The epochs of what was read of one partition.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    /// Epochs and the first offsets that were read of them, both rising.
    starts: VecDeque<(i32, i64)>,
}

impl Epochs {
    /// What lies at `offset` was written in an epoch; one that is negative, or below the last, is not believed.
    pub(super) fn read(&mut self, epoch: i32, offset: i64) {
        if epoch < 0 || self.starts.back().is_some_and(|(last, start)| epoch <= *last || offset <= *start) {
            return;
        }
        if self.starts.len() == MOST {
            self.starts.pop_front();
        }
        self.starts.push_back((epoch, offset));
    }

    /// The epoch of the record before a position, -1 where it is not known.
    pub(super) fn before(&self, position: i64) -> i32 {
        self.starts.iter().rev().find(|(_, start)| *start < position).map_or(-1, |(epoch, _)| *epoch)
    }

    /// What was read from a position on is to be read again.
    pub(super) fn cut(&mut self, position: i64) {
        while self.starts.pop_back_if(|(_, start)| *start >= position).is_some() {}
    }

    /// Where the leader's log parts from what was read, if the last epoch up to ours that it has is `epoch` and ends at `end`:
    /// there, or where ours ends, if that was sooner.
    pub(super) fn parting(&self, epoch: i32, end: i64) -> i64 {
        let own = self.starts.iter().find(|(other, _)| *other > epoch).map_or(i64::MAX, |(_, start)| *start);
        end.min(own).max(0)
    }

    /// Reading goes on elsewhere.
    pub(super) fn clear(&mut self) {
        self.starts.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(batches: &[(i32, i64)]) -> Epochs {
        let mut epochs = Epochs::default();
        batches.iter().for_each(|(epoch, offset)| epochs.read(*epoch, *offset));
        epochs
    }

    #[test]
    fn the_epoch_before_a_position_is_that_of_the_last_record_read() {
        let check = |batches: &[(i32, i64)], position: i64, expect: i32| {
            assert_eq!(read(batches).before(position), expect, "{batches:?} {position}");
        };
        let batches = [(3, 10), (3, 15), (5, 20), (4, 25), (-1, 27), (5, 29), (6, 30)];
        for (position, expect) in [(10, -1), (11, 3), (20, 3), (21, 5), (30, 5), (31, 6), (i64::MAX, 6)] {
            check(&batches, position, expect);
        }
        check(&[], 7, -1);
        check(&[(i32::MAX, i64::MIN)], 0, i32::MAX);
        let many: Vec<(i32, i64)> = (0..1_000).map(|n| (n, i64::from(n))).collect();
        check(&many, 1_000, 999);
        check(&many, 500, -1);
        assert_eq!(read(&many).starts.len(), MOST);
    }

    #[test]
    fn logs_part_where_the_first_of_them_ends() {
        let check = |batches: &[(i32, i64)], (epoch, end): (i32, i64), expect: i64| {
            assert_eq!(read(batches).parting(epoch, end), expect, "{batches:?} {epoch} {end}");
        };
        let batches = [(3, 10), (5, 90)];
        check(&batches, (5, 95), 95);
        check(&batches, (4, 120), 90);
        check(&batches, (4, 80), 80);
        check(&batches, (3, 70), 70);
        check(&batches, (2, 70), 10);
        check(&batches, (-1, 0), 0);
        check(&[], (4, 120), 120);
        check(&[(4, -1)], (3, 7), 0);
    }

    #[test]
    fn what_is_read_again_may_have_been_written_in_another_epoch() {
        let mut epochs = read(&[(3, 10), (5, 90)]);
        epochs.cut(90);
        assert_eq!((epochs.before(90), epochs.before(100)), (3, 3));
        epochs.read(6, 90);
        assert_eq!((epochs.before(90), epochs.before(91)), (3, 6));
        epochs.cut(5);
        assert_eq!(epochs.before(i64::MAX), -1);
    }
}
