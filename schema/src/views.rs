//! Continuous aggregates that are there without being declared: what they are called, their columns and their query.

use crate::Table;

/// A continuous aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// Name in SQL.
    pub name: &'static str,
    /// The hypertable it aggregates.
    pub table: Table,
    /// `CREATE MATERIALIZED VIEW name ( columns ) AS query`.
    pub ddl: &'static str,
}

/// All of them.
pub const VIEWS: [View; 5] = [
    View { name: "service_red", table: Table::Events, ddl: include_str!("views/service_red.sql") },
    View { name: "edge_red", table: Table::Correlations, ddl: include_str!("views/edge_red.sql") },
    View { name: "metrics_hourly", table: Table::Metrics, ddl: include_str!("views/metrics_hourly.sql") },
    View { name: "hourly_metrics", table: Table::Events, ddl: include_str!("views/hourly_metrics.sql") },
    View { name: "daily_metrics", table: Table::Events, ddl: include_str!("views/daily_metrics.sql") },
];

impl View {
    /// The lines between the parentheses of the declaration: one column each.
    pub fn columns(&self) -> &'static str {
        self.parts().0
    }

    /// The query.
    pub fn query(&self) -> &'static str {
        self.parts().1
    }

    fn parts(&self) -> (&'static str, &'static str) {
        self.ddl.split_once("\n) AS\n").unwrap_or((self.ddl, ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_view_declares_its_columns_and_has_a_query() {
        for view in VIEWS {
            assert!(view.ddl.contains(&format!("CREATE MATERIALIZED VIEW {} (", view.name)), "{}", view.name);
            assert!(view.query().starts_with("SELECT"), "{}", view.name);
            assert!(view.columns().lines().any(|line| line.contains("timestamptz")), "{}", view.name);
        }
    }
}
