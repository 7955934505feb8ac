//! Why somebody is not let in.

use super::key::{Scope, Scopes};
use crate::StorageError;

/// Why a request is not let in, or a key not made.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// No key came, and one is needed.
    #[error(
        "an API key is needed: send it as `authorization: Bearer pk_live_...` (PostgreSQL: as password of any user); \
         `whence apikey create` on the server makes one"
    )]
    Missing,
    /// What came holds no key.
    #[error(
        "the credentials hold no API key: send `authorization: Bearer pk_live_...`, or Basic with the key as password"
    )]
    Unreadable,
    /// No such key was ever made here.
    #[error(
        "this API key is not known here: compare its last characters with `whence apikey list` on the server, or make a \
         new one with `whence apikey create`"
    )]
    Unknown,
    /// The key's time has passed.
    #[error("API key {shown} has expired: make a new one with `whence apikey create` on the server")]
    Expired {
        /// First and last characters of the key.
        shown: String,
    },
    /// The key was taken back.
    #[error("API key {shown} was revoked: make a new one with `whence apikey create` on the server")]
    Revoked {
        /// First and last characters of the key.
        shown: String,
    },
    /// The key does not allow this.
    #[error(
        "this needs an API key with scope {needs}, and this one has {has}: \
         `whence apikey create --scopes {needs}` on the server makes one"
    )]
    NotAllowed {
        /// What it allows.
        has: Scopes,
        /// What was asked for.
        needs: Scope,
    },
    /// A key cannot be made or revoked like this.
    #[error("{0}")]
    Invalid(String),
    /// The control database failed.
    #[error(transparent)]
    Store(#[from] StorageError),
}

impl AccessError {
    /// True when the key is a good one and only may not do this: 403, not 401.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::NotAllowed { .. })
    }
}

impl From<sqlx::Error> for AccessError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}
