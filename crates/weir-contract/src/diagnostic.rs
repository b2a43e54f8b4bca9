//! What a reader of a contract is told: every finding with its place, all of them at once.
//!
//! A diagnostic is about a contract or its schema, never about an event; what is wrong with an event is a
//! [`Violation`](crate::Violation).

use std::fmt;

/// A place in a text, both counted from 1; the column counts characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// How much a finding weighs. Only errors stop a contract from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The contract cannot be used.
    Error,
    /// The contract can be used; its author probably meant something else.
    Warning,
    /// Worth knowing, such as a promise nobody enforces.
    Info,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        })
    }
}

/// One finding, shown as `file:line:column: severity[code]: message`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// The file as the caller named it.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Weight of the finding.
    pub severity: Severity,
    /// Stable name of the kind of finding, such as `odcs-unknown-key`.
    pub code: &'static str,
    /// What is wrong and what to do, without a final period.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, severity, code, message } = self;
        write!(f, "{file}:{line}:{column}: {severity}[{code}]: {message}")
    }
}

/// Whether any finding stops the contract from being used.
pub fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|d| d.severity == Severity::Error)
}

/// Collects the findings of one file.
#[derive(Debug)]
pub(crate) struct Findings {
    file: String,
    list: Vec<Diagnostic>,
}

impl Findings {
    pub(crate) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), list: Vec::new() }
    }

    pub(crate) fn error(&mut self, at: Place, code: &'static str, message: impl Into<String>) {
        self.add(Severity::Error, at, code, message.into());
    }

    pub(crate) fn warn(&mut self, at: Place, code: &'static str, message: impl Into<String>) {
        self.add(Severity::Warning, at, code, message.into());
    }

    pub(crate) fn info(&mut self, at: Place, code: &'static str, message: impl Into<String>) {
        self.add(Severity::Info, at, code, message.into());
    }

    fn add(&mut self, severity: Severity, at: Place, code: &'static str, message: String) {
        let (line, column) = (at.line.max(1), at.column.max(1));
        self.list.push(Diagnostic { file: self.file.clone(), line, column, severity, code, message });
    }

    /// All findings, sorted by place, each once.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.list.sort();
        self.list.dedup();
        self.list
    }
}

/// The known name nearest to a misspelt one, if it is near enough to be meant: `; did you mean ...` or nothing.
pub fn hint<'n>(wrong: &str, known: impl IntoIterator<Item = &'n str>) -> String {
    let limit = (wrong.chars().count() / 3).max(1);
    let near = known.into_iter().map(|name| (distance(wrong, name), name)).min();
    match near {
        Some((d, name)) if d <= limit => format!("; did you mean `{name}`?"),
        _ => String::new(),
    }
}

/// Edit distance with swaps of neighbours, ASCII case ignored (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let fold = |s: &str| s.chars().map(|c| c.to_ascii_lowercase()).collect::<Vec<_>>();
    let (a, b) = (fold(a), fold(b));
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let change = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = change.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_name_what_was_meant_and_nothing_else() {
        let known = ["physicalName", "physicalType", "name"];
        for (wrong, expect) in [
            ("phsyicalName", "; did you mean `physicalName`?"),
            ("physicaltype", "; did you mean `physicalType`?"),
            ("nmae", "; did you mean `name`?"),
            ("owner", ""),
        ] {
            assert_eq!(hint(wrong, known), expect, "{wrong}");
        }
    }
}
