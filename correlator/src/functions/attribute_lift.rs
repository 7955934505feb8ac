//! `attribute_lift(bad, good, from, to)`: which values of attributes are over-represented among bad events.
//!
//! ```text
//! pass 1   bad events            for each attribute, the values that may be frequent     frequent
//! pass 2   bad and good events   how many of each have those values, exactly
//! answer   2x2 table of each value: G2, the values that are likelier among bad events, the most telling first
//! ```
//!
//! Attributes are the columns that say where an event comes from, and the texts, numbers and truth values among its own
//! (`payload.KEY`) and its resource's (`resource.KEY`) attributes. Bounded: [`MOST_ATTRIBUTES`] attributes are counted with
//! [`MOST_VALUES`] values each. What is not told apart is told all the same: rows without a value say how many events
//! have another value than those counted, and one without an attribute how many attributes of events were not counted.

mod frequent;

use super::detail::parse;
use super::scan::{Range, Scan};
use super::{Columns, batch, text_field, window};
use crate::error::CorrelatorError;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use frequent::Frequent;
use hashbrown::HashMap;
use serde_json::Value;
use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};
use whence_schema::tables::events::column;
use whence_schema::{Table, TenantId, UnixNanos};
use whence_storage::{RowCondition, Snapshot};

/// Attributes that are counted.
const MOST_ATTRIBUTES: usize = 256;
/// Values of one attribute that are counted. Of an attribute with more, those that one in so many bad events have are
/// among them.
const MOST_VALUES: usize = 512;
/// Longest value, in bytes; longer ones with the same beginning count as one.
const LONGEST_VALUE: usize = 256;
/// Bad and good events at most.
const MOST_EVENTS: u64 = 2_000_000;
/// Rows of an answer.
const MOST_ROWS: usize = 100;
/// Those of them that tell what was not told apart.
const MOST_OTHERS: usize = 10;

/// The columns whose values are looked at.
const COLUMNS: [(usize, &str); 6] = [
    (column::ASSET_ID, "asset_id"),
    (column::EVENT_TYPE, "event_type"),
    (column::ENVIRONMENT, "environment"),
    (column::SOURCE_MODULE, "source_module"),
    (column::SEVERITY, "severity"),
    (column::NAME, "name"),
];

/// Columns of [`attribute_lift`]. Of `of_bad` bad and `of_good` good events, `bad` and `good` have the value.
///
/// * `risk_difference`: the share of bad events that have it less the share of good ones.
/// * `lift`: the share of bad events that have it, divided by the share of bad and good events together.
/// * `g2`: the log-likelihood ratio that having it and being bad have to do with one another (Dunning 1993, "Accurate
///   methods for the statistics of surprise and coincidence"): chance alone makes it greater than 10.83 for one value
///   in a thousand.
pub fn attribute_lift_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let count = |name: &str| Field::new(name, DataType::Int64, false);
        let figure = |name: &str| Field::new(name, DataType::Float64, true);
        Arc::new(Schema::new(vec![
            text_field("attribute", true),
            text_field("value", true),
            count("bad"),
            count("of_bad"),
            count("good"),
            count("of_good"),
            figure("risk_difference"),
            figure("lift"),
            figure("g2"),
        ]))
    });
    SCHEMA.clone()
}

/// Values that are likelier among the events from `from` until before `to` that meet `bad` than among those that meet
/// `good`, the most telling first; an event may meet both. Reads the events twice. Blocks on file reads.
///
/// # Errors
///
/// When the store cannot be read, a condition fails, the two times are no window, there are too many events, or there are
/// bad events and no good ones to compare them with.
pub fn attribute_lift(
    snapshot: &Snapshot,
    tenant: &TenantId,
    (bad, good): (&RowCondition, &RowCondition),
    from: UnixNanos,
    to: UnixNanos,
) -> Result<RecordBatch, CorrelatorError> {
    let events = Events { snapshot, tenant, range: window(from, to)?, bad, good };
    let mut candidates = Candidates::default();
    let mut bad_events = 0;
    events.each(Among::Bad, &mut |attributes, _, _| {
        bad_events += 1;
        attributes.each(&mut |attribute, value| candidates.add(attribute, value));
    })?;
    if bad_events == 0 {
        return to_batch(&[]);
    }
    let mut counts = candidates.into_counts();
    events.each(Among::Both, &mut |attributes, is_bad, is_good| counts.add(attributes, is_bad, is_good))?;
    if counts.of.good == 0 {
        let problem = "no event between the two times meets the condition good: there is nothing to compare with";
        return Err(CorrelatorError::Comparison { problem: problem.to_owned() });
    }
    to_batch(&counts.rows())
}

/// Whose attributes are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Among {
    Bad,
    Both,
}

/// The events that are looked at.
struct Events<'a> {
    snapshot: &'a Snapshot,
    tenant: &'a TenantId,
    range: Range,
    bad: &'a RowCondition,
    good: &'a RowCondition,
}

