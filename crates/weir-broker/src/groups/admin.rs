//! What administrators ask for: groups listed, described, deleted.

use super::group::{Group, Member, State};
use super::offsets::{apply, tombstone};
use super::record::Entry;
use super::request::{Action, Answer, Described, DescribedMember, Listed, Ticket};
use super::{ErrorCode, Groups};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Groups {
    /// All groups in one of the states and of one of the types, in the order of their ids; no state or type asks for all
    /// (ListGroups). Case does not matter.
    ///
    /// # Errors
    /// `COORDINATOR_LOAD_IN_PROGRESS`.
    pub fn list(&self, states: &[&str], types: &[&str]) -> Result<Vec<Listed>, ErrorCode> {
        if !self.loaded {
            return Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
        }
        if !types.is_empty() && !types.iter().any(|name| name.eq_ignore_ascii_case("classic")) {
            return Ok(Vec::new());
        }
        let wanted = |group: &&Group| {
            let name = group.state.name();
            states.is_empty() || states.iter().any(|state| state.trim().eq_ignore_ascii_case(name))
        };
        let list = |group: &Group| Listed {
            group: group.name.clone(),
            protocol_type: group.protocol_type.clone().unwrap_or_default(),
            state: group.state.name(),
        };
        Ok(self.groups.values().filter(wanted).map(list).collect())
    }

    /// A group and its members (DescribeGroups). One that does not exist is `Dead`.
    ///
    /// # Errors
    /// `COORDINATOR_LOAD_IN_PROGRESS`.
    pub fn describe(&self, group: &str) -> Result<Described, ErrorCode> {
        if !self.loaded {
            return Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
        }
        let Some(group) = self.groups.get(group) else {
            let nothing = Arc::<str>::default;
            return Ok(Described { state: "Dead", protocol_type: nothing(), protocol: nothing(), members: Vec::new() });
        };
        let stable = group.state == State::Stable;
        let describe = |(id, member): (&Arc<str>, &Member)| DescribedMember {
            member: id.clone(),
            instance: member.instance.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: if stable { member.metadata(group.protocol.as_deref()) } else { Bytes::new() },
            assignment: member.assignment.clone(),
        };
        Ok(Described {
            state: group.state.name(),
            protocol_type: group.protocol_type.clone().unwrap_or_default(),
            protocol: group.protocol.clone().filter(|_| stable).unwrap_or_default(),
            members: group.members.iter().map(describe).collect(),
        })
    }

    /// Deletes groups that have no members, with all their offsets (DeleteGroups).
    pub fn delete(&mut self, groups: &[&str], ticket: Ticket) -> Vec<Action> {
        let mut entries = Vec::new();
        let mut outcomes = Vec::new();
        for name in groups {
            let error = match self.groups.get(*name) {
                _ if !self.loaded => ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
                None => ErrorCode::GROUP_ID_NOT_FOUND,
                Some(group) if group.state != State::Empty => ErrorCode::NON_EMPTY_GROUP,
                Some(group) => {
                    let kept = std::iter::once(&group.offsets).chain(group.pending.values());
                    let partitions: BTreeSet<(&Arc<str>, i32)> = kept
                        .flat_map(|offsets| offsets.iter().map(|(topic, partition, _)| (topic, partition)))
                        .collect();
                    entries.extend(partitions.into_iter().map(|(topic, partition)| tombstone(group, topic, partition)));
                    entries.push(Entry::Group { group: group.name.clone(), generation: None });
                    ErrorCode::NONE
                }
            };
            outcomes.push((Arc::from(*name), error));
        }
        apply(entries, None, Some((ticket, Answer::Delete(outcomes))))
    }
}
