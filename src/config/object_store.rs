//! `exporters.hypertables.s3`: how to reach the bucket that `path` names.

use super::{Age, ConfigError, Hypertables};
use serde::Deserialize;
use std::path::Path;
use whence_storage::{Bucket, S3Options, Secret};

const KEY: &str = "exporters.hypertables.s3";

/// `exporters.hypertables.s3`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ObjectStore {
    /// URL of a server other than that of AWS. Unset, here and below: the environment variables of the AWS tools.
    pub endpoint: Option<String>,
    /// Region.
    pub region: Option<String>,
    /// Access key.
    pub access_key_id: Option<String>,
    /// Its secret.
    pub secret_access_key: Option<Hidden>,
    /// Token of temporary credentials.
    pub session_token: Option<Hidden>,
    /// Whether an endpoint may be without TLS.
    pub allow_http: bool,
    /// Whether the bucket's name is part of the host's.
    pub virtual_hosted_style: bool,
    /// Longest time for one request.
    pub request_timeout: Age,
    /// Chunks kept on local disk, in MiB.
    pub cache_mib: usize,
}

/// A text that is never shown.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "String")]
pub struct Hidden(Secret);

impl From<String> for Hidden {
    fn from(text: String) -> Self {
        Self(Secret(text))
    }
}

impl Default for ObjectStore {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            allow_http: false,
            virtual_hosted_style: false,
            request_timeout: Age::seconds(30),
            cache_mib: 16_384,
        }
    }
}

impl Hypertables {
    /// The folder of the log and the control database, which is also that of the tables unless those are in a bucket.
    pub fn folder(&self) -> &Path {
        if self.bucket_url().is_some() { &self.local_path } else { &self.path }
    }

    /// `path`, when it names a bucket.
    pub fn bucket_url(&self) -> Option<&str> {
        self.path.to_str().filter(|path| path.contains("://"))
    }

    /// The bucket, if `path` names one.
    ///
    /// # Errors
    ///
    /// Names the key, the value and the remedy.
    pub fn bucket(&self) -> Result<Option<Bucket>, ConfigError> {
        let Some(url) = self.bucket_url() else { return Ok(None) };
        if !url.starts_with("s3://") {
            return Err(ConfigError::value("exporters.hypertables.path", url, "use a folder, or s3://bucket/prefix"));
        }
        let s3 = &self.s3;
        if let Some(endpoint) = s3.endpoint.as_ref().filter(|endpoint| endpoint.starts_with("http://"))
            && !s3.allow_http
        {
            let remedy = "requests would not be encrypted: use https://, or say allow_http: true";
            return Err(ConfigError::value(&format!("{KEY}.endpoint"), endpoint, remedy));
        }
        if s3.access_key_id.is_some() != s3.secret_access_key.is_some() {
            let (one, other) = ("access_key_id", "secret_access_key");
            let (set, unset) = if s3.access_key_id.is_some() { (one, other) } else { (other, one) };
            let remedy = format!("set {KEY}.{unset} too, or neither for those of the environment");
            return Err(ConfigError::value(&format!("{KEY}.{set}"), "set", &remedy));
        }
        let timeout = s3.request_timeout.0.filter(|timeout| (1..=600).contains(&timeout.as_secs()));
        let Some(request_timeout) = timeout else {
            return Err(ConfigError::value(&format!("{KEY}.request_timeout"), "out of range", "use 1s to 10m"));
        };
        let options = S3Options {
            endpoint: s3.endpoint.clone(),
            region: s3.region.clone(),
            access_key_id: s3.access_key_id.clone(),
            secret_access_key: s3.secret_access_key.clone().map(|Hidden(secret)| secret),
            session_token: s3.session_token.clone().map(|Hidden(secret)| secret),
            allow_http: s3.allow_http,
            virtual_hosted_style: s3.virtual_hosted_style,
            request_timeout,
            cache_bytes: (s3.cache_mib as u64) << 20,
        };
        let bucket = Bucket::s3(url, &options);
        bucket.map(Some).map_err(|error| ConfigError::value("exporters.hypertables.path", url, &error.to_string()))
    }
}
