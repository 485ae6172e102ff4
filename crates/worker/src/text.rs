//! Making text from outside harmless: for databases, logs and screens.

use std::borrow::Cow;

/// What stands for a character that must not be kept.
pub const REPLACEMENT: char = '\u{FFFD}';

/// `text` without U+0000, which PostgreSQL cannot keep: one such character in an
/// error text would make the failure itself impossible to record.
pub fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{FFFD}")) } else { Cow::Borrowed(text) }
}

/// `text` as one line of at most `longest` characters: control characters and
/// those that turn the direction of writing are replaced, runs of blanks become
/// one space, and what is cut off is marked with `…`.
pub fn line(text: &str, longest: usize) -> String {
    let mut line = String::new();
    let mut kept = 0;
    for word in text.split(char::is_whitespace).filter(|word| !word.is_empty()) {
        let gap = (kept > 0).then_some(' ');
        for character in gap.into_iter().chain(word.chars()) {
            if kept == longest {
                line.push('…');
                return line;
            }
            line.push(if is_harmful(character) { REPLACEMENT } else { character });
            kept += 1;
        }
    }
    line
}

const fn is_harmful(character: char) -> bool {
    matches!(
        character,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nul_is_replaced_and_nothing_else() {
        assert!(matches!(storable("a\nb\u{1b}"), Cow::Borrowed("a\nb\u{1b}")));
        assert_eq!(storable("a\0b\0"), "a\u{FFFD}b\u{FFFD}");
    }

    #[test]
    fn a_line_is_one_line() {
        assert_eq!(line("  a\r\n\tb  c ", 100), "a b c");
        assert_eq!(line("\u{1b}[31mred\0", 100), "\u{FFFD}[31mred\u{FFFD}");
        assert_eq!(line("user\u{202e}gpj.exe", 100), "user\u{FFFD}gpj.exe");
        assert_eq!(line("äöü äöü", 5), "äöü ä…");
        assert_eq!(line("abcde", 5), "abcde");
        assert_eq!(line("", 5), "");
    }
}
