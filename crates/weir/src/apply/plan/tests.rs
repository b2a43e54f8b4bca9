//! From contracts and a cluster to steps, and that the second run has nothing to do.

use super::*;

const ONE: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#;
const WIDER: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"long"}]}"#;
const MORE: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"b","type":"int"}]}"#;

fn configs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn wanted(partitions: Option<u32>, version: &str, schema: &str, level: Option<Compatibility>) -> Wanted {
    let topic = |name: &str, policy: &str| WantedTopic {
        name: name.to_owned(),
        configs: configs(&[("cleanup.policy", policy)]),
    };
    let contract = format!("c@{version}");
    Wanted {
        topics: vec![WantedTopics {
            contract: contract.clone(),
            partitions,
            default_partitions: 6,
            topics: vec![topic("t", "compact"), topic("t.landing", "delete"), topic("t.quarantine", "delete")],
        }],
        subjects: vec![WantedSubject { contract, subject: "t-value".to_owned(), schema: schema.to_owned(), level }],
        contracts: vec![WantedContract {
            id: "c".to_owned(),
            version: version.to_owned(),
            record: format!(r#"{{"version":"{version}"}}"#).into_bytes(),
            topics: vec!["t".to_owned()],
        }],
        views: vec![WantedView {
            id: "v".to_owned(),
            version: version.to_owned(),
            record: format!(r#"{{"view":"{version}"}}"#).into_bytes(),
        }],
    }
}

/// The cluster after all steps.
fn after(wanted: &Wanted, mut observed: Observed, steps: &[Step]) -> Observed {
    for step in steps.iter().cloned() {
        match step {
            Step::CreateTopic { topic, partitions, configs } => {
                observed.topics.insert(topic, Topic { partitions, configs });
            }
            Step::AddPartitions { topic, new, .. } => observed.topics.get_mut(&topic).unwrap().partitions = new,
            Step::SetConfig { topic, changes } => {
                let configs = &mut observed.topics.get_mut(&topic).unwrap().configs;
                configs.extend(changes.into_iter().map(|(name, _, new)| (name, new)));
            }
            Step::SetLevel { subject, new, .. } => {
                observed.subjects.entry(subject).or_default().level = Some(new);
            }
            Step::Register { subject, schema, .. } => {
                let subject = observed.subjects.entry(subject).or_default();
                subject.registered = true;
                subject.versions.push((subject.versions.len() as u32 + 1, schema));
            }
            Step::Publish { contract, new, record, .. } => {
                let topics = wanted.contracts[0].topics.clone();
                observed.contracts.insert(contract, Contract { version: new, record, topics });
            }
            Step::PublishView { view, new, record, .. } => {
                observed.views.insert(view, (new, record));
            }
        }
    }
    observed
}

fn check(wanted: &Wanted, observed: &Observed, expect: &[&str]) {
    match plan(wanted, observed) {
        Ok(steps) => {
            let shown: Vec<String> = steps.iter().map(ToString::to_string).collect();
            assert_eq!(shown, expect);
            let again = plan(wanted, &after(wanted, observed.clone(), &steps)).unwrap();
            assert_eq!(again, [], "the second run must have nothing to do");
        }
        Err(problems) => assert_eq!(problems, expect),
    }
}

fn applied(wanted: &Wanted) -> Observed {
    after(wanted, Observed::default(), &plan(wanted, &Observed::default()).unwrap())
}

#[test]
fn an_empty_cluster_gets_everything() {
    let wanted = wanted(Some(4), "1.0.0", ONE, Some(Compatibility::Backward));
    check(
        &wanted,
        &Observed::default(),
        &[
            "+ topic t: partitions=4 cleanup.policy=compact",
            "+ topic t.landing: partitions=4 cleanup.policy=delete",
            "+ topic t.quarantine: partitions=4 cleanup.policy=delete",
            "+ subject t-value: compatibility BACKWARD",
            "+ subject t-value: first version",
            "+ contract c: version 1.0.0",
            "+ view v: version 1.0.0",
        ],
    );
}

#[test]
fn partitions_only_grow_and_are_equal() {
    let mut observed = applied(&wanted(Some(4), "1.0.0", ONE, None));
    check(&wanted(None, "1.0.0", ONE, None), &observed, &[]);
    observed.topics.get_mut("t.landing").unwrap().partitions = 2;
    check(
        &wanted(None, "1.0.0", ONE, None),
        &observed,
        &["~ topic t.landing: partitions 2 -> 4 (keys map to other partitions from then on)"],
    );
    check(
        &wanted(Some(3), "1.0.0", ONE, None),
        &observed,
        &[
            "c@1.0.0: topic t has 4 partitions and 3 are asked for; partitions cannot be taken away, ask for 4",
            "c@1.0.0: topic t.quarantine has 4 partitions and 3 are asked for; partitions cannot be taken away, ask for 4",
        ],
    );
}

#[test]
fn a_configuration_is_changed_only_where_it_differs() {
    let wanted = wanted(Some(1), "1.0.0", ONE, None);
    let mut observed = applied(&wanted);
    observed.topics.get_mut("t").unwrap().configs = configs(&[("cleanup.policy", "delete"), ("foreign", "1")]);
    check(&wanted, &observed, &["~ topic t: cleanup.policy delete -> compact"]);
    assert!(same_config("cleanup.policy", "delete,compact", "compact, delete"));
    assert!(!same_config("retention.ms", "1,2", "2,1"));
}

#[test]
fn a_schema_must_keep_to_the_level_that_will_hold() {
    let observed = |level| applied(&wanted(None, "1.0.0", ONE, level));
    let check = |level, old, schema, expect: &[&str]| {
        check(&wanted(None, "1.1.0", schema, level), &unregistered(observed(old)), expect);
    };
    fn unregistered(mut observed: Observed) -> Observed {
        observed.subjects.get_mut("t-value").unwrap().registered = false;
        observed
    }
    let publish = "~ contract c: version 1.0.0 -> 1.1.0";
    let view = "~ view v: version 1.0.0 -> 1.1.0";
    check(
        Some(Compatibility::Backward),
        Some(Compatibility::Backward),
        WIDER,
        &["~ subject t-value: new version behind version 1", publish, view],
    );
    // The registry would take it today; the contract's own level forbids it.
    let wrong = plan(
        &wanted(None, "1.1.0", MORE, Some(Compatibility::FullTransitive)),
        &unregistered(observed(Some(Compatibility::None))),
    )
    .unwrap_err();
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    let start = "c@1.1.0: subject t-value: the new schema cannot read version 1, as FULL_TRANSITIVE asks: ";
    assert!(wrong[0].starts_with(start), "{wrong:?}");
    check(None, Some(Compatibility::None), MORE, &["~ subject t-value: new version behind version 1", publish, view]);
}

#[test]
fn a_topic_has_one_contract() {
    let wanted = wanted(None, "1.0.0", ONE, None);
    let mut observed = applied(&wanted);
    let other = Contract { version: "3".to_owned(), record: Vec::new(), topics: vec!["t".to_owned()] };
    observed.contracts.insert("other".to_owned(), other);
    check(
        &wanted,
        &observed,
        &["c@1.0.0: topic t is governed by contract other@3 in the cluster; withdraw that one first"],
    );
}

#[test]
fn a_contract_of_another_spelling_is_the_same() {
    let wanted = wanted(None, "1.0.0", ONE, None);
    let mut observed = applied(&wanted);
    observed.contracts.get_mut("c").unwrap().record = br#"{ "version" : "1.0.0" }"#.to_vec();
    check(&wanted, &observed, &[]);
    observed.contracts.get_mut("c").unwrap().record = br#"{"version":"1.0.0","more":1}"#.to_vec();
    check(&wanted, &observed, &["~ contract c: new text under the same version 1.0.0 (raise the version)"]);
}
