//! Where data is and whether a server uses it: shared by the commands that work with or without one.

use super::ConfigArguments;
use crate::config::{self, Config};
use crate::http_client;
use crate::progress::Bar;
use anyhow::{Context, bail};
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::time::Duration;
use whence_storage::{Progress, StorageError};

/// How long a server may take to open restored data.
const RESTART: Duration = Duration::from_secs(300);

#[derive(Debug, clap::Args)]
pub struct ServerArguments {
    #[command(flatten)]
    pub configuration: ConfigArguments,
    /// Data directory. Default: that of the configuration, ./data without one.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// HTTP query endpoint of the server that uses it, if one does. Default: that of the configuration.
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
}

/// The data, with the server that may be using it.
pub struct Place {
    pub config: Config,
    pub data: PathBuf,
    endpoint: String,
    /// The user named a server and no directory: it is the server's.
    any_directory: bool,
}

impl ServerArguments {
    pub fn place(self) -> anyhow::Result<Place> {
        let mut config = config::load(&self.configuration.config, &self.configuration.set)?;
        let any_directory = self.endpoint.is_some() && self.data_dir.is_none();
        if let Some(data) = self.data_dir {
            config.exporters.hypertables.path = data;
        }
        let endpoint = self.endpoint.unwrap_or_else(|| format!("http://{}", config.extensions.query.http.endpoint));
        Ok(Place { data: config.exporters.hypertables.folder().to_owned(), config, endpoint, any_directory })
    }
}

/// True when the error says that a server uses the directory.
pub fn is_in_use(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(StorageError::Locked { .. }))
}

impl Place {
    /// HTTP query endpoint of the server.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// True when the user asked for a server, whatever directory it has.
    pub fn is_server(&self) -> bool {
        self.any_directory
    }

    /// Lets the server work on its data: posts `request` to `path` and shows the progress as `what`.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        request: &serde_json::Value,
        what: &str,
    ) -> anyhow::Result<T> {
        self.status().await?;
        let bar = Bar::bytes(what);
        let mut last = None;
        http_client::post_lines(&self.endpoint, path, request, |mut line| {
            match serde_json::from_value::<Progress>(line["progress"].take()) {
                Ok(progress) => bar.set(progress.done, progress.total),
                Err(_) => last = Some(line),
            }
        })
        .await?;
        drop(bar);
        let mut last = last.context("the server ended in the middle of it: see its log, then run this again")?;
        if let Some(error) = http_client::error_of(&last) {
            bail!("{error}");
        }
        Ok(serde_json::from_value(last["result"].take())?)
    }

    /// When the server was started; fails when it uses another directory than the one asked for.
    pub async fn status(&self) -> anyhow::Result<i64> {
        let status = http_client::get_json(&self.endpoint, "/v1/admin/status").await?;
        let theirs = PathBuf::from(status["data_dir"].as_str().unwrap_or_default());
        let ours = self.data.canonicalize().unwrap_or_else(|_| self.data.clone());
        if !self.any_directory && theirs != ours {
            bail!(
                "the server at {} uses {}, not {}: name the one that does with --endpoint",
                self.endpoint,
                theirs.display(),
                ours.display()
            );
        }
        status["started_at"].as_i64().context("the answer is no status: is this a Whence server?")
    }

    /// Waits until the server has opened its data again, later than at `started_at`.
    pub async fn wait_for_restart(&self, started_at: i64) -> anyhow::Result<()> {
        let line = Bar::line();
        line.say("the server opens the restored data");
        let until = tokio::time::Instant::now() + RESTART;
        while tokio::time::Instant::now() < until {
            if matches!(self.status().await, Ok(now) if now > started_at) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("the restored data is in place, but the server did not open it within {RESTART:?}: see its log")
    }
}

/// An absolute path: a server resolves relative ones differently.
pub fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{}: this is no path", path.display()))
}
