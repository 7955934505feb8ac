//! API keys in the control database.

use super::Control;
use crate::StorageError;
use crate::keyring::{Key, KeyId, Scopes, ScramParameters, Verifier};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use whence_schema::{TenantId, UnixNanos};

/// Since when nobody comes in without a key, and what PostgreSQL clients are told.
#[derive(Debug, Clone)]
pub(crate) struct Closing {
    pub(crate) parameters: ScramParameters,
    pub(crate) closed_from: UnixNanos,
}

impl Control {
    /// `None` as long as no key was ever made.
    pub(crate) async fn closing(&self) -> Result<Option<Closing>, StorageError> {
        let row = sqlx::query("SELECT salt, iterations, closed_from FROM access").fetch_optional(&self.pool).await?;
        let Some(row) = row else { return Ok(None) };
        let iterations: i64 = row.try_get("iterations")?;
        let iterations = u32::try_from(iterations).map_err(|_| StorageError::Incompatible {
            path: self.path.clone(),
            reason: format!("{iterations} rounds of PBKDF2 cannot be: use the whence that wrote this"),
        })?;
        let parameters = ScramParameters { salt: row.try_get("salt")?, iterations };
        Ok(Some(Closing { parameters, closed_from: UnixNanos(row.try_get("closed_from")?) }))
    }

    /// Every key, by number.
    pub(crate) async fn keys(&self) -> Result<Vec<Key>, StorageError> {
        let rows = sqlx::query("SELECT * FROM api_key ORDER BY id").fetch_all(&self.pool).await?;
        rows.iter().map(|row| self.key(row)).collect()
    }

    fn key(&self, row: &SqliteRow) -> Result<Key, StorageError> {
        let id = KeyId(row.try_get("id")?);
        let scopes: String = row.try_get("scopes")?;
        let scopes = Scopes::parse(&scopes).map_err(|error| StorageError::Incompatible {
            path: self.path.clone(),
            reason: format!("API key {id}: {error}: use the whence that wrote this"),
        })?;
        let tenant: String = row.try_get("tenant")?;
        let time = |name: &str| row.try_get::<Option<i64>, _>(name);
        Ok(Key {
            id,
            tenant: TenantId::new(&tenant),
            name: row.try_get("name")?,
            prefix: row.try_get("prefix")?,
            last_characters: row.try_get("last_characters")?,
            scopes,
            verifier: Verifier {
                token_hash: row.try_get("token_hash")?,
                stored_key: row.try_get("stored_key")?,
                server_key: row.try_get("server_key")?,
            },
            created_at: UnixNanos(row.try_get("created_at")?),
            expires_at: time("expires_at")?.map(UnixNanos),
            revoked_at: AtomicI64::new(time("revoked_at")?.unwrap_or(0)),
            last_used_at: AtomicI64::new(time("last_used_at")?.unwrap_or(0)),
        })
    }

    /// Keeps a key, its tenant, and, when it is the first, from when on keys are needed. The number of `key` is ignored.
    pub(crate) async fn insert_key(&self, key: &Key, closing: &Closing) -> Result<KeyId, StorageError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query("INSERT INTO access VALUES (1, ?, ?, ?) ON CONFLICT DO NOTHING")
            .bind(closing.parameters.salt.as_slice())
            .bind(i64::from(closing.parameters.iterations))
            .bind(closing.closed_from.0)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("INSERT INTO tenant VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(key.tenant.as_str())
            .bind(key.created_at.0)
            .execute(&mut *transaction)
            .await?;
        let inserted = sqlx::query(
            "INSERT INTO api_key (tenant, name, prefix, last_characters, scopes, token_hash, stored_key, server_key, \
             created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(key.tenant.as_str())
        .bind(key.name.as_str())
        .bind(key.prefix.as_str())
        .bind(key.last_characters.as_str())
        .bind(key.scopes.to_string())
        .bind(key.verifier.token_hash.as_slice())
        .bind(key.verifier.stored_key.as_slice())
        .bind(key.verifier.server_key.as_slice())
        .bind(key.created_at.0)
        .bind(key.expires_at.map(|at| at.0))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(KeyId(inserted.last_insert_rowid()))
    }

    /// Takes a key back.
    pub(crate) async fn revoke_key(&self, id: KeyId, at: UnixNanos) -> Result<(), StorageError> {
        sqlx::query("UPDATE api_key SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?")
            .bind(at.0)
            .bind(id.0)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Remembers when keys were used last.
    pub(crate) async fn save_last_use<'a>(&self, keys: impl Iterator<Item = &'a Key>) -> Result<(), StorageError> {
        let mut transaction = self.pool.begin().await?;
        for key in keys {
            let at = key.last_used_at.load(Ordering::Relaxed);
            sqlx::query("UPDATE api_key SET last_used_at = ? WHERE id = ? AND coalesce(last_used_at, 0) < ?")
                .bind(at)
                .bind(key.id.0)
                .bind(at)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Takes over the keys of the database at `path`, if it has any: what a restore brings back is data, and neither
    /// opens doors that were closed nor makes a revoked key good again.
    pub(crate) async fn adopt_keys(&self, path: &Path) -> Result<(), StorageError> {
        let mut connection = self.pool.acquire().await?;
        sqlx::query("ATTACH ? AS current").bind(path.to_string_lossy().as_ref()).execute(&mut *connection).await?;
        let adopted = async {
            let known: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM current.sqlite_master WHERE type = 'table' AND name = 'access'",
            )
            .fetch_one(&mut *connection)
            .await?;
            if known == 0 {
                return Ok(());
            }
            // All or nothing: without a row in `access` there no key was ever made.
            sqlx::raw_sql(
                "BEGIN IMMEDIATE;
                 DELETE FROM main.api_key WHERE EXISTS (SELECT 1 FROM current.access);
                 DELETE FROM main.access WHERE EXISTS (SELECT 1 FROM current.access);
                 INSERT INTO main.tenant SELECT * FROM current.tenant WHERE true ON CONFLICT DO NOTHING;
                 INSERT INTO main.access SELECT * FROM current.access;
                 INSERT INTO main.api_key SELECT * FROM current.api_key;
                 COMMIT;",
            )
            .execute(&mut *connection)
            .await?;
            Ok(())
        }
        .await;
        // A connection that is in a transaction, or has another database attached, is not for others.
        connection.close().await?;
        adopted
    }
}
