//! Who reads what: computed by the member that the coordinator made the leader, for all of them.
//!
//! Whoever leads decides alone, so members of other clients need not compute the same; they only have to understand the
//! answer. [`cooperative`] keeps what can be kept and never gives away a partition that somebody still holds (KIP-429);
//! [`range`] gives each member its stretch of every topic.

use std::collections::{BTreeMap, BTreeSet};

/// Partitions by topic.
pub(super) type Assignment = BTreeMap<String, BTreeSet<i32>>;

/// A member as the leader is told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) id: String,
    pub(super) topics: BTreeSet<String>,
    pub(super) owned: Assignment,
    /// The generation in which it held them; -1 if it does not say.
    pub(super) generation: i32,
}

type Place<'a> = (&'a str, i32);

fn places(assignment: &Assignment) -> impl Iterator<Item = Place<'_>> {
    assignment.iter().flat_map(|(topic, partitions)| partitions.iter().map(move |p| (topic.as_str(), *p)))
}

fn assign(to: &mut Assignment, (topic, partition): Place<'_>) {
    to.entry(topic.to_owned()).or_default().insert(partition);
}

/// Balanced to within one partition where all members read the same topics, and sticky. `partitions` says how many each
/// topic has. A partition that moves is given to nobody yet: its owner sees that it lost it, hands it back and joins again.
pub(super) fn cooperative(members: &[Candidate], partitions: &BTreeMap<String, i32>) -> BTreeMap<String, Assignment> {
    // Who holds what. Of two claims the newer counts, and of two equal ones neither.
    let mut claims: BTreeMap<Place<'_>, (i32, Option<usize>)> = BTreeMap::new();
    for (at, member) in members.iter().enumerate() {
        for place in places(&member.owned) {
            let claim = claims.entry(place).or_insert((member.generation, Some(at)));
            if claim.1 != Some(at) {
                if member.generation > claim.0 {
                    *claim = (member.generation, Some(at));
                } else if member.generation == claim.0 {
                    claim.1 = None;
                }
            }
        }
    }
    let eligible = |topic: &str| {
        let readers = members.iter().enumerate().filter(|(_, member)| member.topics.contains(topic));
        readers.map(|(at, _)| at).collect::<Vec<usize>>()
    };
    let readers: BTreeMap<&str, Vec<usize>> =
        partitions.keys().map(|topic| (topic.as_str(), eligible(topic))).collect();
    let mut held: Vec<BTreeSet<Place<'_>>> = vec![BTreeSet::new(); members.len()];
    let mut free = Vec::new();
    for (topic, count) in partitions {
        for place in (0..*count).map(|partition| (topic.as_str(), partition)) {
            match claims.get(&place).and_then(|claim| claim.1).filter(|at| readers[place.0].contains(at)) {
                Some(at) => drop(held[at].insert(place)),
                None => free.push(place),
            }
        }
    }
    let poorest = |held: &[BTreeSet<Place<'_>>], topic: &str| {
        readers[topic].iter().copied().min_by_key(|at| (held[*at].len(), *at))
    };
    for place in free {
        if let Some(at) = poorest(&held, place.0) {
            held[at].insert(place);
        }
    }
    // From the richest to the poorest, as long as it makes the two more alike: each step lowers the sum of squares.
    loop {
        let mut rich: Vec<usize> = (0..members.len()).collect();
        rich.sort_by_key(|at| std::cmp::Reverse(held[*at].len()));
        let step = rich.iter().find_map(|from| {
            held[*from].iter().rev().find_map(|place| {
                let to = poorest(&held, place.0)?;
                (held[to].len() + 1 < held[*from].len()).then_some((*from, to, *place))
            })
        });
        let Some((from, to, place)) = step else { break };
        held[from].remove(&place);
        held[to].insert(place);
    }
    let held_by_another = |place: &Place<'_>, at: usize| {
        let mut others = members.iter().enumerate().filter(|(other, _)| *other != at);
        others.any(|(_, other)| other.owned.get(place.0).is_some_and(|owned| owned.contains(&place.1)))
            && !members[at].owned.get(place.0).is_some_and(|owned| owned.contains(&place.1))
    };
    let given = |(at, held): (usize, &BTreeSet<Place<'_>>)| {
        let mut assignment = Assignment::new();
        held.iter().filter(|place| !held_by_another(place, at)).for_each(|place| assign(&mut assignment, *place));
        (members[at].id.clone(), assignment)
    };
    held.iter().enumerate().map(given).collect()
}

