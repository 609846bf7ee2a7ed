//! Values as people read them.

use std::borrow::Cow;

use serde_json::Value;

/// A value as a cell or a sentence shows it.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => shown(text).into_owned(),
        Value::Bool(truth) => if *truth { "yes" } else { "no" }.to_owned(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// The same, where nothing said means everything.
pub fn or_any(value: &Value) -> String {
    if value.is_null() { "any".to_owned() } else { plain(value) }
}

/// A text that leaves the terminal as it is: what would move the cursor or the order of letters is written as an escape.
pub fn shown(text: &str) -> Cow<'_, str> {
    let is_unruly = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(is_unruly) {
        return Cow::Borrowed(text);
    }
    let escaped = |c: char| if is_unruly(c) { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escaped).collect())
}

/// A label in quotes, so that its ends can be seen.
pub fn quoted(value: &Value) -> String {
    format!("\"{}\"", plain(value))
}

/// "1 service", "2 services".
pub fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// A number of an answer; what is not there is none.
pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// A part of a whole in per cent.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{:.1} %", part as f64 * 100.0 / whole as f64) }
}

/// A number of any size in one word of at most five letters: 0, 8.5, 999, 12.3k, 1.23M.
pub fn short(value: f64) -> String {
    const UNITS: [&str; 5] = ["", "k", "M", "G", "T"];
    let (mut value, mut unit) = (value, 0);
    // What would be rounded to 1000 is one of the next unit.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    let digits = match value {
        value if value.fract() == 0.0 && unit == 0 || value >= 99.95 => 0,
        value if value >= 9.995 || unit == 0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}{}", UNITS[unit])
}

/// A time that a packet takes, in its largest unit, in one word.
pub fn moment(seconds: f64) -> String {
    match seconds {
        seconds if seconds >= 1.0 => format!("{seconds:.1}s"),
        seconds if seconds >= 0.001 => format!("{:.1}ms", seconds * 1e3),
        seconds => format!("{:.1}µs", seconds * 1e6),
    }
}

/// Seconds in the two largest units.
pub fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_move_the_cursor() {
        assert_eq!(shown("web\u{1b}[2J\n\u{9b}1m\u{202e}ü"), "web\\u{1b}[2J\\n\\u{9b}1m\\u{202e}ü");
        assert!(matches!(shown("default/web"), Cow::Borrowed(_)));
    }

    #[test]
    fn durations_have_two_units() {
        let said = [59, 60, 3_599, 11_520, 90_061].map(duration);
        assert_eq!(said, ["59 s", "1 min 0 s", "59 min 59 s", "3 h 12 min", "1 d 1 h"]);
    }

    #[test]
    fn numbers_of_any_size_are_short() {
        let said = [0.0, 0.04, 8.54, 12.0, 999.4, 999.6, 1_234.0, 12_345.0, 999_700.0, 9_996_000.0, 1e15].map(short);
        let expected = ["0", "0.0", "8.5", "12", "999", "1.00k", "1.23k", "12.3k", "1.00M", "10.0M", "1000T"];
        assert_eq!(said, expected);
        assert_eq!([3e-7, 4.25e-5, 0.0121, 2.0].map(moment), ["0.3µs", "42.5µs", "12.1ms", "2.0s"]);
    }

    #[test]
    fn numbers_agree_with_their_words() {
        assert_eq!((count(1, "service"), count(0, "service")), ("1 service".to_owned(), "0 services".to_owned()));
        assert_eq!((percent(1, 3), percent(0, 0)), ("33.3 %".to_owned(), "-".to_owned()));
    }
}
