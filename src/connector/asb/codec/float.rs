//! Floating point numbers as the format writes them: the shortest of C's `%.17g`, and back.

use std::io::Write as _;

/// Reads what either tool writes.
#[must_use]
pub fn float_from_text(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    // Rust takes no more forms than C does, but for none with an exponent mark and no digits.
    let value: f64 = text.parse().ok()?;
    // A number that no double holds is not infinity, nor is one that is too small zero.
    let is_kept = match value {
        _ if value.is_infinite() => !text.contains(|digit: char| digit.is_ascii_digit()),
        _ if value == 0.0 => {
            let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
            !mantissa.contains(|digit| matches!(digit, '1'..='9'))
        }
        _ => true,
    };
    is_kept.then_some(value)
}

/// Writes a number so that it comes back exactly; NaN has but one form.
#[must_use]
pub fn float_to_text(value: f64) -> String {
    let mut text = Vec::new();
    put_float_text(&mut text, value);
    String::from_utf8_lossy(&text).into_owned()
}

/// The same, appended.
pub(super) fn put_float_text(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        return out.extend_from_slice(b"nan");
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    if value.is_infinite() {
        return out.extend_from_slice(b"inf");
    }
    if value == 0.0 {
        return out.push(b'0');
    }
    // 17 significant digits, rounded as C does: one, a point, sixteen, `e`, the exponent.
    let start = out.len();
    // Writing to memory does not fail.
    let _ = write!(out, "{:.16e}", value.abs());
    let mut digits = [b'0'; 17];
    digits[0] = out[start];
    digits[1..].copy_from_slice(&out[start + 2..start + 18]);
    let exponent = std::str::from_utf8(&out[start + 19..]).ok().and_then(|text| text.parse::<i32>().ok()).unwrap_or(0);
    out.truncate(start);
    let some = 1 + digits.iter().rposition(|digit| *digit != b'0').unwrap_or(0);
    let mut put = |whole: &[u8], rest: &[u8]| {
        out.extend_from_slice(whole);
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
    };
    match exponent {
        0..17 => {
            let whole = exponent as usize + 1;
            put(&digits[..whole], digits.get(whole..some).unwrap_or_default());
        }
        -4..0 => {
            out.extend_from_slice(&b"0.000"[..2 + (-exponent - 1) as usize]);
            out.extend_from_slice(&digits[..some]);
        }
        _ => {
            put(&digits[..1], &digits[1..some]);
            let mark = if exponent < 0 { '-' } else { '+' };
            let _ = write!(out, "e{mark}{:02}", exponent.abs());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_c_does() {
        for (value, text) in [
            (1.5, "1.5"),
            (0.1, "0.10000000000000001"),
            (-0.0, "-0"),
            (0.0, "0"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (-1.25e300, "-1.2500000000000001e+300"),
            (-1.5e20, "-1.5e+20"),
            (0.0001, "0.0001"),
            (0.000_012_5, "1.2500000000000001e-05"),
            (f64::from_bits(1), "4.9406564584124654e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (123_456_789.125, "123456789.125"),
        ] {
            assert_eq!(float_to_text(value), text);
        }
    }

    #[test]
    fn every_number_comes_back() {
        let mut bits: u64 = 0x0123_4567_89ab_cdef;
        for _ in 0..20_000 {
            bits ^= bits << 13;
            bits ^= bits >> 7;
            bits ^= bits << 17;
            let value = f64::from_bits(bits);
            if !value.is_nan() {
                assert_eq!(float_from_text(float_to_text(value).as_bytes()).map(f64::to_bits), Some(bits));
            }
        }
        assert_eq!(float_from_text(b"+inf"), Some(f64::INFINITY));
        assert!(float_from_text(b"nan").unwrap().is_nan() && float_from_text(b"NaN").unwrap().is_nan());
        assert_eq!(float_from_text(b"-Infinity"), Some(f64::NEG_INFINITY));
        assert_eq!(float_from_text(b"0.000e999").map(f64::to_bits), Some(0));
        assert_eq!(float_from_text(b"1.7976931348623158e308"), Some(f64::MAX), "rounded to what there is");
        for bad in [&b""[..], b"x", b"1 ", b"\xff", b"1e999", b"-1e309", b"1e-999", b"-0.01e-400"] {
            assert_eq!(float_from_text(bad), None);
        }
    }
}
