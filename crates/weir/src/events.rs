//! Files of events: JSON lines and CSV with a header line, read one event at a time with the line each stands on.
//!
//! An event that cannot be read is told with its place and the next one can still be read. CSV has no types, so each
//! cell is read as the schema's field wants it. Whether an event fits its schema is the encoder's to say, not ours.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use weir_avro::{Kind, NodeId, Schema, row_to_json, text_to_json};

use crate::Failure;
use crate::args::Format;

/// One line may not be longer: a file that is one endless line must not take all memory.
const LONGEST_LINE: u64 = 64 << 20;

/// The events of a file, in its order.
pub struct Events {
    place: String,
    bytes: Option<u64>,
    source: Source,
}

/// One event, or why the line holds none.
pub struct Row<'a> {
    /// The line the event begins on, from 1.
    pub line: u64,
    /// The event, or what is wrong with the line.
    pub value: Result<&'a Value, String>,
}

enum Source {
    Json(Box<JsonLines>),
    Csv(Box<Csv>),
}

impl Events {
    /// Opens `path`, or stdin for `-`. `format` wins over the name's ending; stdin is JSON lines where it is not given.
    ///
    /// # Errors
    /// [`Failure::Usage`] when the file or its format is not there, or a CSV header does not fit `schema`; the text
    /// names the place.
    pub fn open(path: &Path, format: Option<Format>, schema: &Arc<Schema>) -> Result<Events, Failure> {
        let stdin = path.as_os_str() == "-";
        let place = if stdin { "stdin".to_owned() } else { path.display().to_string() };
        let format = match (format, path.extension().and_then(|ending| ending.to_str())) {
            (Some(format), _) => format,
            (None, _) if stdin => Format::Jsonl,
            (None, Some("csv")) => Format::Csv,
            (None, Some("json" | "jsonl" | "ndjson")) => Format::Jsonl,
            (None, _) => {
                let text =
                    format!("{place}: the name does not say how it is written; add --format csv or --format jsonl");
                return Err(Failure::Usage(text));
            }
        };
        let (input, bytes): (Box<dyn Read>, _) = if stdin {
            (Box::new(io::stdin()), None)
        } else {
            let wrong = |error: io::Error| Failure::Usage(format!("{place}: {error}; name a file that can be read"));
            let file = File::open(path).map_err(wrong)?;
            let facts = file.metadata().map_err(wrong)?;
            if facts.is_dir() {
                return Err(Failure::Usage(format!("{place}: is a folder; name a file of events")));
            }
            (Box::new(file), facts.is_file().then_some(facts.len()))
        };
        Events::read(input, place, bytes, format, schema)
    }

    /// Reads `input`; `place` names it in errors.
    fn read(
        input: Box<dyn Read>,
        place: String,
        bytes: Option<u64>,
        format: Format,
        schema: &Arc<Schema>,
    ) -> Result<Events, Failure> {
        let source = match format {
            Format::Jsonl => Source::Json(Box::new(JsonLines::new(input))),
            Format::Csv => Source::Csv(Box::new(Csv::new(input, schema).map_err(|wrong| match wrong {
                Wrong::Form(text) => Failure::Usage(format!("{place}:1: {text}")),
                Wrong::Io(error) => unreadable(&place, error),
            })?)),
        };
        Ok(Events { place, bytes, source })
    }

    /// How errors name the file.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The size of the file in bytes, where it has one.
    pub fn len(&self) -> Option<u64> {
        self.bytes
    }

    /// Bytes read so far.
    pub fn position(&self) -> u64 {
        match &self.source {
            Source::Json(json) => json.bytes,
            Source::Csv(csv) => csv.reader.position().byte(),
        }
    }

    /// The next event. `None` at the end.
    ///
    /// # Errors
    /// [`Failure`] when the file itself cannot be read further.
    pub fn next(&mut self) -> Result<Option<Row<'_>>, Failure> {
        let place = &self.place;
        match &mut self.source {
            Source::Json(json) => json.next().map_err(|error| unreadable(place, error)),
            Source::Csv(csv) => csv.next().map_err(|error| unreadable(place, error)),
        }
    }
}

fn unreadable(place: &str, error: io::Error) -> Failure {
    Failure::Other(anyhow::Error::new(error).context(format!("{place} cannot be read")))
}

struct JsonLines {
    input: BufReader<Box<dyn Read>>,
    text: Vec<u8>,
    line: u64,
    bytes: u64,
    value: Value,
}

impl JsonLines {
    fn new(input: Box<dyn Read>) -> JsonLines {
        let input = BufReader::with_capacity(256 * 1024, input);
        JsonLines { input, text: Vec::new(), line: 0, bytes: 0, value: Value::Null }
    }

