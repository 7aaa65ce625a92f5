//! The names of backup files, and the order in which a person counts them.

use std::cmp::Ordering;

/// What files of this kind end in.
pub const SUFFIX: &str = ".asb";
/// What the names of files begin with that hold indexes and modules only.
pub const METADATA_PREFIX: &str = "metadata_";

/// The order of files: those of indexes and modules first, then as a person counts them.
pub fn in_order(one: &str, other: &str) -> Ordering {
    let is_metadata = |name: &str| name.starts_with(METADATA_PREFIX);
    is_metadata(other).cmp(&is_metadata(one)).then_with(|| by_number(one, other))
}

/// Names in the order of the numbers in them.
fn by_number(one: &str, other: &str) -> Ordering {
    let (mut a, mut b) = (one, other);
    loop {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let (of_a, of_b) = (digits(a), digits(b));
        let order = if of_a > 0 && of_b > 0 {
            let (number_a, number_b) = (a[..of_a].trim_start_matches('0'), b[..of_b].trim_start_matches('0'));
            (a, b) = (&a[of_a..], &b[of_b..]);
            number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b))
        } else {
            match (a.chars().next(), b.chars().next()) {
                (Some(first), Some(second)) => {
                    (a, b) = (&a[first.len_utf8()..], &b[second.len_utf8()..]);
                    first.cmp(&second)
                }
                _ => return a.len().cmp(&b.len()).then_with(|| one.cmp(other)),
            }
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}