impl Events<'_> {
    /// Shows each of those events, and whether it is bad and whether it is good.
    fn each(&self, among: Among, visit: &mut dyn FnMut(&Attributes<'_>, bool, bool)) -> Result<(), CorrelatorError> {
        let columns: Vec<usize> = (0..Table::Events.stored_schema().fields().len()).collect();
        let mut events = 0_u64;
        let mut resource = Resource::default();
        let &Self { snapshot, tenant, range, .. } = self;
        Scan { snapshot, table: Table::Events, tenant, range, columns: &columns, only: None }.run(&mut |batch| {
            let (bad, good) = (met(self.bad, batch)?, met(self.good, batch)?);
            let holds = |met: &BooleanArray, row: usize| met.is_valid(row) && met.value(row);
            for row in 0..batch.num_rows() {
                let (is_bad, is_good) = (holds(&bad, row), holds(&good, row));
                events += u64::from(is_bad || is_good);
                if is_bad || (is_good && among == Among::Both) {
                    visit(&Attributes::of(batch, row, &mut resource)?, is_bad, is_good);
                }
            }
            if events > MOST_EVENTS {
                let what = "events between the two times meet a condition: ask for less time";
                return Err(CorrelatorError::Comparison { problem: format!("more than {MOST_EVENTS} {what}") });
            }
            Ok(ControlFlow::Continue(()))
        })
    }
}

fn met(condition: &RowCondition, batch: &RecordBatch) -> Result<BooleanArray, CorrelatorError> {
    condition(batch).map_err(|reason| CorrelatorError::Comparison { problem: format!("a condition fails: {reason}") })
}

/// The attributes of one event.
struct Attributes<'a> {
    columns: Vec<(&'static str, &'a str)>,
    own: Vec<(String, String)>,
    resource: &'a [(String, String)],
}

/// The attributes of the last resource: many events in a row have the same.
#[derive(Default)]
struct Resource {
    text: String,
    attributes: Vec<(String, String)>,
}

impl<'a> Attributes<'a> {
    fn of(batch: &'a RecordBatch, row: usize, resource: &'a mut Resource) -> Result<Self, CorrelatorError> {
        let text = |at: usize, column: &'static str| {
            let texts = batch.columns().get(at).and_then(|array| array.as_string_view_opt());
            let texts = texts.ok_or(CorrelatorError::Columns { table: "events", column })?;
            Ok::<_, CorrelatorError>(texts.is_valid(row).then(|| texts.value(row)))
        };
        let mut columns = Vec::with_capacity(COLUMNS.len());
        for (at, name) in COLUMNS {
            columns.extend(text(at, name)?.map(|value| (name, shortened(value))));
        }
        let of_resource = text(column::RESOURCE, "resource")?.unwrap_or_default();
        if resource.text != of_resource {
            *resource = Resource { text: of_resource.to_owned(), attributes: scalars("resource", of_resource) };
        }
        let own = scalars("payload", text(column::PAYLOAD, "payload")?.unwrap_or_default());
        Ok(Self { columns, own, resource: &resource.attributes })
    }

    fn each<'s>(&'s self, visit: &mut impl FnMut(&'s str, &'s str)) {
        self.columns.iter().for_each(|(attribute, value)| visit(attribute, value));
        for (attribute, value) in self.own.iter().chain(self.resource) {
            visit(attribute, value);
        }
    }
}

/// The texts, numbers and truth values of a JSON object.
fn scalars(of: &str, object: &str) -> Vec<(String, String)> {
    let scalar = |(key, value): (String, Value)| {
        let value = match value {
            Value::String(text) => shortened(&text).to_owned(),
            Value::Number(number) => number.to_string(),
            Value::Bool(truth) => truth.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => return None,
        };
        Some((format!("{of}.{key}"), value))
    };
    parse(object).into_iter().filter_map(scalar).collect()
}

fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_VALUE)]
}

/// What may be frequent among bad events.
#[derive(Default)]
struct Candidates(HashMap<String, Frequent>);

impl Candidates {
    fn add(&mut self, attribute: &str, value: &str) {
        if let Some(values) = self.0.get_mut(attribute) {
            values.add(value);
        } else if self.0.len() < MOST_ATTRIBUTES {
            self.0.entry_ref(attribute).or_insert_with(|| Frequent::new(MOST_VALUES)).add(value);
        }
    }

    fn into_counts(self) -> Counts {
        let of = |frequent: Frequent| Values {
            counted: frequent.into_values().map(|value| (value, Split::default())).collect(),
            others: Split::default(),
        };
        let attributes = self.0.into_iter().map(|(attribute, frequent)| (attribute, of(frequent))).collect();
        Counts { of: Split::default(), attributes, others: Split::default() }
    }
}

/// How many bad and good events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Split {
    bad: u64,
    good: u64,
}

impl Split {
    fn add(&mut self, is_bad: bool, is_good: bool) {
        self.bad += u64::from(is_bad);
        self.good += u64::from(is_good);
    }
}

