//! The API keys of a server, and whom they let in. Every door asks here.
//!
//! ```text
//! HTTP, gRPC, Flight SQL   Credentials::from_headers -> Keyring::authenticate       -> Grant (tenant, scopes)
//! PostgreSQL wire          SCRAM-SHA-256             -> Keyring::authenticate_proof -> Grant
//! a session, a stream      Grant::check, before each statement: a revoked key ends what it began
//! ```
//!
//! As long as no key was ever made, everybody is let in as tenant `default`. From the first key on (or from the end of
//! the grace given with it) everybody needs one, also when all of them were revoked. Keys are held in memory, and
//! changed in the control database first: only the process that holds the directory's lock changes them.

mod credentials;
mod error;
mod key;
mod verifier;

pub use credentials::Credentials;
pub use error::AccessError;
pub use key::{CreatedKey, KeyId, KeyInfo, NewKey, Scope, Scopes};
pub use verifier::ScramParameters;

pub(crate) use key::Key;
pub(crate) use verifier::Verifier;

use crate::control::{Closing, Control};
use crate::files::make_folder;
use crate::flush::blocking;
use crate::restore::complete_on_open;
use crate::store::lock_directory;
use crate::{StorageError, format};
use base64::Engine;
use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use whence_schema::{TenantId, UnixNanos};

/// Every key of a server. Clones share it.
#[derive(Debug, Clone)]
pub struct Keyring {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    control: Control,
    keys: RwLock<Keys>,
    /// Changes come one after the other.
    changing: tokio::sync::Mutex<()>,
    /// The configuration wants a key also before the first was made.
    required: AtomicBool,
    /// Last use that was saved.
    saved_until: AtomicI64,
    /// Held when no store is.
    lock: Mutex<Option<File>>,
}

#[derive(Debug, Default)]
struct Keys {
    /// `None` as long as no key was ever made.
    closing: Option<Closing>,
    by_token: HashMap<Vec<u8>, Arc<Key>>,
}

/// What somebody who was let in may do.
#[derive(Debug, Clone)]
pub struct Grant {
    tenant: TenantId,
    scopes: Scopes,
    /// Without one nothing is checked again.
    keyring: Option<Keyring>,
    key: Option<Arc<Key>>,
}

impl Grant {
    /// For callers inside the process: everything, for ever.
    pub fn trusted(tenant: TenantId) -> Self {
        Self { tenant, scopes: Scopes::ALL, keyring: None, key: None }
    }

    /// Whose rows.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Whether it allows `scope`.
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(scope)
    }

    /// Somebody who came in without a key, when none was needed.
    pub fn is_anonymous(&self) -> bool {
        self.keyring.is_some() && self.key.is_none()
    }

    /// The key it came with.
    pub fn key(&self) -> Option<KeyId> {
        self.key.as_ref().map(|key| key.id)
    }

    /// Whether it still holds: the key was not revoked since, its time has not passed, and, without one, none is needed.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check(&self) -> Result<(), AccessError> {
        match (&self.key, &self.keyring) {
            (Some(key), _) => key.check(UnixNanos::now()),
            (None, Some(keyring)) if keyring.is_closed() => Err(AccessError::Missing),
            (None, _) => Ok(()),
        }
    }

    fn allowing(self, needs: Scope) -> Result<Self, AccessError> {
        if self.scopes.contains(needs) {
            return Ok(self);
        }
        Err(AccessError::NotAllowed { has: self.scopes, needs })
    }
}

