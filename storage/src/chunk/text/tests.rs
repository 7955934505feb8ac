#![allow(clippy::unwrap_used)]
use super::builder::TextIndexBuilder;
use super::condition::TextCondition;
use super::index::{Group, may_hold};
use crate::chunk::layout::ROW_GROUP_ROWS;
use arrow::array::{ArrayRef, StringViewArray, new_null_array};
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use proptest::prelude::*;
use std::sync::Arc;
use whence_schema::Table;
use whence_schema::tables::events::column;

/// Rows of name, body and payload.
fn rows(texts: &[(Option<String>, Option<String>, String)]) -> RecordBatch {
    let schema = Table::Events.stored_schema();
    let nullable = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    let nullable = Arc::new(Schema::new(nullable.collect::<Vec<_>>()));
    let columns = nullable.fields().iter().enumerate().map(|(position, field)| -> ArrayRef {
        match position {
            column::NAME => Arc::new(texts.iter().map(|row| row.0.as_deref()).collect::<StringViewArray>()),
            column::BODY => Arc::new(texts.iter().map(|row| row.1.as_deref()).collect::<StringViewArray>()),
            column::PAYLOAD => Arc::new(texts.iter().map(|row| Some(row.2.as_str())).collect::<StringViewArray>()),
            _ => new_null_array(field.data_type(), texts.len()),
        }
    });
    RecordBatch::try_new(nullable.clone(), columns.collect()).unwrap()
}

fn groups_of(texts: &[(Option<String>, Option<String>, String)]) -> Vec<Group> {
    let mut builder = TextIndexBuilder::new();
    builder.add(&rows(texts));
    builder.finish()
}

fn of_bodies(bodies: &[&str]) -> Group {
    let rows: Vec<_> = bodies.iter().map(|body| (None, Some((*body).to_owned()), "{}".to_owned())).collect();
    groups_of(&rows).remove(0)
}

fn holds(group: &Group, condition: &TextCondition) -> bool {
    may_hold(condition, group.dictionary.as_deref(), group.filter.as_deref())
}

fn part(text: &str) -> TextCondition {
    TextCondition::contains(text, true, true)
}

fn whole(text: &str) -> TextCondition {
    TextCondition::contains(text, false, false)
}

#[test]
fn parts_of_words_whole_words_and_whole_ids_are_told_apart() {
    let group = of_bodies(&["Connection refused by node12", "trace 4bf92f3577b34da6 took 1500ms"]);
    for (condition, expected) in [
        (part("connection refused"), true),
        (part("nnection ref"), true),
        (part("nection fused"), false),
        (part("timeout"), false),
        (whole("refuse"), false),
        (part("NODE12"), true),
        (whole("node12"), true),
        (whole("node13"), false),
        (whole("4BF92F3577B34DA6"), true),
        (whole("4bf92f3577b34da7"), false),
        // Parts of ids are not known, neither as digits nor as letters that may be digits.
        (part("4bf92f3577b34da7"), true),
        (part("deadbeef"), true),
        (part(" deadbeef "), false),
        (part("!?"), true),
        (TextCondition::Any(vec![part("timeout"), part("refused")]), true),
        (TextCondition::Any(vec![part("timeout"), part("reset")]), false),
        (TextCondition::All(vec![part("trace"), part("reset")]), false),
    ] {
        assert_eq!(holds(&group, &condition), expected, "{condition:?}");
    }
}

#[test]
fn documents_are_known_as_they_stand_and_as_they_read() {
    let payload = r#"{"message":"caf\u00e9\nrefused \u212ANOWN","http.route":"/cart"}"#;
    let group = groups_of(&[(None, None, payload.to_owned())]).remove(0);
    for (condition, expected) in [
        (whole("refused known"), true),
        (whole("nrefused"), true),
        (whole("http.route"), true),
        (whole("/cart/"), true),
        (whole("carts"), false),
    ] {
        assert_eq!(holds(&group, &condition), expected, "{condition:?}");
    }
}

#[test]
fn every_row_group_has_its_own_words() {
    let row = |body: &str| (None, Some(body.to_owned()), "{}".to_owned());
    let mut texts = vec![row("first"); ROW_GROUP_ROWS];
    texts.extend([row("second"), row("first")]);
    let groups = groups_of(&texts);
    let has = |text: &str| groups.iter().map(|group| holds(group, &whole(text))).collect::<Vec<_>>();
    assert_eq!(groups.iter().map(|group| group.rows).collect::<Vec<_>>(), [ROW_GROUP_ROWS, 2]);
    assert_eq!((has("first"), has("second")), (vec![true, true], vec![false, true]));
}

