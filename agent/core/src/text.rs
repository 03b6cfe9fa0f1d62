//! Reading of kernel text files: lines, fields and numbers, without allocation.

/// The lines of a file, without their ends; the last one may lack its own.
pub(crate) fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// The fields of a line: what stands between blanks.
pub(crate) fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|field| !field.is_empty())
}

/// A decimal integer without sign; `None` for anything else, an overflow included.
pub(crate) fn integer(field: &[u8]) -> Option<u64> {
    if field.is_empty() {
        return None;
    }
    field.iter().try_fold(0u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 { None } else { number.checked_mul(10)?.checked_add(u64::from(digit)) }
    })
}

/// An integer as a value.
pub(crate) fn number(field: &[u8]) -> Option<f64> {
    integer(field).map(|number| number as f64)
}

/// A number with sign and fraction.
pub(crate) fn float(field: &[u8]) -> Option<f64> {
    utf8(field)?.parse::<f64>().ok().filter(|value| value.is_finite())
}

/// A hexadecimal integer.
pub(crate) fn hexadecimal(field: &[u8]) -> Option<u64> {
    u64::from_str_radix(utf8(field)?, 16).ok()
}

pub(crate) fn utf8(field: &[u8]) -> Option<&str> {
    std::str::from_utf8(field).ok()
}

/// The field up to a mark, and what follows the mark.
pub(crate) fn split_once(field: &[u8], mark: u8) -> Option<(&[u8], &[u8])> {
    let at = field.iter().position(|byte| *byte == mark)?;
    Some((&field[..at], &field[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_digits_and_nothing_else() {
        assert_eq!(integer(b"18446744073709551615"), Some(u64::MAX));
        for bad in [&b""[..], b"-1", b"+1", b"1x", b"18446744073709551616", "\u{0661}".as_bytes()] {
            assert_eq!(integer(bad), None);
        }
    }

    #[test]
    fn blank_runs_separate_fields() {
        assert_eq!(fields(b"  a \t b  ").collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(lines(b"a\n\nb").collect::<Vec<_>>(), [b"a", b"b"]);
    }
}
