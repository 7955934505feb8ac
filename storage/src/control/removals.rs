//! Rows that leave the tables, so that the ledger balances to the last row whatever a crash interrupts.
//!
//! ```text
//! 1 announce   rows are written down under the path of the chunk that holds them
//! 2            Delta commit takes that chunk out of its table
//! 3 settle     duplicates move from stored to duplicate in the ledger; other rows are added to what was removed
//! ```
//!
//! A crash between any two steps leaves announcements. They are settled by one question: is the chunk still in its
//! table? No path is used twice, so the answer does not change.

use super::{Control, RowCounts};
use crate::StorageError;
use crate::ledger::LedgerKey;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use std::collections::BTreeMap;
use whence_schema::{Signal, TenantId};

/// Why rows leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// Another copy stays.
    Duplicate,
    /// Older than they are kept.
    Retention,
    /// No room.
    DiskCap,
    /// Somebody asked for it.
    Erase,
}

impl Reason {
    const ALL: [Self; 4] = [Self::Duplicate, Self::Retention, Self::DiskCap, Self::Erase];

    fn name(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::Retention => "retention",
            Self::DiskCap => "disk_cap",
            Self::Erase => "erase",
        }
    }
}

/// What the ledger counts of rows, by the ledger's keys.
pub(crate) type RowsByKey = BTreeMap<LedgerKey, u64>;

/// Rows that are about to leave with a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Removal {
    pub(crate) reason: Reason,
    /// Name of the table and path of the chunk below its folder.
    pub(crate) path: String,
    pub(crate) rows: RowsByKey,
}

impl Control {
    /// Step 1.
    pub(crate) async fn announce(&self, removals: &[Removal]) -> Result<(), StorageError> {
        let mut transaction = self.pool.begin().await?;
        for removal in removals {
            for (key, rows) in &removal.rows {
                sqlx::query("INSERT OR REPLACE INTO removal VALUES (?, ?, ?, ?, ?, ?)")
                    .bind(removal.path.as_str())
                    .bind(removal.reason.name())
                    .bind(key.tenant.as_str())
                    .bind(key.signal.as_str())
                    .bind(key.minute_seconds)
                    .bind(i64::try_from(*rows).unwrap_or(i64::MAX))
                    .execute(&mut *transaction)
                    .await?;
            }
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Step 3: what left with a path that is not `active` counts, the rest is forgotten. Returns what counted.
    pub(crate) async fn settle(&self, active: impl Fn(&str) -> bool + Send) -> Result<Vec<Removal>, StorageError> {
        let mut transaction = self.pool.begin().await?;
        let (left, stayed): (Vec<_>, Vec<_>) =
            announced(&mut transaction).await?.into_iter().partition(|removal| !active(&removal.path));
        if left.is_empty() && stayed.is_empty() {
            return Ok(left);
        }
        for removal in &left {
            for (key, rows) in &removal.rows {
                count(&mut transaction, removal.reason, key, *rows).await?;
            }
        }
        sqlx::query("DELETE FROM removal").execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(left)
    }

    /// Rows that the ledger counts as stored and that have left: those announced under the name of their chunk, which
    /// have left if it is in no table any more, and under no name all those that have.
    pub(crate) async fn expired(&self) -> Result<Vec<(String, RowCounts)>, StorageError> {
        let old = sqlx::query("SELECT 1 FROM sqlite_master WHERE name = 'expired'").fetch_optional(&self.pool).await?;
        if old.is_some() {
            return self.expired_before_version_3().await;
        }
        let mut connection = self.pool.acquire().await?;
        let mut expired: Vec<(String, RowCounts)> = Vec::new();
        for removal in announced(&mut connection).await? {
            let mut counts = RowCounts::default();
            removal.rows.iter().for_each(|(key, rows)| *counts.of_signal(key.signal) += rows);
            expired.push((removal.path, counts));
        }
        let mut removed = RowCounts::default();
        for row in sqlx::query("SELECT signal, rows FROM removed").fetch_all(&mut *connection).await? {
            let signal: String = row.try_get("signal")?;
            if let Some(signal) = Signal::parse(&signal) {
                *removed.of_signal(signal) += row.try_get::<i64, _>("rows")?.unsigned_abs();
            }
        }
        expired.push((String::new(), removed));
        Ok(expired)
    }

    /// The same of a database that no server of this version has opened yet.
    async fn expired_before_version_3(&self) -> Result<Vec<(String, RowCounts)>, StorageError> {
        let rows = sqlx::query("SELECT * FROM expired").fetch_all(&self.pool).await?;
        let number = |row: &SqliteRow, name| Ok::<_, sqlx::Error>(row.try_get::<i64, _>(name)?.unsigned_abs());
        let of = |row: &SqliteRow| {
            let (spans, logs, points) = (number(row, "spans")?, number(row, "logs")?, number(row, "points")?);
            Ok((row.try_get("path")?, RowCounts { spans, logs, points }))
        };
        rows.iter().map(of).collect()
    }
}

async fn announced(connection: &mut SqliteConnection) -> Result<Vec<Removal>, StorageError> {
    let mut removals: BTreeMap<(String, Reason), RowsByKey> = BTreeMap::new();
    for row in sqlx::query("SELECT * FROM removal").fetch_all(connection).await? {
        let (signal, reason): (String, String) = (row.try_get("signal")?, row.try_get("reason")?);
        let reason = Reason::ALL.into_iter().find(|known| known.name() == reason);
        let Some((signal, reason)) = Signal::parse(&signal).zip(reason) else { continue };
        let tenant: String = row.try_get("tenant")?;
        let key = LedgerKey { tenant: TenantId::new(&tenant), signal, minute_seconds: row.try_get("minute")? };
        let rows = row.try_get::<i64, _>("rows")?.unsigned_abs();
        removals.entry((row.try_get("path")?, reason)).or_default().insert(key, rows);
    }
    Ok(removals.into_iter().map(|((path, reason), rows)| Removal { reason, path, rows }).collect())
}

async fn count(
    connection: &mut SqliteConnection,
    reason: Reason,
    key: &LedgerKey,
    rows: u64,
) -> Result<(), StorageError> {
    let number = i64::try_from(rows).unwrap_or(i64::MAX);
    if reason == Reason::Duplicate {
        let moved = sqlx::query(
            "UPDATE ledger SET stored = stored - ?1, duplicate = duplicate + ?1 \
             WHERE tenant = ?2 AND signal = ?3 AND minute = ?4 AND stored >= ?1",
        )
        .bind(number)
        .bind(key.tenant.as_str())
        .bind(key.signal.as_str())
        .bind(key.minute_seconds)
        .execute(&mut *connection)
        .await?;
        if moved.rows_affected() == 1 {
            return Ok(());
        }
        // A row whose minute the ledger does not know: it still leaves the tables.
        tracing::error!(?key, rows, "duplicates of a minute that is not in the ledger");
    }
    sqlx::query(
        "INSERT INTO removed VALUES (?, ?, ?, ?) ON CONFLICT (reason, tenant, signal) \
         DO UPDATE SET rows = rows + excluded.rows",
    )
    .bind(reason.name())
    .bind(key.tenant.as_str())
    .bind(key.signal.as_str())
    .bind(number)
    .execute(connection)
    .await?;
    Ok(())
}
