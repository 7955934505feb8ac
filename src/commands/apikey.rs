//! `whence apikey`

use super::server::{Place, ServerArguments};
use crate::config::Age;
use crate::http_client;
use crate::key_door::{Creation, Listed, Revocation};
use crate::output::print;
use anyhow::{Context, bail};
use serde::de::DeserializeOwned;
use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;
use whence_schema::{TenantId, UnixNanos};
use whence_storage::{CreatedKey, KeyId, KeyInfo, Keyring, NewKey, Scope, Scopes, StorageError, time_text};

#[derive(Debug, clap::Args)]
pub struct ApiKey {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make a key. It is shown once, and kept nowhere.
    Create(Create),
    /// Show all keys, by their last characters.
    List(List),
    /// Take a key back at once.
    Revoke(Revoke),
}

#[derive(Debug, clap::Args)]
struct Create {
    /// Whose rows the key writes and reads.
    #[arg(long, default_value = TenantId::DEFAULT)]
    tenant: String,
    /// What it is for, such as grafana or checkout-service.
    #[arg(long)]
    name: String,
    /// Some of read (SQL), write (OTLP) and admin (backups, deleting, keys). Default: read,write; all for the first key.
    #[arg(long, value_parser = scopes)]
    scopes: Option<Scopes>,
    /// Refuse it after this time, such as 90d. Default: never.
    #[arg(long, value_parser = age)]
    expires: Option<Duration>,
    /// Let everybody in without a key for this long after the first key was made, such as 1h.
    #[arg(long, value_parser = age)]
    grace: Option<Duration>,
    /// A key for trying things out: pk_test_ instead of pk_live_.
    #[arg(long)]
    test: bool,
    /// Do not ask before the first key.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    server: ServerArguments,
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    server: ServerArguments,
}

#[derive(Debug, clap::Args)]
struct Revoke {
    /// Number of the key, as `whence apikey list` shows it.
    id: i64,
    #[command(flatten)]
    server: ServerArguments,
}

fn scopes(text: &str) -> Result<Scopes, String> {
    Scopes::parse(text).map_err(|error| error.to_string())
}

fn age(text: &str) -> Result<Duration, String> {
    Age::parse(text)
        .and_then(|age| age.0)
        .ok_or_else(|| format!("'{text}' is no span of time: write 90d, 12h, 5m or 10s"))
}

/// The keys, wherever they can be reached: in the directory, or at the server that uses it.
enum Keys {
    Here(Keyring),
    Server(Box<Place>),
}

const PATH: &str = "/v1/admin/api-keys";

