//! The views of `contracts/` and those beside these tests plan over the retail mesh, and their inline tests pass.

use std::fs;
use std::path::{Path, PathBuf};

use weir_view::{Relation, ViewFile, plan_all};

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn files(ending: &str) -> Vec<PathBuf> {
    let domains = fs::read_dir(root().join("contracts")).unwrap().map(|d| d.unwrap().path()).filter(|d| d.is_dir());
    let mut files: Vec<PathBuf> =
        domains.flat_map(|d| fs::read_dir(d).unwrap().map(|f| f.unwrap().path()).collect::<Vec<_>>()).collect();
    // The contract of what a view writes is the view's own, and no product that views read.
    files.retain(|f| f.to_string_lossy().ends_with(ending) && !f.to_string_lossy().ends_with(".view.odcs.yaml"));
    files.sort();
    files
}

pub(crate) fn products() -> Vec<Relation> {
    let mut all = Vec::new();
    for file in files(".odcs.yaml") {
        let text = fs::read_to_string(&file).unwrap();
        let (contract, findings) = weir_contract::read(&text, &file.to_string_lossy());
        let contract = contract.unwrap_or_else(|| panic!("{findings:?}"));
        let folder = file.parent().unwrap().to_owned();
        let (compiled, _) = weir_contract::compile(&contract, &|url| fs::read_to_string(folder.join(url)).ok());
        all.extend(Relation::of_contract(&contract, &compiled.unwrap()));
    }
    all
}

#[test]
fn the_retail_views_plan_and_keep_their_tests() {
    let mut views: Vec<ViewFile> = Vec::new();
    let beside = fs::read_dir(root().join("crates/weir-view/tests/views")).unwrap().map(|f| f.unwrap().path());
    for file in files(".view.yaml").into_iter().chain(beside) {
        let (view, findings) = weir_view::read(&fs::read_to_string(&file).unwrap(), &file.to_string_lossy());
        views.push(view.unwrap_or_else(|| panic!("{findings:?}")));
    }
    assert!(views.len() >= 13);
    let (plans, findings) = plan_all(products(), &views);
    assert!(findings.is_empty(), "{}", findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    // A window is a part of the key, which says where a row lies: whoever joins it looks for it there.
    let moved = |id: &str| {
        let found = views.iter().position(|view| view.options.id == id).unwrap();
        plans[found].as_ref().unwrap().rekeyed()
    };
    assert_eq!((moved("sales.weekly_visits"), moved("sales.household_spend")), (true, false));
    for (view, plan) in views.iter().zip(&plans) {
        assert!(!view.tests.is_empty(), "{} has no test", view.file);
        for test in &view.tests {
            if let Err(why) = test.run(plan.as_ref().unwrap()) {
                panic!("{}: {}\n{why}", view.file, test.name);
            }
        }
    }
}
