//! The clock on the wall of the stores: from milliseconds to days, hours and trading weeks in their time zone.

use jiff::Timestamp;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;

/// The stores' time zone, spelled as a POSIX rule so that no time zone database is needed.
const STORES: &str = "EST5EDT,M3.2.0,M11.1.0";

/// How busy the stores are in each hour of the day; the mean is 50.
const BUSY: [u32; 24] = [8, 4, 2, 2, 3, 8, 16, 30, 46, 64, 80, 92, 100, 96, 90, 92, 100, 112, 104, 74, 42, 20, 10, 5];

/// A moment as the stores see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The day.
    pub date: Date,
    /// The hour, 0 to 23.
    pub hour: i8,
}

impl Moment {
    /// The trading week of the year: Monday to Sunday, the first one holds 1 January.
    pub fn week(self) -> i32 {
        let first = i32::from(self.date.first_of_year().weekday().to_monday_zero_offset());
        (i32::from(self.date.day_of_year()) - 1 + first) / 7 + 1
    }

    /// How much busier than on average the stores are.
    pub fn busy(self) -> f64 {
        let weekend = matches!(self.date.weekday(), Weekday::Saturday | Weekday::Sunday);
        let hour = BUSY[usize::from(self.hour.unsigned_abs()) % BUSY.len()];
        f64::from(hour) / 50.0 * if weekend { 1.2 } else { 0.92 }
    }
}

/// Turns milliseconds since the epoch into moments.
#[derive(Clone, Debug)]
pub struct Calendar {
    stores: TimeZone,
}

impl Calendar {
    /// The calendar of the stores.
    pub fn new() -> Calendar {
        Calendar { stores: TimeZone::posix(STORES).unwrap_or(TimeZone::UTC) }
    }

    /// The moment of `ms`, in milliseconds since the epoch; what no calendar reaches becomes the epoch.
    pub fn moment(&self, ms: i64) -> Moment {
        let local = self.stores.to_datetime(timestamp(ms));
        Moment { date: local.date(), hour: local.hour() }
    }

    /// `ms` as RFC 3339 text in UTC, cut to whole seconds as the tills do.
    pub fn text(&self, ms: i64) -> String {
        timestamp(ms - ms.rem_euclid(1000)).to_string()
    }
}

fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, date: &str, hour: i8, week: i32) {
        let ms = text.parse::<Timestamp>().unwrap().as_millisecond();
        let moment = Calendar::new().moment(ms);
        assert_eq!((moment.date.to_string().as_str(), moment.hour, moment.week()), (date, hour, week));
        assert_eq!(Calendar::new().text(ms + 999), text);
    }

    #[test]
    fn weeks_run_from_monday_to_sunday_where_the_stores_are() {
        check("2017-01-01T11:53:26Z", "2017-01-01", 6, 1);
        check("2017-01-02T04:59:58Z", "2017-01-01", 23, 1);
        check("2017-01-02T05:00:00Z", "2017-01-02", 0, 2);
        check("2017-07-03T03:59:59Z", "2017-07-02", 23, 27);
        check("2018-01-01T04:01:20Z", "2017-12-31", 23, 53);
        check("2029-01-01T12:00:00Z", "2029-01-01", 7, 1);
    }

    #[test]
    fn a_time_out_of_reach_is_the_epoch() {
        assert_eq!(Calendar::new().text(i64::MAX), "1970-01-01T00:00:00Z");
        assert_eq!(Calendar::new().moment(i64::MAX).date.year(), 1969);
    }
}
