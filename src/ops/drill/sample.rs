//! How many records a drill takes.

use crate::{
    ops::OpsError,
    repo::{drills::Sample, entropy},
};
use std::str::FromStr;

/// A part of the records.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SampleSize {
    /// So many of a hundred.
    Percent(f64),
    /// About so many.
    Records(u64),
}

impl FromStr for SampleSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no sample: write 5% or a number of records, above 0");
        match text.strip_suffix('%') {
            Some(percent) => {
                let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
                if percent > 0.0 && percent <= 100.0 { Ok(Self::Percent(percent)) } else { Err(wrong()) }
            }
            None => text.trim().parse().ok().filter(|records| *records > 0).map(Self::Records).ok_or_else(wrong),
        }
    }
}

impl SampleSize {
    /// Draws which records are meant of so many; `None` if that is all of them.
    pub(super) fn draw(self, records: u64) -> Result<Option<Sample>, OpsError> {
        let part = match self {
            Self::Percent(percent) => percent / 100.0,
            Self::Records(wanted) => wanted as f64 / records.max(1) as f64,
        };
        if part >= 1.0 {
            return Ok(None);
        }
        let mut seed = [0; 32];
        entropy::fill(&mut seed)?;
        Ok(Some(Sample { share: (part * u64::MAX as f64) as u64, seed }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_shares_or_numbers() {
        assert_eq!("5%".parse(), Ok(SampleSize::Percent(5.0)));
        assert_eq!("1000".parse(), Ok(SampleSize::Records(1000)));
        for wrong in ["", "%", "0", "0%", "-1", "101%", "NaN%", "inf%", "x"] {
            assert!(wrong.parse::<SampleSize>().is_err(), "{wrong}");
        }
        assert_eq!(SampleSize::Records(10).draw(10).unwrap(), None);
        let half = SampleSize::Records(10).draw(20).unwrap().unwrap();
        assert!(half.share.abs_diff(u64::MAX / 2) < 1 << 40);
    }
}
