//! The objects of ODCS 3.0, 3.1 and 3.2 as tables: which keys each has, since when, and what their values may be.
//!
//! Taken from the textual standard and the JSON schemas of the Bitol project; where they differ the text decides.
//! The documents published with the standard as 3.0 use `metric`, `timestamp`, `time` and bounds written as values,
//! which 3.0's own JSON schema lacks and 3.1's has, so they are read in 3.0 as well.

use super::Version::{self, V30, V31, V32};

/// An object: its name for messages, its keys, and the keys that hang on a value inside it.
pub(crate) struct Table {
    pub name: &'static str,
    pub keys: &'static [Key],
    pub more: More,
}

/// Where an object's further keys come from.
pub(crate) enum More {
    None,
    /// A server's keys by its `type`.
    Server,
    /// A quality rule's keys by its `type` and `metric`.
    Quality,
    /// A property's keys by its `logicalType`; it must have a `name`.
    Property,
    /// The same without a name: items of an array, key and value of a map.
    Item,
    /// References whose two sides must be alike: two texts or two lists.
    Relationship,
}

/// A key of an object.
pub(crate) struct Key {
    pub name: &'static str,
    pub shape: Shape,
    pub since: Version,
    /// The versions, first and last, in which the key must be there.
    pub must: Option<(Version, Version)>,
}

