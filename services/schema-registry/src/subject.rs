//! Names of subjects, the contexts they are in, and where their settings come from. `:.context:name` is a subject of
//! a context, a plain name one of the default context, and `:.context:` alone the context itself.

/// Name of the default context, whose subjects have plain names.
pub const DEFAULT: &str = ".";
/// The context that has no subjects, only the settings that hold where no others do.
pub const GLOBAL: &str = ".__GLOBAL";

/// Context and plain name of a subject.
pub fn split(subject: &str) -> (&str, &str) {
    match subject.strip_prefix(':').filter(|rest| rest.starts_with('.')) {
        Some(rest) => rest.split_once(':').unwrap_or((rest, "")),
        None => (DEFAULT, subject),
    }
}

/// The context of a subject.
pub fn context(subject: &str) -> &str {
    split(subject).0
}

/// The one spelling of a subject.
pub fn qualified(context: &str, name: &str) -> String {
    if context == DEFAULT { name.to_owned() } else { format!(":{context}:{name}") }
}

/// A subject in its one spelling.
pub fn normalized(subject: &str) -> String {
    let (context, name) = split(subject);
    qualified(context, name)
}

/// The subject that a reference of a schema under `parent` means: without a context, that of the parent.
pub fn beside(parent: &str, subject: &str) -> String {
    match split(subject) {
        (DEFAULT, name) => qualified(context(parent), name),
        (context, name) => qualified(context, name),
    }
}

/// Where settings are looked for, in this order: at the subject, its context, and the global context. `None` is the
/// default context, whose settings come without a subject.
pub fn scopes(subject: Option<&str>) -> [Option<String>; 3] {
    let context = context(subject.unwrap_or_default());
    let of_context = (context != DEFAULT).then(|| qualified(context, ""));
    [subject.map(str::to_owned), of_context, Some(qualified(GLOBAL, ""))]
}

/// Whether settings at `scope` are about `subject`: its own, those of its context, or the global ones.
pub fn covers(scope: Option<&str>, subject: &str) -> bool {
    match scope.map(split) {
        Some((GLOBAL, _)) => true,
        Some((within, "")) => context(subject) == within,
        Some(_) => scope == Some(subject),
        None => context(subject) == DEFAULT,
    }
}

/// A start of subject names, as listings take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix<'a> {
    /// `:*:start`: in every context.
    Anywhere(&'a str),
    /// `start` or `:.:start`: in the default context.
    Default(&'a str),
    /// `:.context:start`, or only a start of it.
    Qualified(&'a str),
}

impl<'a> Prefix<'a> {
    /// All subjects of all contexts.
    pub const ALL: Prefix<'static> = Prefix::Anywhere("");

    /// Reads a prefix.
    pub fn parse(text: &'a str) -> Prefix<'a> {
        match (text.strip_prefix(":*:"), text.strip_prefix(":.:")) {
            (Some(start), _) => Prefix::Anywhere(start),
            (None, Some(start)) => Prefix::Default(start),
            (None, None) if text.starts_with(":.") => Prefix::Qualified(text),
            (None, None) => Prefix::Default(text),
        }
    }

    /// Whether a subject starts so.
    pub fn fits(self, subject: &str) -> bool {
        let (context, name) = split(subject);
        match self {
            Prefix::Anywhere(start) => name.starts_with(start),
            Prefix::Default(start) => context == DEFAULT && name.starts_with(start),
            Prefix::Qualified(start) => subject.starts_with(start),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_contexts() {
        let check = |subject: &str, context: &str, name: &str, spelling: &str| {
            assert_eq!((split(subject), normalized(subject).as_str()), ((context, name), spelling), "{subject}");
        };
        check("a", ".", "a", "a");
        check("", ".", "", "");
        check(":.:a", ".", "a", "a");
        check(":.x:a", ".x", "a", ":.x:a");
        check(":.x:a:b", ".x", "a:b", ":.x:a:b");
        check(":.x:", ".x", "", ":.x:");
        check(":.x", ".x", "", ":.x:");
        check(":x", ".", ":x", ":x");
    }

    #[test]
    fn references_stay_in_the_context() {
        let check = |parent: &str, subject: &str, expect: &str| assert_eq!(beside(parent, subject), expect);
        check("p", "a", "a");
        check(":.x:p", "a", ":.x:a");
        check(":.x:p", ":.y:a", ":.y:a");
        check("p", ":.y:a", ":.y:a");
    }

    #[test]
    fn scopes_of_settings() {
        let check = |subject: Option<&str>, expect: [Option<&str>; 3]| {
            assert_eq!(scopes(subject).each_ref().map(Option::as_deref), expect, "{subject:?}");
        };
        check(Some("a"), [Some("a"), None, Some(":.__GLOBAL:")]);
        check(Some(":.x:a"), [Some(":.x:a"), Some(":.x:"), Some(":.__GLOBAL:")]);
        check(None, [None, None, Some(":.__GLOBAL:")]);
        let covered = |scope: Option<&str>| ["a", ":.x:a", ":.y:a"].map(|subject| covers(scope, subject));
        assert_eq!(covered(None), [true, false, false]);
        assert_eq!(covered(Some("a")), [true, false, false]);
        assert_eq!(covered(Some(":.x:")), [false, true, false]);
        assert_eq!(covered(Some(":.__GLOBAL:")), [true, true, true]);
    }

    #[test]
    fn prefixes() {
        let check = |prefix: &str, expect: &[&str]| {
            let all = ["a1", "b1", ":.x:a1", ":.x:b1", ":.xy:a1"];
            let fits: Vec<_> = all.into_iter().filter(|subject| Prefix::parse(prefix).fits(subject)).collect();
            assert_eq!(fits, expect, "{prefix}");
        };
        check("", &["a1", "b1"]);
        check("a", &["a1"]);
        check(":.:a", &["a1"]);
        check(":*:", &["a1", "b1", ":.x:a1", ":.x:b1", ":.xy:a1"]);
        check(":*:a", &["a1", ":.x:a1", ":.xy:a1"]);
        check(":.x:", &[":.x:a1", ":.x:b1"]);
        check(":.x:b", &[":.x:b1"]);
        check(":.x", &[":.x:a1", ":.x:b1", ":.xy:a1"]);
    }
}
