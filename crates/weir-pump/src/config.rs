//! How a pump runs, whichever lane moves the records.

use std::time::Duration;

/// A setting that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option}: {reason}")]
pub struct Unfit {
    /// Its name.
    pub option: &'static str,
    /// Why, and what would.
    pub reason: String,
}

/// How the members of the group agree on who reads what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupProtocol {
    /// Classic protocol, cooperative-sticky: a partition that stays is never interrupted (KIP-429).
    #[default]
    Cooperative,
    /// Classic protocol, range and round-robin: every rebalance stops the world.
    Eager,
    /// The coordinator assigns (KIP-848, `group.protocol=consumer`); needs Apache Kafka 4.0. The session timeout is then
    /// the broker's.
    Consumer,
}

/// How a pump runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PumpConfig {
    /// The consumer group: all pumps with the same group share the partitions.
    pub group: String,
    /// Names this process within the group, the same after a restart, different from every other living one: worker w
    /// has the transactional id `<group>.<instance>.<w>`.
    pub instance: String,
    /// Whether a worker is a static member of the group (KIP-345), named like its transactional id: after a crash its successor has
    /// the partitions at once, not after the session timeout. When the process ends for good the others wait for as long.
    /// Not with [`GroupProtocol::Cooperative`]: a group that dies between the two steps of its rebalance comes back, all members
    /// with the names they had, to the assignment of the first step, in which the partitions that were to move belong to nobody.
    pub static_members: bool,
    /// How many worker threads. More than there are partitions are of no use.
    pub workers: usize,
    /// Whether each worker's thread stays on one core: the first on the first that this process may use, and so on, again from the
    /// first where there are more workers than cores. Of use where nothing else wants these cores.
    pub pin_cores: bool,
    /// How partitions are shared out.
    pub protocol: GroupProtocol,
    /// How long a transaction stays open; a small one costs the broker five times as much per event.
    pub commit_interval: Duration,
    /// A transaction with this many records is committed before its time.
    pub transaction_records: usize,
    /// A transaction with this many bytes of keys and values is committed before its time.
    pub transaction_bytes: usize,
    /// After this long the coordinator aborts a transaction whose owner is silent. Below the session timeout: the
    /// records of a dead worker must be undone before another reads them again.
    pub transaction_timeout: Duration,
    /// After this long without a heartbeat a member loses its partitions.
    pub session_timeout: Duration,
    /// How long a stalled partition waits before it is tried again: at first and at most, doubling in between.
    pub stall_backoff: (Duration, Duration),
    /// How long a call into the client may take while the cluster answers, before the worker is given up as stuck.
    pub watchdog: Duration,
}

impl PumpConfig {
    /// The defaults: one worker, 100 ms or 100,000 records or 32 MiB per transaction, 8 s transaction timeout and 10 s
    /// session timeout, stalls retried after 100 ms to 2 s, a stuck call given up after 60 s.
    pub fn new(group: impl Into<String>, instance: impl Into<String>) -> PumpConfig {
        PumpConfig {
            group: group.into(),
            instance: instance.into(),
            static_members: false,
            workers: 1,
            pin_cores: false,
            protocol: GroupProtocol::Cooperative,
            commit_interval: Duration::from_millis(100),
            transaction_records: 100_000,
            transaction_bytes: 32 << 20,
            transaction_timeout: Duration::from_secs(8),
            session_timeout: Duration::from_secs(10),
            stall_backoff: (Duration::from_millis(100), Duration::from_secs(2)),
            watchdog: Duration::from_secs(60),
        }
    }

    /// Holds the settings against each other.
    ///
    /// # Errors
    /// [`Unfit`] with the first that cannot work.
    pub fn validate(&self) -> Result<(), Unfit> {
        let refuse = |option, reason: &str| Err(Unfit { option, reason: reason.to_owned() });
        if self.group.is_empty() || self.instance.is_empty() {
            return refuse("group, instance", "must not be empty: they name the owner of the transactions");
        }
        if self.workers == 0 {
            return refuse("workers", "must be at least 1");
        }
        if self.static_members && self.protocol == GroupProtocol::Cooperative {
            return refuse(
                "static members",
                "need the eager protocol, or a crash in a rebalance leaves partitions to nobody",
            );
        }
        if self.transaction_timeout >= self.session_timeout {
            return refuse(
                "transaction timeout",
                "must be shorter than the session timeout: what a dead worker left open must be undone before its \
                 partitions are read by another",
            );
        }
        if self.commit_interval * 2 > self.transaction_timeout {
            return refuse("commit interval", "must be at most half the transaction timeout");
        }
        if self.transaction_records == 0 || self.transaction_bytes == 0 {
            return refuse("transaction records, transaction bytes", "must be at least 1");
        }
        Ok(())
    }
}

/// The pump did not stop in time. Its threads are of no more use: exit the process.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{workers} of the pump's workers did not stop within {deadline:?}; exit the process")]
pub struct Hung {
    /// How many workers still run.
    pub workers: usize,
    /// How long they were given.
    pub deadline: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_members_killed_between_the_steps_of_a_cooperative_rebalance_left_a_partition_to_nobody() {
        let check = |protocol, expect: bool| {
            let config = PumpConfig { static_members: true, protocol, ..PumpConfig::new("g", "i") };
            assert_eq!(config.validate().is_ok(), expect, "{protocol:?}");
        };
        check(GroupProtocol::Cooperative, false);
        check(GroupProtocol::Eager, true);
        check(GroupProtocol::Consumer, true);
    }
}
