//! One key: its text, what it allows, and what people see of it.

use super::AccessError;
use super::verifier::Verifier;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use whence_schema::{TenantId, UnixNanos};

/// Characters of a key after its prefix.
const SECRET_CHARACTERS: usize = 40;
/// How many of them are shown.
const SHOWN_CHARACTERS: usize = 4;
const LONGEST_NAME: usize = 100;

/// Number of a key, as lists show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(pub i64);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a door asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// SQL.
    Read,
    /// OTLP.
    Write,
    /// Verifying, backups, deleting, and keys; these reach every tenant's data.
    Admin,
}

impl Scope {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a key allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scopes([bool; 3]);

impl Scopes {
    /// Everything.
    pub const ALL: Self = Self([true; 3]);

    /// Whether `scope` is among them.
    pub fn contains(self, scope: Scope) -> bool {
        self.0[scope as usize]
    }

    /// Reads names with commas between them.
    ///
    /// # Errors
    ///
    /// When there is none, or an unknown one.
    pub fn parse(text: &str) -> Result<Self, AccessError> {
        let mut scopes = Self::default();
        for name in text.split(',').map(str::trim) {
            let scope = Scope::ALL.into_iter().find(|scope| scope.name() == name).ok_or_else(|| {
                AccessError::Invalid(format!("there is no scope '{name}': use some of read, write, admin"))
            })?;
            scopes.0[scope as usize] = true;
        }
        Ok(scopes)
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Scope::ALL.into_iter().filter(|scope| self.contains(*scope)).map(Scope::name).collect();
        f.write_str(&names.join(","))
    }
}

impl TryFrom<String> for Scopes {
    type Error = AccessError;
    fn try_from(text: String) -> Result<Self, AccessError> {
        Self::parse(&text)
    }
}

impl From<Scopes> for String {
    fn from(scopes: Scopes) -> Self {
        scopes.to_string()
    }
}

/// What is known about a key, the key itself excepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInfo {
    /// Its number.
    pub id: KeyId,
    /// Whose rows it writes and reads.
    pub tenant: String,
    /// What its owner calls it.
    pub name: String,
    /// First and last characters.
    pub shown: String,
    /// What it allows.
    pub scopes: Scopes,
    /// When it was made.
    pub created_at: UnixNanos,
    /// From when on it is refused.
    pub expires_at: Option<UnixNanos>,
    /// Since when it has been refused.
    pub revoked_at: Option<UnixNanos>,
    /// When somebody came in with it last, to the minute.
    pub last_used_at: Option<UnixNanos>,
}

/// What a new key is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// Whose rows it writes and reads.
    pub tenant: String,
    /// For people.
    pub name: String,
    /// What it allows.
    pub scopes: Scopes,
    /// From when on it is refused; `None`: never.
    pub expires_at: Option<UnixNanos>,
    /// A key for trying things out: `pk_test_` instead of `pk_live_`.
    #[serde(default)]
    pub test: bool,
}

impl NewKey {
    pub(super) fn validate(&self) -> Result<(), AccessError> {
        validate_tenant(&self.tenant)?;
        if self.name.is_empty() || self.name.chars().count() > LONGEST_NAME || self.name.chars().any(char::is_control) {
            let problem = format!("the name of a key has 1 to {LONGEST_NAME} characters, none of them for control");
            return Err(AccessError::Invalid(problem));
        }
        if self.expires_at.is_some_and(|at| at <= UnixNanos::now()) {
            return Err(AccessError::Invalid("the key would have expired before it was made".to_owned()));
        }
        Ok(())
    }

    pub(super) fn prefix(&self) -> &'static str {
        if self.test { "pk_test_" } else { "pk_live_" }
    }
}

/// Tenants are part of file names, channels and cache keys: nothing in their names may mean anything there.
fn validate_tenant(slug: &str) -> Result<(), AccessError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if (1..=63).contains(&slug.len())
        && slug.chars().all(plain)
        && slug.starts_with(|c: char| c.is_ascii_alphanumeric())
    {
        return Ok(());
    }
    Err(AccessError::Invalid(format!(
        "'{}' is no name for a tenant: use 1 to 63 of a-z, 0-9, - and _, the first a letter or digit",
        slug.chars().take(80).collect::<String>()
    )))
}

/// A key that was made. Its text is nowhere else.
#[derive(Clone, Serialize, Deserialize)]
pub struct CreatedKey {
    /// The key.
    pub key: String,
    /// What is known about it from now on.
    pub info: KeyInfo,
    /// Set when it is the first: from then on nobody comes in without a key.
    pub closed_from: Option<UnixNanos>,
}

/// Keys are not for logs.
impl fmt::Debug for CreatedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedKey").field("info", &self.info).finish_non_exhaustive()
    }
}

/// A new key's text.
pub(super) fn generate(prefix: &str) -> Result<String, AccessError> {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut key = String::from(prefix);
    while key.len() < prefix.len() + SECRET_CHARACTERS {
        for byte in random::<64>()? {
            // Every letter is as likely as every other: 248 is the largest multiple of 62 in a byte.
            if byte < 248 && key.len() < prefix.len() + SECRET_CHARACTERS {
                key.push(char::from(LETTERS[usize::from(byte % 62)]));
            }
        }
    }
    Ok(key)
}

pub(super) fn last_characters(key: &str) -> String {
    key[key.len() - SHOWN_CHARACTERS..].to_owned()
}

pub(super) fn random<const BYTES: usize>() -> Result<[u8; BYTES], AccessError> {
    let mut bytes = [0; BYTES];
    let failed = |_| AccessError::Invalid("the system has no random numbers to make a key from".to_owned());
    SystemRandom::new().fill(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// A key as the keyring holds it.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) id: KeyId,
    pub(crate) tenant: TenantId,
    pub(crate) name: String,
    pub(crate) prefix: String,
    pub(crate) last_characters: String,
    pub(crate) scopes: Scopes,
    pub(crate) verifier: Verifier,
    pub(crate) created_at: UnixNanos,
    pub(crate) expires_at: Option<UnixNanos>,
    /// Zero: it is not.
    pub(crate) revoked_at: AtomicI64,
    /// Zero: never.
    pub(crate) last_used_at: AtomicI64,
}

impl Key {
    /// Whether it can be used now.
    pub(super) fn check(&self, now: UnixNanos) -> Result<(), AccessError> {
        if self.revoked_at.load(Ordering::Acquire) != 0 {
            return Err(AccessError::Revoked { shown: self.shown() });
        }
        if self.expires_at.is_some_and(|at| at <= now) {
            return Err(AccessError::Expired { shown: self.shown() });
        }
        Ok(())
    }

    pub(super) fn used(&self, now: UnixNanos) {
        self.last_used_at.fetch_max(now.0, Ordering::Relaxed);
    }

    fn shown(&self) -> String {
        format!("{}...{}", self.prefix, self.last_characters)
    }

    pub(super) fn info(&self) -> KeyInfo {
        let time = |at: &AtomicI64| Some(at.load(Ordering::Acquire)).filter(|at| *at != 0).map(UnixNanos);
        KeyInfo {
            id: self.id,
            tenant: self.tenant.as_str().to_owned(),
            name: self.name.clone(),
            shown: self.shown(),
            scopes: self.scopes,
            created_at: self.created_at,
            expires_at: self.expires_at,
            revoked_at: time(&self.revoked_at),
            last_used_at: time(&self.last_used_at),
        }
    }
}
