//! Findings as people read them: the offending text, underlined, and what to write instead.

use std::fmt;

use engine_core::playbook::Position;
use engine_core::playbook::diagnostic::{Diagnostic, Severity};
use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents,
    NamedSource, SourceCode, SourceSpan, SpanContents,
};

use crate::playbooks::Source;

/// Columns of a report that is no terminal's.
const WIDTH: usize = 100;

/// Something to say about a place in a text.
#[derive(Debug)]
pub(crate) struct Report {
    /// What happened.
    pub(crate) message: String,
    /// How bad it is.
    pub(crate) severity: Severity,
    /// Its stable short name.
    pub(crate) code: Option<String>,
    /// What to do about it.
    pub(crate) help: Option<String>,
    /// What stands under the offending text.
    pub(crate) label: Option<String>,
    /// Byte offset and length of the offending text.
    span: SourceSpan,
    source: Text,
}

/// A source whose columns are characters, as in findings; miette's own are bytes.
#[derive(Debug)]
struct Text(NamedSource<String>);

impl SourceCode for Text {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let found = self.0.read_span(span, lines_before, lines_after)?;
        let (text, start) = (self.0.inner(), found.span().offset());
        let line = text[..start].rfind('\n').map_or(0, |end| end + 1);
        Ok(Box::new(MietteSpanContents::new_named(
            self.0.name().to_owned(),
            found.data(),
            *found.span(),
            found.line(),
            text[line..start].chars().count(),
            found.line_count(),
        )))
    }
}

impl Report {
    /// A report on `length` characters from `position` on.
    pub(crate) fn new(
        source: &Source,
        position: Position,
        length: u32,
        message: impl Into<String>,
    ) -> Self {
        Self {
            message: message.into(),
            severity: Severity::Error,
            code: None,
            help: None,
            label: None,
            span: span(&source.text, position, length),
            source: Text(NamedSource::new(&source.name, source.text.clone())),
        }
    }

    /// The report as text, with colors or without.
    pub(crate) fn render(&self, colored: bool) -> String {
        let theme =
            if colored { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler =
            GraphicalReportHandler::new_themed(theme).with_width(WIDTH).with_context_lines(1);
        let mut text = String::new();
        match handler.render_report(&mut text, self) {
            Ok(()) => text,
            // It fails only for spans outside of the text, and `span` makes none.
            Err(fmt::Error) => self.message.clone(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Report {}

impl miette::Diagnostic for Report {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.code.as_ref().map(|code| Box::new(code) as Box<dyn fmt::Display>)
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = LabeledSpan::new_with_span(self.label.clone(), self.span);
        Some(Box::new(std::iter::once(label)))
    }
}

/// One finding in a playbook's text.
pub(crate) fn render(source: &Source, found: &Diagnostic, colored: bool) -> String {
    let mut report = Report::new(source, found.position, found.length, found.message.as_str());
    report.severity = found.severity;
    report.code = Some(found.code.to_owned());
    report.help.clone_from(&found.advice);
    report.render(colored)
}

/// The bytes of `length` characters from `position` on; it never leaves the line or the text.
fn span(text: &str, position: Position, length: u32) -> SourceSpan {
    let line = position.line.saturating_sub(1) as usize;
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let line = text[start..].lines().next().unwrap_or_default();
    let bytes = |chars: u32| {
        line.char_indices().nth(chars as usize).map_or(line.len(), |(offset, _)| offset)
    };
    let from = bytes(position.column.saturating_sub(1));
    let to = bytes(position.column.saturating_sub(1).saturating_add(length.max(1)));
    (start + from, to - from).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        let text = "workflow:\n  - step: start\n    lopp: {in: \"ü\", iteratr: item}\n";
        Source { name: "play.yaml".to_owned(), text: text.to_owned() }
    }

    fn found(severity: Severity, line: u32, column: u32, length: u32) -> Diagnostic {
        Diagnostic {
            severity,
            code: "unknown-key",
            message: "`iteratr` is no key of a loop".to_owned(),
            position: Position { line, column },
            length,
            path: "workflow[0].loop.iteratr".to_owned(),
            advice: Some("write `iterator`".to_owned()),
        }
    }

    #[test]
    fn a_finding_underlines_the_text_and_says_what_to_write() {
        let text = render(&source(), &found(Severity::Error, 3, 21, 7), false);
        let expect = "\
unknown-key

  × `iteratr` is no key of a loop
   ╭─[play.yaml:3:21]
 2 │   - step: start
 3 │     lopp: {in: \"ü\", iteratr: item}
   ·                     ───────
   ╰────
  help: write `iterator`
";
        assert_eq!(text, expect);
    }

    #[test]
    fn a_warning_is_told_from_an_error() {
        let warning = render(&source(), &found(Severity::Warning, 3, 21, 7), false);
        assert!(warning.contains("⚠"), "{warning}");
        assert!(render(&source(), &found(Severity::Error, 1, 1, 1), true).contains("\u{1b}["));
    }

    #[test]
    fn a_place_outside_of_the_text_is_reported_all_the_same() {
        for (line, column, length) in [(0, 0, 0), (1, 400, 3), (99, 1, 1), (4, 1, u32::MAX)] {
            let text = render(&source(), &found(Severity::Error, line, column, length), false);
            assert!(text.contains("`iteratr` is no key"), "{text}");
        }
        let empty = Source { name: "empty.yaml".to_owned(), text: String::new() };
        let text = render(&empty, &found(Severity::Error, 1, 1, 1), false);
        assert!(text.contains("`iteratr` is no key"), "{text}");
    }
}
