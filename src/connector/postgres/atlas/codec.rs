//! How `AtlasDB` writes numbers and what became of transactions.

/// Start timestamps of one partition of the tickets' table, and its rows.
const PARTITION: u64 = 25_000_000;
const ROWS: u64 = 16;

/// A number as it is stored: as many bytes as it has leading ones, and one.
pub(super) fn encode_var_long(value: i64) -> Vec<u8> {
    let value = u128::from(value.cast_unsigned());
    let len = (1..10).find(|len| value < 1 << (7 * len)).unwrap_or(10);
    let ones = ((1_u128 << (len - 1)) - 1) << (8 * len - (len - 1));
    (value | ones).to_be_bytes()[16 - len..].to_vec()
}

/// The number of all of some bytes; `None` if they are none.
pub(super) fn decode_var_long(bytes: &[u8]) -> Option<i64> {
    let ones = bytes.iter().take_while(|byte| **byte == 0xff).count() * 8;
    let ones = ones + bytes.get(ones / 8)?.leading_ones() as usize;
    let len = ones + 1;
    if len > 10 || bytes.len() != len {
        return None;
    }
    let all = bytes.iter().fold(0_u128, |all, byte| all << 8 | u128::from(*byte));
    let value = u64::try_from(all & ((1 << (7 * len)) - 1)).ok()?.cast_signed();
    (encode_var_long(value) == bytes).then_some(value)
}

/// How a transaction's fate is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Schema 1: `_transactions`.
    Direct,
    /// Schema 2: `_transactions2`.
    Tickets,
    /// Schema 3: `_transactions2`, in two phases.
    TwoPhase,
}

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Aborted,
    /// Committed at this time, or about to be.
    Committed(i64),
}

impl Encoding {
    /// The start timestamp of a cell.
    pub(super) fn start(self, row: &[u8], column: &[u8]) -> Option<i64> {
        if self == Self::Direct {
            return (column == b"t").then(|| decode_var_long(row)).flatten();
        }
        let row = u64::from_be_bytes(row.try_into().ok()?).reverse_bits();
        let column = decode_var_long(column)?.cast_unsigned();
        // What lies beyond the partition has its cell in another row.
        let place = column.checked_mul(ROWS)?.checked_add(row % ROWS).filter(|place| *place < PARTITION)?;
        i64::try_from((row / ROWS).checked_mul(PARTITION)?.checked_add(place)?).ok()
    }

    /// The cell of a start timestamp.
    pub(super) fn cell(self, start: i64) -> (Vec<u8>, Vec<u8>) {
        if self == Self::Direct {
            return (encode_var_long(start), b"t".to_vec());
        }
        let start = start.cast_unsigned();
        let row = (start / PARTITION) * ROWS + (start % PARTITION) % ROWS;
        let column = encode_var_long(((start % PARTITION) / ROWS).cast_signed());
        (row.reverse_bits().to_be_bytes().to_vec(), column)
    }

    /// What a value says of a transaction.
    pub(super) fn fate(self, start: i64, value: &[u8]) -> Option<Fate> {
        match self {
            Self::Direct => Some(match decode_var_long(value)? {
                -1 => Fate::Aborted,
                commit => Fate::Committed(commit),
            }),
            Self::Tickets if value.is_empty() => Some(Fate::Aborted),
            Self::Tickets => Some(Fate::Committed(start.checked_add(decode_var_long(value)?)?)),
            Self::TwoPhase => {
                let (phase, value) = value.split_last()?;
                if !matches!(phase, 0 | 1) || (value.is_empty() && *phase == 0) {
                    return None;
                }
                Self::Tickets.fate(start, value)
            }
        }
    }