#[test]
fn too_many_words_or_ids_for_the_rows_are_not_known_and_the_others_still_are() {
    // Noise: words of letters that no text has.
    let noise = |seed: u64| (0..12).map(|i| (b'g' + ((seed >> (i * 4)) & 15) as u8) as char).collect::<String>();
    let words: Vec<String> = (0..100_000_u64).map(|i| noise(i.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    let group = of_bodies(&words.iter().map(String::as_str).chain(["id 77001"]).collect::<Vec<_>>());
    assert!(group.dictionary.is_none());
    assert!(holds(&group, &part("timeout")));
    assert!(!holds(&group, &whole("77002")));

    let ids: Vec<String> = (0..20_000_u64).map(|i| format!("{:x}0", i.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    let group = of_bodies(&[&ids.join(" ")]);
    assert!(group.filter.is_none());
    assert!(holds(&group, &whole("0000000000")));
    assert!(!holds(&group, &part("timeout")));
}

/// Texts of characters that make trouble: letters with other cases beyond ASCII, hexadecimal and other letters, digits.
fn text() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        "[a-f0-9]{1,6}",
        "[abgksKS]{1,5}",
        "[ksi\u{17f}\u{212a}\u{130}\u{307}é]{1,4}",
        "[GHk][0-9]{1,2}[a-z]?"
    ];
    let between = prop_oneof!["[ ,.:/\"\\\\_\n-]{1,2}", "é", ""];
    proptest::collection::vec((word, between), 0..8)
        .prop_map(|parts| parts.into_iter().map(|(word, between)| word + &between).collect())
}

fn is_known(character: Option<char>) -> bool {
    character.is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '\u{17f}' | '\u{212a}' | '\u{130}' | '\u{307}'))
}

/// A part of `text`, and what is known of its ends.
fn cut(text: &str, (from, length): (usize, usize)) -> (String, bool, bool) {
    let characters: Vec<char> = text.chars().collect();
    let from = from % (characters.len() + 1);
    let to = (from + length).min(characters.len());
    let (before, after) = (from.checked_sub(1).map(|at| characters[at]), characters.get(to).copied());
    (characters[from..to].iter().collect(), is_known(before), is_known(after))
}

fn escaped(text: &str, everything: bool) -> String {
    if !everything {
        return serde_json::to_string(text).unwrap();
    }
    let mut units = [0; 2];
    let escapes =
        text.chars().flat_map(|c| c.encode_utf16(&mut units).iter().map(|u| format!("\\u{u:04x}")).collect::<Vec<_>>());
    format!("\"{}\"", escapes.collect::<String>())
}

proptest! {
    /// Whatever part of whatever text is looked for, in whatever case, its row group is among those to be read.
    #[test]
    fn what_is_in_a_text_is_never_missed(
        texts in proptest::collection::vec((text(), text(), text(), any::<bool>()), 1..6),
        row in any::<prop::sample::Index>(),
        place in (0_usize..40, 0_usize..12),
        upper in any::<bool>(),
    ) {
        let rows: Vec<_> = texts
            .iter()
            .map(|(name, body, value, all)| {
                let payload = format!("{{{}:{}}}", escaped("some.key", *all), escaped(value, *all));
                (Some(name.clone()), Some(body.clone()), payload)
            })
            .collect();
        let group = groups_of(&rows).remove(0);
        let at = row.index(rows.len());
        for text in [rows[at].0.as_ref().unwrap(), rows[at].1.as_ref().unwrap(), &rows[at].2, &texts[at].2] {
            let (part, open_left, open_right) = cut(text, place);
            let part = if upper { part.to_uppercase() } else { part };
            // Upper case takes some characters apart, which no comparison does.
            prop_assume!(!upper || part.is_ascii());
            prop_assert!(holds(&group, &TextCondition::contains(&part, open_left, open_right)), "{part:?} of {text:?}");
            prop_assert!(holds(&group, &TextCondition::contains(&part, true, true)), "{part:?} of {text:?}");
        }
    }
}
