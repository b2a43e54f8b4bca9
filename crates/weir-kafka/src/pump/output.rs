//! Performs what a stage decided: writes a record where it belongs, within what the topic takes.

use rdkafka::Message;
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::BaseRecord;
use sha2::{Digest, Sha256};
use weir_pump::{Action, Header, Headers, Outcome, RecordView, Route, Run, Stage, added_size};

use super::transaction::{Transaction, Trouble};
use crate::record::{append, native_headers, native_timestamp};

/// Writes `run.records[index]`, which `message` holds, as `action` says.
///
/// A record that does not fit the accepted topic goes to quarantine, with the stage's reason; one that does not fit
/// there either is written as a claim (see [`claim`]), so that no record ever wedges its partition.
pub(super) fn perform(
    transaction: &mut Transaction<'_>,
    stage: &mut dyn Stage,
    run: &Run<'_>,
    index: usize,
    message: &BorrowedMessage<'_>,
    action: Action,
) -> Result<Outcome, Trouble> {
    let view = &run.records[index];
    let size = view.size();
    let (outcome, added) = match action {
        Action::Forward if size <= run.forward_limit => (Outcome::Accepted, Headers::new()),
        Action::ForwardWith(added) if size + added_size(&added) <= run.forward_limit => (Outcome::Warned, added),
        Action::Quarantine(added) => (Outcome::Quarantined, added),
        Action::Forward => (Outcome::Quarantined, stage.too_large(run, index, size, run.forward_limit)),
        Action::ForwardWith(added) => {
            let size = size + added_size(&added);
            (Outcome::Quarantined, stage.too_large(run, index, size, run.forward_limit))
        }
    };
    let topic = match outcome {
        Outcome::Accepted | Outcome::Warned => &run.route.accepted,
        Outcome::Quarantined => &run.route.quarantine,
    };
    if outcome == Outcome::Quarantined && size + added_size(&added) > run.quarantine_limit {
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

/// What stands in quarantine for a record that is too large even for it: no value, and where the record lies, how
/// large its value is and its SHA-256, so that whoever repairs it can fetch it from the source while it is kept there.
struct Claim<'a> {
    key: Option<&'a [u8]>,
    headers: Vec<Header<'a>>,
    claim: Headers,
}

/// Keeps as much of the record as fits in `limit`: first without its value, then without its own headers, then without
/// its key, at last without the reasons.
fn claim<'a>(source: &str, partition: i32, view: &RecordView<'a>, added: &'a Headers, limit: usize) -> Claim<'a> {
    let value = view.value.unwrap_or_default();
    let digest: String = Sha256::digest(value).iter().map(|byte| format!("{byte:02x}")).collect();
    let claim: Headers = vec![
        ("weir.claim.topic".into(), source.as_bytes().to_vec()),
        ("weir.claim.partition".into(), partition.to_string().into_bytes()),
        ("weir.claim.offset".into(), view.offset.to_string().into_bytes()),
        ("weir.claim.size".into(), value.len().to_string().into_bytes()),
        ("weir.claim.sha256".into(), digest.into_bytes()),
    ];
    let reasons: Vec<Header<'a>> = added.iter().map(|(name, value)| (name.as_ref(), Some(value.as_slice()))).collect();
    let all = [view.headers, &reasons].concat();
    for (key, headers) in [(view.key, all), (view.key, reasons.clone()), (None, reasons)] {
        let bare = RecordView { value: None, key, headers: &headers, ..*view };
        if bare.size() + added_size(&claim) <= limit {
            return Claim { key, headers, claim };
        }
    }
    Claim { key: None, headers: Vec::new(), claim }
}

fn borrowed(headers: &Headers) -> impl ExactSizeIterator<Item = Header<'_>> {
    headers.iter().map(|(name, value)| (name.as_ref(), Some(value.as_slice())))
}

#[cfg(test)]
mod tests {
    use weir_pump::Timestamp;

    use super::*;

    #[test]
    fn a_claim_keeps_what_fits() {
        let (key, value) = (vec![1; 100], vec![2; 5000]);
        let own: Vec<Header<'_>> = vec![("own", Some(&value[..200]))];
        let view =
            RecordView { offset: 7, timestamp: Timestamp::None, key: Some(&key), value: Some(&value), headers: &own };
        let added: Headers = vec![("why".into(), vec![3; 50])];
        let check = |limit: usize, key: bool, headers: &[&str]| {
            let claim = claim("orders.landing", 3, &view, &added, limit);
            assert_eq!(claim.key.is_some(), key, "limit {limit}");
            assert_eq!(claim.headers.iter().map(|(name, _)| *name).collect::<Vec<_>>(), headers, "limit {limit}");
            let text = |index: usize| String::from_utf8(claim.claim[index].1.clone()).unwrap();
            assert_eq!([text(0), text(1), text(2), text(3)], ["orders.landing", "3", "7", "5000"]);
            assert_eq!(text(4).len(), 64);
        };
        check(2000, true, &["own", "why"]);
        check(600, true, &["why"]);
        check(450, false, &["why"]);
        check(350, false, &[]);
    }
}
