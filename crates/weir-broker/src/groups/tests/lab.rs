//! A coordinator with its log, driven by lines such as `10: join a i=x | kept 1 [a=]; a: joined 1 range leader=a [a]`.
//!
//! Before the bar stands when what is done, behind it all that comes of it, in order. Members have short names; the lab
//! knows their ids. After every line it checks what must always hold.

use crate::groups::group::{Group, Member, State};
use crate::groups::timers::Timer;
use crate::groups::*;
use std::collections::{BTreeMap, BTreeSet};
use weir_wire::versioned::{ConsumerProtocolSubscription, Versioned as _};

/// What lies in the log.
#[derive(Debug, Clone)]
enum Logged {
    Record(Record, Option<i64>),
    Marker(i64, bool),
}

pub struct Lab {
    pub groups: Groups,
    pub now: i64,
    settings: Settings,
    log: Vec<Logged>,
    /// Name of a member to its id, and of an id to its first name.
    ids: BTreeMap<String, String>,
    names: BTreeMap<String, String>,
    waiting: BTreeMap<Ticket, String>,
    tickets: u64,
    fail: Option<ErrorCode>,
    /// A failed write leaves state and log apart, as it must.
    apart: bool,
    /// The protocol that was told for each generation.
    protocols: BTreeMap<i32, String>,
}

/// Runs the lines and compares what comes of each.
#[track_caller]
pub fn check(settings: Settings, lines: &[&str]) -> Lab {
    let mut lab = Lab::new(settings);
    for line in lines {
        let (command, expected) = line.split_once('|').unwrap_or((line, ""));
        let happened = lab.run(command.trim()).join("; ");
        assert_eq!(happened, expected.trim(), "{line}");
    }
    lab
}

impl Lab {
    pub fn new(settings: Settings) -> Lab {
        let mut groups = Groups::new(settings.clone(), 7);
        assert!(groups.loaded(0).is_empty());
        Lab {
            groups,
            now: 0,
            settings,
            log: Vec::new(),
            ids: BTreeMap::new(),
            names: BTreeMap::new(),
            waiting: BTreeMap::new(),
            tickets: 0,
            fail: None,
            apart: false,
            protocols: BTreeMap::new(),
        }
    }

    /// The requests that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether a request of the member waits.
    pub fn waits(&self, who: &str) -> bool {
        self.waiting.values().any(|name| name == who)
    }

    /// Does what a line says before its bar.
    pub fn run(&mut self, line: &str) -> Vec<String> {
        let (time, command) = line.split_once(':').unwrap();
        self.now = time.parse().unwrap();
        let mut words = command.split_whitespace();
        let verb = words.next().unwrap();
        let words: Vec<&str> = words.collect();
        let mut events = Vec::new();
        let actions = self.act(verb, &words, &mut events);
        self.perform(actions, &mut events);
        if verb == "restart" || !self.groups.groups.contains_key("g") {
            // Generations that were not kept, or deleted, are counted again.
            self.protocols.clear();
        }
        self.hold();
        events
    }

