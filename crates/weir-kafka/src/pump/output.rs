//! Performs what a stage decided: writes a record where it belongs, within what the topic takes.

use rdkafka::Message;
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::BaseRecord;
use weir_pump::fit::{claim, must_be_claimed, place};
use weir_pump::{Action, Header, Headers, Outcome, RecordView, Route, Run, Stage};

use super::transaction::{Transaction, Trouble};
use crate::record::{append, native_headers, native_timestamp};

/// Writes `run.records[index]`, which `message` holds, as `action` says, within what the topics take.
pub(super) fn perform(
    transaction: &mut Transaction<'_>,
    stage: &mut dyn Stage,
    run: &Run<'_>,
    index: usize,
    message: &BorrowedMessage<'_>,
    action: Action,
) -> Result<Outcome, Trouble> {
    let view = &run.records[index];
    let (outcome, added) = place(stage, run, index, action);
    let topic = match outcome {
        Outcome::Accepted | Outcome::Warned => &run.route.accepted,
        Outcome::Quarantined => &run.route.quarantine,
    };
    if outcome == Outcome::Quarantined && must_be_claimed(run, index, &added) {
        return write_claim(transaction, run, view, &added).map(|()| outcome);
    }
    let mut record = BaseRecord::to(topic).partition(run.partition).timestamp(native_timestamp(view.timestamp));
    record.key = view.key;
    record.payload = view.value;
    // Headers are copied natively, byte for byte, even a name rdkafka cannot show. Where there are none they are not
    // even asked for: that would cost a call into the client per record.
    let own = if view.headers.is_empty() { None } else { message.headers() };
    record.headers = match own {
        Some(own) => Some(append(own.detach(), borrowed(&added))),
        None => native_headers(borrowed(&added)),
    };
    let bytes = view.key.map_or(0, <[u8]>::len) + view.value.map_or(0, <[u8]>::len);
    transaction.send(record, bytes)?;
    Ok(outcome)
}

/// Writes the one entry that stands for offsets which cannot be read.
pub(super) fn write_unreadable(
    transaction: &mut Transaction<'_>,
    route: &Route,
    partition: i32,
    headers: &Headers,
) -> Result<(), Trouble> {
    let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&route.quarantine).partition(partition);
    record.headers = native_headers(borrowed(headers));
    transaction.send(record, 0)
}

fn write_claim(
    transaction: &mut Transaction<'_>,
    run: &Run<'_>,
    view: &RecordView<'_>,
    added: &Headers,
) -> Result<(), Trouble> {
    let claim = claim(&run.route.source, run.partition, view, added, run.quarantine_limit);
    let headers: Vec<Header<'_>> = claim.headers.iter().copied().chain(borrowed(&claim.claim)).collect();
    let mut record =
        BaseRecord::to(&run.route.quarantine).partition(run.partition).timestamp(native_timestamp(view.timestamp));
    record.key = claim.key;
    record.headers = native_headers(headers.into_iter());
    transaction.send(record, 0)
}

fn borrowed(headers: &Headers) -> impl ExactSizeIterator<Item = Header<'_>> {
    headers.iter().map(|(name, value)| (name.as_ref(), Some(value.as_slice())))
}
