use std::time::{Duration, Instant};

use bytes::Bytes;
use weir_wire::ErrorCode;
use weir_wire::batch::{Batch, HEADER_SIZE};
use weir_wire::build::BatchBuilder;
use weir_wire::codec::Codec;

use crate::native::producer::{Outgoing, Place, Producer, Trouble, Turn, Wish};

const TIMEOUT: Duration = Duration::from_secs(8);

fn place(partition: i32) -> Place {
    Place { topic: "orders".into(), partition }
}

fn batch(records: i32) -> Batch {
    let mut builder = BatchBuilder::new(Codec::None);
    (0..records).for_each(|n| builder.push(1_000, None, Some(&n.to_be_bytes()), &[]).unwrap());
    Batch::split(&mut builder.finish(0).unwrap()).unwrap().unwrap()
}

fn ready(implicit: bool, now: Instant) -> Producer {
    let mut producer = Producer::new(TIMEOUT);
    assert_eq!(producer.wish(now), Some(Wish::Init));
    assert_eq!(producer.initialised(ErrorCode::NONE, 7, 3, implicit, now), Ok(Turn::Ready));
    assert!(producer.is_idle());
    producer.open(now);
    producer
}

fn send(producer: &mut Producer, now: Instant) -> Vec<Outgoing> {
    producer.outgoing(now, usize::MAX, |_| true)
}

/// Epoch and sequence as they are stamped.
fn stamped(outgoing: &Outgoing) -> (i16, i32) {
    let mut whole = Bytes::from([&outgoing.header[..], &outgoing.batch[HEADER_SIZE..]].concat());
    let batch = Batch::split(&mut whole).unwrap().unwrap();
    batch.verify_crc().unwrap();
    assert!(batch.is_transactional());
    assert_eq!(batch.base_sequence(), outgoing.sequence);
    (batch.producer_epoch(), batch.base_sequence())
}

fn done(producer: &mut Producer, outgoing: &[Outgoing], now: Instant) {
    for sent in outgoing {
        let answer = Some((ErrorCode::NONE, ""));
        assert_eq!(producer.produced(&sent.place, sent.sequence, answer, now), Ok(Turn::Fine));
    }
}

fn answer(producer: &mut Producer, wish: Wish, code: ErrorCode, now: Instant) -> Result<Turn, Trouble> {
    assert_eq!(producer.wish(now), Some(wish.clone()));
    assert_eq!(producer.wish(now), None, "one question at a time");
    producer.answered(&wish, code, None, Some((7, 4)), now)
}

#[test]
fn a_transaction_of_version_two_takes_everything_in_by_itself_and_ends_with_a_new_epoch() {
    let now = Instant::now();
    let mut producer = ready(true, now);
    producer.push(&place(0), batch(3));
    producer.push(&place(0), batch(2));
    producer.push(&place(1), batch(1));
    let first = send(&mut producer, now);
    assert_eq!(first.iter().map(stamped).collect::<Vec<_>>(), [(3, 0), (3, 0)]);
    let second = send(&mut producer, now);
    assert_eq!(second.iter().map(stamped).collect::<Vec<_>>(), [(3, 3)]);
    producer.commit();
    assert!(!producer.takes());
    assert_eq!(producer.wish(now), None, "not all is acknowledged");
    done(&mut producer, &first, now);
    done(&mut producer, &second, now);
    assert_eq!(producer.bytes(), 0);
    assert_eq!(answer(&mut producer, Wish::Offsets, ErrorCode::NONE, now), Ok(Turn::Fine));
    assert!(!producer.may_be_committed());
    let end = Wish::End { commit: true };
    assert_eq!(answer(&mut producer, end.clone(), ErrorCode::CONCURRENT_TRANSACTIONS, now), Ok(Turn::Fine));
    let later = now + Duration::from_secs(1);
    assert_eq!(answer(&mut producer, end, ErrorCode::NONE, later), Ok(Turn::Committed));
    assert_eq!(producer.identity(), (7, 4));
    producer.open(later);
    producer.push(&place(0), batch(1));
    assert_eq!(stamped(&send(&mut producer, later)[0]), (4, 0), "a new epoch begins at 0");
}

