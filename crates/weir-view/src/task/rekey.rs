//! The key that a record gets, where it is not the one it has, and the changes of a table that go under it.

use std::sync::Arc;

use weir_avro::{FieldPath, Limits, Schema, Slot, Walker, put_long};
use weir_expr::sql::{Expr, Kind, SqlType};
use weir_expr::{ExprError, Value};

use super::{Pending, Record};
use crate::projection::{Projection, RowError};

/// A key made of expressions, as text.
#[derive(Debug)]
pub(crate) struct Rekey {
    texts: Projection,
    /// Whether a record without the key is passed over.
    pub needed: bool,
}

impl Rekey {
    pub(crate) fn new(schema: &Arc<Schema>, of: &[Expr], salt: &str, needed: bool) -> Result<Rekey, ExprError> {
        let text = |e: &Expr| Expr::new(e.at, Kind::Cast(Box::new(e.clone()), SqlType::Text, false));
        let texts: Vec<_> = of.iter().map(|e| ("key".to_owned(), text(e))).collect();
        Ok(Rekey { texts: Projection::new(schema, None, &texts, salt, true)?.0, needed })
    }

    /// The key of a row: the text of one field; of several with `|` between them, and each `|` and `\` inside a field
    /// escaped with `\`, so that no two have one key. `None` where a field is null.
    pub(crate) fn key(&mut self, row: &[u8], record: &Record<'_>) -> Result<Option<Vec<u8>>, RowError> {
        let several = self.texts.count() > 1;
        let (mut made, mut whole) = (Vec::new(), true);
        self.texts.values(row, record, |i, value| {
            match value {
                Value::Null => whole = false,
                Value::String(text) => {
                    if i > 0 {
                        made.push(b'|');
                    }
                    for byte in text.bytes() {
                        if several && matches!(byte, b'|' | b'\\') {
                            made.push(b'\\');
                        }
                        made.push(byte);
                    }
                }
                _ => return Err(RowError::Record("a key is text")),
            }
            Ok(())
        })?;
        Ok(whole.then_some(made))
    }

    /// How many fields the key has.
    pub(crate) fn count(&self) -> usize {
        self.texts.count()
    }
}

/// Takes a change of a table apart: the old row and the new.
#[derive(Debug)]
pub(crate) struct Changes {
    walker: Walker,
    /// Whether they come from another task, which goes by what it has put out.
    pub apart: bool,
}

impl Changes {
    /// For changes of this schema, a record of `old` and `new`.
    pub(crate) fn new(schema: &Arc<Schema>, apart: bool) -> Result<Changes, ExprError> {
        let marks = ["old", "new"].map(FieldPath::parse);
        let walker = Walker::with_marks(Arc::clone(schema), &[], &marks, Limits::default());
        let walker = walker.map_err(|e| ExprError::new(Default::default(), e.to_string()))?;
        Ok(Changes { walker, apart })
    }

    #[allow(clippy::type_complexity, reason = "the old row and the new")]
    pub(crate) fn split<'a>(&self, change: &'a [u8]) -> Result<(Option<&'a [u8]>, Option<&'a [u8]>), RowError> {
        let mut slots = Vec::new();
        self.walker.walk(change, &mut slots)?;
        let row = |mark: usize| match (slots.get(mark), slots.get(mark + 1)) {
            (Some(Slot::Long(from)), Some(Slot::Long(to))) => {
                let (branch, row) = change.get(*from as usize..*to as usize)?.split_first()?;
                (*branch != 0).then_some(row)
            }
            _ => None,
        };
        Ok((row(0), row(2)))
    }
}

/// What a table has put out for one of its keys: under which key, and the row.
pub(super) type Shown<'a> = Option<(&'a [u8], &'a [u8])>;

impl Pending {
    /// Puts out how the row of a table has changed: as one change where the key has stayed, else the old row is taken
    /// out under the old key and the new one put in under the new key.
    pub(super) fn change(&mut self, was: Shown<'_>, now: Shown<'_>, time: i64) {
        if was == now {
            return;
        }
        let mut put = |key: &[u8], old: Option<&[u8]>, new: Option<&[u8]>| {
            let mut change = Vec::new();
            for row in [old, new] {
                put_long(&mut change, i64::from(row.is_some()));
                change.extend_from_slice(row.unwrap_or_default());
            }
            self.output(Some(key), Some(&change), time, false);
        };
        match (was, now) {
            (Some((old_key, old)), Some((key, new))) if old_key == key => put(key, Some(old), Some(new)),
            _ => {
                if let Some((key, old)) = was {
                    put(key, Some(old), None);
                }
                if let Some((key, new)) = now {
                    put(key, None, Some(new));
                }
            }
        }
    }
}
