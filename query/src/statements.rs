//! What statements have cost: `whence.queries`, and the log of slow ones.
//!
//! Statements that differ in nothing but their literals are one entry, and literals are not kept: they may hold what
//! their tenant's users may not all see, and nobody else's.

use crate::error::QueryError;
use arrow::array::{ArrayRef, Float64Array, Int64Array, StringViewArray, TimestampMicrosecondArray};
use arrow::record_batch::RecordBatch;
use datafusion::sql::sqlparser::ast::{Expr, Statement, Value, VisitMut, VisitorMut};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};
use whence_schema::{TenantId, UnixNanos};

/// Statements remembered; beyond it the one that ran longest ago goes.
const REMEMBERED: usize = 5_000;
/// Bytes kept of a statement's text.
const TEXT_BYTES: usize = 4_096;

/// How a statement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Every row was handed out, or its reader had enough.
    Done,
    /// With an error.
    Failed,
}

/// A statement without its literals.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint(Arc<str>);

impl Fingerprint {
    /// That of `statement`.
    pub(crate) fn of(statement: &Statement) -> Self {
        struct WithoutLiterals;
        impl VisitorMut for WithoutLiterals {
            type Break = ();
            fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
                match expression {
                    Expr::Value(value) => value.value = Value::Placeholder("?".to_owned()),
                    // However long a list is, and whatever is in it.
                    Expr::InList { list, .. } => list.truncate(1),
                    Expr::TypedString(typed) => typed.value.value = Value::Placeholder("?".to_owned()),
                    _ => {}
                }
                ControlFlow::Continue(())
            }
        }
        let mut statement = statement.clone();
        let _ = statement.visit(&mut WithoutLiterals);
        let mut text = statement.to_string();
        if text.len() > TEXT_BYTES {
            let end = (0..=TEXT_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(end);
        }
        Self(text.into())
    }

    /// The text as 16 digits.
    fn digits(&self) -> String {
        let digest = xxhash_rust::xxh3::xxh3_64(self.0.as_bytes());
        format!("{digest:016x}")
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    calls: u64,
    errors: u64,
    rows: u64,
    total: Duration,
    longest: Duration,
    last_at: UnixNanos,
}

/// What every statement has cost since the start.
#[derive(Debug, Default)]
pub(crate) struct Statements {
    costs: Mutex<HashMap<(TenantId, Fingerprint), Cost>>,
    /// Longer ones are logged. `None`: none is.
    slow: Option<Duration>,
    /// `whence.settings`: name and value.
    settings: Vec<(String, String)>,
}

impl Statements {
    /// Logs statements that take `slow` or longer; `settings` are what `whence.settings` shows.
    pub(crate) fn new(slow: Option<Duration>, settings: Vec<(String, String)>) -> Arc<Self> {
        Arc::new(Self { costs: Mutex::default(), slow, settings })
    }

    /// The rows of `whence.settings`.
    pub(crate) fn settings(&self) -> Result<RecordBatch, QueryError> {
        let column = |of: fn(&(String, String)) -> &String| -> ArrayRef {
            Arc::new(StringViewArray::from_iter_values(self.settings.iter().map(of)))
        };
        Ok(RecordBatch::try_from_iter([("name", column(|(name, _)| name)), ("setting", column(|(_, value)| value))])?)
    }

    /// Begins to count a statement.
    pub(crate) fn begin(self: &Arc<Self>, tenant: &TenantId, statement: &Statement) -> Running {
        Running {
            statements: self.clone(),
            key: Some((tenant.clone(), Fingerprint::of(statement))),
            started: Instant::now(),
            rows: 0,
            ending: Ending::Done,
        }
    }

    fn add(&self, key: (TenantId, Fingerprint), taken: Duration, rows: u64, ending: Ending) {
        if self.slow.is_some_and(|slow| taken >= slow) {
            tracing::warn!(
                tenant = key.0.as_str(),
                milliseconds = taken.as_millis() as u64,
                rows,
                failed = ending == Ending::Failed,
                fingerprint = key.1.digits(),
                statement = &*key.1.0,
                "slow query"
            );
        }
        let mut costs = self.costs.lock();
        if costs.len() >= REMEMBERED && !costs.contains_key(&key) {
            let oldest = costs.iter().min_by_key(|(_, cost)| cost.last_at).map(|(key, _)| key.clone());
            oldest.map(|key| costs.remove(&key));
        }
        let cost = costs.entry(key).or_default();
        cost.calls += 1;
        cost.errors += u64::from(ending == Ending::Failed);
        cost.rows += rows;
        cost.total += taken;
        cost.longest = cost.longest.max(taken);
        cost.last_at = UnixNanos::now();
    }

