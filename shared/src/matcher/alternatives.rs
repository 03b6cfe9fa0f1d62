//! Expressions that are nothing but texts to choose from, `a|b|c`: dashboards send thousands of them, as one matcher.

use std::collections::BTreeSet;

/// What one text costs besides its bytes, as a node of a tree.
const TEXT_BYTES: usize = 32;

/// The texts that an expression in RE2's syntax stands for, if it is a choice of texts.
pub(super) fn alternatives(expression: &str) -> Option<BTreeSet<Box<str>>> {
    let mut found = BTreeSet::new();
    let mut text = String::new();
    let mut chars = expression.chars();
    while let Some(char) = chars.next() {
        match char {
            '|' => {
                found.insert(std::mem::take(&mut text).into_boxed_str());
            }
            '\\' => text.push(chars.next().filter(char::is_ascii_punctuation)?),
            '.' | '+' | '*' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '^' | '$' => return None,
            other => text.push(other),
        }
    }
    found.insert(text.into_boxed_str());
    Some(found)
}

/// How much memory the texts take.
pub(super) fn size(texts: &BTreeSet<Box<str>>) -> usize {
    texts.iter().map(|text| text.len() + TEXT_BYTES).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_choices_of_texts_are_taken() {
        let texts = |expression: &str| alternatives(expression).map(|found| found.into_iter().collect::<Vec<_>>());
        let of = |texts: &[&str]| Some(texts.iter().map(|text| Box::from(*text)).collect::<Vec<Box<str>>>());
        assert_eq!(texts("b|a"), of(&["a", "b"]));
        assert_eq!(texts(r"h1\.example:9100|h\-2|é"), of(&["h-2", "h1.example:9100", "é"]));
        assert_eq!((texts(""), texts("a|"), texts("a|a")), (of(&[""]), of(&["", "a"]), of(&["a"])));
        for other in ["a.b", "a+", "(a|b)", "[ab]", "a{2}", "^a", "a$", r"\d", r"\pL", r"a\", r"\Qa\E", "a?"] {
            assert_eq!(texts(other), None, "{other}");
        }
    }
}
