//! Holds what can be held by reading the tree: which room may know which, what the pure rooms must not name, sizes, names, leftovers.
//!
//! Every test lists all it finds, so that one run tells everything.

mod rooms;
mod text;

use std::fs;
use std::path::{Path, PathBuf};

/// A file of the project.
struct File {
    /// From the root of the project, with `/`.
    path: String,
    /// Empty where it is not UTF-8.
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What is written by hand: everything but build output and folders that git ignores. The walk needs no git.
fn files() -> Vec<File> {
    fn walk(folder: &Path, root: &Path, files: &mut Vec<File>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                let hidden = name.starts_with('.') && name != ".ci";
                if !hidden && !["target", "node_modules", "__pycache__"].contains(&name) {
                    walk(&path, root, files);
                }
            } else {
                let relative = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.push(File { path: relative, text: fs::read_to_string(&path).unwrap_or_default() });
            }
        }
    }
    let mut files = Vec::new();
    walk(&root(), &root(), &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

#[track_caller]
fn none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn no_file_breaks_a_rule_of_the_house() {
    let files = files();
    assert!(files.len() > 50, "the walk found only {} files", files.len());
    none(files.iter().flat_map(|file| text::faults(&file.path, &file.text)).collect());
}

#[test]
fn every_violation_code_has_a_page_and_every_page_a_code() {
    let files = files();
    let pages: Vec<&str> = files.iter().filter_map(|file| text::page(&file.path)).collect();
    let sources =
        || files.iter().filter(|file| file.path.starts_with("crates/weir-contract/src/") && file.path.ends_with(".rs"));
    let codes: Vec<&str> = sources().flat_map(|file| text::codes(&file.text)).collect();
    let without = codes
        .iter()
        .filter(|code| !pages.contains(code))
        .map(|code| format!("{code} has no page in crates/weir-contract/src/codes"));
    let unused = pages
        .iter()
        .filter(|page| !codes.contains(page))
        .map(|page| format!("crates/weir-contract/src/codes/{page}.md belongs to no code"));
    none(without.chain(unused).collect());
}

#[test]
fn the_front_pages_say_what_they_must() {
    let mut faults = Vec::new();
    for (page, words) in [
        ("README.md", ["make up", "make test"].as_slice()),
        ("CHANGELOG.md", &["## [Unreleased]"]),
        ("CONTRIBUTING.md", &["make test"]),
    ] {
        let text = read(page);
        faults.extend(
            words.iter().filter(|word| !text.contains(**word)).map(|word| format!("{page} does not mention `{word}`")),
        );
    }
    none(faults);
}
