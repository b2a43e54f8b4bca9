//! Runs `tests/cases/*.case`: a query behind `=== sql`, what is said of it behind `=== plan` or `=== error`.

use std::path::Path;
use std::sync::Arc;

use weir_view::{Options, plan};

#[test]
fn queries_get_their_plans_and_errors() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let relations: Vec<_> = super::retail::products().into_iter().map(Arc::new).collect();
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    let (mut failed, mut count) = (Vec::new(), 0);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for case in text.split("=== sql\n").skip(1) {
            count += 1;
            let (sql, rest) = case.split_once("=== ").unwrap();
            let (kind, expect) = rest.split_once('\n').unwrap();
            let allow = sql.lines().filter_map(|l| l.strip_prefix("-- allow ")).map(str::to_owned).collect();
            let options = Options { id: "test.case".into(), topic: "test.case".into(), allow, salt: String::new() };
            let found = match plan(sql, &options, &relations) {
                Ok(plan) => ("plan", plan.text()),
                Err(error) => ("error", error.to_string()),
            };
            if (kind, expect.trim()) != (found.0, found.1.trim()) {
                failed.push(format!("{}:\n{sql}found {}\n{}", file.display(), found.0, found.1));
            }
        }
    }
    assert!(failed.is_empty(), "{} of {count} failed\n{}", failed.len(), failed.join("\n\n"));
    assert!(count >= 30, "{count} cases");
}