#[test]
fn before_version_two_partitions_and_group_are_added_first_and_sequences_go_on() {
    let now = Instant::now();
    let mut producer = ready(false, now);
    producer.push(&place(0), batch(3));
    assert!(send(&mut producer, now).is_empty());
    let add = Wish::AddPartitions(vec![place(0)]);
    assert_eq!(answer(&mut producer, add, ErrorCode::NONE, now), Ok(Turn::Fine));
    let sent = send(&mut producer, now);
    producer.commit();
    done(&mut producer, &sent, now);
    for wish in [Wish::AddOffsets, Wish::Offsets] {
        assert_eq!(answer(&mut producer, wish, ErrorCode::NONE, now), Ok(Turn::Fine));
    }
    assert_eq!(answer(&mut producer, Wish::End { commit: true }, ErrorCode::NONE, now), Ok(Turn::Committed));
    assert_eq!(producer.identity(), (7, 3), "the epoch stays");
    producer.open(now);
    producer.push(&place(0), batch(1));
    let add = Wish::AddPartitions(vec![place(0)]);
    assert_eq!(answer(&mut producer, add, ErrorCode::NONE, now), Ok(Turn::Fine));
    assert_eq!(stamped(&send(&mut producer, now)[0]), (3, 3));
}

#[test]
fn what_failed_is_sent_again_in_its_order_with_its_sequences() {
    let now = Instant::now();
    let mut producer = ready(true, now);
    (0..7).for_each(|_| producer.push(&place(0), batch(10)));
    let mut sent = Vec::new();
    for _ in 0..6 {
        sent.extend(send(&mut producer, now));
    }
    assert_eq!(sent.iter().map(|s| s.sequence).collect::<Vec<_>>(), [0, 10, 20, 30, 40], "five at most");
    // The first is acknowledged, the answer to the second is lost, the broker refuses those behind it.
    done(&mut producer, &sent[..1], now);
    assert_eq!(producer.produced(&place(0), 10, None, now), Ok(Turn::Fine));
    for sequence in [20, 30, 40] {
        let refused = Some((ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, ""));
        assert_eq!(producer.produced(&place(0), sequence, refused, now), Ok(Turn::Fine));
    }
    assert!(send(&mut producer, now).is_empty(), "not at once");
    let later = now + Duration::from_secs(1);
    let mut again = Vec::new();
    for _ in 0..6 {
        again.extend(send(&mut producer, later));
    }
    assert_eq!(again.iter().map(|s| s.sequence).collect::<Vec<_>>(), [10, 20, 30, 40, 50]);
    assert_eq!(again[0].header, sent[1].header, "the same bytes");
    // It had arrived after all.
    let twice = Some((ErrorCode::DUPLICATE_SEQUENCE_NUMBER, ""));
    assert_eq!(producer.produced(&place(0), 10, twice, later), Ok(Turn::Fine));
    done(&mut producer, &again[1..], later);
    assert_eq!(send(&mut producer, later)[0].sequence, 60);
}

#[test]
fn what_cannot_be_mended_is_told() {
    let check = |code: ErrorCode, expect: &dyn Fn(&Trouble) -> bool| {
        let now = Instant::now();
        let mut producer = ready(true, now);
        producer.push(&place(0), batch(1));
        send(&mut producer, now);
        let trouble = producer.produced(&place(0), 0, Some((code, "why")), now).unwrap_err();
        assert!(expect(&trouble), "{code}: {trouble:?}");
    };
    check(ErrorCode::INVALID_RECORD, &|t| matches!(t, Trouble::Refused { place: p, .. } if *p == place(0)));
    check(ErrorCode::MESSAGE_TOO_LARGE, &|t| matches!(t, Trouble::Limits { topic, .. } if &**topic == "orders"));
    check(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, &|t| matches!(t, Trouble::Limits { .. }));
    check(ErrorCode::TRANSACTION_ABORTABLE, &|t| matches!(t, Trouble::Abort(_)));
    check(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, &|t| matches!(t, Trouble::Abort(_)));
    check(ErrorCode::INVALID_PRODUCER_EPOCH, &|t| matches!(t, Trouble::Fenced(_)));
    check(ErrorCode::INVALID_TXN_STATE, &|t| matches!(t, Trouble::Doubt(_)));
    check(ErrorCode(4_711), &|t| matches!(t, Trouble::Doubt(_)));
}

#[test]
fn an_abort_waits_for_what_is_on_its_way() {
    let now = Instant::now();
    let mut producer = ready(true, now);
    producer.push(&place(0), batch(1));
    producer.push(&place(0), batch(1));
    let sent = send(&mut producer, now);
    producer.abort();
    assert!(!producer.abort_quietly());
    assert_eq!(producer.wish(now), None);
    assert!(send(&mut producer, now).is_empty(), "what waits is not sent any more");
    assert_eq!(producer.produced(&place(0), sent[0].sequence, None, now), Ok(Turn::Fine));
    assert_eq!(answer(&mut producer, Wish::End { commit: false }, ErrorCode::NONE, now), Ok(Turn::Aborted));
    assert_eq!(producer.identity(), (7, 4));
    producer.open(now);
    producer.abort();
    assert!(producer.abort_quietly(), "nothing was sent");
    assert!(producer.is_idle());
}

