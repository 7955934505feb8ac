//! Where the tables are, when they are in an object store that speaks the S3 protocol.

use super::watch::{Watch, Watched};
use crate::StorageError;
use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// How long opening a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Within one request: short, because whoever asked tries again, and meanwhile knows that the bucket does not answer.
const RETRIES: usize = 3;
const RETRY_TIMEOUT: Duration = Duration::from_secs(10);

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How to reach a bucket. What is not set comes from the environment variables of the AWS tools
/// (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`, ...), then from
/// the instance it runs on.
#[derive(Debug, Clone, Default)]
pub struct S3Options {
    /// URL of another server than that of AWS.
    pub endpoint: Option<String>,
    /// Region; `us-east-1` where nothing says otherwise.
    pub region: Option<String>,
    /// Access key.
    pub access_key_id: Option<String>,
    /// Its secret.
    pub secret_access_key: Option<Secret>,
    /// Token of temporary credentials.
    pub session_token: Option<Secret>,
    /// Accept an endpoint without TLS.
    pub allow_http: bool,
    /// The bucket's name is part of the host's, not of the path.
    pub virtual_hosted_style: bool,
    /// Longest time for one request, its answer included. Zero: 30 s.
    pub request_timeout: Duration,
    /// Bytes of chunks to keep on local disk at most.
    pub cache_bytes: u64,
}

/// A bucket, or the part of one below a prefix, that holds the tables of one store.
#[derive(Clone)]
pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    url: Url,
    prefix: Path,
    cache_bytes: u64,
    pub(super) watch: Arc<Watch>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bucket").field(&self.url.as_str()).finish()
    }
}

impl Bucket {
    /// The bucket (and prefix) of a URL such as `s3://bucket/prefix`. Sends nothing yet.
    ///
    /// # Errors
    ///
    /// When the URL or an option cannot work.
    pub fn s3(url: &str, options: &S3Options) -> Result<Self, StorageError> {
        let failed = |source| StorageError::ObjectStore { action: "use", location: url.to_owned(), source };
        let timeout = if options.request_timeout.is_zero() { Duration::from_secs(30) } else { options.request_timeout };
        let client = ClientOptions::new()
            .with_timeout(timeout)
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_allow_http(options.allow_http);
        let retry = RetryConfig {
            backoff: BackoffConfig { max_backoff: Duration::from_secs(2), ..BackoffConfig::default() },
            max_retries: RETRIES,
            retry_timeout: RETRY_TIMEOUT,
        };
        let mut builder = AmazonS3Builder::from_env();
        let (bucket, _) = parse(url)?;
        builder = builder
            .with_bucket_name(bucket.host_str().unwrap_or_default())
            .with_client_options(client)
            .with_retry(retry)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_virtual_hosted_style_request(options.virtual_hosted_style);
        if let Some(endpoint) = &options.endpoint {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
        }
        if let Some(region) = &options.region {
            builder = builder.with_region(region);
        }
        if let Some(key) = &options.access_key_id {
            builder = builder.with_access_key_id(key);
        }
        if let Some(Secret(secret)) = &options.secret_access_key {
            builder = builder.with_secret_access_key(secret);
        }
        if let Some(Secret(token)) = &options.session_token {
            builder = builder.with_token(token);
        }
        Self::new(url, Arc::new(builder.build().map_err(failed)?), options.cache_bytes)
    }

    /// A bucket behind any store that has conditional puts; `store` is the whole bucket, not only the prefix.
    pub(crate) fn new(url: &str, store: Arc<dyn ObjectStore>, cache_bytes: u64) -> Result<Self, StorageError> {
        let (url, prefix) = parse(url)?;
        let watch = Arc::new(Watch::new(url.to_string()));
        Ok(Self { store: Arc::new(Watched::new(store, watch.clone())), url, prefix, cache_bytes, watch })
    }

    /// `s3://bucket/prefix/`
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Why the last request failed, if it did.
    pub fn trouble(&self) -> Option<String> {
        self.watch.trouble()
    }

    /// True when the last request was turned down for its credentials.
    pub(crate) fn refused(&self) -> bool {
        self.watch.refused()
    }

    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// URL of a table, for Delta Lake.
    pub(crate) fn table_url(&self, table: whence_schema::Table) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{}/", self.url.path(), table.name()));
        url
    }

    /// Place of an object below the prefix, by the parts of its path.
    pub(crate) fn key<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Path {
        parts.into_iter().fold(self.prefix.clone(), |path, part| path.join(part))
    }

    pub(super) fn cache_bytes(&self) -> u64 {
        self.cache_bytes
    }
}

/// The URL with a slash at its end, and the prefix in it.
fn parse(text: &str) -> Result<(Url, Path), StorageError> {
    let wrong = |reason: &str| StorageError::Incompatible {
        path: text.into(),
        reason: format!("{reason}: write s3://bucket or s3://bucket/prefix"),
    };
    let mut url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if url.scheme() != "s3" || url.host_str().is_none_or(str::is_empty) {
        return Err(wrong("no bucket is named"));
    }
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
        return Err(wrong("only a bucket and a prefix belong here"));
    }
    let prefix = Path::from_url_path(url.path()).map_err(|error| wrong(&error.to_string()))?;
    let path = if prefix.as_ref().is_empty() { "/".to_owned() } else { format!("/{prefix}/") };
    url.set_path(&path);
    Ok((url, prefix))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use object_store::memory::InMemory;
    use whence_schema::Table;

    #[test]
    fn a_prefix_may_be_there_or_not_and_anything_but_a_bucket_is_refused() {
        let bucket = |url: &str| Bucket::new(url, Arc::new(InMemory::new()), 0);
        let tables = [
            ("s3://b", "s3://b/events/", "x"),
            ("s3://b/", "s3://b/events/", "x"),
            ("s3://b/p/q", "s3://b/p/q/events/", "p/q/x"),
            ("s3://b/p/q/", "s3://b/p/q/events/", "p/q/x"),
        ];
        for (url, table, key) in tables {
            let bucket = bucket(url).unwrap();
            assert_eq!(bucket.table_url(Table::Events).as_str(), table);
            assert_eq!(bucket.key(["x"]).as_ref(), key);
        }
        for wrong in ["s3://", "s3:///p", "http://b/p", "s3://b/p?x=1", "s3://user@b/p", "b/p"] {
            let message = bucket(wrong).unwrap_err().to_string();
            assert!(message.contains("s3://bucket/prefix"), "{wrong}: {message}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let options = S3Options {
            endpoint: Some("http://127.0.0.1:1".to_owned()),
            access_key_id: Some("id".to_owned()),
            secret_access_key: Some(Secret("hidden".to_owned())),
            session_token: Some(Secret("hidden".to_owned())),
            allow_http: true,
            ..S3Options::default()
        };
        let bucket = Bucket::s3("s3://b/p", &options).unwrap();
        let shown = format!("{options:?} {bucket:?} {:?} {}", bucket.store(), bucket.store());
        assert!(!shown.contains("hidden"), "{shown}");
    }
}
