//! What comes in of one partition, held until every task that reads it has used it.

use std::collections::VecDeque;

use weir_kafka::{Incoming, Standing};

/// A partition of a topic as it comes in, shared by all tasks that read it.
pub struct Incomings<'m> {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// What has come and is not yet used by every task.
    pub buffer: VecDeque<Incoming<'m>>,
    /// The number of the first one in the buffer; they are numbered as they come.
    pub first: u64,
    /// Bytes of values in the buffer.
    pub bytes: usize,
    /// The offset behind the last that was handed out.
    pub next: i64,
    /// Whether the client was told to stop.
    pub paused: bool,
    /// Up to where the client says that there is nothing more.
    pub empty_to: i64,
    /// Records that wait at the broker, as of the last report.
    pub lag: i64,
    /// Where the last report saw nothing more; -1 if it saw something.
    seen: i64,
}

impl Incomings<'_> {
    /// The record of that number, if it is there.
    pub fn get(&self, number: u64) -> Option<&Incoming<'_>> {
        self.buffer.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }
}

impl<'m> Incomings<'m> {
    /// A partition of which nothing has come yet.
    pub fn new(topic: &str, partition: i32) -> Incomings<'m> {
        Incomings {
            topic: topic.to_owned(),
            partition,
            buffer: Default::default(),
            first: 0,
            bytes: 0,
            next: 0,
            paused: false,
            empty_to: -1,
            lag: 0,
            seen: -1,
        }
    }

    /// Takes a record in.
    pub fn push(&mut self, record: Incoming<'m>) {
        // What was fetched before the positions were set may still come.
        if record.offset() < self.next {
            return;
        }
        self.next = record.offset() + 1;
        self.bytes += record.value().map_or(0, <[u8]>::len);
        self.buffer.push_back(record);
    }

    /// Takes the client's word for how far the partition was read. A report is put together while records come in, and
    /// may count those as fetched that it did not see waiting yet: it is believed where the last record that was handed
    /// out says the same, or the next report does.
    pub fn stands(&mut self, standing: &Standing) {
        let nothing = standing.taken && standing.fetched >= standing.end && standing.fetched >= 0;
        if nothing && (standing.fetched <= self.next || standing.fetched == self.seen) {
            self.empty_to = standing.fetched;
        }
        self.seen = if nothing { standing.fetched } else { -1 };
    }

    /// Lets go of all records before that number.
    pub fn let_go(&mut self, used: u64) {
        while self.first < used {
            let Some(record) = self.buffer.pop_front() else { break };
            self.bytes -= record.value().map_or(0, <[u8]>::len);
            self.first += 1;
        }
    }
}
