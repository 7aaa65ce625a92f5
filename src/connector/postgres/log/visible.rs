//! What a snapshot of the server sees: which transactions are in a base.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{fmt, str::FromStr};

/// The transactions that a snapshot sees, as `pg_current_snapshot` writes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Visible {
    /// All before it had ended.
    xmin: u64,
    /// From it on none had ended.
    xmax: u64,
    /// Those between that had not, ascending.
    running: Vec<u64>,
}

impl Visible {
    /// Whether a transaction had ended when the snapshot was taken. Transactions of a stream are told by the lower half of
    /// their number; both are less than 2^31 apart.
    #[must_use]
    pub fn sees(&self, xid: u32) -> bool {
        let ahead = xid.wrapping_sub(self.xmax as u32).cast_signed();
        let full = self.xmax.wrapping_add_signed(i64::from(ahead));
        full < self.xmin || full < self.xmax && self.running.binary_search(&full).is_err()
    }

    /// Those that had not ended.
    #[must_use]
    pub fn running(&self) -> &[u64] {
        &self.running
    }

    /// Whether one of these transactions, which had begun, had not ended.
    #[must_use]
    pub fn runs_any(&self, of: &[u64]) -> bool {
        of.iter().any(|one| *one >= self.xmax || self.running.binary_search(one).is_ok())
    }
}

impl fmt::Display for Visible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running: Vec<String> = self.running.iter().map(u64::to_string).collect();
        write!(f, "{}:{}:{}", self.xmin, self.xmax, running.join(","))
    }
}

impl FromStr for Visible {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no snapshot");
        let mut parts = text.split(':');
        let (Some(xmin), Some(xmax), Some(running), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
        let list = running.split(',').filter(|one| !one.is_empty());
        let mut running = list.map(number).collect::<Result<Vec<_>, _>>()?;
        running.sort_unstable();
        Ok(Self { xmin: number(xmin)?, xmax: number(xmax)?, running })
    }
}

impl Serialize for Visible {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Visible {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_had_ended_is_seen_and_what_ran_or_came_later_is_not() {
        let snapshot: Visible = "100:110:100,105".parse().unwrap();
        let seen: Vec<u32> = (98..112).filter(|xid| snapshot.sees(*xid)).collect();
        assert_eq!(seen, [98, 99, 101, 102, 103, 104, 106, 107, 108, 109]);
        assert_eq!(snapshot.to_string(), "100:110:100,105");
        assert!(snapshot.runs_any(&[99, 105]) && !snapshot.runs_any(&[99, 101]) && snapshot.runs_any(&[110]));
        for bad in ["", "1:2", "1:2:x", "1:2:3:4", "-1:2:"] {
            assert!(bad.parse::<Visible>().is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_that_began_anew_are_told_apart() {
        // Behind the turn of the lower half, one that ran before it.
        let snapshot: Visible = "4294967290:4294967300:4294967290".parse().unwrap();
        assert!(!snapshot.sees(4_294_967_290) && snapshot.sees(4_294_967_291));
        assert!(snapshot.sees(3) && !snapshot.sees(4) && !snapshot.sees(100));
        assert!(snapshot.sees(4_000_000_000));
    }
}
