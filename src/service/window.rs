//! Times of the day between which runs may begin.

use jiff::civil::Time;

/// From one time of the day to another, which may be of the next day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    from: Time,
    to: Time,
}

impl Window {
    /// Reads `22:00-06:00`.
    ///
    /// # Errors
    /// In words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no window: write 22:00-06:00");
        let (from, to) = text.split_once('-').ok_or_else(wrong)?;
        let time = |text: &str| text.trim().parse::<Time>().map_err(|_| wrong());
        let (from, to) = (time(from)?, time(to)?);
        if from == to { Err(wrong()) } else { Ok(Self { from, to }) }
    }

    /// Whether a time of the day lies in it.
    #[must_use]
    pub fn holds(&self, time: Time) -> bool {
        if self.from < self.to { (self.from..self.to).contains(&time) } else { time >= self.from || time < self.to }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::time;

    #[test]
    fn a_window_may_reach_over_midnight() {
        let night = Window::parse("22:00-06:00").unwrap();
        assert!(night.holds(time(23, 0, 0, 0)) && night.holds(time(0, 0, 0, 0)) && !night.holds(time(6, 0, 0, 0)));
        let day = Window::parse("08:00 - 17:30").unwrap();
        assert!(day.holds(time(8, 0, 0, 0)) && !day.holds(time(17, 30, 0, 0)));
        for bad in ["", "8-9", "08:00", "08:00-08:00", "25:00-26:00"] {
            assert!(Window::parse(bad).is_err(), "{bad}");
        }
    }
}
