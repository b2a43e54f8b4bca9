//! What a stage decided, held against what the topics take.
//!
//! A record that does not fit the accepted topic goes to quarantine, with the stage's reason; one that does not fit there
//! either is written as a [`Claim`], so that no record ever wedges its partition. Both lanes decide by this.

use sha2::{Digest, Sha256};

use crate::{Action, Header, Headers, Outcome, RecordView, Run, Stage, added_size};

/// Where `run.records[index]` goes and the headers it gains, as `action` says and the limits allow.
pub fn place(stage: &mut dyn Stage, run: &Run<'_>, index: usize, action: Action) -> (Outcome, Headers) {
    let size = run.records[index].size();
    match action {
        Action::Forward if size <= run.forward_limit => (Outcome::Accepted, Headers::new()),
        Action::ForwardWith(added) if size + added_size(&added) <= run.forward_limit => (Outcome::Warned, added),
        Action::Quarantine(added) => (Outcome::Quarantined, added),
        Action::Forward => (Outcome::Quarantined, stage.too_large(run, index, size, run.forward_limit)),
        Action::ForwardWith(added) => {
            let size = size + added_size(&added);
            (Outcome::Quarantined, stage.too_large(run, index, size, run.forward_limit))
        }
    }
}

/// Whether the record with these headers added is too large even for the quarantine topic, and must be claimed.
pub fn must_be_claimed(run: &Run<'_>, index: usize, added: &Headers) -> bool {
    run.records[index].size() + added_size(added) > run.quarantine_limit
}

/// What stands in quarantine for a record that is too large even for it: no value, and where the record lies, how
/// large its value is and its SHA-256, so that whoever repairs it can fetch it from the source while it is kept there.
pub struct Claim<'a> {
    /// The key, if it fits.
    pub key: Option<&'a [u8]>,
    /// What fits of the record's own headers and the reasons.
    pub headers: Vec<Header<'a>>,
    /// Where the record lies.
    pub claim: Headers,
}

/// Keeps as much of the record as fits in `limit`: first without its value, then without its own headers, then without
/// its key, at last without the reasons.
pub fn claim<'a>(source: &str, partition: i32, view: &RecordView<'a>, added: &'a Headers, limit: usize) -> Claim<'a> {
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

#[cfg(test)]
mod tests {
    use crate::Timestamp;

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