    fn next(&mut self) -> io::Result<Option<Row<'_>>> {
        loop {
            self.text.clear();
            let read = (&mut self.input).take(LONGEST_LINE).read_until(b'\n', &mut self.text)?;
            if read == 0 {
                return Ok(None);
            }
            self.line += 1;
            self.bytes += read as u64;
            if read as u64 == LONGEST_LINE && self.text.last() != Some(&b'\n') {
                let text = format!("line {} is longer than {} MiB", self.line, LONGEST_LINE >> 20);
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            if self.text.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let value = match serde_json::from_slice(self.text.trim_ascii_end()) {
                Ok(value) => {
                    self.value = value;
                    Ok(&self.value)
                }
                Err(error) => Err(json_error(&error)),
            };
            return Ok(Some(Row { line: self.line, value }));
        }
    }
}

/// serde_json's text without its place in the line, which is always line 1 here: only the column tells something.
fn json_error(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    format!("no JSON: {text} at column {}", error.column())
}

struct Csv {
    reader: csv::Reader<Box<dyn Read>>,
    schema: Arc<Schema>,
    record: csv::ByteRecord,
    columns: Vec<Column>,
    /// Whether a column names a field of a nested record, as `a.b`.
    nested: bool,
    /// Made once with all the names; only its values change from row to row.
    object: Value,
    value: Value,
}

struct Column {
    name: String,
    node: NodeId,
}

enum Wrong {
    Form(String),
    Io(io::Error),
}

impl Csv {
    fn new(input: Box<dyn Read>, schema: &Arc<Schema>) -> Result<Csv, Wrong> {
        let mut reader = csv::ReaderBuilder::new().flexible(true).buffer_capacity(256 * 1024).from_reader(input);
        let header = reader.headers().map_err(|error| match error.into_kind() {
            csv::ErrorKind::Io(error) => Wrong::Io(error),
            _ => Wrong::Form("the header line is not UTF-8; save the file as UTF-8".to_owned()),
        })?;
        if header.is_empty() {
            return Err(Wrong::Form("the file is empty; it must begin with a header line".to_owned()));
        }
        let columns = columns(header, schema).map_err(Wrong::Form)?;
        let nested = columns.iter().any(|column| column.name.contains('.'));
        let object = Value::Object(columns.iter().map(|column| (column.name.clone(), Value::Null)).collect());
        let record = csv::ByteRecord::new();
        Ok(Csv { reader, schema: schema.clone(), record, columns, nested, object, value: Value::Null })
    }

    fn next(&mut self) -> io::Result<Option<Row<'_>>> {
        match self.reader.read_byte_record(&mut self.record) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) => {
                return Err(match error.into_kind() {
                    csv::ErrorKind::Io(error) => error,
                    other => io::Error::new(io::ErrorKind::InvalidData, format!("{other:?}")),
                });
            }
        }
        let line = self.record.position().map_or(0, csv::Position::line);
        let value = match self.fill() {
            Ok(true) => Ok(&self.object),
            Ok(false) => Ok(&self.value),
            Err(error) => Err(error),
        };
        Ok(Some(Row { line, value }))
    }

    /// Reads the record into `object`, or, where that cannot hold it, into `value`; then the answer is false.
    fn fill(&mut self) -> Result<bool, String> {
        if self.record.len() != self.columns.len() {
            return Err(format!("{} cells where the header has {}", self.record.len(), self.columns.len()));
        }
        let mut cells = Vec::with_capacity(self.columns.len());
        for (column, cell) in self.columns.iter().zip(&self.record) {
            cells.push(std::str::from_utf8(cell).map_err(|_| format!("column {:?} is not UTF-8", column.name))?);
        }
        let names = self.columns.iter().map(|column| column.name.as_str());
        if self.nested {
            self.value = row_to_json(&self.schema, names.zip(cells)).map_err(|error| error.to_string())?;
            return Ok(false);
        }
        let Value::Object(object) = &mut self.object else { return Ok(true) };
        let mut absent = Vec::new();
        for ((column, text), value) in self.columns.iter().zip(cells).zip(object.values_mut()) {
            match text_to_json(&self.schema, column.node, text) {
                Ok(Some(read)) => *value = read,
                Ok(None) => absent.push(column.name.as_str()),
                Err(error) => return Err(format!("{}: {}", column.name, error.message)),
            }
        }
        if absent.is_empty() {
            return Ok(true);
        }
        let present = object.iter().filter(|(name, _)| !absent.contains(&name.as_str()));
        self.value = Value::Object(present.map(|(name, value)| (name.clone(), value.clone())).collect());
        Ok(false)
    }
}

