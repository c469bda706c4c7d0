//! Wall-clock time as text: RFC 3339 in UTC, and a compact form for names of folders.
//! Does not measure durations; that is `Instant`'s job.

use std::time::{SystemTime, UNIX_EPOCH};

/// A moment in UTC, to the millisecond, in the proleptic Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utc {
    milliseconds: u64,
}

impl Utc {
    /// Now. A clock before 1970 reads as 1970.
    pub fn now() -> Utc {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Utc { milliseconds: u64::try_from(since.as_millis()).unwrap_or(u64::MAX) }
    }

    /// The moment this many milliseconds after 1970-01-01T00:00:00Z.
    pub fn from_milliseconds(milliseconds: u64) -> Utc {
        Utc { milliseconds }
    }

    /// Seconds since 1970, with their fraction.
    pub fn seconds(self) -> f64 {
        self.milliseconds as f64 / 1000.0
    }

    /// `2024-02-29T23:59:59.999Z`.
    pub fn rfc3339(self) -> String {
        let (year, month, day) = self.date();
        let (hour, minute, second) = self.time();
        let fraction = self.milliseconds % 1000;
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:03}Z")
    }

    /// `20240229-235959`, which sorts by time and needs no quoting.
    pub fn compact(self) -> String {
        let (year, month, day) = self.date();
        let (hour, minute, second) = self.time();
        format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}")
    }

    fn time(self) -> (u64, u64, u64) {
        let second = self.milliseconds / 1000 % 86_400;
        (second / 3600, second / 60 % 60, second % 60)
    }

    /// Years are counted from 1 March, so that the leap day is a year's last and months have a regular length.
    fn date(self) -> (u64, u64, u64) {
        const DAYS_FROM_MARCH_OF_YEAR_0_TO_1970: u64 = 719_468;
        const DAYS_IN_400_YEARS: u64 = 146_097;
        let days = self.milliseconds / 86_400_000 + DAYS_FROM_MARCH_OF_YEAR_0_TO_1970;
        let (cycle, day_of_cycle) = (days / DAYS_IN_400_YEARS, days % DAYS_IN_400_YEARS);
        let year_of_cycle = (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
        let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        (400 * cycle + year_of_cycle + u64::from(month <= 2), month, day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        // From `date -u -d @<seconds> +%FT%TZ`.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (68_169_599, "1972-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000Z"),
            (1_709_251_200, "2024-03-01T00:00:00.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Utc::from_milliseconds(seconds * 1000).rfc3339(), text);
        }
        assert_eq!(Utc::from_milliseconds(1_709_251_199_999).compact(), "20240229-235959");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut last = Utc::from_milliseconds(0).rfc3339();
        for day in 1..60_000u64 {
            let text = Utc::from_milliseconds(day * 86_400_000).rfc3339();
            assert!(text > last, "{text} after {last}");
            last = text;
        }
    }
}
