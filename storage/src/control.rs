//! The control database: ledger, assets, API keys, continuous aggregates, incidents, log templates and onsets, and the
//! state that goes with a log offset, in SQLite.

mod aggregates;
mod incidents;
mod keys;
mod onsets;
mod packed;
pub(crate) mod removals;

pub(crate) use keys::Closing;

use crate::StorageError;
use crate::assets::{self, Asset, AssetKey, Assets};
use crate::delta::LinksNumber;
use crate::files::fsync_file;
use crate::flush::blocking;
use crate::ledger::{Counts, Entries, LedgerKey};
use crate::log::LogOffset;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous};
use sqlx::{Row, SqliteConnection, SqlitePool};
use std::path::{Path, PathBuf};
use std::time::Duration;
use whence_schema::{RequestDigest, Signal, TenantId, UnixNanos};
use xxhash_rust::xxh3::xxh3_64;

/// Every version of the schema, oldest first. An applied one is never edited: its checksum is remembered.
const MIGRATIONS: [(i64, &str); 7] = [
    (1, include_str!("control/0001_initial.sql")),
    (2, include_str!("control/0002_restore.sql")),
    (3, include_str!("control/0003_removals.sql")),
    (4, include_str!("control/0004_access.sql")),
    (5, include_str!("control/0005_aggregates.sql")),
    (6, include_str!("control/0006_incidents.sql")),
    (7, include_str!("control/0007_onsets.sql")),
];

/// The open database.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    pool: SqlitePool,
    path: PathBuf,
}

/// Everything that has been sealed but is not in the database yet.
#[derive(Debug, Default)]
pub(crate) struct Unsaved {
    pub(crate) offset: LogOffset,
    pub(crate) ledger: Entries,
    pub(crate) assets: Assets,
    pub(crate) digests: Vec<RequestDigest>,
    pub(crate) series: Option<Vec<u8>>,
    pub(crate) correlator: Option<Vec<u8>>,
}

/// Rows by what the ledger counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RowCounts {
    pub(crate) spans: u64,
    pub(crate) logs: u64,
    pub(crate) points: u64,
}

impl RowCounts {
    pub(crate) fn of_signal(&mut self, signal: Signal) -> &mut u64 {
        match signal {
            Signal::Traces => &mut self.spans,
            Signal::Logs => &mut self.logs,
            Signal::Metrics => &mut self.points,
        }
    }
}

const OFFSET: &str = "offset";
const SERIES: &str = "series";
const CORRELATOR: &str = "correlator";
/// Before the number of a state of the correlator that goes with a Delta commit of links.
const LINKS: &str = "links ";

impl Control {
    /// Opens or makes `control.db` below `root` and brings its schema up to date.
    pub(crate) async fn open(root: &Path) -> Result<Self, StorageError> {
        let control = Self::open_as_it_is(root).await?;
        control.migrate().await?;
        Ok(control)
    }

