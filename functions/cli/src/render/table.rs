//! Tables of a terminal.

use console::measure_text_width;

/// How a column stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Align {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

/// Lays rows out under each other; styled cells count as wide as they look.
pub(crate) fn table(aligns: &[Align], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| measure_text_width(cell)).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..aligns.len()).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for ((cell, align), width) in row.iter().zip(aligns).zip(&widths) {
            let blanks = " ".repeat(width.saturating_sub(measure_text_width(cell)));
            line.push_str("  ");
            match align {
                Align::Left => line.extend([cell.as_str(), &blanks]),
                Align::Right => line.extend([blanks.as_str(), cell]),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [row(["step", "runs", ""]), row(["größte", "1 000", "ok"]), row(["a", "2", ""])];
        let expect = "  step     runs\n  größte  1 000  ok\n  a           2\n";
        assert_eq!(table(&[Align::Left, Align::Right, Align::Left], &rows), expect);
    }

    #[test]
    fn styles_take_no_room() {
        let red = "\u{1b}[31mab\u{1b}[0m".to_owned();
        let rows = [vec![red.clone(), "x".to_owned()], vec!["abcd".to_owned(), "y".to_owned()]];
        let expect = format!("  {red}    x\n  abcd  y\n");
        assert_eq!(table(&[Align::Left, Align::Left], &rows), expect);
    }
}
