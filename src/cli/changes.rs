//! Events as people read them: what has changed, or would.

use serde_json::Value;

use super::colour::Tone;
use super::words::{count, number, plain, quoted, shown};

/// How a service or an endpoint changes: `+` it comes, `-` it goes, `~` something about it is different.
pub struct Mark {
    /// One of those letters.
    pub sign: char,
    /// Green, red, yellow.
    pub tone: Tone,
}

/// The mark of an event of type `service` or `endpoint`.
pub fn mark(event: &Value) -> Mark {
    let (comes, goes) = match event["type"].as_str() {
        Some("service") => (event["change"] == "added", event["change"] == "removed"),
        _ => (event["was"].is_null(), event["state"].is_null()),
    };
    match (comes, goes) {
        (true, _) => Mark { sign: '+', tone: Tone::Good },
        (_, true) => Mark { sign: '-', tone: Tone::Bad },
        _ => Mark { sign: '~', tone: Tone::Notice },
    }
}

/// One event without its type, in a tone.
pub fn sentence(event: &Value) -> (String, Tone) {
    let said = |key: &str| plain(&event[key]);
    let counted = |key: &str, what: &str| count(number(&event[key]), what);
    match event["type"].as_str().unwrap_or_default() {
        "service" => (format!("{} at {}", said("service"), said("vip")), mark(event).tone),
        "endpoint" => (endpoint(event), mark(event).tone),
        "applied" => {
            let (revision, generation) = (quoted(&event["revision"]), said("generation"));
            let contents = format!("{}, {}", counted("services", "service"), counted("endpoints", "endpoint"));
            (format!("{revision} as generation {generation}: {contents}, {} changed", said("changed")), Tone::Good)
        }
        "drained" => {
            let rest = if event["remembered"] == true {
                "no tracked flow is left; slots still remember it for flows that are silent"
            } else {
                "nothing is left; it can be removed without a loss"
            };
            (format!("{} of {}: {rest}", said("endpoint"), said("service")), Tone::Good)
        }
        "drain" => {
            let vips = counted("announced", "VIP");
            let is = if event["draining"] == true { "draining" } else { "not draining" };
            (format!("{is}, {vips} announced"), Tone::Notice)
        }
        "upgrade" => {
            let pause = event["longest_pause"].as_f64().unwrap_or_default() * 1e3;
            let [version, from] = ["version", "from"].map(said);
            (format!("pointsman {version} has taken over from {from}; {pause:.2} ms was the longest pause"), Tone::Good)
        }
        "reloaded" => match event["changed"].as_array() {
            Some(keys) if !keys.is_empty() => (format!("the config: {} changed", list(keys)), Tone::Good),
            _ => ("the config: nothing changed".to_owned(), Tone::Plain),
        },
        "error" => (said("message"), Tone::Bad),
        "missed" => {
            let events = counted("count", "event");
            (
                format!("{events} not shown: there were too many at once; `pointsman status` says how all is now"),
                Tone::Bad,
            )
        }
        _ => (shown(&event.to_string()).into_owned(), Tone::Plain),
    }
}

fn list(keys: &[Value]) -> String {
    keys.iter().map(plain).collect::<Vec<_>>().join(", ")
}

fn endpoint(event: &Value) -> String {
    let said = |key: &str| plain(&event[key]);
    let what = format!("{} of {} at {}", said("endpoint"), said("service"), said("address"));
    let weight = said("weight");
    match (event["was"].as_str(), event["state"].as_str()) {
        (None, Some(state)) => format!("{what}: {state}, weight {weight}"),
        (Some(was), None) => format!("{what}: was {was}"),
        (Some(was), Some(state)) if was != state => format!("{what}: {was} → {state}, weight {weight}"),
        (_, state) => {
            let (state, address) = (state.unwrap_or("-"), said("address"));
            format!("{} of {}: {state}, now at {address} with weight {weight}", said("endpoint"), said("service"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_of_a_newer_daemon_is_shown_as_it_is() {
        let event = json!({ "type": "upgraded", "version": "9" });
        assert_eq!(sentence(&event).0, r#"{"type":"upgraded","version":"9"}"#);
    }

    #[test]
    fn an_event_is_a_sentence() {
        let drained =
            |remembered| json!({ "type": "drained", "service": "web", "endpoint": "a", "remembered": remembered });
        for (event, tone, said) in [
            (drained(false), Tone::Good, "a of web: nothing is left; it can be removed without a loss"),
            (
                drained(true),
                Tone::Good,
                "a of web: no tracked flow is left; slots still remember it for flows that are silent",
            ),
            (json!({ "type": "reloaded", "changed": [] }), Tone::Plain, "the config: nothing changed"),
            (
                json!({ "type": "reloaded", "changed": ["hash.seed", "[[service]]"] }),
                Tone::Good,
                "the config: hash.seed, [[service]] changed",
            ),
            (
                json!({ "type": "upgrade", "version": "0.2.0", "from": "0.1.0", "longest_pause": 0.00123 }),
                Tone::Good,
                "pointsman 0.2.0 has taken over from 0.1.0; 1.23 ms was the longest pause",
            ),
            (json!({ "type": "error", "message": "no\u{1b}" }), Tone::Bad, "no\\u{1b}"),
            (
                json!({ "type": "missed", "count": 1 }),
                Tone::Bad,
                "1 event not shown: there were too many at once; `pointsman status` says how all is now",
            ),
        ] {
            assert_eq!(sentence(&event), (said.to_owned(), tone));
        }
    }

    #[test]
    fn an_endpoint_comes_changes_and_goes() {
        let event = |was: Value, state: Value| {
            json!({ "type": "endpoint", "service": "web", "endpoint": "a", "address": "192.0.2.1", "weight": 2,
                "state": state, "was": was })
        };
        for (was, state, sign, said) in [
            (Value::Null, json!("active"), '+', "a of web at 192.0.2.1: active, weight 2"),
            (json!("active"), json!("draining"), '~', "a of web at 192.0.2.1: active → draining, weight 2"),
            (json!("active"), json!("active"), '~', "a of web: active, now at 192.0.2.1 with weight 2"),
            (json!("down"), Value::Null, '-', "a of web at 192.0.2.1: was down"),
        ] {
            let event = event(was, state);
            assert_eq!((mark(&event).sign, sentence(&event).0.as_str()), (sign, said));
        }
    }
}
