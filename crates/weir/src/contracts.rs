//! Contract files: found in folders, read, compiled with the schemas beside them, and held against each other.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use weir_contract::{CompiledContract, Contract, Diagnostic, Place, Promise, Severity, has_errors};

use crate::{Failure, views};

/// How a contract file's name ends.
const ENDING: &str = ".odcs.yaml";
/// How the name of a contract ends that says what a view writes: it belongs to the view, whose plan is its schema.
const VIEWS_OWN: &str = ".view.odcs.yaml";
/// A larger file is no contract and no schema.
const LARGEST: u64 = 16 << 20;

/// A contract file with all that was found out about it.
pub struct ContractFile {
    /// The file, as it was named or found.
    pub path: PathBuf,
    /// The contract, where it could be read.
    pub contract: Option<Contract>,
    /// The contract ready to judge events, where it has no error.
    pub compiled: Option<CompiledContract>,
    /// The Avro schemas it names, by the name it gives them.
    pub schemas: BTreeMap<String, String>,
    /// All findings, by place.
    pub diagnostics: Vec<Diagnostic>,
    /// What becomes of each of its promises, by place.
    pub promises: Vec<Promise>,
}

/// The contract files of `paths`: files as they are, folders searched for `*.odcs.yaml`, each once, sorted.
///
/// # Errors
/// [`Failure::Usage`] for a path that is not there, or a folder without a contract or a view.
pub fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for path in paths {
        let facts = fs::metadata(path)
            .map_err(|error| Failure::Usage(format!("{}: {error}; name a contract or a folder", path.display())))?;
        if !facts.is_dir() {
            found.push(path.clone());
            continue;
        }
        let before = found.len();
        search(path, ENDING, &mut found)?;
        // A folder of views alone is one too: what they read may be elsewhere, and whoever plans them says so.
        if found.len() == before && views::find(std::slice::from_ref(path))?.is_empty() {
            let text = format!("{}: holds no file that ends in {ENDING}; name another folder", path.display());
            return Err(Failure::Usage(text));
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// Adds the files below a folder whose names end so.
pub fn search(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let wrong = |error: std::io::Error| Failure::Usage(format!("{}: {error}", folder.display()));
    for entry in fs::read_dir(folder).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // A link to a folder is not followed: it may lead back here.
        if entry.file_type().map_err(wrong)?.is_dir() {
            if !name.starts_with('.') {
                search(&entry.path(), ending, found)?;
            }
        } else if name.ends_with(ending) && !(ending == ENDING && name.ends_with(VIEWS_OWN)) {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// Reads and compiles all contract files of `paths` and holds them against each other.
///
/// # Errors
/// As [`find`]. What is wrong with a contract is a diagnostic, not a failure.
pub fn load_all(paths: &[PathBuf]) -> Result<Vec<ContractFile>, Failure> {
    let mut files: Vec<ContractFile> = find(paths)?.into_iter().map(load).collect();
    across(&mut files);
    for file in &mut files {
        file.diagnostics.sort();
    }
    Ok(files)
}

/// Reads and compiles one file.
pub fn load(path: PathBuf) -> ContractFile {
    let name = path.display().to_string();
    let mut file = ContractFile {
        path,
        contract: None,
        compiled: None,
        schemas: BTreeMap::new(),
        diagnostics: Vec::new(),
        promises: Vec::new(),
    };
    let text = match read(&file.path) {
        Ok(text) => text,
        Err(why) => {
            file.diagnostics.push(error(&name, Place { line: 1, column: 1 }, "file-unreadable", why));
            return file;
        }
    };
    let schemas = RefCell::new(BTreeMap::new());
    let folder = file.path.parent().unwrap_or(Path::new("")).to_owned();
    let source = |url: &str| {
        let known = schemas.borrow().get(url).cloned();
        if known.is_some() {
            return known;
        }
        let text = schema_text(&folder, url)?;
        schemas.borrow_mut().insert(url.to_owned(), text.clone());
        Some(text)
    };
    let lint = weir_contract::lint(&text, &name, &source);
    (file.diagnostics, file.promises) = (lint.diagnostics, lint.promises);
    // The linter goes on behind errors; these two do not, and have nothing new to say.
    file.contract = weir_contract::read(&text, &name).0;
    file.compiled = file.contract.as_ref().and_then(|contract| weir_contract::compile(contract, &source).0);
    file.schemas = schemas.into_inner();
    if has_errors(&file.diagnostics) {
        file.compiled = None;
    }
    file
}

/// A contract that can be used, or a failure with everything that is wrong with it.
///
/// # Errors
/// [`Failure::Usage`] where the file is not there, [`Failure::No`] where it has errors.
pub fn load_one(path: &Path) -> Result<ContractFile, Failure> {
    let files = load_all(&[path.to_owned()])?;
    let mut files = files.into_iter();
    let (Some(file), None) = (files.next(), files.next()) else {
        return Err(Failure::Usage(format!("{}: has none or several contracts; name one file", path.display())));
    };
    match file.compiled {
        Some(_) => Ok(file),
        None => {
            let errors = file.diagnostics.iter().filter(|finding| finding.severity == Severity::Error);
            let errors: Vec<String> = errors.map(ToString::to_string).collect();
            Err(Failure::No(format!("the contract cannot be used; correct it\n{}", errors.join("\n"))))
        }
    }
}

/// The text of a schema named relative to the contract's folder. Nothing is fetched over the network.
fn schema_text(folder: &Path, url: &str) -> Option<String> {
    let path = url.strip_prefix("file://").unwrap_or(url);
    if path.contains("://") {
        return None;
    }
    read(&folder.join(path)).ok()
}

/// The text of a file that is not too large to be one of ours.
pub fn read(path: &Path) -> Result<String, String> {
    let size = fs::metadata(path).map_err(|e| e.to_string())?.len();
    if size > LARGEST {
        return Err(format!("the file has {size} bytes, more than a contract ever has; is it one?"));
    }
    fs::read_to_string(path).map_err(|e| e.to_string())
}

fn error(file: &str, place: Place, code: &'static str, message: String) -> Diagnostic {
    let Place { line, column } = place;
    Diagnostic { file: file.to_owned(), line, column, severity: Severity::Error, code, message }
}

/// What no file can know alone: that another claims the same id or the same topic.
fn across(files: &mut [ContractFile]) {
    let mut ids: BTreeMap<String, (usize, String)> = BTreeMap::new();
    let mut topics: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for (index, file) in files.iter_mut().enumerate() {
        let Some(contract) = &file.contract else { continue };
        let mut findings = Vec::new();
        let mut claim = |taken: &mut BTreeMap<String, (usize, String)>, name: String, place: Place, what, code| {
            let here = format!("{}:{}:{}", contract.file, place.line, place.column);
            match taken.get(&name) {
                None => drop(taken.insert(name, (index, here))),
                // Within one file the compiler says so.
                Some((first, _)) if *first == index => {}
                Some((_, first)) => {
                    let message = format!("the {what} `{name}` is claimed at {first} already; give it to one of them");
                    findings.push(error(&contract.file, place, code, message));
                    return false;
                }
            }
            true
        };
        let place = contract.document.get("id").map_or(Place { line: 1, column: 1 }, |id| id.place);
        claim(&mut ids, contract.id.clone(), place, "contract id", "mesh-id-taken");
        for object in contract.topics() {
            let place = object.physical_name.place;
            let mut names = vec![object.product_topic().to_owned(), object.quarantine_topic()];
            names.extend(object.landing_topic());
            // Who claims the product claims its landing and quarantine too: one finding is enough.
            for name in names {
                if !claim(&mut topics, name, place, "topic", "mesh-topic-taken") {
                    break;
                }
            }
        }
        if !findings.is_empty() {
            file.compiled = None;
            file.diagnostics.extend(findings);
        }
    }
}