#[test]
fn what_could_not_be_asked_does_not_hold_up_the_abort() {
    let now = Instant::now();
    let mut producer = ready(true, now);
    producer.push(&place(0), batch(1));
    let sent = send(&mut producer, now);
    producer.commit();
    done(&mut producer, &sent, now);
    assert_eq!(producer.wish(now), Some(Wish::Offsets));
    producer.unasked();
    producer.abort();
    assert_eq!(answer(&mut producer, Wish::End { commit: false }, ErrorCode::NONE, now), Ok(Turn::Aborted));
}

#[test]
fn before_version_two_an_abort_with_batches_astray_takes_a_new_epoch() {
    let now = Instant::now();
    let mut producer = ready(false, now);
    producer.push(&place(0), batch(1));
    answer(&mut producer, Wish::AddPartitions(vec![place(0)]), ErrorCode::NONE, now).unwrap();
    let (sent, round) = (send(&mut producer, now), producer.round());
    producer.abort();
    assert_eq!(producer.produced(&place(0), sent[0].sequence, None, now), Ok(Turn::Fine));
    assert_eq!(producer.wish(now), Some(Wish::Init));
    assert_ne!(producer.round(), round, "answers of before mean nothing any more");
}

/// F7: the answer to the end does not come.
#[test]
fn an_end_without_an_answer_is_asked_again_only_where_the_epoch_tells_it_apart() {
    let closing = |implicit: bool, now: Instant| {
        let mut producer = ready(implicit, now);
        producer.push(&place(0), batch(1));
        if !implicit {
            answer(&mut producer, Wish::AddPartitions(vec![place(0)]), ErrorCode::NONE, now).unwrap();
        }
        let sent = send(&mut producer, now);
        producer.commit();
        done(&mut producer, &sent, now);
        let before: &[Wish] = if implicit { &[Wish::Offsets] } else { &[Wish::AddOffsets, Wish::Offsets] };
        for wish in before {
            answer(&mut producer, wish.clone(), ErrorCode::NONE, now).unwrap();
        }
        assert_eq!(producer.wish(now), Some(Wish::End { commit: true }));
        assert!(producer.may_be_committed());
        producer
    };
    let (now, end) = (Instant::now(), Wish::End { commit: true });
    let mut two = closing(true, now);
    assert_eq!(two.gone(&end, "time out", now), Ok(Turn::FindCoordinator));
    let later = now + Duration::from_secs(1);
    assert_eq!(answer(&mut two, end.clone(), ErrorCode::NONE, later), Ok(Turn::Committed));
    let mut one = closing(false, now);
    assert!(matches!(one.gone(&end, "time out", now), Err(Trouble::Doubt(_))));
    one.renew();
    assert_eq!(one.wish(later), Some(Wish::Init), "a new epoch before anything else");
}

/// F7: a question whose answer is lost may arrive once more, later.
#[test]
fn before_version_two_a_question_without_an_answer_is_followed_by_a_new_epoch() {
    let check = |implicit: bool, expect: Option<Wish>| {
        let now = Instant::now();
        let mut producer = ready(implicit, now);
        producer.push(&place(0), batch(1));
        if !implicit {
            answer(&mut producer, Wish::AddPartitions(vec![place(0)]), ErrorCode::NONE, now).unwrap();
        }
        let sent = send(&mut producer, now);
        producer.commit();
        done(&mut producer, &sent, now);
        if !implicit {
            answer(&mut producer, Wish::AddOffsets, ErrorCode::NONE, now).unwrap();
        }
        assert_eq!(producer.wish(now), Some(Wish::Offsets));
        assert_eq!(producer.gone(&Wish::Offsets, "time out", now), Ok(Turn::FindCoordinator));
        let later = now + Duration::from_secs(1);
        assert_eq!(answer(&mut producer, Wish::Offsets, ErrorCode::NONE, later), Ok(Turn::Fine));
        assert_eq!(answer(&mut producer, Wish::End { commit: true }, ErrorCode::NONE, later), Ok(Turn::Committed));
        assert_eq!((producer.wish(later), producer.is_idle()), (expect.clone(), expect.is_none()), "{implicit}");
    };
    check(true, None);
    check(false, Some(Wish::Init));
}