    /// The rows of `whence.queries` of one tenant.
    pub(crate) fn rows(&self, tenant: &TenantId) -> Result<RecordBatch, QueryError> {
        let mut of_tenant: Vec<(Fingerprint, Cost)> = {
            let costs = self.costs.lock();
            let own = costs.iter().filter(|((owner, _), _)| owner == tenant);
            own.map(|((_, fingerprint), cost)| (fingerprint.clone(), *cost)).collect()
        };
        of_tenant.sort_by_key(|(_, cost)| std::cmp::Reverse(cost.total));
        let count = |of: fn(&Cost) -> u64| -> ArrayRef {
            let values = of_tenant.iter().map(|(_, cost)| i64::try_from(of(cost)).unwrap_or(i64::MAX));
            Arc::new(Int64Array::from_iter_values(values))
        };
        let time = |of: fn(&Cost) -> f64| -> ArrayRef {
            Arc::new(Float64Array::from_iter_values(of_tenant.iter().map(|(_, cost)| of(cost))))
        };
        let last = of_tenant.iter().map(|(_, cost)| cost.last_at.micros());
        let texts = of_tenant.iter().map(|(fingerprint, _)| fingerprint.0.to_string());
        let digits = of_tenant.iter().map(|(fingerprint, _)| fingerprint.digits());
        Ok(RecordBatch::try_from_iter([
            ("fingerprint", Arc::new(StringViewArray::from_iter_values(digits)) as ArrayRef),
            ("query", Arc::new(StringViewArray::from_iter_values(texts)) as ArrayRef),
            ("calls", count(|cost| cost.calls)),
            ("total_ms", time(|cost| cost.total.as_secs_f64() * 1e3)),
            ("mean_ms", time(|cost| cost.total.as_secs_f64() * 1e3 / cost.calls.max(1) as f64)),
            ("max_ms", time(|cost| cost.longest.as_secs_f64() * 1e3)),
            ("rows", count(|cost| cost.rows)),
            ("errors", count(|cost| cost.errors)),
            ("last_at", Arc::new(TimestampMicrosecondArray::from_iter_values(last).with_timezone("UTC")) as ArrayRef),
        ])?)
    }
}

/// A statement that runs. It counts when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    statements: Arc<Statements>,
    key: Option<(TenantId, Fingerprint)>,
    started: Instant,
    rows: u64,
    ending: Ending,
}

impl Running {
    /// Rows were handed out.
    pub(crate) fn rows(&mut self, rows: usize) {
        self.rows += rows as u64;
    }

    /// It ended with an error.
    pub(crate) fn failed(&mut self) {
        self.ending = Ending::Failed;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.statements.add(key, self.started.elapsed(), self.rows, self.ending);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::statement::{Command, parse};
    use arrow::array::AsArray;

    fn statement(sql: &str) -> Statement {
        match parse(sql).unwrap().remove(0).command {
            Command::Query(statement) => *statement,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn statements_that_differ_in_literals_only_are_one_and_the_literals_are_not_kept() {
        let of = |sql| Fingerprint::of(&statement(sql));
        let first = of("SELECT name FROM events WHERE asset_id = 'secret' AND duration_ns > 5 LIMIT 10");
        assert_eq!(first, of("select name from events where asset_id='other' and duration_ns > 77 limit 3"));
        assert!(!first.0.contains("secret") && first.0.contains("asset_id"), "{}", first.0);
        assert_eq!(of("SELECT 1 WHERE 1 IN (1, 2, 3)"), of("SELECT 1 WHERE 1 IN (4)"));
        assert_ne!(of("SELECT 1 FROM events"), of("SELECT 1 FROM metrics"));
        assert_eq!(of("SELECT TIMESTAMP '2026-01-01'"), of("SELECT TIMESTAMP '2027-01-01'"));
    }

    #[test]
    fn costs_add_up_by_tenant_and_the_oldest_is_forgotten() {
        let statements = Statements::new(None, Vec::new());
        let (mine, other) = (TenantId::new("mine"), TenantId::new("other"));
        for failed in [false, true] {
            let mut running = statements.begin(&mine, &statement("SELECT 1"));
            running.rows(3);
            if failed {
                running.failed();
            }
        }
        drop(statements.begin(&other, &statement("SELECT 2 FROM events")));
        let rows = statements.rows(&mine).unwrap();
        let value = |name: &str| rows[name].as_primitive::<arrow::datatypes::Int64Type>().value(0);
        assert_eq!((rows.num_rows(), value("calls"), value("rows"), value("errors")), (1, 2, 6, 1));
        for n in 0..REMEMBERED {
            let fingerprint = Fingerprint(format!("{n}").into());
            statements.add((other.clone(), fingerprint), Duration::ZERO, 0, Ending::Done);
        }
        assert_eq!(statements.costs.lock().len(), REMEMBERED);
    }
}