/// What was counted.
struct Counts {
    /// All events.
    of: Split,
    attributes: HashMap<String, Values>,
    /// Attributes of events beyond those.
    others: Split,
}

struct Values {
    counted: HashMap<String, Split>,
    /// Events with another value.
    others: Split,
}

impl Counts {
    fn add(&mut self, attributes: &Attributes<'_>, is_bad: bool, is_good: bool) {
        self.of.add(is_bad, is_good);
        attributes.each(&mut |attribute, value| {
            let split = match self.attributes.get_mut(attribute) {
                Some(values) => values.counted.get_mut(value).unwrap_or(&mut values.others),
                None => &mut self.others,
            };
            split.add(is_bad, is_good);
        });
    }

    /// The rows of the answer.
    fn rows(&self) -> Vec<Row<'_>> {
        let others = self.others();
        let of = |attribute, value, split: Split| Row {
            attribute: Some(attribute),
            value: Some(value),
            split,
            of: self.of,
            figures: Some(Figures::of(split, self.of)),
        };
        let values = self.attributes.iter().flat_map(|(attribute, values)| {
            values.counted.iter().map(move |(value, split)| of(attribute.as_str(), value.as_str(), *split))
        });
        let mut rows: Vec<Row<'_>> = values.filter(|row| row.difference() > 0.0).collect();
        rows.sort_by(|a, b| {
            b.g2().total_cmp(&a.g2()).then_with(|| (a.attribute, a.value).cmp(&(b.attribute, b.value)))
        });
        rows.truncate(MOST_ROWS - others.len());
        rows.extend(others);
        rows
    }

    /// What was not told apart among bad events: of most of them first.
    fn others(&self) -> Vec<Row<'_>> {
        let of = |attribute, split: Split| Row { attribute, value: None, split, of: self.of, figures: None };
        let values = self.attributes.iter().map(|(attribute, values)| of(Some(attribute.as_str()), values.others));
        let mut rows: Vec<Row<'_>> = values.chain([of(None, self.others)]).filter(|row| row.split.bad > 0).collect();
        rows.sort_by(|a, b| b.split.bad.cmp(&a.split.bad).then_with(|| a.attribute.cmp(&b.attribute)));
        rows.truncate(MOST_OTHERS);
        rows
    }
}

/// A row of the answer.
#[derive(Debug)]
struct Row<'a> {
    attribute: Option<&'a str>,
    value: Option<&'a str>,
    split: Split,
    of: Split,
    figures: Option<Figures>,
}

impl Row<'_> {
    fn difference(&self) -> f64 {
        self.figures.map_or(0.0, |figures| figures.risk_difference)
    }

    fn g2(&self) -> f64 {
        self.figures.map_or(0.0, |figures| figures.g2)
    }
}

/// What the counts of a value come to.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Figures {
    risk_difference: f64,
    lift: f64,
    g2: f64,
}

impl Figures {
    /// Of a value that some of those events have.
    fn of(with: Split, of: Split) -> Self {
        let share = |part: u64, all: u64| part as f64 / all as f64;
        let of_bad = share(with.bad, of.bad);
        Self {
            risk_difference: of_bad - share(with.good, of.good),
            lift: of_bad / share(with.bad + with.good, of.bad + of.good),
            g2: g2(with, of),
        }
    }
}

/// Dunning's log-likelihood ratio of the table of having a value and being bad: twice the sum of observed times the
/// logarithm of observed by expected.
fn g2(with: Split, of: Split) -> f64 {
    let all = (of.bad + of.good) as f64;
    let have = (with.bad + with.good) as f64;
    let cell = |observed: u64, row: f64, column: u64| {
        let expected = row * column as f64 / all;
        if observed == 0 { 0.0 } else { observed as f64 * (observed as f64 / expected).ln() }
    };
    let having = cell(with.bad, have, of.bad) + cell(with.good, have, of.good);
    let not = cell(of.bad - with.bad, all - have, of.bad) + cell(of.good - with.good, all - have, of.good);
    2.0 * (having + not)
}

fn to_batch(rows: &[Row<'_>]) -> Result<RecordBatch, CorrelatorError> {
    let out = Columns(rows);
    let count = |count: u64| Some(i64::try_from(count).unwrap_or(i64::MAX));
    let figure = |of: fn(&Figures) -> f64| -> ArrayRef {
        Arc::new(rows.iter().map(|row| row.figures.as_ref().map(of)).collect::<Float64Array>())
    };
    let columns = vec![
        out.texts(|row| row.attribute),
        out.texts(|row| row.value),
        out.int64s(|row| count(row.split.bad)),
        out.int64s(|row| count(row.of.bad)),
        out.int64s(|row| count(row.split.good)),
        out.int64s(|row| count(row.of.good)),
        figure(|figures| figures.risk_difference),
        figure(|figures| figures.lift),
        figure(|figures| figures.g2),
    ];
    batch("the lift of attributes", attribute_lift_schema(), columns)
}

#[cfg(test)]
mod tests;
