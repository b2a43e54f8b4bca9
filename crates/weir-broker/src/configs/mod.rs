//! The configs of topics and of the broker, with Kafka's names, types, defaults and synonyms.
//!
//! A topic's config is the topic's own value, else what the broker was told at run time (for this broker, then for all), else the
//! default. Configs that steer what one node does not have (replication, tiers) are kept and answered, so that tools written for
//! Kafka work, and change nothing.

pub mod broker;
pub mod topic;

use std::collections::BTreeMap;

/// The type of a config's value, as DescribeConfigs numbers them (KIP-569).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Kind {
    /// `true` or `false`.
    Boolean = 1,
    /// Any text.
    Text = 2,
    /// A 32-bit number.
    Int = 3,
    /// A 16-bit number.
    Short = 4,
    /// A 64-bit number.
    Long = 5,
    /// A floating point number.
    Double = 6,
    /// Words between commas.
    List = 7,
}

/// Where a value comes from, as DescribeConfigs numbers them (KIP-226).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Source {
    /// Set for this topic.
    Topic = 1,
    /// Set at run time for this broker.
    Broker = 2,
    /// Set at run time for all brokers.
    AllBrokers = 3,
    /// Given when the broker was started.
    Start = 4,
    /// Nobody set it.
    Default = 5,
}

/// Which values a config takes.
#[derive(Clone, Copy, Debug)]
pub enum Valid {
    /// All of its type.
    Any,
    /// Numbers from here on.
    AtLeast(i64),
    /// Numbers in this range, both ends included.
    Between(i64, i64),
    /// -1, or a number in this range.
    MinusOneOr(i64, i64),
    /// A number from 0 to 1.
    Ratio,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A list of these words, each once.
    ListOf(&'static [&'static str]),
    /// `*`, or pairs of numbers: `0:1,1:1`.
    Replicas,
    /// Only what it is: this node has nothing that another value would switch on.
    Fixed(&'static str),
}

/// One config.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// Its name.
    pub name: &'static str,
    /// The type of its value.
    pub kind: Kind,
    /// Its value where nobody set it; none is Kafka's null.
    pub default: Option<&'static str>,
    /// Which values it takes.
    pub valid: Valid,
    /// The broker's config of the same meaning, where there is one.
    pub synonym: Option<&'static str>,
    /// Whether it is listed; the others can be set, and are shown where they are.
    pub listed: bool,
}

/// A value or a name that cannot be. The text goes to the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

impl Definition {
    /// Holds a value against type and range.
    ///
    /// # Errors
    /// The config, the value and what would be right.
    pub fn check(&self, value: &str) -> Result<(), Invalid> {
        let wrong = |why: String| Err(Invalid(format!("invalid value {value:?} for {}: {why}", self.name)));
        let number = match self.kind {
            Kind::Boolean if value != "true" && value != "false" => return wrong("must be true or false".into()),
            Kind::Int => match value.trim().parse::<i32>() {
                Ok(number) => i64::from(number),
                Err(_) => return wrong("must be a 32-bit number".into()),
            },
            Kind::Short => match value.trim().parse::<i16>() {
                Ok(number) => i64::from(number),
                Err(_) => return wrong("must be a 16-bit number".into()),
            },
            Kind::Long => match value.trim().parse::<i64>() {
                Ok(number) => number,
                Err(_) => return wrong("must be a 64-bit number".into()),
            },
            Kind::Double => match value.trim().parse::<f64>() {
                Ok(number) if matches!(self.valid, Valid::Ratio) && !(0.0..=1.0).contains(&number) => {
                    return wrong("must be from 0 to 1".into());
                }
                Ok(_) => 0,
                Err(_) => return wrong("must be a number".into()),
            },
            Kind::Boolean | Kind::Text | Kind::List => 0,
        };
        match self.valid {
            Valid::AtLeast(least) if number < least => wrong(format!("must be at least {least}")),
            Valid::Between(least, most) if number < least || number > most => {
                wrong(format!("must be from {least} to {most}"))
            }
            Valid::MinusOneOr(least, most) if number != -1 && (number < least || number > most) => {
                wrong(format!("must be -1, or from {least} to {most}"))
            }
            Valid::OneOf(words) if !words.contains(&value) => wrong(format!("must be one of {}", words.join(", "))),
            Valid::ListOf(words) => {
                let mut seen = Vec::new();
                for word in list(value) {
                    if !words.contains(&word) {
                        return wrong(format!("must be a list of {}", words.join(", ")));
                    }
                    if seen.contains(&word) {
                        return wrong(format!("says {word} twice"));
                    }
                    seen.push(word);
                }
                Ok(())
            }
            Valid::Replicas if !replicas(value) => wrong("must be * or pairs of partition:broker".into()),
            Valid::Fixed(only) if value != only => {
                wrong(format!("only {only} is possible here, what it would switch on does not exist on this broker"))
            }
            _ => Ok(()),
        }
    }
}