impl Keys {
    async fn at(server: ServerArguments) -> anyhow::Result<Self> {
        let place = server.place()?;
        if !place.is_server() {
            match Keyring::open(&place.data).await {
                Ok(keyring) => return Ok(Self::Here(keyring)),
                Err(StorageError::Locked { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        place.status().await?;
        Ok(Self::Server(Box::new(place)))
    }

    async fn list(&self) -> anyhow::Result<Listed> {
        match self {
            Self::Here(keyring) => Ok(Listed::of(keyring)),
            Self::Server(place) => Ok(serde_json::from_value(http_client::get_json(place.endpoint(), PATH).await?)?),
        }
    }

    async fn create(&self, wish: Creation) -> anyhow::Result<CreatedKey> {
        match self {
            Self::Here(keyring) => Ok(keyring.create(wish.key, Duration::from_secs(wish.grace_seconds)).await?),
            Self::Server(place) => post(place, PATH, &wish).await,
        }
    }

    async fn revoke(&self, id: KeyId) -> anyhow::Result<KeyInfo> {
        match self {
            Self::Here(keyring) => Ok(keyring.revoke(id).await?),
            Self::Server(place) => post(place, &format!("{PATH}/revoke"), &Revocation { id }).await,
        }
    }

    async fn close(self) {
        if let Self::Here(keyring) = self {
            keyring.close().await;
        }
    }
}

async fn post<T: DeserializeOwned>(place: &Place, path: &str, wish: &impl serde::Serialize) -> anyhow::Result<T> {
    let answer = http_client::post_json(place.endpoint(), path, &serde_json::to_value(wish)?).await?;
    serde_json::from_value(answer).context("the answer is not about an API key: is this a Whence server?")
}

impl ApiKey {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::Create(command) => command.run().await,
            Action::List(command) => {
                let keys = Keys::at(command.server).await?;
                let listed = keys.list().await;
                keys.close().await;
                print(table(&listed?));
                Ok(ExitCode::SUCCESS)
            }
            Action::Revoke(command) => {
                let keys = Keys::at(command.server).await?;
                let revoked = keys.revoke(KeyId(command.id)).await;
                keys.close().await;
                let revoked = revoked?;
                println!("Key {} ({}, {}) is refused from now on.", revoked.id, revoked.shown, revoked.name);
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

impl Create {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let (grace, yes) = (self.grace, self.yes);
        let expires_at = self.expires.map(|after| UnixNanos(UnixNanos::now().0.saturating_add(nanos(after))));
        let (tenant, name, scopes, test) = (self.tenant, self.name, self.scopes, self.test);
        let keys = Keys::at(self.server).await?;
        let made = async {
            let is_first = keys.list().await?.closed_from.is_none();
            let everyday = Scopes::parse("read,write").unwrap_or_default();
            let scopes = scopes.unwrap_or(if is_first { Scopes::ALL } else { everyday });
            if is_first && !agreed(scopes, grace, yes)? {
                return Ok(None);
            }
            let key = NewKey { tenant, name, scopes, expires_at, test };
            keys.create(Creation { key, grace_seconds: grace.unwrap_or_default().as_secs() }).await.map(Some)
        }
        .await;
        keys.close().await;
        let Some(made) = made? else {
            println!("No key was made.");
            return Ok(ExitCode::FAILURE);
        };
        println!("{}", made.key);
        let until =
            made.info.expires_at.map_or_else(|| "does not expire".to_owned(), |at| format!("until {}", time_text(at)));
        eprintln!(
            "Key {} of tenant {}, scopes {}, {until}. It is shown this once. Clients send it as\n  \
             OTEL_EXPORTER_OTLP_HEADERS=\"authorization=Bearer%20KEY\" OpenTelemetry SDKs\n  \
             PGPASSWORD=KEY                                         psql, Grafana and drivers, with any user\n  \
             WHENCE_API_KEY=KEY                                     whence's own commands",
            made.info.id, made.info.tenant, made.info.scopes
        );
        if let Some(from) = made.closed_from {
            eprintln!("From {} on nobody comes in without a key.", time_text(from));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

/// Says what the first key locks out, and asks.
fn agreed(scopes: Scopes, grace: Option<Duration>, yes: bool) -> anyhow::Result<bool> {
    let when = grace.map_or_else(|| "At once".to_owned(), |grace| format!("In {} s", grace.as_secs()));
    eprintln!(
        "This is the first key of this server. {when} it locks out everybody without a key: OTLP senders over gRPC and \
         HTTP, SQL over PostgreSQL, HTTP and Flight SQL, and whence's own commands against the running server. It cannot \
         be undone: revoking all keys does not open the doors again."
    );
    if !scopes.contains(Scope::Admin) {
        eprintln!(
            "It has no scope admin: until a key has it, keys can be made and backups taken only while the server is stopped."
        );
    }
    if yes || grace.is_some() {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        bail!("add --grace 1h to give senders time to get their keys, or --yes to lock out everybody at once");
    }
    eprint!("--grace 1h would give senders time to get their keys. Type yes to lock out everybody at once: ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

fn table(listed: &Listed) -> String {
    let mut out = match listed.closed_from {
        None => "No key was ever made: everybody comes in without one.\n".to_owned(),
        Some(from) if from > UnixNanos::now() => {
            format!("Without a key nobody comes in from {} on.\n", time_text(from))
        }
        Some(_) => "Nobody comes in without a key.\n".to_owned(),
    };
    if listed.keys.is_empty() {
        return out;
    }
    let now = UnixNanos::now();
    let time = |at: Option<UnixNanos>| at.map_or_else(|| "-".to_owned(), time_text);
    let state = |key: &KeyInfo| match (key.revoked_at, key.expires_at) {
        (Some(_), _) => "revoked",
        (None, Some(at)) if at <= now => "expired",
        _ => "good",
    };
    let row = |cells: [&str; 8]| {
        let [id, shown, tenant, name, scopes, state, expires, used] = cells;
        format!("{id:>4}  {shown:<15}  {tenant:<16}  {name:<20}  {scopes:<16}  {state:<7}  {expires:<20}  {used}\n")
    };
    out.push_str(&row(["id", "key", "tenant", "name", "scopes", "state", "expires", "last used"]));
    for key in &listed.keys {
        let (id, scopes) = (key.id.to_string(), key.scopes.to_string());
        let (expires, used) = (time(key.expires_at), time(key.last_used_at));
        out.push_str(&row([&id, &key.shown, &key.tenant, &key.name, &scopes, state(key), &expires, &used]));
    }
    out
}