/// Fits the header to the schema: every column is a field, and every field that must be given is a column.
fn columns(header: &csv::StringRecord, schema: &Schema) -> Result<Vec<Column>, String> {
    let root = schema.root();
    let Kind::Record { fields } = &schema.node(root).kind else {
        return Err("the schema is no record, so CSV cannot hold its events; use JSON lines".to_owned());
    };
    let mut columns: Vec<Column> = Vec::with_capacity(header.len());
    for name in header {
        let mut node = root;
        for part in name.split('.') {
            let Some((_, field)) = schema.field(schema.non_null(node).0, part) else {
                let known: Vec<&str> = fields.iter().map(|field| &*field.name).collect();
                return Err(format!("column {name:?} is no field of the schema; its fields are {}", known.join(", ")));
            };
            node = field.node;
        }
        if columns.iter().any(|column| column.name == name) {
            return Err(format!("column {name:?} is there twice; remove one"));
        }
        columns.push(Column { name: name.to_owned(), node });
    }
    for field in fields.iter().filter(|field| field.default.is_none()) {
        if !columns.iter().any(|column| column.name.split('.').next() == Some(&*field.name)) {
            return Err(format!("column {:?} is missing, and the schema has no default for it; add it", field.name));
        }
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{"type":"record","name":"Line","fields":[
        {"name":"id","type":"long"},
        {"name":"price","type":["null","double"],"default":null},
        {"name":"note","type":"string"},
        {"name":"paid","type":"boolean"},
        {"name":"tags","type":{"type":"array","items":"string"},"default":[]}]}"#;

    fn read(format: Format, text: &str) -> Vec<String> {
        let schema = Arc::new(Schema::parse(SCHEMA).unwrap());
        let input = Box::new(io::Cursor::new(text.to_owned().into_bytes()));
        let mut events = match Events::read(input, "f".to_owned(), None, format, &schema) {
            Ok(events) => events,
            Err(failure) => return vec![failure.to_string()],
        };
        let mut lines = Vec::new();
        while let Some(row) = events.next().unwrap() {
            lines.push(match row.value {
                Ok(value) => format!("{} {value}", row.line),
                Err(error) => format!("{} ! {error}", row.line),
            });
        }
        lines
    }

    #[test]
    fn json_lines_keep_their_line_numbers_and_go_on_behind_a_broken_one() {
        let text = "{\"id\":1}\n\n  {\"id\": }\n{\"id\":0.1}\n{\"id\":9007199254740993}\n{\"id\":3";
        assert_eq!(
            read(Format::Jsonl, text),
            [
                r#"1 {"id":1}"#,
                "3 ! no JSON: expected value at column 10",
                r#"4 {"id":0.1}"#,
                r#"5 {"id":9007199254740993}"#,
                "6 ! no JSON: EOF while parsing an object at column 7",
            ]
        );
    }

    #[test]
    fn a_real_number_keeps_every_bit() {
        let text = "{\"id\":1.0715086071862673e301}\n{\"id\":122.41629403378659}";
        let expect = [1.0715086071862673e301, 122.416_294_033_786_59].map(f64::to_bits);
        let schema = Arc::new(Schema::parse(SCHEMA).unwrap());
        let input = Box::new(io::Cursor::new(text));
        let mut events = Events::read(input, "f".to_owned(), None, Format::Jsonl, &schema).unwrap();
        for bits in expect {
            let row = events.next().unwrap().unwrap();
            assert_eq!(row.value.unwrap()["id"].as_f64().unwrap().to_bits(), bits);
        }
    }

    #[test]
    fn csv_cells_become_what_the_field_wants() {
        let text = "id,price,note,paid,tags\n1,0.30000000000000004,\"a, \"\"b\"\"\nc\",TRUE,\"[\"\"x\"\"]\"\n2,,,false,[]\nx,NaN,y,no,z\n3,,y,false,\n1,2\n";
        assert_eq!(
            read(Format::Csv, text),
            [
                r#"2 {"id":1,"price":0.30000000000000004,"note":"a, \"b\"\nc","paid":true,"tags":["x"]}"#,
                r#"4 {"id":2,"price":null,"note":"","paid":false,"tags":[]}"#,
                "5 ! id: expected a whole number of 64 bits, found text that is none",
                r#"6 {"id":3,"price":null,"note":"y","paid":false}"#,
                "7 ! 2 cells where the header has 5",
            ]
        );
    }

    #[test]
    fn a_csv_header_must_fit_the_schema() {
        let check = |text: &str, expect: &str| assert_eq!(read(Format::Csv, text), [expect]);
        check("", "f:1: the file is empty; it must begin with a header line");
        check("id,note\n", "f:1: column \"paid\" is missing, and the schema has no default for it; add it");
        check("id,id,note,paid\n", "f:1: column \"id\" is there twice; remove one");
        check(
            "ID,note,paid\n",
            "f:1: column \"ID\" is no field of the schema; its fields are id, price, note, paid, tags",
        );
    }

    #[test]
    fn a_name_without_a_known_ending_needs_a_format() {
        let schema = Arc::new(Schema::parse(SCHEMA).unwrap());
        let failure = |path: &str, format| Events::open(Path::new(path), format, &schema).err().unwrap();
        let text = "events.txt: the name does not say how it is written; add --format csv or --format jsonl";
        assert_eq!(failure("events.txt", None).to_string(), text);
        let missing = failure("no-such.csv", None);
        assert_eq!(missing.exit(), crate::Exit::Usage);
        assert!(missing.to_string().starts_with("no-such.csv: No such file"), "{missing}");
    }
}