    /// The value that says that a transaction was aborted.
    pub(super) fn aborted(self) -> Vec<u8> {
        match self {
            Self::Direct => encode_var_long(-1),
            Self::Tickets => Vec::new(),
            Self::TwoPhase => vec![1],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_written_as_the_source_writes_them() {
        for (value, hex) in [
            (1, "01"),
            (127, "7f"),
            (128, "8080"),
            (10_001, "a711"),
            (16_383, "bfff"),
            (16_384, "c04000"),
            (1_000_000, "cf4240"),
            (2_097_152, "e0200000"),
            (25_000_017, "e17d7851"),
            (1_000_000_000_000, "f8e8d4a51000"),
            ((1 << 56) - 1, "feffffffffffffff"),
            (1 << 56, "ff0100000000000000"),
            (i64::MAX, "ff7fffffffffffffff"),
            (-1, "ff80ffffffffffffffff"),
        ] {
            assert_eq!(HEXLOWER.encode(&encode_var_long(value)), hex, "{value}");
            assert_eq!(decode_var_long(&encode_var_long(value)), Some(value));
        }
        for bad in [&[][..], &[0x80], &[0x80, 0x01], &[0x01, 0x02], &[0xff; 12]] {
            assert_eq!(decode_var_long(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn tickets_lie_where_the_source_puts_them() {
        for (start, commit, row, column, value) in [
            (10_001, Some(10_005), "8000000000000000", "8271", "04"),
            (25_000_017, Some(25_000_120), "8800000000000000", "01", "67"),
            (1_000_000_007, None, "e140000000000000", "00", ""),
        ] {
            let (its_row, its_column) = Encoding::Tickets.cell(start);
            assert_eq!((HEXLOWER.encode(&its_row).as_str(), HEXLOWER.encode(&its_column).as_str()), (row, column));
            assert_eq!(Encoding::Tickets.start(&its_row, &its_column), Some(start));
            let value = HEXLOWER.decode(value.as_bytes()).unwrap();
            let fate = commit.map_or(Fate::Aborted, Fate::Committed);
            assert_eq!(Encoding::Tickets.fate(start, &value), Some(fate));
            for phase in [0, 1] {
                let value = [value.as_slice(), &[phase]].concat();
                let expected = (commit.is_some() || phase == 1).then_some(fate);
                assert_eq!(Encoding::TwoPhase.fate(start, &value), expected);
            }
        }
        assert_eq!(Encoding::TwoPhase.fate(1, &[4, 2]), None);
        let row = 0_u64.to_be_bytes();
        assert_eq!(Encoding::Tickets.start(&row, &encode_var_long(1_562_499)), Some(24_999_984));
        assert_eq!(Encoding::Tickets.start(&row, &encode_var_long(1_562_500)), None, "the next partition's first");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn numbers_keep_their_order_and_come_back(one in any::<i64>(), shift in 0..64_u32, other in any::<i64>()) {
            let one = (one.cast_unsigned() >> shift).cast_signed();
            prop_assert_eq!(decode_var_long(&encode_var_long(one)), Some(one));
            let order = one.cast_unsigned().cmp(&other.cast_unsigned());
            prop_assert_eq!(encode_var_long(one).cmp(&encode_var_long(other)), order);
        }

        #[test]
        fn every_start_has_its_cell(start in 1..i64::MAX / 2, delta in 0..i64::MAX / 2) {
            for encoding in [Encoding::Direct, Encoding::Tickets, Encoding::TwoPhase] {
                let (row, column) = encoding.cell(start);
                prop_assert_eq!(encoding.start(&row, &column), Some(start));
                prop_assert_eq!(encoding.fate(start, &encoding.aborted()), Some(Fate::Aborted));
            }
            prop_assert_eq!(Encoding::Tickets.fate(start, &encode_var_long(delta)), Some(Fate::Committed(start + delta)));
        }

        #[test]
        fn any_bytes_are_taken_or_refused(row in prop::collection::vec(any::<u8>(), 0..12), value in prop::collection::vec(any::<u8>(), 0..12)) {
            for encoding in [Encoding::Direct, Encoding::Tickets, Encoding::TwoPhase] {
                let _ = (encoding.start(&row, &value), encoding.fate(5, &value));
            }
        }
    }
}
