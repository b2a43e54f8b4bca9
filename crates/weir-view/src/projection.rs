//! Rows in, rows out: the condition and the columns of a SELECT, compiled over one walk of the row's bytes.
//!
//! A field that passes unchanged is copied as its bytes. Nothing is allocated per row but what an expression makes.

use std::sync::Arc;

use weir_avro::{Fault, FieldPath, JsonForm, Limits, Schema, Slot, Utf8, Walker, put_long, recycle, to_json};
use weir_expr::sql::{self, Column, Expr, Kind};
use weir_expr::{EvalError, ExprError, Input, Program, Value, Wanted};

use crate::sieve::Condition;
use crate::task::Record;

/// Why a row has no output: a fault of the record, without any of its values.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// The bytes are no datum of the schema that was planned with.
    #[error("the value is not a datum of its schema: {0}")]
    Datum(#[from] Fault),
    /// An expression has no value.
    #[error("{what}: {error}")]
    Eval {
        /// The column or clause.
        what: Arc<str>,
        /// Why.
        error: EvalError,
    },
    /// A value does not fit its column.
    #[error("{what}: {error}")]
    Encode {
        /// The column.
        what: Arc<str>,
        /// Why.
        error: weir_expr::EvalErrorKind,
    },
    /// A null key, a null value of a stream, a bound that was passed.
    #[error("{0}")]
    Record(&'static str),
}

/// The call that makes a row of each element of an array.
pub(crate) const EXPLODE: &str = "EXPLODE";

#[derive(Debug)]
pub(crate) enum Out {
    /// The bytes between two marks; `wrap` puts the branch of a nullable one in front, `null` stands where a record
    /// above is null.
    Copy {
        mark: usize,
        wrap: bool,
        null: Option<u8>,
    },
    Eval(Program, Column, Arc<str>),
}

/// A column that is one element of an array for each row that is made.
#[derive(Debug)]
struct Explode {
    /// How many columns stand before it.
    before: usize,
    array: Program,
    item: Column,
    what: Arc<str>,
}

#[derive(Debug)]
pub(crate) struct Projection {
    walker: Walker,
    filter: Option<Program>,
    condition: Option<Condition>,
    columns: Vec<Out>,
    explode: Option<Explode>,
    /// Whether nothing of a row is asked for.
    blind: bool,
    /// Where the rows end that [`Projection::rows`] has made.
    ends: Vec<usize>,
    slots: Vec<Slot<'static>>,
}

/// A compiled column: how its output type is made.
pub(crate) enum Made {
    /// As the field at this path, made nullable or not.
    Field(FieldPath, bool),
    Typed(Column),
}

impl Projection {
    /// Compiles columns over rows of `schema`. With `values` every column is evaluated, none copied.
    pub(crate) fn new(
        schema: &Arc<Schema>,
        filter: Option<&Expr>,
        columns: &[(String, Expr)],
        salt: &str,
        values: bool,
    ) -> Result<(Projection, Vec<Made>), ExprError> {
        let mut wanted = Wanted::new();
        let mut marks = Vec::new();
        let condition = |wanted: &mut Wanted, e: &Expr| {
            let (program, column) = sql::compile(e, schema, salt, wanted)?;
            match column.ty {
                sql::SqlType::Boolean | sql::SqlType::Null => Ok(program),
                other => Err(ExprError::new(e.at, format!("a condition is BOOLEAN, found {other}"))),
            }
        };
        let asked = filter.map(|e| Condition { schema: Arc::clone(schema), expr: e.clone(), salt: salt.to_owned() });
        let filter = filter.map(|e| condition(&mut wanted, e)).transpose()?;
        let (mut outs, mut made, mut explode) = (Vec::new(), Vec::new(), None);
        for (name, e) in columns {
            if let (Kind::Path(names), false) = (&e.kind, values) {
                // Compiled as well for its errors: a path that leads nowhere.
                let mut probe = Wanted::new();
                let (_, column) = sql::compile(e, schema, salt, &mut probe)?;
                let path = names.iter().fold(FieldPath::root(), |path, name| path.join(name));
                let node = schema.find(&path).unwrap_or(schema.root());
                let own = schema.non_null(node).1;
                let above = above_null(schema, names);
                let null_first = match &schema.node(node).kind {
                    weir_avro::Kind::Union { branches } if own => {
                        matches!(schema.node(branches[0]).kind, weir_avro::Kind::Null)
                    }
                    _ => true,
                };
                if above && !own && matches!(schema.node(node).kind, weir_avro::Kind::Union { .. }) {
                    return Err(ExprError::new(
                        e.at,
                        format!("`{name}` is a union below something that may be null; select what is above it"),
                    ));
                }
                outs.push(Out::Copy {
                    mark: marks.len(),
                    wrap: above && !own,
                    null: above.then_some(if null_first { 0 } else { 2 }),
                });
                marks.push(path.clone());
                made.push(Made::Field(path, above && !own));
                _ = column;
                continue;
            }
            let array = match &e.kind {
                Kind::Call(call, args) if &**call == EXPLODE => match &args[..] {
                    [array] => Some(array),
                    _ => return Err(ExprError::new(e.at, "EXPLODE takes one array")),
                },
                _ => None,
            };
            let (program, mut column) = sql::compile(array.unwrap_or(e), schema, salt, &mut wanted)?;
            if array.is_some() {
                column = match column.ty {
                    sql::SqlType::Array(item) => *item,
                    other => {
                        return Err(ExprError::new(
                            e.at,
                            format!("EXPLODE does not take {other}; write EXPLODE(array)"),
                        ));
                    }
                };
            }
            if matches!(column.ty, sql::SqlType::Opaque(_) | sql::SqlType::Null | sql::SqlType::Interval) {
                let message = format!("`{name}` would be {}, which an output cannot hold; use CAST", column.ty);
                return Err(ExprError::new(e.at, message));
            }
            made.push(Made::Typed(column.clone()));
            if array.is_some() {
                explode =
                    Some(Explode { before: outs.len(), array: program, item: column, what: name.as_str().into() });
                continue;
            }
            outs.push(Out::Eval(program, column, name.as_str().into()));
        }
        let first = wanted.paths().len();
        for out in &mut outs {
            if let Out::Copy { mark, .. } = out {
                *mark = first + 2 * *mark;
            }
        }
        let blind = first == 0 && marks.is_empty();
        let walker = Walker::with_marks(Arc::clone(schema), wanted.paths(), &marks, Limits::default());
        let walker = walker.map_err(|e| ExprError::new(Default::default(), e.to_string()))?;
        let (ends, slots) = (Vec::new(), Vec::new());
        Ok((Projection { walker, filter, condition: asked, columns: outs, explode, blind, ends, slots }, made))
    }

    /// Appends the columns of a row to `out` and says whether the condition holds; where it does not, nothing is added.
    pub(crate) fn run(&mut self, row: &[u8], record: &Record<'_>, out: &mut Vec<u8>) -> Result<bool, RowError> {
        self.with(Some(row), record, |columns, filter, slots, input| {
            if !holds(filter, input)? {
                return Ok(false);
            }
            for column in columns {
                column.write(row, slots, input, out)?;
            }
            Ok(true)
        })
    }

    /// As [`Projection::run`], with a row for each element where a column is exploded; gives where each row ends.
    pub(crate) fn rows(&mut self, row: &[u8], record: &Record<'_>, out: &mut Vec<u8>) -> Result<&[usize], RowError> {
        let mut ends = std::mem::take(&mut self.ends);
        ends.clear();
        let done = match self.explode.take() {
            None => self.run(row, record, out).map(|kept| {
                if kept {
                    ends.push(out.len())
                }
            }),
            Some(explode) => {
                let done = self.with(Some(row), record, |columns, filter, slots, input| match holds(filter, input)? {
                    true => explode.write(columns, row, slots, input, out, &mut ends),
                    false => Ok(()),
                });
                self.explode = Some(explode);
                done
            }
        };
        self.ends = ends;
        done.map(|()| &*self.ends)
    }

    /// The condition, as it was written.
    pub(crate) fn condition(&self) -> Option<&Condition> {
        self.condition.as_ref()
    }

    /// A row as JSON, where it is whole.
    pub(crate) fn json(&self, row: &[u8]) -> Option<String> {
        to_json(self.walker.schema(), row, JsonForm::Plain).ok().map(|json| json.to_string())
    }

    /// How many columns there are.
    pub(crate) fn count(&self) -> usize {
        self.columns.len()
    }

    /// Hands the value of each column to `take`, where the condition holds. The row is one that was walked before.
    pub(crate) fn values(
        &mut self,
        row: &[u8],
        record: &Record<'_>,
        mut take: impl FnMut(usize, &Value<'_>) -> Result<(), RowError>,
    ) -> Result<bool, RowError> {
        // A count of rows asks nothing of a row, which was looked at when it came.
        let row = if self.blind { None } else { Some(row) };
        self.with(row, record, |columns, filter, _, input| {
            if !holds(filter, input)? {
                return Ok(false);
            }
            for (i, column) in columns.iter().enumerate() {
                if let Out::Eval(program, _, what) = column {
                    let value =
                        program.eval(input).map_err(|error| RowError::Eval { what: Arc::clone(what), error })?;
                    take(i, &value)?;
                }
            }
            Ok(true)
        })
    }

    fn with<T>(
        &mut self,
        row: Option<&[u8]>,
        record: &Record<'_>,
        work: impl FnOnce(&[Out], Option<&Program>, &[Slot<'_>], &Input<'_>) -> Result<T, RowError>,
    ) -> Result<T, RowError> {
        let mut slots = recycle(std::mem::take(&mut self.slots));
        let walked = row.map_or(Ok(()), |row| self.walker.walk(row, &mut slots));
        let done = walked.map_err(RowError::from).and_then(|()| {
            let input = Input {
                key: record.key.and_then(Utf8::new).map_or(Slot::Null, Slot::Str),
                headers: record.headers,
                now_ms: record.time,
                partition: record.partition,
                offset: record.offset,
                ..Input::new(self.walker.schema(), &slots)
            };
            work(&self.columns, self.filter.as_ref(), &slots, &input)
        });
        self.slots = recycle(slots);
        done
    }
}

fn holds(filter: Option<&Program>, input: &Input<'_>) -> Result<bool, RowError> {
    match filter {
        Some(filter) => filter.test(input).map_err(|error| RowError::Eval { what: "WHERE".into(), error }),
        None => Ok(true),
    }
}

impl Explode {
    fn write(
        &self,
        columns: &[Out],
        row: &[u8],
        slots: &[Slot<'_>],
        input: &Input<'_>,
        out: &mut Vec<u8>,
        ends: &mut Vec<usize>,
    ) -> Result<(), RowError> {
        let what = || Arc::clone(&self.what);
        let value = self.array.eval(input).map_err(|error| RowError::Eval { what: what(), error })?;
        // A null array has no elements.
        let Value::List(list) = &value else { return Ok(()) };
        let (before, after) = columns.split_at(self.before);
        let (from, mut tail) = (out.len(), Vec::new());
        let mut head = from..from;
        for item in sql::elements(list) {
            let item = item.map_err(|error| RowError::Encode { what: what(), error })?;
            if ends.is_empty() {
                // The other columns are the same in each row. Without an element there is none that could fail.
                before.iter().try_for_each(|column| column.write(row, slots, input, out))?;
                after.iter().try_for_each(|column| column.write(row, slots, input, &mut tail))?;
                head = from..out.len();
            } else {
                out.extend_from_within(head.clone());
            }
            sql::encode(&item, &self.item, out).map_err(|error| RowError::Encode { what: what(), error })?;
            out.extend_from_slice(&tail);
            ends.push(out.len());
        }
        Ok(())
    }
}

impl Out {
    #[inline]
    fn write(&self, row: &[u8], slots: &[Slot<'_>], input: &Input<'_>, out: &mut Vec<u8>) -> Result<(), RowError> {
        match self {
            Out::Copy { mark, wrap, null } => match (slots.get(*mark), slots.get(mark + 1)) {
                (Some(Slot::Long(from)), Some(Slot::Long(to))) => {
                    if *wrap {
                        put_long(out, 1);
                    }
                    out.extend_from_slice(row.get(*from as usize..*to as usize).unwrap_or_default());
                }
                _ => match null {
                    Some(branch) => out.push(*branch),
                    None => return Err(RowError::Record("a field is missing in the row")),
                },
            },
            Out::Eval(program, column, what) => {
                let value = program.eval(input).map_err(|error| RowError::Eval { what: Arc::clone(what), error })?;
                sql::encode(&value, column, out).map_err(|error| RowError::Encode { what: Arc::clone(what), error })?;
            }
        }
        Ok(())
    }
}

/// Whether a record on the way to the field may be null.
fn above_null(schema: &Schema, names: &[Box<str>]) -> bool {
    let mut node = schema.root();
    let mut nullable = false;
    for name in names {
        let (record, null) = schema.non_null(node);
        nullable |= null;
        match schema.field(record, name) {
            Some((_, field)) => node = field.node,
            None => return false,
        }
    }
    nullable
}
