//! Decimal numbers of any length as key parts: bytes that sort as the numbers do, one encoding for each value.

use std::{cmp::Ordering, fmt};

/// The most pairs of digits before or behind the point: as many as `PostgreSQL`'s `numeric` has, and some.
const MAX_PAIRS: i32 = 70_000;

const EXPONENTS: std::ops::RangeInclusive<i32> = -MAX_PAIRS..=MAX_PAIRS;

/// Digits that are shown without an exponent.
const SHOWN_PLAINLY: i64 = 40;

const NEGATIVE_INFINITY: u8 = 0x00;
const NEGATIVE: u8 = 0x01;
const ZERO: u8 = 0x02;
const POSITIVE: u8 = 0x03;
const INFINITY: u8 = 0x04;
const NAN: u8 = 0x05;

/// A decimal number. Trailing zeros are no part of it: 1.0 and 1.00 are one number, as they are one key to the systems that
/// have such keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Numeric {
    /// Below all others.
    NegativeInfinity,
    /// A number.
    Finite(Decimal),
    /// Above all numbers.
    Infinity,
    /// Above all others, as `PostgreSQL` sorts it.
    NotANumber,
}

/// A finite decimal number: 0.PPPP… × 100^exponent, where each P is a pair of digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Decimal {
    negative: bool,
    exponent: i32,
    /// Pairs, 0 to 99; neither the first nor the last is 0. None for zero.
    pairs: Vec<u8>,
}

impl Numeric {
    /// Reads `-12.50`, `1e400`, `Infinity`, `NaN`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        match (negative, rest.to_ascii_lowercase().as_str()) {
            (false, "nan") => return Some(Self::NotANumber),
            (false, "infinity" | "inf") => return Some(Self::Infinity),
            (true, "infinity" | "inf") => return Some(Self::NegativeInfinity),
            _ => {}
        }
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).map(|byte| byte - b'0').collect();
        Decimal::of(negative, &digits, whole.len() as i64 + i64::from(exponent)).map(Self::Finite)
    }

    /// Appends bytes that sort as the number does.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let decimal = match self {
            Self::NegativeInfinity => return out.push(NEGATIVE_INFINITY),
            Self::Infinity => return out.push(INFINITY),
            Self::NotANumber => return out.push(NAN),
            Self::Finite(decimal) if decimal.pairs.is_empty() => return out.push(ZERO),
            Self::Finite(decimal) => decimal,
        };
        out.push(if decimal.negative { NEGATIVE } else { POSITIVE });
        // The larger a negative number's amount, the smaller it is.
        let turned = if decimal.negative { 0xff } else { 0 };
        let exponent = (decimal.exponent as u32 ^ 1 << 31).to_be_bytes();
        let pairs = decimal.pairs.iter().map(|pair| pair + 1);
        out.extend(exponent.into_iter().chain(pairs).chain([0]).map(|byte| byte ^ turned));
    }

    /// Takes a number from the front of some bytes; `None` if they are not what [`Self::encode`] gives.
    pub(super) fn take(bytes: &mut &[u8]) -> Option<Self> {
        let (&kind, rest) = bytes.split_first()?;
        *bytes = rest;
        let negative = match kind {
            NEGATIVE_INFINITY => return Some(Self::NegativeInfinity),
            INFINITY => return Some(Self::Infinity),
            NAN => return Some(Self::NotANumber),
            ZERO => return Some(Self::Finite(Decimal::default())),
            NEGATIVE => true,
            POSITIVE => false,
            _ => return None,
        };
        let turned = if negative { 0xff } else { 0 };
        let exponent = bytes.get(..4)?.iter().fold(0, |all, byte| all << 8 | u32::from(byte ^ turned)) ^ 1 << 31;
        let digits = bytes.get(4..)?;
        let len = digits.iter().position(|byte| byte ^ turned == 0)?;
        let pairs: Vec<u8> = digits[..len].iter().map(|byte| (byte ^ turned) - 1).collect();
        *bytes = &digits[len + 1..];
        let exponent = exponent as i32;
        let is_canonical = pairs.first().is_some_and(|pair| *pair != 0)
            && pairs.last().is_some_and(|pair| *pair != 0)
            && pairs.iter().all(|pair| *pair < 100)
            && EXPONENTS.contains(&exponent);
        is_canonical.then_some(Self::Finite(Decimal { negative, exponent, pairs }))
    }
}

