//! Which input of a task goes next: by event time, so that a replay of history joins as live traffic does.

/// What is known of one input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The event time of its first record that waits, in milliseconds.
    pub time: Option<i64>,
    /// Whether the broker is known to have more of it.
    pub lag: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Process the first record of this input.
    Take(usize),
    /// An earlier record may still come from an input that has nothing.
    Wait,
    /// Nothing is there.
    Idle,
}

/// The input to process next. With something from each the earliest goes, of equal times the input that stands first;
/// while one is empty nothing goes until `waited` says that the patience is over, and not even then while that input is
/// known to have more (the meaning of Kafka Streams' `max.task.idle.ms`, KIP-695).
pub fn next(heads: &[Head], waited: bool) -> Next {
    let first = heads.iter().enumerate().filter_map(|(i, head)| Some((head.time?, i))).min();
    let Some((_, input)) = first else { return Next::Idle };
    let empty = || heads.iter().filter(|head| head.time.is_none());
    if empty().any(|head| head.lag) || (empty().next().is_some() && !waited) {
        return Next::Wait;
    }
    Next::Take(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_goes_first_and_an_empty_input_is_waited_for() {
        let check = |heads: &[(Option<i64>, bool)], waited, expect| {
            let heads: Vec<Head> = heads.iter().map(|(time, lag)| Head { time: *time, lag: *lag }).collect();
            assert_eq!(next(&heads, waited), expect, "{heads:?} {waited}");
        };
        check(&[(Some(5), true), (Some(3), false)], false, Next::Take(1));
        check(&[(Some(3), false), (Some(3), false)], false, Next::Take(0));
        check(&[(Some(3), false), (None, false)], false, Next::Wait);
        check(&[(Some(3), false), (None, false)], true, Next::Take(0));
        check(&[(Some(3), false), (None, true)], true, Next::Wait);
        check(&[(None, true), (None, false)], true, Next::Idle);
        check(&[(Some(-1), false)], false, Next::Take(0));
    }
}
