//! Can data of one schema be read with another: the schema resolution rules of the Avro 1.12 specification as a
//! check that names every obstacle at once.
//!
//! Named types match by unqualified name, or by an alias of the reader that is the writer's full name, as the
//! specification and Java's `SchemaCompatibility` have it; kinds and paths are Java's too, so that registry clients
//! know them. Where we differ from Java: a path inside a union branch starts at the root instead of at the branch; a
//! missing branch is followed by its reasons where only one branch can be meant; and two decimals match only with equal
//! scale and precision, which the specification asks for and Java does not look at. Nothing here resolves data.

use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::schema::{Kind, Logical, Node, NodeId, Schema};

/// What keeps a reader from reading a writer's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incompatibility {
    /// The kind of obstacle.
    pub kind: IncompatibilityKind,
    /// Where, as a JSON pointer into the reader's schema, such as `/fields/2/type/items`; a number that follows a
    /// type is a branch of the writer's union. The root is `/`.
    pub path: String,
    /// What is wrong, for people.
    pub message: String,
}

/// The kinds of [`Incompatibility`], named as Java's `SchemaIncompatibilityType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IncompatibilityKind {
    /// Two named types have different names and no alias joins them.
    NameMismatch,
    /// Two fixed types differ in size.
    FixedSizeMismatch,
    /// The writer's enum has symbols the reader's lacks, and the reader's has no default.
    MissingEnumSymbols,
    /// The reader wants a field the writer does not have, and has no default for it.
    ReaderFieldMissingDefaultValue,
    /// The writer's type is another one and cannot be promoted.
    TypeMismatch,
    /// No branch of the reader's union reads the writer's type.
    MissingUnionBranch,
}

impl IncompatibilityKind {
    /// The name registries use on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NameMismatch => "NAME_MISMATCH",
            Self::FixedSizeMismatch => "FIXED_SIZE_MISMATCH",
            Self::MissingEnumSymbols => "MISSING_ENUM_SYMBOLS",
            Self::ReaderFieldMissingDefaultValue => "READER_FIELD_MISSING_DEFAULT_VALUE",
            Self::TypeMismatch => "TYPE_MISMATCH",
            Self::MissingUnionBranch => "MISSING_UNION_BRANCH",
        }
    }
}

impl fmt::Display for IncompatibilityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Incompatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}", self.kind, self.path, self.message)
    }
}

/// Everything that keeps `reader` from reading data written with `writer`; empty if it can read all of it.
///
/// A pair of types that meets at several paths is reported at the first one only.
pub fn can_read(writer: &Schema, reader: &Schema) -> Vec<Incompatibility> {
    let pairs = Pairs { writer, reader };
    let readable = pairs.readable();
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut open = vec![(String::new(), Need::Part((writer.root(), reader.root())))];
    while let Some((path, need)) = open.pop() {
        match need {
            Need::Obstacle(kind, message) => found.push(Incompatibility { kind, path: pointer(path), message }),
            Need::Part(pair) if readable[&pair] || !seen.insert(pair) => {}
            Need::Part(pair) => match pairs.needs(pair) {
                Needs::All(needs) => {
                    open.extend(needs.into_iter().rev().map(|(step, need)| (format!("{path}{step}"), need)));
                }
                Needs::Any(near) => {
                    let (a, b) = (writer.describe(pair.0), reader.describe(pair.1));
                    let message = format!("no branch of the reader's union {b} reads the writer's {a}");
                    let kind = IncompatibilityKind::MissingUnionBranch;
                    found.push(Incompatibility { kind, path: pointer(path.clone()), message });
                    // Where one branch alone is meant, what is wrong inside it is the reason.
                    if let [only] = near[..] {
                        open.push((path, Need::Part(only)));
                    }
                }
            },
        }
    }
    found
}

fn pointer(path: String) -> String {
    if path.is_empty() { "/".to_owned() } else { path }
}

/// A type of the writer and the type of the reader that is to read it.
type Pair = (NodeId, NodeId);

/// What makes a pair readable.
enum Needs {
    /// No obstacle, and every part readable. Each has its step from the path of the pair.
    All(Vec<(String, Need)>),
    /// One of the pairs readable.
    Any(Vec<Pair>),
}

enum Need {
    Obstacle(IncompatibilityKind, String),
    Part(Pair),
}

struct Pairs<'s> {
    writer: &'s Schema,
    reader: &'s Schema,
}