/// What a value may be.
pub(crate) enum Shape {
    Any,
    Bool,
    /// An integer of at least this.
    Int(i128),
    Number,
    PositiveNumber,
    Text,
    /// A text of letters, digits, `_` and `-`.
    Id,
    /// A text made of a date as in RFC 3339.
    Date,
    /// A text made of a date and a time as in RFC 3339.
    DateTime,
    /// One of these texts.
    OneOf(&'static [(&'static str, Version)]),
    /// Anything but a list or a mapping.
    Scalar,
    Mapping,
    TextOrMapping,
    /// A port number; from 3.2 on a text too, to hold a variable.
    Port,
    /// Two different numbers.
    Pair,
    /// A bound of a date or time: a text, in 3.0 a boolean that sharpens the other bound.
    TextBound,
    /// A bound of a number, in 3.0 a boolean that sharpens the other bound.
    NumberBound,
    /// One reference of a relationship or a list of them.
    References,
    Object(&'static Table),
    List(&'static Shape),
    Objects(&'static Table),
    /// A list with at least one item, no two the same.
    Set(&'static Shape),
    /// A text or an object.
    TextOr(&'static Table),
    /// One object (from 3.1 on), or a list of others.
    ObjectOrList(&'static Table, &'static Table),
}

const fn key(name: &'static str, shape: Shape) -> Key {
    Key { name, shape, since: V30, must: None }
}

impl Key {
    const fn since(self, since: Version) -> Self {
        Self { since, ..self }
    }
    const fn must(self) -> Self {
        Self { must: Some((V30, V32)), ..self }
    }
    const fn must_in(self, first: Version, last: Version) -> Self {
        Self { must: Some((first, last)), ..self }
    }
}

use Shape::*;

const fn text(name: &'static str) -> Key {
    key(name, Text)
}
const ID: Key = key("id", Id).since(V31);
const TAGS: Key = key("tags", List(&Text));
const CUSTOM: Key = key("customProperties", Objects(&CUSTOM_PROPERTY));
const DEFINITIONS: Key = key("authoritativeDefinitions", Objects(&DEFINITION));
const QUALITY: Key = key("quality", Objects(&RULE));
const PROPERTIES: Key = key("properties", Objects(&PROPERTY));
const ROLES: Key = key("roles", Objects(&ROLE));

const fn object(name: &'static str, keys: &'static [Key]) -> Table {
    Table { name, keys, more: More::None }
}

pub(crate) static CONTRACT: Table = object(
    "contract",
    &[
        text("version").must(),
        key("kind", OneOf(&[("DataContract", V30)])).must(),
        key(
            "apiVersion",
            OneOf(&[("v3.0.0", V30), ("v3.0.1", V30), ("v3.0.2", V30), ("v3.1.0", V31), ("v3.2.0", V32)]),
        )
        .must(),
        text("id").must(),
        text("name"),
        text("tenant"),
        TAGS,
        text("status").must_in(V30, V31),
        key("servers", Objects(&SERVER)),
        text("dataProduct"),
        key("description", Object(&DESCRIPTION)),
        text("domain"),
        key("context", TextOr(&CONTEXT)).since(V32),
        key("schema", Objects(&SCHEMA_OBJECT)),
        key("support", Objects(&SUPPORT)),
        key("price", Object(&PRICE)),
        key("team", ObjectOrList(&TEAM, &MEMBER)),
        ROLES,
        text("slaDefaultElement"),
        key("slaProperties", Objects(&SLA)),
        DEFINITIONS,
        CUSTOM,
        key("contractCreatedTs", DateTime),
    ],
);

static DESCRIPTION: Table =
    object("description", &[text("usage"), text("purpose"), text("limitations"), DEFINITIONS, CUSTOM]);

static CONTEXT: Table = object(
    "context",
    &[text("instructions"), key("verifiedStatements", Objects(&STATEMENT)), key("constraints", Objects(&CONSTRAINT))],
);
static STATEMENT: Table =
    object("verified statement", &[text("id"), text("question").must(), text("answer"), DEFINITIONS, TAGS, CUSTOM]);
static CONSTRAINT: Table = object("constraint", &[text("id"), text("constraint").must(), DEFINITIONS, TAGS, CUSTOM]);

pub(crate) static CUSTOM_PROPERTY: Table = object(
    "custom property",
    &[ID, text("property").must(), key("value", Any).must(), text("description").since(V31), text("vendor").since(V32)],
);

static DEFINITION: Table =
    object("authoritative definition", &[ID, text("url").must(), text("type").must(), text("description").since(V31)]);

static SUPPORT: Table = object(
    "support channel",
    &[
        ID,
        text("channel").must(),
        text("url").must_in(V30, V30),
        text("description"),
        text("tool"),
        text("scope"),
        text("invitationUrl"),
        key("customProperties", Objects(&CUSTOM_PROPERTY)).since(V31),
    ],
);

static PRICE: Table = object("price", &[ID, key("priceAmount", Number), text("priceCurrency"), text("priceUnit")]);

static TEAM: Table = object(
    "team",
    &[ID, text("name"), text("description"), key("members", Objects(&MEMBER)), TAGS, CUSTOM, DEFINITIONS],
);

static MEMBER: Table = object(
    "team member",
    &[
        ID,
        text("username").must_in(V31, V32),
        text("name").since(V31),
        text("description").since(V31),
        text("role"),
        key("dateIn", Date),
        key("dateOut", Date),
        text("replacedByUsername"),
        key("tags", List(&Text)).since(V31),
        key("customProperties", Objects(&CUSTOM_PROPERTY)).since(V31),
        key("authoritativeDefinitions", Objects(&DEFINITION)).since(V31),
    ],
);

static ROLE: Table = object(
    "role",
    &[
        ID,
        text("role").must(),
        text("description"),
        text("access"),
        text("firstLevelApprovers"),
        text("secondLevelApprovers"),
        CUSTOM,
    ],
);

static SLA: Table = object(
    "SLA property",
    &[
        ID,
        text("property").must(),
        key("value", Scalar).must(),
        key("valueExt", Scalar),
        text("unit"),
        text("element"),
        text("driver"),
        text("description").since(V31),
        text("scheduler").since(V31),
        text("schedule").since(V31),
        key("customProperties", Objects(&CUSTOM_PROPERTY)).since(V32),
        key("authoritativeDefinitions", Objects(&DEFINITION)).since(V32),
    ],
);

static SYNONYM: Table = object(
    "synonym",
    &[ID, text("synonym").must(), text("description"), text("locale"), text("source"), text("status"), CUSTOM],
);

static SCHEMA_OBJECT: Table = object(
    "schema object",
    &[
        ID,
        text("name").must(),
        key("logicalType", OneOf(&[("object", V30)])),
        text("physicalType"),
        text("physicalName"),
        text("description"),
        text("businessName"),
        DEFINITIONS,
        TAGS,
        CUSTOM,
        text("dataGranularityDescription"),
        PROPERTIES,
        key("relationships", Objects(&OBJECT_RELATIONSHIP)).since(V31),
        QUALITY,
        key("deprecated", Bool).since(V32),
        key("synonyms", Objects(&SYNONYM)).since(V32),
        key("context", TextOr(&CONTEXT)).since(V32),
    ],
);

const LOGICAL_TYPE: Key = key(
    "logicalType",
    OneOf(&[
        ("string", V30),
        ("date", V30),
        ("timestamp", V30),
        ("time", V30),
        ("number", V30),
        ("integer", V30),
        ("object", V30),
        ("array", V30),
        ("boolean", V30),
        ("map", V32),
        ("vector", V32),
    ]),
);

static PROPERTY: Table = Table { name: "property", keys: &PROPERTY_KEYS, more: More::Property };
static ITEM: Table = Table { name: "item", keys: &PROPERTY_KEYS, more: More::Item };

static PROPERTY_KEYS: [Key; 29] = [
    text("name"),
    ID,
    text("physicalType"),
    text("physicalName").since(V31),
    text("description"),
    text("businessName"),
    DEFINITIONS,
    TAGS,
    CUSTOM,
    key("primaryKey", Bool),
    key("primaryKeyPosition", Int(i128::MIN)),
    LOGICAL_TYPE,
    key("semanticType", OneOf(&[("column", V32), ("measure", V32), ("dimension", V32)])).since(V32),
    key("required", Bool),
    key("unique", Bool),
    key("partitioned", Bool),
    key("partitionKeyPosition", Int(i128::MIN)),
    text("classification"),
    text("encryptedName"),
    key("transformSourceObjects", List(&Text)),
    text("transformLogic"),
    text("transformDescription"),
    key("examples", List(&Any)),
    key("criticalDataElement", Bool),
    key("relationships", Objects(&PROPERTY_RELATIONSHIP)).since(V31),
    QUALITY,
    key("enum", Set(&Object(&ENUM_VALUE))).since(V32),
    key("deprecated", Bool).since(V32),
    key("synonyms", Objects(&SYNONYM)).since(V32),
];

static ENUM_VALUE: Table = object(
    "enum value",
    &[key("value", Scalar).must(), text("label"), ID, text("description"), CUSTOM, DEFINITIONS, TAGS],
);

static MAP: Table = object("map", &[key("key", Object(&ITEM)).must(), key("value", Object(&ITEM)).must()]);

/// The name of all tables of options, which differ by logical type.
pub(crate) const OPTIONS: &str = "set of options";

macro_rules! options {
    ($($name:ident: [$($key:expr),* $(,)?];)*) => {$(
        static $name: Table = object(OPTIONS, &[$($key),*]);
    )*};
}

options! {
    TEXT_OPTIONS: [key("minLength", Int(0)), key("maxLength", Int(0)), text("pattern"), text("format")];
    DATE_OPTIONS: [text("format"), text("minimum"), text("maximum"), BEFORE, AFTER];
    TIME_OPTIONS: [
        text("format"), text("minimum"), text("maximum"), BEFORE, AFTER,
        key("timezone", Bool), text("defaultTimezone"),
    ];
    INTEGER_OPTIONS: [
        MULTIPLE, key("minimum", Number), key("maximum", Number), ABOVE, BELOW,
        key("format", OneOf(&[
            ("i8", V30), ("i16", V30), ("i32", V30), ("i64", V30), ("i128", V30),
            ("u8", V30), ("u16", V30), ("u32", V30), ("u64", V30), ("u128", V30),
        ])),
    ];
    NUMBER_OPTIONS: [
        MULTIPLE, key("minimum", Number), key("maximum", Number), ABOVE, BELOW,
        key("format", OneOf(&[("f32", V30), ("f64", V30)])),
    ];
    OBJECT_OPTIONS: [key("maxProperties", Int(0)), key("minProperties", Int(0)), key("required", Set(&Text))];
    ARRAY_OPTIONS: [key("maxItems", Int(0)), key("minItems", Int(0)), key("uniqueItems", Bool)];
    VECTOR_OPTIONS: [
        key("dimensions", Int(1)).must(),
        key("elementType", OneOf(&[
            ("bfloat16", V32), ("binary", V32), ("float16", V32), ("float32", V32), ("float64", V32),
            ("int8", V32), ("uint8", V32),
        ])),
        key("distanceMetric", OneOf(&[
            ("cosine", V32), ("dotProduct", V32), ("euclidean", V32), ("hamming", V32), ("manhattan", V32),
        ])),
        text("embeddingModel"), text("embeddingModelVersion"), key("normalized", Bool),
    ];
    NO_OPTIONS: [];
}
const AFTER: Key = key("exclusiveMinimum", TextBound);
const BEFORE: Key = key("exclusiveMaximum", TextBound);
const ABOVE: Key = key("exclusiveMinimum", NumberBound);
const BELOW: Key = key("exclusiveMaximum", NumberBound);
const MULTIPLE: Key = key("multipleOf", PositiveNumber);

macro_rules! by_logical_type {
    ($($type:literal => [$($key:expr),*];)*) => {
        /// The keys a property has because of its logical type; without one it may have children but no options.
        pub(crate) fn property_keys(logical_type: Option<&str>) -> &'static [Key] {
            match logical_type {
                $(Some($type) => { static KEYS: &[Key] = &[$($key),*]; KEYS })*
                _ => { static KEYS: &[Key] = &[options_key(&NO_OPTIONS), PROPERTIES, ITEMS]; KEYS }
            }
        }
    };
}
const fn options_key(object: &'static Table) -> Key {
    key("logicalTypeOptions", Object(object))
}
const ITEMS: Key = key("items", Object(&ITEM));

by_logical_type! {
    "string" => [options_key(&TEXT_OPTIONS)];
    "date" => [options_key(&DATE_OPTIONS)];
    "timestamp" => [options_key(&TIME_OPTIONS)];
    "time" => [options_key(&TIME_OPTIONS)];
    "integer" => [options_key(&INTEGER_OPTIONS)];
    "number" => [options_key(&NUMBER_OPTIONS)];
    "boolean" => [options_key(&NO_OPTIONS)];
    "object" => [options_key(&OBJECT_OPTIONS), PROPERTIES];
    "array" => [options_key(&ARRAY_OPTIONS), ITEMS];
    "map" => [options_key(&NO_OPTIONS), key("map", Object(&MAP)).must()];
    "vector" => [options_key(&VECTOR_OPTIONS)];
}

static OBJECT_RELATIONSHIP: Table = Table {
    name: "relationship",
    keys: &[
        key("id", Text).since(V32),
        key("type", OneOf(&[("foreignKey", V31)])),
        key("from", References).must(),
        key("to", References).must(),
        CUSTOM,
    ],
    more: More::Relationship,
};
static PROPERTY_RELATIONSHIP: Table = object(
    "relationship of a property",
    &[key("id", Text).since(V32), key("type", OneOf(&[("foreignKey", V31)])), key("to", References).must(), CUSTOM],
);

static RULE: Table = Table {
    name: "quality rule",
    keys: &[
        ID,
        DEFINITIONS,
        text("businessImpact"),
        CUSTOM,
        text("description"),
        key(
            "dimension",
            OneOf(&[
                ("accuracy", V30),
                ("completeness", V30),
                ("conformity", V30),
                ("consistency", V30),
                ("coverage", V30),
                ("timeliness", V30),
                ("uniqueness", V30),
                // The short names of the text of the standard, which the JSON schemas lack.
                ("ac", V30),
                ("cp", V30),
                ("cf", V30),
                ("cs", V30),
                ("cv", V30),
                ("tm", V30),
                ("uq", V30),
            ]),
        ),
        text("method"),
        text("name"),
        text("schedule"),
        text("scheduler"),
        text("severity"),
        TAGS,
        key("type", OneOf(&[("text", V30), ("library", V30), ("sql", V30), ("custom", V30)])),
        text("unit"),
    ],
    more: More::Quality,
};

/// The comparisons of a library or SQL rule; exactly one of them must be there.
pub(crate) static OPERATORS: [Key; 8] = [
    key("mustBe", Any),
    key("mustNotBe", Any),
    key("mustBeGreaterThan", Number),
    key("mustBeGreaterOrEqualTo", Number),
    key("mustBeLessThan", Number),
    key("mustBeLessOrEqualTo", Number),
    key("mustBeBetween", Pair),
    key("mustNotBeBetween", Pair),
];
pub(crate) static LIBRARY_KEYS: [Key; 3] = [
    key(
        "metric",
        OneOf(&[
            ("nullValues", V30),
            ("missingValues", V30),
            ("invalidValues", V30),
            ("duplicateValues", V30),
            ("rowCount", V30),
        ]),
    )
    .must_in(V31, V32),
    text("rule"),
    key("arguments", Mapping),
];
pub(crate) static SQL_KEYS: [Key; 1] = [text("query").must()];
pub(crate) static CUSTOM_KEYS: [Key; 2] = [text("engine").must(), key("implementation", TextOrMapping).must()];

static SERVER: Table = Table {
    name: "server",
    keys: &[ID, text("server").must(), text("type").must(), text("description"), text("environment"), ROLES, CUSTOM],
    more: More::Server,
};

const HOST: Key = text("host");
const PORT: Key = key("port", Port);
const DATABASE: Key = text("database");
const SCHEMA: Key = text("schema");
const CATALOG: Key = text("catalog");
const LOCATION: Key = text("location");
const FORMAT: Key = text("format");
const ENCODING: Key = text("encoding").since(V32);
const DELIMITER: Key = text("delimiter");

macro_rules! since {
    () => {
        V30
    };
    ($since:ident) => {
        $since
    };
}
macro_rules! servers {
    ($($(#$since:ident)? $($type:literal)|+ => [$($key:expr),* $(,)?];)*) => {
        /// Every server type with the version it came with and its keys.
        pub(crate) static SERVERS: &[(&[&str], Version, &[Key])] = &[$((&[$($type),+], since!($($since)?), &[$($key),*])),*];
    };
}

servers! {
    "api" => [LOCATION.must()];
    "athena" => [text("stagingDir").must_in(V30, V31), SCHEMA.must(), CATALOG, text("regionName"), text("workgroup").since(V32)];
    "azure" => [LOCATION.must(), FORMAT.must(), ENCODING, DELIMITER];
    "bigquery" => [text("project").must(), text("dataset").must()];
    "clickhouse" => [HOST.must(), PORT.must(), DATABASE.must()];
    "cloudsql" => [HOST.must(), PORT.must(), DATABASE.must(), SCHEMA.must()];
    "custom" => [
        text("account"), CATALOG, DATABASE, text("dataset"), DELIMITER, text("endpointUrl"), FORMAT, ENCODING, HOST,
        LOCATION, text("path"), PORT, text("project"), text("region"), text("regionName"), SCHEMA,
        text("serviceName"), text("stagingDir"), text("warehouse"), text("stream"),
    ];
    "databricks" => [HOST, CATALOG.must(), SCHEMA.must()];
    "db2" => [HOST.must(), PORT.must(), DATABASE.must(), SCHEMA];
    "denodo" => [HOST.must(), PORT.must(), DATABASE];
    "dremio" => [HOST.must(), PORT.must(), SCHEMA];
    "duckdb" => [DATABASE.must(), SCHEMA];
    #V32 "exasol" => [HOST.must(), PORT, SCHEMA];
    "glue" => [text("account").must(), DATABASE.must(), LOCATION, FORMAT, ENCODING];
    #V32 "hana" => [HOST.must(), PORT, DATABASE, SCHEMA];
    #V31 "hive" | "impala" | "zen" => [HOST.must(), PORT, DATABASE.must()];
    "informix" => [HOST.must(), PORT, DATABASE.must()];
    #V32 "btrieve" | "ingres" | "vectorwise" => [HOST.must(), PORT, DATABASE.must()];
    #V32 "iceberg" => [CATALOG.must(), text("catalogUrl").must(), text("namespace"), text("warehouse")];
    "kafka" => [HOST.must(), FORMAT, ENCODING];
    "kinesis" => [text("region"), FORMAT, ENCODING];
    "local" => [text("path").must(), FORMAT.must(), ENCODING];
    "mysql" => [HOST.must(), PORT.must(), DATABASE.must()];
    "oracle" => [HOST.must(), PORT.must(), text("serviceName").must()];
    #V32 "fastobjects" | "poet" | "versant" => [HOST, PORT, DATABASE.must()];
    "postgres" | "postgresql" => [HOST.must(), PORT.must(), DATABASE.must(), SCHEMA.must()];
    "presto" => [HOST.must(), CATALOG, SCHEMA];
    "pubsub" => [text("project").must()];
    "redshift" => [HOST, DATABASE.must(), SCHEMA.must(), text("region"), text("account")];
    "s3" => [LOCATION.must(), text("endpointUrl"), FORMAT, ENCODING, DELIMITER];
    "sftp" => [LOCATION.must(), FORMAT, ENCODING, DELIMITER];
    "snowflake" => [HOST, PORT, text("account").must(), DATABASE.must(), SCHEMA.must(), text("warehouse")];
    "sqlserver" => [HOST.must(), PORT, DATABASE.must(), SCHEMA.must()];
    "synapse" => [HOST.must(), PORT.must(), DATABASE.must()];
    #V32 "teradata" => [HOST.must(), PORT, DATABASE];
    "trino" => [HOST.must(), PORT.must(), CATALOG.must(), SCHEMA.must()];
    "vertica" => [HOST.must(), PORT.must(), DATABASE.must(), SCHEMA.must()];
}