    fn act(&mut self, verb: &str, words: &[&str], events: &mut Vec<String>) -> Vec<Action> {
        let options: BTreeMap<&str, &str> = words.iter().filter_map(|word| word.split_once('=')).collect();
        let who = words.first().copied().unwrap_or("");
        let option = |name: &str| options.get(name).copied();
        let number = |name: &str, or: i64| option(name).map_or(or, |text| text.parse().unwrap());
        let group = option("group").unwrap_or("g").to_owned();
        let id = match option("id") {
            Some(text) => self.id(text),
            None => self.id(who),
        };
        let generation = match option("gen") {
            Some(text) => text.parse().unwrap(),
            None => self.groups.groups.get(group.as_str()).map_or(-1, |group| group.generation),
        };
        let (instance, version, now) = (option("i"), number("v", 9) as i16, self.now);
        match verb {
            "tick" => self.groups.tick(now),
            "forget" => {
                let ticket = *self.waiting.iter().find(|(_, name)| *name == who).unwrap().0;
                self.waiting.remove(&ticket);
                self.groups.forget(ticket, now);
                Vec::new()
            }
            "fail" => {
                (self.fail, self.apart) = (Some(code(who)), true);
                Vec::new()
            }
            "restart" => self.restart(),
            "join" => {
                let subscription = ConsumerProtocolSubscription {
                    topics: option("topics").unwrap_or("t").split(',').map(Text::from).collect(),
                    generation_id: number("m", 0) as i32,
                    ..ConsumerProtocolSubscription::default()
                };
                let metadata = subscription.encode(2).unwrap();
                let names = option("p").unwrap_or("range").split(',').filter(|name| !name.is_empty());
                let protocols: Vec<(&str, &[u8])> = names.map(|name| (name, &*metadata)).collect();
                let ticket = self.ticket(who);
                let join = Join {
                    version,
                    group: &group,
                    member: if words.contains(&"anew") { "" } else { &id },
                    instance,
                    client_id: who,
                    client_host: "/127.0.0.1",
                    session_timeout_ms: number("s", 10_000) as i32,
                    rebalance_timeout_ms: number("r", 60_000) as i32,
                    protocol_type: option("type").unwrap_or("consumer"),
                    protocols: &protocols,
                };
                let actions = self.groups.join(join, ticket, now);
                // Whoever is new in the group is who joined, told its id or not.
                if let Some(group) = self.groups.groups.get(group.as_str()) {
                    for id in group.members.keys() {
                        self.names.entry(id.to_string()).or_insert_with(|| who.to_owned());
                    }
                }
                actions
            }
            "sync" => {
                let given = words.iter().filter_map(|word| word.split_once('='));
                let given = given.filter(|(name, _)| !["i", "gen", "group", "id", "p", "type"].contains(name));
                let named: Vec<(String, &str)> = given.map(|(name, what)| (self.id(name), what)).collect();
                let assignments: Vec<(&str, &[u8])> =
                    named.iter().map(|(id, what)| (id.as_str(), what.as_bytes())).collect();
                let ticket = self.ticket(who);
                let (protocol_type, protocol) = (option("type"), option("p"));
                let assignments = &assignments;
                let sync =
                    Sync { group: &group, generation, member: &id, instance, protocol_type, protocol, assignments };
                self.groups.sync(sync, ticket, now)
            }
            // The leader gives to each member what tells whose it is and of which generation. Others bring what is not heard.
            "lead" => {
                let members = self.groups.groups.get("g").map(|group| &group.members);
                let given = members.into_iter().flatten().map(|(id, member)| {
                    let whose = member.instance.as_ref().unwrap_or(id);
                    (id.to_string(), format!("{whose}@{generation}"))
                });
                let given: Vec<(String, String)> = given.collect();
                let given: Vec<(&str, &[u8])> = given.iter().map(|(id, what)| (id.as_str(), what.as_bytes())).collect();
                let (ticket, assignments) = (self.ticket(who), &given[..]);
                let sync = Sync {
                    group: "g",
                    generation,
                    member: &id,
                    instance,
                    protocol_type: None,
                    protocol: None,
                    assignments,
                };
                self.groups.sync(sync, ticket, now)
            }
            "beat" => {
                let outcome = self.groups.heartbeat(&group, generation, &id, instance, now);
                events.push(outcome.map_or_else(name, |()| "alive".into()));
                Vec::new()
            }
            "leave" => {
                let named: Vec<(String, Option<&str>)> = words
                    .iter()
                    .filter(|word| !word.starts_with("group="))
                    .map(|word| match word.split_once('=') {
                        Some((member, instance)) => (self.id(member), Some(instance)),
                        None => (self.id(word), None),
                    })
                    .collect();
                let members: Vec<Leaving<'_>> =
                    named.iter().map(|(member, instance)| Leaving { member, instance: *instance }).collect();
                let ticket = self.ticket("?");
                self.groups.leave(&group, &members, ticket, now)
            }
            "commit" | "txn" => {
                let offsets: Vec<(String, CommitPartition<'_>)> = words
                    .iter()
                    .filter_map(|word| word.split_once('='))
                    .filter_map(|(place, offset)| Some((place.split_once('-')?, offset)))
                    .map(|((topic, partition), offset)| {
                        let (offset, metadata) = offset.split_once('/').unwrap_or((offset, ""));
                        let (partition, offset) = (partition.parse().unwrap(), offset.parse().unwrap());
                        (topic.to_owned(), CommitPartition { partition, offset, leader_epoch: 3, metadata })
                    })
                    .collect();
                let partitions: Vec<[CommitPartition<'_>; 1]> =
                    offsets.iter().map(|(_, partition)| [*partition]).collect();
                let topics: Vec<(&str, &[CommitPartition<'_>])> = offsets
                    .iter()
                    .zip(&partitions)
                    .map(|((topic, _), partition)| (topic.as_str(), &partition[..]))
                    .collect();
                let ticket = self.ticket(who);
                let alone = who == "nobody";
                let commit = Commit {
                    version,
                    group: &group,
                    generation: if alone { number("gen", -1) as i32 } else { generation },
                    member: if alone { "" } else { &id },
                    instance,
                    retention_ms: number("keep", -1),
                    topics: &topics,
                };
                if verb == "commit" {
                    self.groups.commit(commit, ticket, now)
                } else {
                    self.groups.txn_commit(commit, (number("by", 7), 0), ticket, now)
                }
            }
            "end" => {
                let (producer, commit) = (who.parse().unwrap(), words[1] == "commit");
                self.log.push(Logged::Marker(producer, commit));
                self.groups.complete(producer, commit);
                Vec::new()
            }
            "fetch" => {
                let places: Vec<(&str, [i32; 1])> = words
                    .iter()
                    .filter_map(|word| word.split_once('-'))
                    .map(|(topic, at)| (topic, [at.parse().unwrap()]))
                    .collect();
                let topics: Vec<(&str, &[i32])> = places.iter().map(|(topic, at)| (*topic, &at[..])).collect();
                let topics = (!topics.is_empty()).then_some(&topics[..]);
                let fetch = FetchOffsets { group: &group, topics, require_stable: words.contains(&"stable") };
                for topic in self.groups.fetch_offsets(fetch).unwrap() {
                    for FetchedOffset { partition, offset, error, metadata, .. } in topic.partitions {
                        let error = if error == ErrorCode::NONE { String::new() } else { format!(" {}", name(error)) };
                        let metadata = if metadata.is_empty() { String::new() } else { format!("/{metadata}") };
                        events.push(format!("{}-{partition}={offset}{metadata}{error}", topic.topic));
                    }
                }
                Vec::new()
            }
            "delete" => {
                let ticket = self.ticket("?");
                self.groups.delete(words, ticket)
            }
            "unsubscribe" => {
                let places: Vec<(&str, [i32; 1])> = words
                    .iter()
                    .filter_map(|word| word.split_once('-'))
                    .map(|(topic, at)| (topic, [at.parse().unwrap()]))
                    .collect();
                let topics: Vec<(&str, &[i32])> = places.iter().map(|(topic, at)| (*topic, &at[..])).collect();
                let ticket = self.ticket("?");
                self.groups.delete_offsets(&group, &topics, ticket)
            }
            "topics" => self.groups.delete_topics(words),
            "list" => {
                let (states, types): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| !word.starts_with("type:"));
                let types: Vec<&str> = types.iter().map(|word| &word[5..]).collect();
                let listed = self.groups.list(&states, &types).unwrap();
                events.extend(listed.iter().map(|one| format!("{} {:?} {}", one.group, one.protocol_type, one.state)));
                Vec::new()
            }
            "describe" => {
                let described = self.groups.describe(&group).unwrap();
                let members = described.members.iter().map(|member| {
                    let assignment = String::from_utf8_lossy(&member.assignment);
                    format!("{}={assignment}", self.name(&member.member))
                });
                let members: Vec<String> = members.collect();
                events.push(format!("{} {:?} [{}]", described.state, described.protocol, members.join(" ")));
                Vec::new()
            }
            other => panic!("{other}?"),
        }
    }

    /// Does what the shell does: everything in order, writes answered before the next action.
    fn perform(&mut self, actions: Vec<Action>, events: &mut Vec<String>) {
        for action in actions {
            match action {
                Action::Answer { ticket, answer } => {
                    let Some(who) = self.waiting.remove(&ticket) else {
                        panic!("{ticket:?} is answered again: {answer:?}")
                    };
                    let text = self.tell(&who, answer);
                    events.push(text);
                }
                Action::Write(write) => {
                    let records = write.records().unwrap();
                    let outcome = match self.fail.take() {
                        Some(error) => {
                            events.push("lost".into());
                            Err(error)
                        }
                        None => {
                            let at = self.log.len() as i64;
                            let producer = write.producer.map(|(id, _)| id);
                            for (key, value) in records {
                                events.push(self.show(&key, value.as_ref(), producer));
                                self.log.push(Logged::Record((key, value), producer));
                            }
                            Ok(at)
                        }
                    };
                    let actions = self.groups.written(write, outcome, self.now);
                    self.perform(actions, events);
                }
            }
        }
    }

    fn tell(&mut self, who: &str, answer: Answer) -> String {
        let outcomes = |topics: Vec<TopicOutcome>| {
            let all = topics.into_iter().flat_map(|topic| topic.partitions.into_iter().map(|(_, error)| name(error)));
            all.collect::<Vec<_>>().join(" ")
        };
        match answer {
            Answer::Join(joined) => {
                if !joined.member.is_empty() {
                    self.names.entry(joined.member.to_string()).or_insert_with(|| who.to_owned());
                    self.ids.insert(who.to_owned(), joined.member.to_string());
                }
                if joined.error != ErrorCode::NONE {
                    return format!("{who}: {}", name(joined.error));
                }
                let current = self.groups.groups.values().any(|group| group.generation == joined.generation);
                assert!(current, "only one generation is active: {joined:?}");
                let protocol = joined.protocol.as_deref().unwrap_or("-").to_owned();
                let told = self.protocols.entry(joined.generation).or_insert_with(|| protocol.clone());
                assert_eq!(*told, protocol, "one generation, two protocols");
                let members: Vec<String> = joined.members.iter().map(|member| self.name(&member.member)).collect();
                let members = if members.is_empty() { String::new() } else { format!(" [{}]", members.join(" ")) };
                let skip = if joined.skip_assignment { " skip" } else { "" };
                let leader = self.name(&joined.leader);
                format!("{who}: joined {} {protocol} leader={leader}{members}{skip}", joined.generation)
            }
            Answer::Sync(Ok(synced)) => {
                let what = String::from_utf8_lossy(&synced.assignment);
                if let Some((whose, generation)) = what.split_once('@') {
                    let group = &self.groups.groups["g"];
                    let id = self.id(who);
                    // Who joined anew meanwhile goes by a name that may not be in the group yet; the answer is to the one before.
                    if let Some(member) = group.members.get(id.as_str()) {
                        let instance = member.instance.as_deref();
                        assert_eq!(instance.unwrap_or(&id), whose, "an assignment went to somebody else");
                    }
                    assert_eq!(group.generation.to_string(), generation, "an assignment is of another generation");
                }
                format!("{who}: synced {}", if what.is_empty() { "nothing" } else { &*what })
            }
            Answer::Sync(Err(error)) => format!("{who}: {}", name(error)),
            Answer::Leave(left) => {
                let left = left.unwrap();
                format!("left {}", left.iter().map(|left| name(left.error)).collect::<Vec<_>>().join(" "))
            }
            Answer::Commit(topics) => format!("{who}: {}", outcomes(topics)),
            Answer::Delete(groups) => groups.into_iter().map(|(_, error)| name(error)).collect::<Vec<_>>().join(" "),
            Answer::DeleteOffsets(Ok(topics)) => outcomes(topics),
            Answer::DeleteOffsets(Err(error)) => name(error),
        }
    }

    fn show(&self, key: &Bytes, value: Option<&Bytes>, producer: Option<i64>) -> String {
        match Entry::read(key, value).unwrap().unwrap() {
            Entry::Offset { topic, partition, offset: Some(offset), .. } => {
                let by = producer.map(|id| format!(" by {id}")).unwrap_or_default();
                format!("{topic}-{partition}={}{by}", offset.offset)
            }
            Entry::Offset { topic, partition, offset: None, .. } => format!("no {topic}-{partition}"),
            Entry::Group { group, generation: None } => format!("no {group}"),
            Entry::Group { generation: Some(kept), .. } => {
                let member = |member: &weir_wire::versioned::MemberMetadata| {
                    format!("{}={}", self.name(&member.member_id), String::from_utf8_lossy(&member.assignment))
                };
                let members: Vec<String> = kept.members.iter().map(member).collect();
                format!("kept {} [{}]", kept.generation, members.join(" "))
            }
        }
    }

    fn ticket(&mut self, who: &str) -> Ticket {
        self.tickets += 1;
        self.waiting.insert(Ticket(self.tickets), who.to_owned());
        Ticket(self.tickets)
    }

    fn id(&self, name: &str) -> String {
        self.ids
            .get(name)
            .cloned()
            .unwrap_or_else(|| if name.starts_with('?') { name.to_owned() } else { String::new() })
    }

    fn name(&self, id: &str) -> String {
        self.names.get(id).cloned().unwrap_or_else(|| id.to_owned())
    }

    /// A new process reads the log of the one that is gone. Nobody who waited is there any more.
    fn restart(&mut self) -> Vec<Action> {
        self.waiting.clear();
        self.groups = self.replayed();
        self.groups.loaded(self.now)
    }

    fn replayed(&self) -> Groups {
        let mut groups = Groups::new(self.settings.clone(), 8 + self.log.len() as u64);
        self.replay_into(&mut groups);
        groups
    }

    /// Reads the log.
    pub fn replay_into(&self, groups: &mut Groups) {
        for (at, logged) in self.log.iter().enumerate() {
            match logged {
                Logged::Record((key, value), producer) => {
                    groups.replay(key, value.as_ref(), *producer, at as i64).unwrap();
                }
                Logged::Marker(producer, commit) => groups.complete(*producer, *commit),
            }
        }
    }

    /// What must hold after every step.
    fn hold(&self) {
        for group in self.groups.groups.values() {
            hold_members(group);
            self.hold_timers(group);
        }
        for (timer, _) in self.groups.timers.all() {
            let (Timer::Session(group, _) | Timer::Join(group) | Timer::Sync(group)) = timer else { continue };
            let group = self.groups.groups.get(group).unwrap_or_else(|| panic!("{timer:?} outlived its group"));
            let serves = match timer {
                Timer::Session(_, id) => group.members.contains_key(id) || group.promised.contains(id),
                Timer::Join(_) => group.state == State::PreparingRebalance,
                _ => !group.unsynced.is_empty(),
            };
            assert!(serves, "{timer:?} serves nobody in {group:#?}");
        }
        if !self.apart {
            self.hold_log();
        }
    }

    /// Whatever is waited for comes to an end by itself.
    fn hold_timers(&self, group: &Group) {
        let timers = &self.groups.timers;
        let name = || group.name.clone();
        assert_eq!(group.state == State::PreparingRebalance, timers.get(&Timer::Join(name())).is_some(), "{group:#?}");
        if group.state == State::CompletingRebalance {
            assert!(timers.get(&Timer::Sync(name())).is_some(), "{group:#?}");
        }
        for (id, member) in &group.members {
            let waits = !member.new && (member.joining.is_some() || member.syncing.is_some());
            assert!(
                waits || timers.get(&Timer::Session(name(), id.clone())).is_some(),
                "{id} never times out: {group:#?}"
            );
        }
        for id in &group.promised {
            assert!(timers.get(&Timer::Session(name(), id.clone())).is_some(), "{id} is promised for ever");
        }
    }

    /// A new process would come to the same: all of it for a group at rest, the offsets for any.
    fn hold_log(&self) {
        let replayed = self.replayed();
        for (name, group) in &self.groups.groups {
            let Some(again) = replayed.groups.get(name) else {
                assert!(
                    group.offsets.iter().next().is_none() && group.pending.is_empty(),
                    "the offsets of {name} are not in the log"
                );
                assert!(!matches!(group.state, State::Stable), "{name} is not in the log");
                continue;
            };
            assert_eq!((&again.offsets, &again.pending), (&group.offsets, &group.pending));
            if matches!(group.state, State::Stable | State::Empty) {
                assert_eq!(kept(again), kept(group));
            }
        }
        for name in replayed.groups.keys() {
            assert!(self.groups.groups.contains_key(name), "{name} is in the log alone");
        }
        assert_eq!(replayed.open, self.groups.open);
    }
}

/// What a group at rest is, as far as its members can tell.
fn kept(group: &Group) -> impl PartialEq + std::fmt::Debug + use<> {
    let member = |(id, member): (&Arc<str>, &Member)| {
        let subscription = member.metadata(group.protocol.as_deref());
        let timeouts = (member.session_timeout_ms, member.rebalance_timeout_ms);
        let client = (member.client_id.clone(), member.client_host.clone());
        (id.clone(), member.instance.clone(), client, timeouts, subscription, member.assignment.clone())
    };
    let members: Vec<_> = group.members.iter().map(member).collect();
    let protocol = (group.protocol_type.clone(), group.protocol.clone(), group.leader.clone());
    let instances = group.instances.clone();
    let empty = group.state == State::Empty;
    (empty, group.generation, protocol, members, instances, group.subscribed.clone())
}

fn hold_members(group: &Group) {
    let instances: BTreeMap<Arc<str>, Arc<str>> =
        group.members.iter().filter_map(|(id, member)| Some((member.instance.clone()?, id.clone()))).collect();
    assert_eq!(instances, group.instances, "an instance has one member: {group:#?}");
    let with_instance = group.members.values().filter(|member| member.instance.is_some()).count();
    assert_eq!(with_instance, instances.len(), "two members are one instance: {group:#?}");
    match &group.leader {
        Some(leader) => assert!(group.members.contains_key(leader), "the leader is a member: {group:#?}"),
        None => assert!(group.members.is_empty(), "somebody leads: {group:#?}"),
    }
    let members: BTreeSet<&Arc<str>> = group.members.keys().collect();
    assert!(group.unsynced.iter().all(|id| members.contains(id)), "{group:#?}");
    assert!(group.promised.iter().all(|id| !members.contains(id)), "{group:#?}");
    let waits = |what: fn(&Member) -> bool| group.members.values().any(what);
    match group.state {
        State::Empty => assert!(group.members.is_empty(), "{group:#?}"),
        State::PreparingRebalance => assert!(!waits(|member| member.syncing.is_some()), "{group:#?}"),
        State::CompletingRebalance => assert!(!waits(|member| member.joining.is_some()), "{group:#?}"),
        State::Stable => assert!(!waits(|member| member.joining.is_some() || member.syncing.is_some()), "{group:#?}"),
    }
    assert!(group.state == State::PreparingRebalance || group.initial.is_none());
}

fn name(error: ErrorCode) -> String {
    if error == ErrorCode::NONE { "ok".into() } else { error.name().unwrap().into() }
}

fn code(name: &str) -> ErrorCode {
    (-1..200).map(ErrorCode).find(|code| code.name() == Some(name)).unwrap()
}
