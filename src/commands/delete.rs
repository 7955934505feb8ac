//! `whence delete`

use crate::http_client;
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Delete {
    /// Whose rows.
    #[arg(long)]
    pub tenant: String,
    /// Only rows of this table. Without it and without --where: everything of the tenant.
    #[arg(long, value_parser = ["events", "metrics", "correlations"])]
    pub table: Option<String>,
    /// Only rows for which this SQL condition holds; of events, unless --table names another.
    #[arg(long = "where", value_name = "CONDITION")]
    pub condition: Option<String>,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
    /// HTTP query endpoint of the server.
    #[arg(long, default_value = "http://127.0.0.1:4319")]
    pub endpoint: String,
}

impl Delete {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let request = |dry_run: bool| json!({ "tenant": self.tenant, "table": self.table, "where": self.condition, "dry_run": dry_run });
        let found = http_client::post_json(&self.endpoint, "/v1/delete", &request(true)).await?;
        let rows = rows_of(&found)?;
        println!("To be deleted for good, with the correlations that name them: {}", listed(&rows));
        if !self.yes && !confirmed()? {
            println!("Nothing was deleted.");
            return Ok(ExitCode::FAILURE);
        }
        let erased = http_client::post_json(&self.endpoint, "/v1/delete", &request(false)).await?;
        let number = |key: &str| erased[key].as_u64().unwrap_or_default();
        println!(
            "Deleted: {}; {} files rewritten or dropped, {:.1} MiB freed.",
            listed(&rows_of(&erased)?),
            number("chunks"),
            number("bytes") as f64 / f64::from(1 << 20)
        );
        if number("remaining") > 0 {
            bail!("{} rows were found again when everything was read: run the command once more", number("remaining"));
        }
        println!("Everything was read again: no such row is left.");
        Ok(ExitCode::SUCCESS)
    }
}

fn rows_of(answer: &Value) -> anyhow::Result<Vec<(String, u64)>> {
    let rows = answer["rows"].as_object().context("the answer counts no rows: is this a Whence server?")?;
    Ok(rows.iter().map(|(table, rows)| (table.clone(), rows.as_u64().unwrap_or_default())).collect())
}

fn listed(rows: &[(String, u64)]) -> String {
    let texts: Vec<String> = rows.iter().map(|(table, rows)| format!("{rows} rows of {table}")).collect();
    texts.join(", ")
}

/// Nobody can be asked where nobody is: then only `--yes` goes on.
fn confirmed() -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("nobody to ask for confirmation here: add --yes to delete");
    }
    print!("Type yes to go on: ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}
