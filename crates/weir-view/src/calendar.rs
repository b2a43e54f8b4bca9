//! The days of a time zone. Where a day has no midnight it begins an hour later, as clocks do.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

const EPOCH: Date = Date::constant(1970, 1, 1);
/// In milliseconds.
const DAY: i64 = 86_400_000;

/// The number of the day that a time, in milliseconds since the epoch, lies in; from 1970-01-01.
pub(crate) fn day_of(time: i64, zone: &TimeZone) -> i64 {
    let day = Timestamp::from_millisecond(time).ok().and_then(|t| {
        let days = EPOCH.until(zone.to_datetime(t).date()).ok()?;
        Some(i64::from(days.get_days()))
    });
    // Beyond the calendar there are no zones.
    day.unwrap_or_else(|| time.div_euclid(DAY))
}

/// When a day begins, in milliseconds since the epoch.
pub(crate) fn begin_of(day: i64, zone: &TimeZone) -> i64 {
    let begin = || {
        let date = EPOCH.checked_add(Span::new().try_days(day).ok()?).ok()?;
        let midnight: DateTime = date.at(0, 0, 0, 0);
        Some(midnight.to_zoned(zone.clone()).ok()?.timestamp().as_millisecond())
    };
    begin().unwrap_or_else(|| day.saturating_mul(DAY))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test ends where its ground is missing")]
mod tests {
    use super::*;

    #[test]
    fn days_have_the_hours_of_their_zone() {
        let zone = jiff::tz::TimeZoneDatabase::bundled().get("Europe/Berlin").unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap().as_millisecond();
        let check = |time: &str, begin: &str, hours: i64| {
            let day = day_of(at(time), &zone);
            assert_eq!(begin_of(day, &zone), at(begin), "{time}");
            assert_eq!((begin_of(day + 1, &zone) - begin_of(day, &zone)) / 3_600_000, hours, "{time}");
        };
        check("2026-01-01T22:59:59.999Z", "2025-12-31T23:00:00Z", 24);
        check("2026-01-01T23:00:00Z", "2026-01-01T23:00:00Z", 24);
        check("2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", 23);
        check("2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", 25);
        check("1969-12-31T23:30:00Z", "1969-12-31T23:00:00Z", 24);
        assert_eq!(day_of(i64::MAX, &zone), i64::MAX / DAY);
        assert_eq!(begin_of(i64::MIN / DAY, &zone), i64::MIN / DAY * DAY);
    }
}
