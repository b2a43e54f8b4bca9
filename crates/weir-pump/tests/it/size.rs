use weir_pump::{RECORD_OVERHEAD, RecordView, Timestamp, added_size};

#[test]
fn a_record_is_as_large_as_its_parts_and_the_overhead_of_a_batch() {
    let check = |key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&str, Option<&[u8]>)], expect: usize| {
        let record = RecordView { offset: 0, timestamp: Timestamp::None, key, value, headers };
        assert_eq!(record.size(), RECORD_OVERHEAD + expect);
    };
    check(None, None, &[], 0);
    check(Some(b""), Some(b""), &[], 0);
    check(Some(b"key"), Some(b"value"), &[], 8);
    check(Some(b"key"), None, &[("name", Some(b"v")), ("n", None)], 3 + 10 + 5 + 10 + 1);
    assert_eq!(added_size(&[("ab", b"cde".to_vec()), ("f", vec![])]), 10 + 5 + 10 + 1);
}