impl Decimal {
    /// 0.DDDD… × 10^point, in pairs; `None` if it is out of all measure.
    fn of(negative: bool, digits: &[u8], point: i64) -> Option<Self> {
        let Some(first) = digits.iter().position(|digit| *digit != 0) else { return Some(Self::default()) };
        let point = point - first as i64;
        let exponent = point.div_euclid(2) + point.rem_euclid(2);
        // Where the point lies between the digits of a pair, a zero goes in front.
        let leading = (exponent * 2 - point) as usize;
        let mut padded = vec![0; leading];
        padded.extend_from_slice(&digits[first..]);
        if padded.len() % 2 == 1 {
            padded.push(0);
        }
        let (twos, _) = padded.as_chunks::<2>();
        let mut pairs: Vec<u8> = twos.iter().map(|[tens, ones]| tens * 10 + ones).collect();
        while pairs.last() == Some(&0) {
            pairs.pop();
        }
        let exponent = i32::try_from(exponent).ok().filter(|exponent| EXPONENTS.contains(exponent))?;
        Some(Self { negative, exponent, pairs })
    }

    /// The digits without zeros around them, and how many of them stand before the point.
    fn digits(&self) -> (String, i64) {
        let all: String =
            self.pairs.iter().flat_map(|pair| [b'0' + pair / 10, b'0' + pair % 10]).map(char::from).collect();
        let digits = all.trim_start_matches('0');
        let point = i64::from(self.exponent) * 2 - (all.len() - digits.len()) as i64;
        (digits.trim_end_matches('0').to_owned(), point)
    }
}

impl fmt::Display for Numeric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NegativeInfinity => f.write_str("-Infinity"),
            Self::Infinity => f.write_str("Infinity"),
            Self::NotANumber => f.write_str("NaN"),
            Self::Finite(decimal) => decimal.fmt(f),
        }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (digits, point) = self.digits();
        let sign = if self.negative { "-" } else { "" };
        let len = digits.len() as i64;
        match point {
            _ if digits.is_empty() => f.write_str("0"),
            point if point.abs() > SHOWN_PLAINLY || (point - len).abs() > SHOWN_PLAINLY => {
                let (first, rest) = digits.split_at(1);
                let dot = if rest.is_empty() { "" } else { "." };
                write!(f, "{sign}{first}{dot}{rest}e{}", point - 1)
            }
            point if point <= 0 => write!(f, "{sign}0.{}{digits}", "0".repeat(-point as usize)),
            point if point >= len => write!(f, "{sign}{digits}{}", "0".repeat((point - len) as usize)),
            point => {
                let (whole, fraction) = digits.split_at(point as usize);
                write!(f, "{sign}{whole}.{fraction}")
            }
        }
    }
}

