//! The codes of violations and their help pages, the same text for the command line, the catalog and the docs.

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident $name:literal,)*) => {
        /// What kind of promise an event broke. The names are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Code] = &[$(Code::$variant),*];

            /// The name as it stands in headers and metrics.
            pub fn name(self) -> &'static str {
                match self { $(Code::$variant => $name,)* }
            }

            /// The help page in Markdown: what the code means, who repairs it, how to replay.
            pub fn page(self) -> &'static str {
                match self { $(Code::$variant => include_str!(concat!("codes/", $name, ".md")),)* }
            }
        }
    };
}

codes! {
    /// The value carries no schema id.
    FrameMissing "FRAME_MISSING",
    /// The registry knows no schema of this id.
    SchemaUnknown "SCHEMA_UNKNOWN",
    /// The schema is not one the contract allows.
    SchemaNotAllowed "SCHEMA_NOT_ALLOWED",
    /// The payload is not a datum of its schema.
    PayloadMalformed "PAYLOAD_MALFORMED",
    /// Bytes follow the datum.
    PayloadTrailingBytes "PAYLOAD_TRAILING_BYTES",
    /// The record has no key.
    KeyMissing "KEY_MISSING",
    /// The key is not made of the key fields.
    KeyMismatch "KEY_MISMATCH",
    /// A field that must have a value has none.
    FieldMissing "FIELD_MISSING",
    /// A value is outside its range.
    FieldRange "FIELD_RANGE",
    /// A text, list or map is too short or too long.
    FieldLength "FIELD_LENGTH",
    /// A text does not match its pattern.
    FieldPattern "FIELD_PATTERN",
    /// A text does not have its format.
    FieldFormat "FIELD_FORMAT",
    /// A value is not one of the allowed ones.
    FieldEnum "FIELD_ENUM",
    /// A rule of the contract does not hold.
    RuleFailed "RULE_FAILED",
    /// A rule of the contract could not be evaluated.
    RuleError "RULE_ERROR",
    /// An event of this key was there before.
    Duplicate "DUPLICATE",
    /// An event is older than the one before it of the same key.
    OutOfOrder "OUT_OF_ORDER",
    /// What the event refers to does not exist.
    ReferenceMissing "REFERENCE_MISSING",
    /// The event is older than the contract allows.
    EventLate "EVENT_LATE",
    /// The event is from the future.
    EventFuture "EVENT_FUTURE",
    /// The record does not fit the product topic.
    RecordTooLarge "RECORD_TOO_LARGE",
    /// A null value came where none is allowed.
    TombstoneDenied "TOMBSTONE_DENIED",
    /// A batch of the log could not be read.
    BatchUnreadable "BATCH_UNREADABLE",
    /// A view could not take a record of its inputs.
    ViewFailed "VIEW_FAILED",
}

impl Code {
    /// The code of this name, in any case.
    pub fn parse(name: &str) -> Option<Code> {
        Self::ALL.iter().copied().find(|code| code.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The help page of a code; nothing for an unknown one.
pub fn explain(code: &str) -> Option<&'static str> {
    Code::parse(code).map(Code::page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page_with_the_same_four_parts() {
        for code in Code::ALL {
            let page = code.page();
            assert!(page.starts_with(&format!("# {code}\n")), "{code}");
            for part in ["\n## What it means\n", "\n## Who repairs it\n", "\n## How to replay\n"] {
                let (_, text) = page.split_once(part).unwrap_or_else(|| panic!("{code} lacks {part:?}"));
                assert!(text.trim_start().len() > 40, "{code}: {part:?} is empty");
            }
            assert_eq!(explain(&code.name().to_lowercase()), Some(page));
        }
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/codes")).unwrap().count();
        assert_eq!(files, Code::ALL.len(), "a page without a code");
        assert_eq!(explain("NO_SUCH_CODE"), None);
    }
}
