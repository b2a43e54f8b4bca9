use super::*;

#[test]
fn deep_and_long_queries_are_errors() {
    let check = |text: &str, words: &str| {
        let error = parse(text).err().map(|e| e.message).unwrap_or_default();
        assert!(error.contains(words), "{error}");
    };
    check(&format!("SELECT {}1 AS x FROM a", "1 + ".repeat(4_900)), "nests deeper");
    check(&format!("SELECT {}1 AS x FROM a", "NOT ".repeat(4_900)), "NOT");
    check(&format!("SELECT {}1{} AS x FROM a", "(".repeat(4_000), ")".repeat(4_000)), "too deep");
    check(&format!("SELECT {}1 AS x FROM a", "1 + ".repeat(6_000)), "more than 10000");
    check(&format!("SELECT '{}' AS x FROM a", "x".repeat(70_000)), "longer than");
    check("SELECT 'abc", "Unterminated");
    check("", "Expected");
    let long = format!("{}SELECT x FROM a", "SELECT x FROM a UNION ALL ".repeat(1_600));
    assert_eq!(parse(&long).map(|query| query.union.len()), Ok(1_600));
}
