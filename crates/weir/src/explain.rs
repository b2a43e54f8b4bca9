//! `weir explain`: the page of a violation code, or a line for each of them.

use weir_contract::Code;

use crate::args::Explain;
use crate::output::Out;
use crate::{Exit, Failure};

/// Prints the page, or all codes with what they mean in one sentence.
///
/// # Errors
/// [`Failure::Usage`] for a code that does not exist; the text names the nearest ones.
pub fn run(arguments: &Explain) -> Result<Exit, Failure> {
    let mut out = Out::new();
    match &arguments.code {
        Some(name) => {
            let code = Code::parse(name).ok_or_else(|| unknown(name))?;
            out.text(code.page())?;
        }
        None => {
            let width = Code::ALL.iter().map(|code| code.name().len()).max().unwrap_or_default();
            for code in Code::ALL {
                out.line(format_args!("{:<width$}  {}", code.name(), summary(*code)))?;
            }
        }
    }
    out.flush()?;
    Ok(Exit::Done)
}

/// The first sentence of what a code means.
pub fn summary(code: Code) -> String {
    let (_, text) = code.page().split_once("## What it means").unwrap_or_default();
    let paragraph: Vec<&str> =
        text.lines().map(str::trim).skip_while(|line| line.is_empty()).take_while(|line| !line.is_empty()).collect();
    let paragraph = paragraph.join(" ");
    match paragraph.split_once(". ") {
        Some((sentence, _)) => format!("{sentence}."),
        None => paragraph,
    }
}

fn unknown(name: &str) -> Failure {
    let wanted = name.to_ascii_uppercase();
    let word = |part: &str| !part.is_empty() && wanted.contains(part);
    let near: Vec<&str> =
        Code::ALL.iter().map(|code| code.name()).filter(|code| code.split('_').any(word)).take(5).collect();
    let hint = if near.is_empty() { String::new() } else { format!("; did you mean {}", near.join(", ")) };
    Failure::Usage(format!("{name:?} is no violation code{hint}; `weir explain` lists them all"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_summary_of_one_sentence() {
        for code in Code::ALL {
            let summary = summary(*code);
            assert!(summary.len() > 10 && !summary.contains('\n') && !summary.contains('#'), "{code}: {summary:?}");
        }
    }

    #[test]
    fn an_unknown_code_is_told_which_ones_are_near() {
        let text = unknown("field_rang").to_string();
        assert!(
            text.starts_with("\"field_rang\" is no violation code; did you mean FIELD_MISSING, FIELD_RANGE"),
            "{text}"
        );
        assert_eq!(unknown("x").to_string(), "\"x\" is no violation code; `weir explain` lists them all");
    }
}
