//! What span events, and log records without a body, say: one line from their attributes.

use memchr::memmem;
use serde_json::{Map, Value};
use std::sync::LazyLock;

/// Longest text kept of an event, in bytes; templates are told apart well before that.
pub(super) const LONGEST: usize = 400;

/// One line about an event: its name, and after that the type of its exception, or its flag.
pub(super) fn line(name: &str, payload: &Map<String, Value>) -> String {
    let text = match (text(payload, &["exception.type"]), flag(payload)) {
        (Some(exception), _) => format!("{name} {exception}"),
        (None, Some((key, value))) if !value.is_empty() => format!("{name} {key}={value}"),
        (None, Some((key, _))) => format!("{name} {key}"),
        (None, None) => name.to_owned(),
    };
    shortened(&text, LONGEST).to_owned()
}

/// The flag that an event is about, and its value if it tells.
pub(super) fn flag(payload: &Map<String, Value>) -> Option<(&str, &str)> {
    let key = text(payload, &["feature_flag.key"])?;
    let value = text(payload, &["feature_flag.result.variant", "feature_flag.variant", "feature_flag.result.value"]);
    Some((key, value.unwrap_or_default()))
}

/// Whom a client or producer says it calls, by the first of these attributes; looked for in the text of the payload,
/// since there are many of them. The text of a key inside of another value could be taken for it: nobody is misled but
/// whoever wrote that.
pub(super) fn peer(payload: &str) -> Option<&str> {
    static KEYS: LazyLock<[memmem::Finder<'static>; 4]> = LazyLock::new(|| {
        ["\"server.address\":\"", "\"net.peer.name\":\"", "\"peer.service\":\"", "\"messaging.destination.name\":\""]
            .map(memmem::Finder::new)
    });
    KEYS.iter().find_map(|key| {
        let value = payload.get(key.find(payload.as_bytes())? + key.needle().len()..)?;
        let value = &value[..value.find('"')?];
        (!value.is_empty() && !value.contains('\\')).then_some(value)
    })
}

/// The first of `keys` that has a text.
pub(super) fn text<'a>(payload: &'a Map<String, Value>, keys: &[&str]) -> Option<&'a str> {
    keys.iter().find_map(|key| payload.get(*key).and_then(Value::as_str)).filter(|text| !text.is_empty())
}

/// The beginning of `text`, at most `longest` bytes of it.
pub(super) fn shortened(text: &str, longest: usize) -> &str {
    let end = (0..=longest.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line_of(name: &str, payload: &str) -> String {
        line(name, &crate::functions::detail::parse(payload))
    }

    #[test]
    fn an_event_is_told_in_one_line() {
        let exception = r#"{"exception.type":"TimeoutError","exception.message":"after 5 s"}"#;
        assert_eq!(line_of("exception", exception), "exception TimeoutError");
        let flag = r#"{"feature_flag.key":"new-cart","feature_flag.result.variant":"on"}"#;
        assert_eq!(line_of("feature_flag.evaluation", flag), "feature_flag.evaluation new-cart=on");
        assert_eq!(line_of("message", r#"{"message.id":7}"#), "message");
    }

    #[test]
    fn a_client_tells_whom_it_calls() {
        let of = |payload: &'static str| peer(payload);
        assert_eq!(of(r#"{"peer.service":"cart","server.address":"cart.local","server.port":1}"#), Some("cart.local"));
        assert_eq!(of(r#"{"messaging.destination.name":"orders"}"#), Some("orders"));
        assert_eq!(of(r#"{"server.address":"","net.peer.name":"db"}"#), Some("db"));
        assert_eq!(of(r#"{"server.address":"a\"b"}"#), None);
        assert_eq!(of(r#"{"server.address":"cut"#), None);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = "ä".repeat(LONGEST);
        assert_eq!(shortened(&text, LONGEST).chars().count(), LONGEST / 2);
        assert_eq!(shortened("aä", 2), "a");
        assert_eq!(shortened("short", 5), "short");
    }
}
