//! What DescribeTransactions and ListTransactions show.

use super::state::State;
use super::{Producer, TopicPartition, TransactionError, Transactions};
use regex::{Regex, RegexBuilder};
use std::sync::Arc;

/// How large a pattern may be once compiled, in bytes.
const PATTERN_LIMIT: usize = 1 << 16;

/// One transactional id as DescribeTransactions (API 65) shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its state.
    pub state: State,
    /// `transaction.timeout.ms` of its client, in ms.
    pub timeout_ms: i32,
    /// When its transaction began, in ms since 1970; -1 where none has.
    pub started_ms: i64,
    /// Its producer.
    pub producer: Producer,
    /// The partitions of its transaction, by topic and number; none where the transaction is complete.
    pub partitions: Vec<TopicPartition>,
}

/// One transactional id as ListTransactions shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The transactional id.
    pub transactional_id: Arc<str>,
    /// Its producer id.
    pub producer_id: i64,
    /// Its state.
    pub state: State,
}

/// What ListTransactions (API 66) asks for. The default asks for all.
#[derive(Debug, Clone, Copy)]
pub struct Filter<'a> {
    /// Names of states, any of which it may have; none for all.
    pub states: &'a [&'a str],
    /// Producer ids, any of which it may have; none for all.
    pub producer_ids: &'a [i64],
    /// For longer than how many ms its transaction must be running; negative for all.
    pub duration_ms: i64,
    /// A regular expression that the whole transactional id must match; empty for all.
    pub pattern: &'a str,
}

impl Default for Filter<'_> {
    fn default() -> Self {
        Filter { states: &[], producer_ids: &[], duration_ms: -1, pattern: "" }
    }
}

/// What ListTransactions answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// What matches, by transactional id.
    pub transactions: Vec<Listed>,
    /// State names of the filter that no state has.
    pub unknown_states: Vec<String>,
}

impl Transactions {
    /// DescribeTransactions for one transactional id.
    ///
    /// # Errors
    /// INVALID_REQUEST, TRANSACTIONAL_ID_NOT_FOUND.
    pub fn describe(&self, transactional_id: &str) -> Result<Described, TransactionError> {
        if transactional_id.is_empty() {
            return Err(TransactionError::InvalidRequest);
        }
        let (_, entry) = self.entry(transactional_id).ok_or(TransactionError::TransactionalIdNotFound)?;
        Ok(Described {
            state: entry.state,
            timeout_ms: entry.timeout_ms,
            started_ms: entry.started_ms,
            producer: entry.producer,
            partitions: entry.partitions.iter().cloned().collect(),
        })
    }

    /// ListTransactions. As in Kafka, an id without a transaction counts as running since 1970 for the duration filter.
    ///
    /// # Errors
    /// INVALID_REGULAR_EXPRESSION where the pattern is none, or larger than 64 KiB once compiled.
    pub fn list(&self, filter: &Filter<'_>, now: i64) -> Result<Listing, TransactionError> {
        let pattern = match filter.pattern {
            "" => None,
            pattern => Some(whole(pattern).map_err(|_| TransactionError::InvalidRegularExpression)?),
        };
        let known = |name: &str| State::ALL.into_iter().find(|state| state.name() == name);
        let states: Vec<State> = filter.states.iter().filter_map(|name| known(name)).collect();
        let unknown_states = filter.states.iter().filter(|name| known(name).is_none()).map(|name| name.to_string());
        let mut transactions: Vec<Listed> = self
            .entries()
            .filter(|(_, entry)| filter.producer_ids.is_empty() || filter.producer_ids.contains(&entry.producer.id))
            .filter(|(_, entry)| filter.states.is_empty() || states.contains(&entry.state))
            .filter(|(_, entry)| filter.duration_ms < 0 || now - entry.started_ms > filter.duration_ms)
            .filter(|(id, _)| pattern.as_ref().is_none_or(|pattern: &Regex| pattern.is_match(id)))
            .map(|(id, entry)| Listed {
                transactional_id: id.clone(),
                producer_id: entry.producer.id,
                state: entry.state,
            })
            .collect();
        transactions.sort_by(|a, b| a.transactional_id.cmp(&b.transactional_id));
        Ok(Listing { transactions, unknown_states: unknown_states.collect() })
    }
}

/// The pattern, for texts that match it from end to end.
fn whole(pattern: &str) -> Result<Regex, regex::Error> {
    let build = |pattern: &str| RegexBuilder::new(pattern).size_limit(PATTERN_LIMIT).build();
    // By itself first: what is in brackets below could be text that only looks like a pattern there.
    build(pattern)?;
    build(&format!(r"\A(?:{pattern})\z"))
}