/// Each member its stretch of every topic, in the order of their ids; the first ones get one more where it does not divide.
pub(super) fn range(members: &[Candidate], partitions: &BTreeMap<String, i32>) -> BTreeMap<String, Assignment> {
    let mut all: BTreeMap<String, Assignment> =
        members.iter().map(|member| (member.id.clone(), Assignment::new())).collect();
    for (topic, count) in partitions {
        let mut readers: Vec<&str> =
            members.iter().filter(|m| m.topics.contains(topic)).map(|m| m.id.as_str()).collect();
        readers.sort_unstable();
        let Ok(among) = i32::try_from(readers.len()) else { continue };
        let mut next = 0;
        for (at, reader) in (0..).zip(readers) {
            let stretch = count / among + i32::from(at < count % among);
            if let Some(assignment) = all.get_mut(reader) {
                (next..next + stretch).for_each(|partition| assign(assignment, (topic, partition)));
            }
            next += stretch;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidates(count: usize, topics: &[Vec<bool>], names: &[String]) -> Vec<Candidate> {
        let topics_of = |at: usize| {
            let wanted = topics[at % topics.len()].iter().zip(names).filter(|(wanted, _)| **wanted);
            wanted.map(|(_, name)| name.clone()).collect()
        };
        (0..count)
            .map(|at| Candidate { id: format!("m{at:02}"), topics: topics_of(at), ..Default::default() })
            .collect()
    }

    fn owners(all: &BTreeMap<String, Assignment>) -> BTreeMap<(String, i32), Vec<String>> {
        let mut owners: BTreeMap<(String, i32), Vec<String>> = BTreeMap::new();
        for (id, assignment) in all {
            places(assignment).for_each(|(t, p)| owners.entry((t.to_owned(), p)).or_default().push(id.clone()));
        }
        owners
    }

    fn sizes(all: &BTreeMap<String, Assignment>) -> Vec<usize> {
        all.values().map(|assignment| places(assignment).count()).collect()
    }

    /// Rounds of rebalancing until nothing moves any more, as the members would do it.
    fn settle(members: &mut [Candidate], partitions: &BTreeMap<String, i32>) -> usize {
        for round in 0.. {
            let all = cooperative(members, partitions);
            for (place, owners) in owners(&all) {
                assert_eq!(owners.len(), 1, "{place:?} has {owners:?}");
                let holds = |m: &Candidate| m.owned.get(&place.0).is_some_and(|owned| owned.contains(&place.1));
                let holder = members.iter().find(|m| holds(m));
                assert!(holder.is_none_or(|m| m.id == owners[0]), "{place:?} was given while it was held");
            }
            let before: Vec<Assignment> = members.iter().map(|m| m.owned.clone()).collect();
            for member in members.iter_mut() {
                member.owned = all[&member.id].clone();
                member.generation = i32::try_from(round).unwrap();
            }
            if members.iter().zip(before).all(|(member, before)| member.owned == before) {
                return round;
            }
        }
        unreachable!()
    }

    proptest! {
        #[test]
        fn every_partition_that_somebody_reads_ends_with_one_reader_in_balance(
            counts in prop::collection::vec(0..9i32, 1..5),
            topics in prop::collection::vec(prop::collection::vec(any::<bool>(), 5), 1..4),
            first in 1..6usize,
            then in 1..6usize,
        ) {
            let partitions: BTreeMap<String, i32> = (0..).map(|n: usize| format!("t{n}")).zip(counts).collect();
            let names: Vec<String> = partitions.keys().cloned().collect();
            let mut members = candidates(first, &topics, &names);
            settle(&mut members, &partitions);
            // Others come, or some go.
            let mut later = candidates(then, &topics, &names);
            for (member, before) in later.iter_mut().zip(&members) {
                *member = before.clone();
            }
            // One round to see what must go, one to give it away; more only where members read different topics.
            let rounds = settle(&mut later, &partitions);
            prop_assert!(rounds <= if topics.len() == 1 { 2 } else { 5 }, "{} rounds", rounds);
            let all: BTreeMap<String, Assignment> = later.iter().map(|m| (m.id.clone(), m.owned.clone())).collect();
            let owned = owners(&all);
            for (topic, count) in &partitions {
                let read = later.iter().any(|member| member.topics.contains(topic));
                for partition in 0..*count {
                    prop_assert_eq!(owned.contains_key(&(topic.clone(), partition)), read);
                }
            }
            if topics.len() == 1 {
                let sizes = sizes(&all);
                prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{:?}", sizes);
            }
        }

        #[test]
        fn ranges_cover_every_topic_once(count in 0..20i32, members in 1..7usize) {
            let partitions = BTreeMap::from([("t".to_owned(), count)]);
            let all = range(&candidates(members, &[vec![true]], &["t".to_owned()]), &partitions);
            let owned = owners(&all);
            prop_assert_eq!(owned.len(), usize::try_from(count).unwrap());
            prop_assert!(owned.values().all(|owners| owners.len() == 1));
            let sizes = sizes(&all);
            prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{:?}", sizes);
        }
    }

    #[test]
    fn what_can_stay_stays() {
        let partitions = BTreeMap::from([("t".to_owned(), 6)]);
        let names = ["t".to_owned()];
        let mut members = candidates(2, &[vec![true]], &names);
        settle(&mut members, &partitions);
        let before = members.clone();
        let mut three = candidates(3, &[vec![true]], &names);
        three[0] = before[0].clone();
        three[1] = before[1].clone();
        settle(&mut three, &partitions);
        for (now, was) in three.iter().zip(&before) {
            assert!(places(&now.owned).all(|place| places(&was.owned).any(|owned| owned == place)), "{now:?} {was:?}");
        }
        assert_eq!(three.iter().map(|m| places(&m.owned).count()).collect::<Vec<_>>(), [2, 2, 2]);
    }

    #[test]
    fn of_two_claims_the_newer_counts_and_of_two_equal_ones_neither() {
        let partitions = BTreeMap::from([("t".to_owned(), 2)]);
        let check = |generations: [i32; 2], expect: [usize; 2]| {
            let mut members = candidates(2, &[vec![true]], &["t".to_owned()]);
            for (member, generation) in members.iter_mut().zip(generations) {
                member.generation = generation;
                member.owned = BTreeMap::from([("t".to_owned(), BTreeSet::from([0]))]);
            }
            let all = cooperative(&members, &partitions);
            let of = |at: usize| places(&all[&members[at].id]).filter(|place| *place == ("t", 0)).count();
            assert_eq!([of(0), of(1)], expect, "{generations:?}");
        };
        check([3, 2], [1, 0]);
        check([2, 3], [0, 1]);
        check([2, 2], [1, 0]);
    }
}
