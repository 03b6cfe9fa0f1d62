//! Where a part of a YAML scalar stands in its file.
//!
//! A YAML reader says where a scalar starts; folding, indentation and escapes stand between that and a place inside it.
//! White space is all that folding and indentation change, so the place is found by counting the other characters.

use watchfire_shared::document::Position;

/// The place in `file` of byte `offset` of a scalar that starts at `at` and reads as `text`.
///
/// An offset on white space or at the end gives the place after the last character before it.
pub(super) fn locate(file: &str, at: Position, text: &str, offset: usize) -> Position {
    let offset = (0..=offset.min(text.len())).rev().find(|&byte| text.is_char_boundary(byte)).unwrap_or(0);
    let mut before = text[..offset].chars().filter(|char| !char.is_whitespace()).count();
    let after = !text[offset..].starts_with(|char: char| !char.is_whitespace());
    let mut cursor = Cursor::at(file, at);
    let quote = cursor.enter();
    while let Some(piece) = cursor.next(quote) {
        if piece.counts {
            if before == 0 {
                return piece.at;
            }
            before -= 1;
            if before == 0 && after {
                return Position { line: piece.at.line, column: piece.at.column + piece.width };
            }
        }
    }
    at
}

/// The byte offset of a line and a byte column (both from 1) of a text.
pub(super) fn offset_of(text: &str, line: u32, column: u32) -> usize {
    let lines = text.split_inclusive('\n').take(line.saturating_sub(1) as usize);
    (lines.map(str::len).sum::<usize>() + column.saturating_sub(1) as usize).min(text.len())
}

/// One character of a scalar as it is written in the file.
struct Piece {
    at: Position,
    /// Characters in the file; more than one for an escape.
    width: u32,
    /// Whether it stands for a character other than white space.
    counts: bool,
}

struct Cursor<'a> {
    rest: &'a str,
    at: Position,
}

impl<'a> Cursor<'a> {
    fn at(file: &'a str, at: Position) -> Self {
        let lines = file.split_inclusive('\n').take(at.line.saturating_sub(1) as usize);
        let start = lines.map(str::len).sum::<usize>();
        let rest = &file[start..];
        let column = rest.char_indices().nth(at.column.saturating_sub(1) as usize).map_or(rest.len(), |(byte, _)| byte);
        Self { rest: &rest[column..], at }
    }

    /// Steps over the quote or the header of a block scalar; returns the quote.
    fn enter(&mut self) -> Option<char> {
        match self.rest.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                self.step();
                Some(quote)
            }
            Some('|' | '>') => {
                while self.step().is_some_and(|char| char != '\n') {}
                None
            }
            _ => None,
        }
    }

    fn step(&mut self) -> Option<char> {
        let char = self.rest.chars().next()?;
        self.rest = &self.rest[char.len_utf8()..];
        if char == '\n' {
            self.at = Position { line: self.at.line + 1, column: 1 };
        } else {
            self.at.column += 1;
        }
        Some(char)
    }

    fn next(&mut self, quote: Option<char>) -> Option<Piece> {
        let at = self.at;
        let char = self.step()?;
        if char == '\'' && quote == Some('\'') {
            self.step();
            return Some(Piece { at, width: 2, counts: true });
        }
        if char != '\\' || quote != Some('"') {
            return Some(Piece { at, width: 1, counts: !char.is_whitespace() });
        }
        let escape = self.step()?;
        let digits = match escape {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        (0..digits).for_each(|_| _ = self.step());
        let counts = !matches!(escape, 'n' | 't' | 'r' | ' ' | '\n' | '_' | 'N' | 'L' | 'P');
        Some(Piece { at, width: 2 + digits, counts })
    }
}

#[cfg(test)]
mod tests {
    use watchfire_shared::document::{Report, Value, yaml};

    use super::*;

    /// Finds `needle` in the value of the only key of a YAML file, and in the file.
    fn check(file: &str, needle: &str, line: u32, column: u32) {
        let root = yaml::parse(file, &mut Report::new("f")).unwrap();
        let Value::Table(entries) = &root.value else { panic!("a table") };
        let node = &entries[0].1;
        let Value::Scalar(scalar) = &node.value else { panic!("a scalar") };
        let offset = scalar.text.find(needle).unwrap();
        let found = locate(file, node.at, &scalar.text, offset);
        assert_eq!(found, Position { line, column }, "{needle} in {file}");
        let end = locate(file, node.at, &scalar.text, offset + needle.len());
        assert_eq!(end.line, line, "the end of {needle} in {file}");
    }

    #[test]
    fn a_part_of_a_scalar_is_found_in_every_style_of_yaml() {
        check("expr: up == bar(1)\n", "bar", 1, 13);
        check("expr: up ==\n   bar(1)\n", "bar", 2, 4);
        check("expr: |\n  up\n    == bar(1)\n", "bar", 3, 8);
        check("expr: >-\n  up\n\n  == bar(1)\n", "bar", 4, 6);
        check("expr: 'up{a=''b''} == bar(1)'\n", "bar", 1, 23);
        check("expr: \"up{a=\\\"b\\\"}\\n == bar(1)\"\n", "bar", 1, 25);
        check("  # é\nexpr: 'é' \n", "é", 2, 8);
    }

    #[test]
    fn lines_and_columns_are_bytes_of_the_text() {
        assert_eq!(offset_of("ab\ncd", 2, 2), 4);
        assert_eq!(offset_of("ab", 9, 9), 2);
    }
}
