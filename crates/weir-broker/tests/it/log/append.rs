//! Appending and reading back.

use super::*;

#[test]
fn what_is_appended_is_read_in_whole_batches() {
    let mut lab = Lab::new(LogConfig { index_interval_bytes: 100, ..LogConfig::default() });
    let mut expect = Vec::new();
    for n in 0..200i64 {
        let values: Vec<String> = (0..=n % 7).map(|at| format!("{n}-{at}")).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let base = lab.put(&values);
        assert_eq!(base, expect.len() as i64);
        expect.extend(from(base, &values));
    }
    assert_eq!(lab.all(), expect);
    for start in 0..expect.len() {
        let slice = lab.log.read(start as i64, 1_000, Isolation::ReadUncommitted, true).unwrap();
        let mut all = Vec::new();
        let next = records(&slice, start as i64, &mut all) as usize;
        assert_eq!(all, expect[start..next]);
    }
    lab.kill();
    assert_eq!(lab.all(), expect);
    lab.log.close().unwrap();
    lab.kill();
    assert_eq!(lab.all(), expect);
    assert_eq!(lab.put(&["next"]), expect.len() as i64);
}
