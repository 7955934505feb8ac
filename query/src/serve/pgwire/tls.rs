//! TLS of the PostgreSQL wire. What is configured and does not work is an error of the start: a connection never goes on
//! in plain text because a certificate could not be read.

use ::pgwire::tokio::TlsAcceptor;
use ::pgwire::tokio::tokio_rustls::rustls::crypto::ring;
use ::pgwire::tokio::tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use ::pgwire::tokio::tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use ::pgwire::tokio::tokio_rustls::rustls::{self, ServerConfig, version};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Name of the protocol for clients that start TLS at once.
const ALPN: &[u8] = b"postgresql";

/// Oldest version of TLS that is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    V12,
    /// TLS 1.3.
    V13,
}

/// What TLS is set up from.
#[derive(Debug, Clone)]
pub struct TlsOptions {
    /// The server's certificate and those between it and the root, PEM.
    pub cert_file: PathBuf,
    /// The certificate's private key, PEM.
    pub key_file: PathBuf,
    /// Oldest version.
    pub min_version: TlsVersion,
    /// Refuses connections without TLS.
    pub required: bool,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read, or has nothing of the kind in it.
    #[error("{} has no {what} in PEM form that can be read: {source}", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// The reason.
        source: pem::Error,
    },
    /// Certificate and key that do not go together.
    #[error("the certificate of {} and the key of {} cannot be used: {source}", .cert_file.display(), .key_file.display())]
    Pair {
        /// The certificate.
        cert_file: PathBuf,
        /// The key.
        key_file: PathBuf,
        /// The reason.
        source: rustls::Error,
    },
}

/// TLS that was set up.
#[derive(Clone)]
pub struct Tls {
    pub(super) acceptor: TlsAcceptor,
    pub(super) required: bool,
}

impl Tls {
    /// Reads certificate and key. Reads files.
    ///
    /// # Errors
    ///
    /// If they cannot be read, or do not go together.
    pub fn load(options: &TlsOptions) -> Result<Self, TlsError> {
        let chain = CertificateDer::pem_file_iter(&options.cert_file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let chain = chain.and_then(|chain| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) });
        let chain = chain.map_err(|source| file_error(&options.cert_file, "certificate", source))?;
        let key = PrivateKeyDer::from_pem_file(&options.key_file);
        let key = key.map_err(|source| file_error(&options.key_file, "private key", source))?;
        let versions: &[_] = match options.min_version {
            TlsVersion::V12 => &[&version::TLS12, &version::TLS13],
            TlsVersion::V13 => &[&version::TLS13],
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|source| TlsError::Pair {
                cert_file: options.cert_file.clone(),
                key_file: options.key_file.clone(),
                source,
            })?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), required: options.required })
    }
}

fn file_error(file: &Path, what: &'static str, source: pem::Error) -> TlsError {
    TlsError::File { file: file.to_owned(), what, source }
}