impl PartialOrd for Numeric {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Numeric {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |number: &Self| match number {
            Self::NegativeInfinity => 0,
            Self::Finite(_) => 1,
            Self::Infinity => 2,
            Self::NotANumber => 3,
        };
        match (self, other) {
            (Self::Finite(one), Self::Finite(other)) => one.cmp(other),
            _ => rank(self).cmp(&rank(other)),
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = |one: &Self| match (one.pairs.is_empty(), one.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        };
        let by_sign = sign(self).cmp(&sign(other));
        let by_amount = || (self.exponent, &self.pairs).cmp(&(other.exponent, &other.pairs));
        by_sign.then_with(|| if self.negative { by_amount().reverse() } else { by_amount() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(number: &Numeric) -> Vec<u8> {
        let mut out = Vec::new();
        number.encode(&mut out);
        out
    }

    fn shown(text: &str) -> String {
        Numeric::parse(text).unwrap().to_string()
    }

    #[test]
    fn one_number_has_one_text_and_one_encoding() {
        for (typed, is) in [
            ("1.50", "1.5"),
            ("+001", "1"),
            ("-0.00", "0"),
            (".5", "0.5"),
            ("5.", "5"),
            ("12e3", "12000"),
            ("-0.0001", "-0.0001"),
            ("123456789.987654321", "123456789.987654321"),
            ("1e400", "1e400"),
            ("-12.5e-100", "-1.25e-99"),
            ("inf", "Infinity"),
            ("-Infinity", "-Infinity"),
            ("nan", "NaN"),
        ] {
            assert_eq!(shown(typed), is);
            assert_eq!(Numeric::parse(typed), Numeric::parse(is), "{typed}");
        }
        for bad in ["", "-", ".", "e5", "1e", "1.2.3", "0x1", "--1", "-nan", "1e999999", "1e-999999", "1 "] {
            assert_eq!(Numeric::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn bytes_that_are_no_encoding_are_refused() {
        let good = bytes(&Numeric::parse("12.5").unwrap());
        for bad in [
            &[][..],
            &[9],
            &[POSITIVE],
            &[POSITIVE, 0x80, 0, 0, 0, 0],
            &[POSITIVE, 0x80, 0, 0, 1, 13],
            &[POSITIVE, 0x80, 0, 0, 1, 1, 13, 0],
            &[POSITIVE, 0x80, 0, 0, 1, 13, 1, 0],
            &[POSITIVE, 0x80, 0, 0, 1, 101, 0],
            &[POSITIVE, 0xff, 0, 0, 1, 13, 0],
            &[POSITIVE, 0, 0, 0, 0, 13, 0],
            &[NEGATIVE, 0xff, 0xff, 0xff, 0xff, !13, 0xff],
            &good[..good.len() - 1],
        ] {
            assert_eq!(Numeric::take(&mut &*bad), None, "{bad:?}");
        }
    }

    fn numbers() -> impl Strategy<Value = Numeric> {
        prop_oneof![
            1 => Just(Numeric::NegativeInfinity),
            1 => Just(Numeric::Infinity),
            1 => Just(Numeric::NotANumber),
            9 => (any::<i64>(), -30..30i32).prop_map(|(mantissa, exponent)| {
                Numeric::parse(&format!("{mantissa}e{exponent}")).unwrap()
            }),
            9 => (-20..20i64, -3..3i32).prop_map(|(mantissa, exponent)| {
                Numeric::parse(&format!("{mantissa}e{exponent}")).unwrap()
            }),
            3 => ("-?[0-9]{1,60}\\.[0-9]{0,60}", -500..500i32).prop_map(|(mantissa, exponent)| {
                Numeric::parse(&format!("{mantissa}e{exponent}")).unwrap()
            }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn numbers_sort_as_their_bytes(one in numbers(), other in numbers()) {
            prop_assert_eq!(one.cmp(&other), bytes(&one).cmp(&bytes(&other)), "{} {}", one, other);
        }

        #[test]
        fn small_numbers_sort_as_machine_numbers(one in -100_000..100_000i64, other in -100_000..100_000i64, scale in 0..4usize) {
            let number = |value: i64| {
                let ten = 10_i64.pow(scale as u32);
                let sign = if value < 0 { "-" } else { "" };
                Numeric::parse(&format!("{sign}{}.{:0scale$}", value.abs() / ten, value.abs() % ten)).unwrap()
            };
            prop_assert_eq!(one.cmp(&other), bytes(&number(one)).cmp(&bytes(&number(other))));
        }

        #[test]
        fn a_number_comes_back_from_its_bytes_and_from_its_text(number in numbers()) {
            let encoded = bytes(&number);
            let mut rest = encoded.as_slice();
            prop_assert_eq!(Numeric::take(&mut rest), Some(number.clone()));
            prop_assert!(rest.is_empty());
            prop_assert_eq!(Numeric::parse(&number.to_string()), Some(number));
        }
    }
}