impl Keyring {
    pub(crate) async fn load(control: Control) -> Result<Self, StorageError> {
        let closing = control.closing().await?;
        let by_token = control.keys().await?.into_iter().map(|key| (key.verifier.token_hash.clone(), Arc::new(key)));
        let keys = RwLock::new(Keys { closing, by_token: by_token.collect() });
        let inner = Inner {
            control,
            keys,
            changing: tokio::sync::Mutex::default(),
            required: AtomicBool::new(false),
            saved_until: AtomicI64::new(UnixNanos::now().0),
            lock: Mutex::new(None),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The keys of a data directory that no server uses; makes one that is not there yet.
    ///
    /// # Errors
    ///
    /// When a server uses the directory, or it cannot be read.
    pub async fn open(root: &Path) -> Result<Self, StorageError> {
        let path = root.to_owned();
        let lock = blocking("open", move || make_folder(&path).and_then(|()| lock_directory(&path))).await?;
        let path = root.to_owned();
        let format = blocking("open", move || complete_on_open(&path).and_then(|()| format::check(&path))).await?;
        let control = Control::open(root).await?;
        if format.is_none() {
            let path = root.to_owned();
            blocking("open", move || format::upgraded(&path, None)).await?;
        }
        let keyring = Self::load(control).await?;
        *keyring.inner.lock.lock() = Some(lock);
        Ok(keyring)
    }

    /// Leaves a directory that was taken with [`open`](Self::open) to others.
    pub async fn close(self) {
        self.inner.control.close().await;
        self.inner.lock.lock().take();
    }

    /// Lets a request in, or says why not: the one question of every door but the PostgreSQL wire.
    ///
    /// # Errors
    ///
    /// Without a key although one is needed, with a key that is not good, or with one that does not allow `needs`.
    pub fn authenticate(&self, credentials: &Credentials<'_>, needs: Scope) -> Result<Grant, AccessError> {
        let keys = self.inner.keys.read();
        let Some(closing) = &keys.closing else {
            // Somebody on the server's own host has to make the first key: no other door asks for this scope.
            let closed = self.is_required() && needs != Scope::Admin;
            return if closed { Err(AccessError::Missing) } else { Ok(self.anonymous()) };
        };
        match credentials {
            Credentials::Missing if !self.is_closed_by(Some(closing)) => Ok(self.anonymous()),
            Credentials::Missing => Err(AccessError::Missing),
            Credentials::Unreadable => Err(AccessError::Unreadable),
            Credentials::Key(text) => {
                let hash = verifier::token_hash(text, &closing.parameters);
                self.grant(keys.by_token.get(&hash).ok_or(AccessError::Unknown)?, needs)
            }
        }
    }

    /// What a PostgreSQL client is told to make its proof with; `None` when no key was ever made.
    pub fn scram(&self) -> Option<ScramParameters> {
        self.inner.keys.read().closing.as_ref().map(|closing| closing.parameters.clone())
    }

    /// Whether a PostgreSQL client that says it is `user` is asked for its key. During a grace only those are that say they
    /// have one, by the user `apikey` or the name of a tenant with keys: others could not answer.
    pub fn wants_proof(&self, user: &str) -> bool {
        let keys = self.inner.keys.read();
        if self.is_closed_by(keys.closing.as_ref()) {
            return true;
        }
        user == "apikey" && keys.closing.is_some() || keys.by_token.values().any(|key| key.tenant.as_str() == user)
    }

    /// Random text for one exchange of proofs.
    ///
    /// # Errors
    ///
    /// When the system has no random numbers.
    pub fn nonce(&self) -> Result<String, AccessError> {
        Ok(base64::engine::general_purpose::STANDARD.encode(key::random::<18>()?))
    }

    /// Lets the sender of a SCRAM proof in, with the server's own signature for its answer. `auth_message` is that of
    /// RFC 5802, section 3.
    ///
    /// # Errors
    ///
    /// As [`authenticate`](Self::authenticate).
    pub fn authenticate_proof(
        &self,
        auth_message: &[u8],
        proof: &[u8],
        needs: Scope,
    ) -> Result<(Grant, Vec<u8>), AccessError> {
        let keys = self.inner.keys.read();
        let mut all = keys.by_token.values();
        let key = all.find(|key| key.verifier.accepts(auth_message, proof)).ok_or(AccessError::Unknown)?;
        Ok((self.grant(key, needs)?, key.verifier.server_signature(auth_message)))
    }

    /// Somebody without a key: tenant `default`, and as long as none is needed ([`Grant::check`]).
    pub fn anonymous(&self) -> Grant {
        Grant { keyring: Some(self.clone()), ..Grant::trusted(TenantId::default()) }
    }

    /// Wants a key from everybody at once, also before the first was made and during a grace.
    pub fn require(&self) {
        self.inner.required.store(true, Ordering::Release);
    }

    fn is_required(&self) -> bool {
        self.inner.required.load(Ordering::Acquire)
    }

    fn is_closed_by(&self, closing: Option<&Closing>) -> bool {
        self.is_required() || closing.is_some_and(|closing| closing.closed_from <= UnixNanos::now())
    }

    fn grant(&self, key: &Arc<Key>, needs: Scope) -> Result<Grant, AccessError> {
        let now = UnixNanos::now();
        key.check(now)?;
        let (tenant, scopes) = (key.tenant.clone(), key.scopes);
        let grant = Grant { tenant, scopes, keyring: Some(self.clone()), key: Some(key.clone()) }.allowing(needs)?;
        key.used(now);
        Ok(grant)
    }

    /// From when on nobody comes in without a key; `None` as long as no key was ever made.
    pub fn closed_from(&self) -> Option<UnixNanos> {
        self.inner.keys.read().closing.as_ref().map(|closing| closing.closed_from)
    }

    /// Whether nobody comes in without a key.
    pub fn is_closed(&self) -> bool {
        self.is_closed_by(self.inner.keys.read().closing.as_ref())
    }

    /// Every key, by number.
    pub fn list(&self) -> Vec<KeyInfo> {
        let mut keys: Vec<_> = self.inner.keys.read().by_token.values().map(|key| key.info()).collect();
        keys.sort_by_key(|key| key.id);
        keys
    }

    /// Makes a key. With the first one everybody needs a key once `grace` has passed; later the grace means nothing.
    ///
    /// # Errors
    ///
    /// [`AccessError::Invalid`], or when it cannot be stored.
    pub async fn create(&self, new: NewKey, grace: Duration) -> Result<CreatedKey, AccessError> {
        new.validate()?;
        let _one_at_a_time = self.inner.changing.lock().await;
        let now = UnixNanos::now();
        let known = self.inner.keys.read().closing.clone();
        let is_first = known.is_none();
        let closing = match known {
            Some(closing) => closing,
            None => {
                let salt = key::random::<{ verifier::SALT_BYTES }>()?.to_vec();
                let closed_from = UnixNanos(now.0.saturating_add(i64::try_from(grace.as_nanos()).unwrap_or(i64::MAX)));
                Closing { parameters: ScramParameters { salt, iterations: verifier::ITERATIONS }, closed_from }
            }
        };
        let text = key::generate(new.prefix())?;
        let (deriving, parameters) = (text.clone(), closing.parameters.clone());
        let verifier = blocking("key", move || Ok(Verifier::new(&deriving, &parameters))).await?;
        let mut key = Key {
            id: KeyId(0),
            tenant: TenantId::new(&new.tenant),
            prefix: new.prefix().to_owned(),
            name: new.name,
            last_characters: key::last_characters(&text),
            scopes: new.scopes,
            verifier,
            created_at: now,
            expires_at: new.expires_at,
            revoked_at: AtomicI64::new(0),
            last_used_at: AtomicI64::new(0),
        };
        key.id = self.inner.control.insert_key(&key, &closing).await?;
        let key = Arc::new(key);
        let closed_from = is_first.then_some(closing.closed_from);
        let mut keys = self.inner.keys.write();
        keys.closing = Some(closing);
        keys.by_token.insert(key.verifier.token_hash.clone(), key.clone());
        drop(keys);
        tracing::info!(id = %key.id, tenant = key.tenant.as_str(), scopes = %key.scopes, "an API key was made");
        Ok(CreatedKey { key: text, info: key.info(), closed_from })
    }

    /// Takes a key back; what was begun with it ends with its next statement. Again is no error.
    ///
    /// # Errors
    ///
    /// When there is no such key, or it cannot be stored.
    pub async fn revoke(&self, id: KeyId) -> Result<KeyInfo, AccessError> {
        let _one_at_a_time = self.inner.changing.lock().await;
        let key = self.inner.keys.read().by_token.values().find(|key| key.id == id).cloned();
        let Some(key) = key else {
            return Err(AccessError::Invalid(format!("there is no API key {id}: `whence apikey list` shows them")));
        };
        let now = UnixNanos::now();
        self.inner.control.revoke_key(id, now).await?;
        let _ = key.revoked_at.compare_exchange(0, now.0, Ordering::AcqRel, Ordering::Acquire);
        tracing::info!(id = %key.id, tenant = key.tenant.as_str(), "an API key was revoked");
        Ok(key.info())
    }

    /// Writes down when keys were used last.
    ///
    /// # Errors
    ///
    /// When the control database fails; the next call writes it then.
    pub async fn save_last_use(&self) -> Result<(), StorageError> {
        let since = self.inner.saved_until.load(Ordering::Relaxed);
        let until = UnixNanos::now().0;
        let used: Vec<_> = {
            let keys = self.inner.keys.read();
            let used = |key: &&Arc<Key>| key.last_used_at.load(Ordering::Relaxed) >= since;
            keys.by_token.values().filter(used).cloned().collect()
        };
        if !used.is_empty() {
            self.inner.control.save_last_use(used.iter().map(AsRef::as_ref)).await?;
        }
        self.inner.saved_until.store(until, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