/// The words of a list config.
pub fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|word| !word.is_empty())
}

fn replicas(value: &str) -> bool {
    let pair = |word: &str| {
        word.split_once(':')
            .is_some_and(|(partition, broker)| partition.parse::<u32>().is_ok() && broker.parse::<u32>().is_ok())
    };
    value.trim() == "*" || list(value).all(pair)
}

/// What was set by somebody: names and values.
pub type Overrides = BTreeMap<String, String>;

/// What the broker was told at run time; it is kept in the data folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Dynamic {
    /// For this broker.
    #[serde(default)]
    pub this: Overrides,
    /// For all brokers.
    #[serde(default)]
    pub all: Overrides,
}

impl Dynamic {
    /// All values that are known for a config of the broker, the one that holds first.
    fn known<'a>(&'a self, name: &str) -> impl Iterator<Item = (&'a str, Source)> + use<'a> {
        let this = self.this.get(name).map(|value| (value.as_str(), Source::Broker));
        let all = self.all.get(name).map(|value| (value.as_str(), Source::AllBrokers));
        this.into_iter().chain(all)
    }

    /// What a config of the broker was set to at run time.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.known(name).next().map(|(value, _)| value)
    }
}

/// A config as DescribeConfigs shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// The type of its value.
    pub kind: Kind,
    /// The value that holds.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: Source,
    /// Whether it cannot be set at run time.
    pub read_only: bool,
    /// All values that are known for it, the one that holds first: under which name, value, and where that comes from.
    pub synonyms: Vec<(&'static str, String, Source)>,
}

/// One step of IncrementalAlterConfigs (KIP-339).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Set the value.
    Set,
    /// Go back to the default.
    Delete,
    /// Add words to a list.
    Append,
    /// Take words from a list.
    Subtract,
}

impl Operation {
    /// The operation of that number.
    #[must_use]
    pub fn from_code(code: i8) -> Option<Operation> {
        match code {
            0 => Some(Operation::Set),
            1 => Some(Operation::Delete),
            2 => Some(Operation::Append),
            3 => Some(Operation::Subtract),
            _ => None,
        }
    }
}

/// Applies one step to a set of overrides. `current` is the value that holds without an override.
///
/// # Errors
/// When the config is no list, or the value that comes of it cannot be.
pub fn alter(
    overrides: &mut Overrides,
    definition: &Definition,
    operation: Operation,
    value: Option<&str>,
    current: Option<&str>,
) -> Result<(), Invalid> {
    let name = definition.name;
    if operation == Operation::Delete {
        overrides.remove(name);
        return Ok(());
    }
    let Some(value) = value else {
        return Err(Invalid(format!("a null value cannot be set for {name}")));
    };
    let new = match operation {
        Operation::Set | Operation::Delete => value.to_owned(),
        _ if definition.kind != Kind::List => {
            return Err(Invalid(format!("{name} is no list, so that nothing can be appended or subtracted")));
        }
        Operation::Append => {
            let mut words: Vec<&str> =
                list(overrides.get(name).map(String::as_str).or(current).unwrap_or("")).collect();
            for word in list(value) {
                if !words.contains(&word) {
                    words.push(word);
                }
            }
            words.join(",")
        }
        Operation::Subtract => {
            let gone: Vec<&str> = list(value).collect();
            let words = list(overrides.get(name).map(String::as_str).or(current).unwrap_or(""));
            words.filter(|word| !gone.contains(word)).collect::<Vec<_>>().join(",")
        }
    };
    definition.check(&new)?;
    overrides.insert(name.to_owned(), new);
    Ok(())
}