    /// Opens or makes the database and leaves its schema alone, which may be an older one.
    pub(crate) async fn open_as_it_is(root: &Path) -> Result<Self, StorageError> {
        let path = root.join("control.db");
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(10));
        let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await?;
        Ok(Self { pool, path })
    }

    async fn migrate(&self) -> Result<(), StorageError> {
        sqlx::query(
            "CREATE TABLE IF NOT EXISTS schema_migration \
             (version INTEGER PRIMARY KEY, checksum INTEGER NOT NULL, applied_at INTEGER NOT NULL)",
        )
        .execute(&self.pool)
        .await?;
        let applied: Vec<(i64, i64)> =
            sqlx::query_as("SELECT version, checksum FROM schema_migration").fetch_all(&self.pool).await?;
        let incompatible = |reason: String| StorageError::Incompatible { path: self.path.clone(), reason };
        if let Some((version, _)) = applied.iter().find(|(version, _)| *version > MIGRATIONS.len() as i64) {
            return Err(incompatible(format!("schema version {version} is newer than this whence: use a newer one")));
        }
        for (version, sql) in MIGRATIONS {
            let checksum = xxh3_64(sql.as_bytes()) as i64;
            match applied.iter().find(|(applied, _)| *applied == version) {
                Some((_, known)) if *known == checksum => {}
                Some(_) => {
                    return Err(incompatible(format!("migration {version} was edited after it had been applied here")));
                }
                None => {
                    let mut transaction = self.pool.begin().await?;
                    sqlx::raw_sql(sql).execute(&mut *transaction).await?;
                    sqlx::query("INSERT INTO schema_migration VALUES (?, ?, ?)")
                        .bind(version)
                        .bind(checksum)
                        .bind(UnixNanos::now().0)
                        .execute(&mut *transaction)
                        .await?;
                    transaction.commit().await?;
                }
            }
        }
        Ok(())
    }

    /// The offset up to which everything here counts.
    pub(crate) async fn offset(&self) -> Result<LogOffset, StorageError> {
        let mut connection = self.pool.acquire().await?;
        read_offset(&mut connection).await
    }

    pub(crate) async fn series(&self) -> Result<Option<Vec<u8>>, StorageError> {
        let mut connection = self.pool.acquire().await?;
        read_state(&mut connection, SERIES).await
    }

    pub(crate) async fn correlator(&self) -> Result<Option<Vec<u8>>, StorageError> {
        let mut connection = self.pool.acquire().await?;
        match read_state(&mut connection, CORRELATOR).await? {
            Some(stored) => packed::unpack(stored, &self.path).await.map(Some),
            None => Ok(None),
        }
    }

    /// Saves the correlator's state at `offset` under `number`, beside those of attempts since `committed`.
    pub(crate) async fn save_links_state(
        &self,
        number: LinksNumber,
        committed: LinksNumber,
        offset: LogOffset,
        state: &[u8],
    ) -> Result<(), StorageError> {
        let value = [&offset.0.to_le_bytes(), state].concat();
        let mut transaction = self.pool.begin().await?;
        sqlx::query("DELETE FROM state WHERE name > ? AND name < ?")
            .bind(LINKS)
            .bind(links_name(committed))
            .execute(&mut *transaction)
            .await?;
        sqlx::query("INSERT OR REPLACE INTO state VALUES (?, ?)")
            .bind(links_name(number))
            .bind(value)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// The correlator's state that was saved under `number`, and the offset it belongs to.
    pub(crate) async fn links_state(&self, number: LinksNumber) -> Result<Option<(LogOffset, Vec<u8>)>, StorageError> {
        let mut connection = self.pool.acquire().await?;
        let value = read_state(&mut connection, &links_name(number)).await?;
        Ok(value.and_then(|value| {
            let (offset, state) = value.split_first_chunk()?;
            Some((LogOffset(u64::from_le_bytes(*offset)), state.to_vec()))
        }))
    }

    /// Saves everything sealed up to its offset in one transaction.
    pub(crate) async fn save(&self, unsaved: &Unsaved) -> Result<(), StorageError> {
        let saved = self.try_save(unsaved).await;
        if saved.is_err() && self.offset().await? == unsaved.offset {
            // The commit went through, only its answer did not.
            return Ok(());
        }
        saved
    }

    async fn try_save(&self, unsaved: &Unsaved) -> Result<(), StorageError> {
        let correlator = match unsaved.correlator.clone() {
            Some(state) => Some(packed::pack(state, &self.path).await?),
            None => None,
        };
        let mut transaction = self.pool.begin().await?;
        for (key, counts) in &unsaved.ledger {
            save_counts(&mut transaction, key, counts).await?;
        }
        for (key, asset) in &unsaved.assets {
            save_asset(&mut transaction, key, asset).await?;
        }
        // From here on the state of the correlator is the one saved now.
        sqlx::query("DELETE FROM state WHERE name > ? AND name < ?")
            .bind(LINKS)
            .bind(links_name(LinksNumber(u64::MAX)))
            .execute(&mut *transaction)
            .await?;
        let offset = unsaved.offset.0.to_le_bytes().to_vec();
        let states = [(OFFSET, Some(&offset)), (SERIES, unsaved.series.as_ref()), (CORRELATOR, correlator.as_ref())];
        for (name, value) in states {
            if let Some(value) = value {
                sqlx::query("INSERT INTO state VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
                    .bind(name)
                    .bind(value.as_slice())
                    .execute(&mut *transaction)
                    .await?;
            }
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Ledger rows of one tenant (or all), with the offset they count up to.
    pub(crate) async fn ledger(&self, tenant: Option<&TenantId>) -> Result<(Entries, LogOffset), StorageError> {
        let mut transaction = self.pool.begin().await?;
        let rows = sqlx::query("SELECT * FROM ledger WHERE ?1 IS NULL OR tenant = ?1")
            .bind(tenant.map(TenantId::as_str))
            .fetch_all(&mut *transaction)
            .await?;
        let offset = read_offset(&mut transaction).await?;
        let mut entries = Entries::new();
        for row in rows {
            let signal: String = row.try_get("signal")?;
            let Some(signal) = Signal::parse(&signal) else { continue };
            let tenant: String = row.try_get("tenant")?;
            let key = LedgerKey { tenant: TenantId::new(&tenant), signal, minute_seconds: row.try_get("minute")? };
            let counts = Counts {
                received: unsigned(&row, "received")?,
                stored: unsigned(&row, "stored")?,
                duplicate: unsigned(&row, "duplicate")?,
                rejected: unsigned(&row, "rejected")?,
                dropped: unsigned(&row, "dropped")?,
            };
            entries.insert(key, counts);
        }
        Ok((entries, offset))
    }

    /// Assets of a tenant.
    pub(crate) async fn assets(&self, tenant: &TenantId) -> Result<Assets, StorageError> {
        let rows =
            sqlx::query("SELECT * FROM asset WHERE tenant = ?").bind(tenant.as_str()).fetch_all(&self.pool).await?;
        let mut found = Assets::new();
        for row in rows {
            let key = AssetKey {
                tenant: tenant.clone(),
                asset_id: row.try_get("asset_id")?,
                asset_type: row.try_get("asset_type")?,
            };
            found.insert(key, asset_of(&row)?);
        }
        Ok(found)
    }

    /// Forgets what is known of a tenant's assets.
    pub(crate) async fn forget_assets(&self, tenant: &TenantId) -> Result<(), StorageError> {
        sqlx::query("DELETE FROM asset WHERE tenant = ?").bind(tenant.as_str()).execute(&self.pool).await?;
        Ok(())
    }

    /// Writes the whole database anew, so that no page keeps what was deleted or replaced.
    pub(crate) async fn write_anew(&self) -> Result<(), StorageError> {
        sqlx::query("VACUUM").execute(&self.pool).await?;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&self.pool).await?;
        Ok(())
    }

    /// Puts another ledger in the place of this one and forgets what belongs to the time after `at`.
    pub(crate) async fn cut(&self, ledger: &Entries, at: UnixNanos) -> Result<(), StorageError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query("DELETE FROM ledger").execute(&mut *transaction).await?;
        for (key, counts) in ledger {
            save_counts(&mut transaction, key, counts).await?;
        }
        for sql in [
            "DELETE FROM asset WHERE created_at > ?",
            "DELETE FROM continuous_aggregate WHERE created_at > ?",
            "DELETE FROM incident WHERE created_at > ?",
            "DELETE FROM log_template WHERE created_at > ?",
            "DELETE FROM onset_hour WHERE created_at > ?",
        ] {
            sqlx::query(sql).bind(at.0).execute(&mut *transaction).await?;
        }
        sqlx::query("DELETE FROM state WHERE name = ?").bind(CORRELATOR).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Remembers that this data came out of a backup.
    pub(crate) async fn remember_restore(
        &self,
        restore_point: &str,
        taken_at: UnixNanos,
        cut_at: Option<UnixNanos>,
    ) -> Result<(), StorageError> {
        sqlx::query("INSERT INTO restore VALUES (?, ?, ?, ?)")
            .bind(UnixNanos::now().0)
            .bind(restore_point)
            .bind(taken_at.0)
            .bind(cut_at.map(|at| at.0))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Copies the database as it is now into a new file, and waits for the disk.
    pub(crate) async fn copy_to(&self, path: &Path) -> Result<(), StorageError> {
        sqlx::query("VACUUM INTO ?").bind(path.to_string_lossy().as_ref()).execute(&self.pool).await?;
        let path = path.to_owned();
        blocking("backup", move || fsync_file(&path)).await
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}

/// In the order of the numbers.
fn links_name(number: LinksNumber) -> String {
    format!("{LINKS}{:020}", number.0)
}

async fn read_state(connection: &mut SqliteConnection, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
    let row = sqlx::query("SELECT value FROM state WHERE name = ?").bind(name).fetch_optional(connection).await?;
    Ok(row.map(|row| row.try_get("value")).transpose()?)
}

async fn read_offset(connection: &mut SqliteConnection) -> Result<LogOffset, StorageError> {
    let value = read_state(connection, OFFSET).await?;
    Ok(LogOffset(value.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)))
}

async fn save_counts(connection: &mut SqliteConnection, key: &LedgerKey, counts: &Counts) -> Result<(), StorageError> {
    sqlx::query(
        "INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, signal, minute) DO UPDATE SET \
         received = received + excluded.received, stored = stored + excluded.stored, \
         duplicate = duplicate + excluded.duplicate, rejected = rejected + excluded.rejected, \
         dropped = dropped + excluded.dropped",
    )
    .bind(key.tenant.as_str())
    .bind(key.signal.as_str())
    .bind(key.minute_seconds)
    .bind(signed(counts.received))
    .bind(signed(counts.stored))
    .bind(signed(counts.duplicate))
    .bind(signed(counts.rejected))
    .bind(signed(counts.dropped))
    .execute(connection)
    .await?;
    Ok(())
}

async fn save_asset(connection: &mut SqliteConnection, key: &AssetKey, newer: &Asset) -> Result<(), StorageError> {
    let row = sqlx::query("SELECT * FROM asset WHERE tenant = ? AND asset_id = ? AND asset_type = ?")
        .bind(key.tenant.as_str())
        .bind(key.asset_id.as_str())
        .bind(key.asset_type.as_str())
        .fetch_optional(&mut *connection)
        .await?;
    let mut merged = Assets::new();
    if let Some(row) = row {
        merged.insert(key.clone(), asset_of(&row)?);
    }
    assets::merge(&mut merged, key, newer);
    let Some(asset) = merged.get(key) else { return Ok(()) };
    sqlx::query("INSERT OR REPLACE INTO asset VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(key.tenant.as_str())
        .bind(key.asset_id.as_str())
        .bind(key.asset_type.as_str())
        .bind(asset.asset_name.as_deref())
        .bind(asset.version.as_deref())
        .bind(asset.owner_id.as_deref())
        .bind(asset.team_id.as_deref())
        .bind(asset.tags.as_deref())
        .bind(asset.metadata.as_deref())
        .bind(asset.created_at.0)
        .bind(asset.updated_at.0)
        .bind(asset.last_seen.0)
        .execute(connection)
        .await?;
    Ok(())
}

fn asset_of(row: &SqliteRow) -> Result<Asset, StorageError> {
    Ok(Asset {
        asset_name: row.try_get("asset_name")?,
        version: row.try_get("version")?,
        owner_id: row.try_get("owner_id")?,
        team_id: row.try_get("team_id")?,
        tags: row.try_get("tags")?,
        metadata: row.try_get("metadata")?,
        created_at: UnixNanos(row.try_get("created_at")?),
        updated_at: UnixNanos(row.try_get("updated_at")?),
        last_seen: UnixNanos(row.try_get("last_seen")?),
    })
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn unsigned(row: &SqliteRow, name: &str) -> Result<u64, StorageError> {
    Ok(row.try_get::<i64, _>(name)?.unsigned_abs())
}
