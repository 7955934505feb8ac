#![allow(clippy::unwrap_used)]
use super::query::Query;
use super::vector::Vector;
use super::words::words;

#[test]
fn texts_of_telemetry_fall_apart_as_in_postgresql() {
    for (text, expected) in [
        ("Connection refused", &["connection", "refused"][..]),
        ("GET /cart/items.html?id=7 HTTP/1.1", &["get", "/cart/items.html", "id", "7", "http/1.1"]),
        ("user@example.com", &["user@example.com"]),
        (
            "http://shop.example.com:8080/pay?x=1",
            &["shop.example.com:8080/pay?x=1", "shop.example.com:8080", "/pay?x=1"],
        ),
        ("read-only v1.2.3 1.2.3.4 -5 1e-3", &["read-only", "read", "only", "v1.2.3", "1.2.3.4", "-5", "1e-3"]),
        ("pod cart-579f59597d-wc2lz", &["pod", "cart-579f59597d-wc2lz", "cart", "579f59597d", "wc2lz"]),
        ("<b>Über</b> &amp; naïve", &["über", "naïve"]),
        ("key_one=two", &["key", "one", "two"]),
        ("", &[]),
    ] {
        assert_eq!(words(text).collect::<Vec<_>>(), expected, "{text}");
    }
}

#[test]
fn phrases_are_words_at_their_distance() {
    let vector = Vector::of_text("connection to db refused, connection refused twice");
    for (query, expected) in [
        ("connection <-> refused", true),
        ("connection <3> refused", true),
        ("db <-> refused <-> connection", true),
        ("db <-> (refused <-> connection)", true),
        ("db <-> (refused <2> twice)", false),
        ("refused <-> db", false),
        ("conn:* <-> ref:*", true),
        ("connection & !timeout", true),
        ("timeout | twice", true),
        ("!connection", false),
    ] {
        let query = Query::parse(query).unwrap();
        assert_eq!(query.matches(&vector), expected, "{query}");
        assert_eq!(Query::read(&query.to_string()).unwrap(), query);
        let text = "connection to db refused, connection refused twice";
        assert_eq!(query.matches(&Vector::of_text_for(text, &query)), expected, "{query}");
    }
    assert!(!Query::of_words("!?").matches(&vector));
}

#[test]
fn a_word_of_very_many_hyphens_and_points_needs_no_stack() {
    let long = "a-".repeat(1_000) + &"b.".repeat(1_000);
    assert!(words(&long).count() > 0);
}