impl Pairs<'_> {
    /// The verdict on every pair that matters: the greatest fixpoint, because types that contain themselves are
    /// readable unless something shows the contrary. A depth-first memo would keep verdicts that rest on a pair
    /// which later turns out unreadable.
    fn readable(&self) -> HashMap<Pair, bool> {
        let root = (self.writer.root(), self.reader.root());
        let mut order = vec![root];
        let mut verdicts = HashMap::from([(root, true)]);
        let mut rules = Vec::new();
        while rules.len() < order.len() {
            let (sound, all, parts) = match self.needs(order[rules.len()]) {
                Needs::Any(pairs) => (true, false, pairs),
                Needs::All(needs) => {
                    let count = needs.len();
                    let part = |(_, need)| if let Need::Part(pair) = need { Some(pair) } else { None };
                    let parts: Vec<Pair> = needs.into_iter().filter_map(part).collect();
                    (parts.len() == count, true, parts)
                }
            };
            for pair in &parts {
                if verdicts.insert(*pair, true).is_none() {
                    order.push(*pair);
                }
            }
            rules.push((sound, all, parts));
        }
        loop {
            let mut changed = false;
            for (pair, (sound, all, parts)) in order.iter().zip(&rules).rev() {
                let ok = |p: &Pair| verdicts[p];
                let now = *sound && if *all { parts.iter().all(ok) } else { parts.iter().any(ok) };
                changed |= verdicts.insert(*pair, now) != Some(now);
            }
            if !changed {
                return verdicts;
            }
        }
    }

    fn needs(&self, (w, r): Pair) -> Needs {
        use IncompatibilityKind as I;
        let (writer, reader) = (self.writer.node(w), self.reader.node(r));
        let mut needs = Vec::new();
        let part = |step: String, pair: Pair| (step, Need::Part(pair));
        let hinder = |kind, step: String, message: String| (step, Need::Obstacle(kind, message));
        let names = || (writer.name.as_deref().unwrap_or_default(), reader.name.as_deref().unwrap_or_default());
        match (&writer.kind, &reader.kind) {
            (Kind::Union { branches }, _) => {
                needs.extend(branches.iter().enumerate().map(|(i, b)| part(format!("/{i}"), (*b, r))));
            }
            (_, Kind::Union { branches }) => {
                // Branches of another type or name cannot match, whatever is inside them.
                let near = |b: &&NodeId| {
                    let branch = self.reader.node(**b);
                    promotes(&writer.kind, &branch.kind) && (writer.name.is_none() || same_name(writer, branch))
                };
                return Needs::Any(branches.iter().filter(near).map(|b| (w, *b)).collect());
            }
            (a, b) if !promotes(a, b) => {
                let (a, b) = (self.writer.describe(w), self.reader.describe(r));
                let message = format!("the reader's {b} cannot read the writer's {a}");
                needs.push(hinder(I::TypeMismatch, String::new(), message));
            }
            (Kind::Array { items: a }, Kind::Array { items: b }) => needs.push(part("/items".to_owned(), (*a, *b))),
            (Kind::Map { values: a }, Kind::Map { values: b }) => needs.push(part("/values".to_owned(), (*a, *b))),
            _ => {}
        }
        if let (Some(_), Some(_)) = (&writer.name, &reader.name)
            && promotes(&writer.kind, &reader.kind)
            && !same_name(writer, reader)
        {
            let (a, b) = names();
            let message = format!("the writer's type is named {a}, the reader's {b}; add an alias to the reader's");
            needs.push(hinder(I::NameMismatch, "/name".to_owned(), message));
        }
        match (&writer.kind, &reader.kind) {
            (Kind::Fixed { size: a }, Kind::Fixed { size: b }) if a != b => {
                let message = format!("the writer's {} has {a} bytes, the reader's {b}", names().0);
                needs.push(hinder(I::FixedSizeMismatch, "/size".to_owned(), message));
            }
            (Kind::Enum { symbols: a, .. }, Kind::Enum { symbols: b, default }) => {
                let missing: Vec<&str> = a.iter().filter(|s| !b.contains(s)).map(|s| &**s).collect();
                if !missing.is_empty() && !default.as_ref().is_some_and(|d| b.contains(d)) {
                    let message = format!(
                        "the reader's {} lacks {} and has no default; add the symbols or a default",
                        names().1,
                        missing.join(", ")
                    );
                    needs.push(hinder(I::MissingEnumSymbols, "/symbols".to_owned(), message));
                }
            }
            (Kind::Record { fields: a }, Kind::Record { fields: b }) => {
                for (i, field) in b.iter().enumerate() {
                    let named = |n: &str| a.iter().find(|f| &*f.name == n);
                    let source = named(&field.name).or_else(|| field.aliases.iter().find_map(|n| named(n)));
                    match source {
                        Some(f) => needs.push(part(format!("/fields/{i}/type"), (f.node, field.node))),
                        None if field.default.is_some() => {}
                        None => {
                            let (field, record) = (&field.name, names().0);
                            let message = format!(
                                "the reader's field {field} is missing in the writer's {record} and has no default; add one"
                            );
                            needs.push(hinder(I::ReaderFieldMissingDefaultValue, format!("/fields/{i}"), message));
                        }
                    }
                }
            }
            _ => {}
        }
        if let (Some(Logical::Decimal { .. }), Some(Logical::Decimal { .. })) = (writer.logical, reader.logical)
            && writer.logical != reader.logical
        {
            let message = "the decimals differ in precision or scale, so the reader would see another number";
            needs.push(hinder(I::TypeMismatch, String::new(), message.to_owned()));
        }
        Needs::All(needs)
    }
}

/// The same type, or one the specification lets a reader promote to.
fn promotes(writer: &Kind, reader: &Kind) -> bool {
    use Kind::{Bytes, Double, Float, Int, Long, String};
    std::mem::discriminant(writer) == std::mem::discriminant(reader)
        || matches!(
            (writer, reader),
            (Int, Long | Float | Double) | (Long, Float | Double) | (Float, Double) | (String, Bytes) | (Bytes, String)
        )
}

fn same_name(writer: &Node, reader: &Node) -> bool {
    let (Some(w), Some(r)) = (writer.name.as_deref(), reader.name.as_deref()) else { return false };
    let short = |name: &str| name.rsplit('.').next().map(str::to_owned);
    short(w) == short(r) || reader.aliases.iter().any(|a| &**a == w)
}
