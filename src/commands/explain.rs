//! `whence explain`: what caused the trouble of a time, from SQL alone.

mod story;

use crate::http_client::{Answer, query};
use crate::output::print;
use anyhow::bail;
use std::process::ExitCode;
use whence_schema::UnixNanos;
use whence_storage::{parse_time, time_text};

/// Tells what caused the trouble of a time: the window, the causes with their evidence, and the way from an effect to
/// the first cause. It asks a running server in SQL: root_causes(from, to), blast_radius and causal_chain.
///
///   whence explain                                  the last incident of six hours, or the last ten minutes
///   whence explain --at 2026-01-31T14:20            the incident of that time, or ten minutes around it
///   whence explain 2026-01-31T14:20 2026-01-31T14:35
///   whence explain 14:20 14:35                      of today
///
/// Times are UTC unless they name a zone.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Explain {
    /// `last` for the last incident, or when the trouble began.
    #[arg(value_name = "FROM")]
    pub from: Option<String>,
    /// When it ended. Default: ten minutes after FROM.
    #[arg(value_name = "TO")]
    pub to: Option<String>,
    /// A moment of the trouble, instead of FROM and TO.
    #[arg(long, value_name = "TIME", conflicts_with_all = ["from", "to"])]
    pub at: Option<String>,
    /// How many causes to tell of.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=50))]
    pub causes: u8,
    /// HTTP query endpoint of the server.
    #[arg(long, default_value = "http://127.0.0.1:4319")]
    pub endpoint: String,
}

const MINUTE: i64 = 60_000_000_000;
const TEN_MINUTES: i64 = 10 * MINUTE;
const HALF_AN_HOUR: i64 = 30 * MINUTE;
const SIX_HOURS: i64 = 360 * MINUTE;

/// From a moment until before another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    from: UnixNanos,
    to: UnixNanos,
}

impl Window {
    /// The two arguments of a function of a window.
    fn arguments(self) -> String {
        format!("'{}', '{}'", time_text(self.from), time_text(self.to))
    }
}

impl Explain {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let window = self.incident(self.window(UnixNanos::now())?).await?;
        let sql = format!(
            "SELECT rank, asset_id, cause_kind, strength, confidence, first_seen::text AS first_seen, \
             evidence, explanation \
             FROM root_causes({}) ORDER BY rank LIMIT {}",
            window.arguments(),
            self.causes
        );
        let causes = query(&self.endpoint, &sql).await?;
        print(story::window(window));
        for row in 0..causes.rows.len() {
            let cause = story::Cause::of(&causes, row);
            print(cause.told());
            if cause.asset.is_empty() {
                continue;
            }
            print(story::evidence(&self.evidence(&cause).await?, &cause));
            if row == 0 {
                print(story::way(&self.way(&cause).await?));
            }
        }
        let changes = format!(
            "SELECT timestamp::text AS time, asset_id, change_kind, what FROM changes({}) ORDER BY time LIMIT 20",
            Window { from: UnixNanos(window.from.0 - TEN_MINUTES), to: window.to }.arguments()
        );
        print(story::changes(&query(&self.endpoint, &changes).await?));
        Ok(ExitCode::SUCCESS)
    }

    fn window(&self, now: UnixNanos) -> anyhow::Result<Window> {
        let around = |middle: UnixNanos| Window {
            from: UnixNanos(middle.0 - TEN_MINUTES / 2),
            to: UnixNanos(middle.0 + TEN_MINUTES / 2),
        };
        if let Some(at) = &self.at {
            return Ok(around(time(at, now)?));
        }
        let from = match self.from.as_deref() {
            None | Some("last") if self.to.is_none() => UnixNanos(now.0 - TEN_MINUTES),
            None | Some("last") => bail!("`last` takes no second time: give FROM and TO"),
            Some(from) => time(from, now)?,
        };
        let to = self.to.as_deref().map_or(Ok(UnixNanos(from.0 + TEN_MINUTES)), |to| time(to, now))?;
        if from >= to {
            bail!("FROM ({}) must be before TO ({})", time_text(from), time_text(to));
        }
        Ok(Window { from, to })
    }

    /// The incident that was meant, where nothing but a moment was said; else the window as it is.
    async fn incident(&self, window: Window) -> anyhow::Result<Window> {
        let moment = self.at.is_some();
        if !moment && self.from.as_deref().is_some_and(|from| from != "last") {
            return Ok(window);
        }
        let back = if moment { HALF_AN_HOUR } else { SIX_HOURS };
        let searched = Window {
            from: UnixNanos(window.from.0 - back),
            to: if moment { UnixNanos(window.to.0 + HALF_AN_HOUR) } else { window.to },
        };
        let mut sql =
            format!("SELECT opened::text AS since, closed::text AS until FROM incidents({})", searched.arguments());
        if moment {
            let middle = time_text(UnixNanos((window.from.0 + window.to.0) / 2));
            let near = "INTERVAL '1 minute'";
            sql += &format!(
                " WHERE opened - {near} <= '{middle}'::timestamptz AND closed + {near} >= '{middle}'::timestamptz"
            );
        }
        let found = query(&self.endpoint, &(sql + " ORDER BY opened DESC LIMIT 1")).await?;
        let times = parse_time(&found.text(0, 0)).zip(parse_time(&found.text(0, 1)));
        Ok(times.map_or(window, |(from, to)| Window { from, to }))
    }

    /// The events that show a cause.
    async fn evidence(&self, cause: &story::Cause) -> anyhow::Result<Answer> {
        let ids: Vec<String> = cause.evidence.iter().map(|id| format!("'{id}'")).collect();
        if ids.is_empty() {
            return Ok(Answer { columns: Vec::new(), rows: Vec::new(), truncated: false });
        }
        let sql = format!(
            "SELECT id::text AS event, timestamp::text AS time, coalesce(name, event_type) AS what, status, duration_ns / 1e6 AS ms, body, \
             severity FROM events WHERE id IN ({}) ORDER BY time LIMIT 5",
            ids.join(", ")
        );
        query(&self.endpoint, &sql).await
    }

    /// From the furthest effect of the first evidence down to its cause.
    async fn way(&self, cause: &story::Cause) -> anyhow::Result<Answer> {
        let mut longest = Answer { columns: Vec::new(), rows: Vec::new(), truncated: false };
        for event in cause.evidence.iter().take(3) {
            let furthest = format!(
                "SELECT event_id::text AS event FROM blast_radius('{event}') ORDER BY depth DESC, timestamp LIMIT 1"
            );
            let effect = query(&self.endpoint, &furthest).await?;
            if effect.rows.is_empty() {
                continue;
            }
            let sql = format!(
                "SELECT asset_id, relation, coalesce(name, event_type) AS what, timestamp::text AS time, duration_ns / 1e6 AS ms, \
                 status, strength, detail FROM causal_chain('{}') ORDER BY depth",
                effect.text(0, 0)
            );
            let chain = query(&self.endpoint, &sql).await?;
            if chain.rows.len() > longest.rows.len() {
                longest = chain;
            }
        }
        Ok(longest)
    }
}

/// A time as people write it: date and time, or a time of today (UTC).
fn time(text: &str, now: UnixNanos) -> anyhow::Result<UnixNanos> {
    let today = &time_text(now)[..10];
    let seconds = |text: &str| if text.matches(':').count() == 1 { format!("{text}:00") } else { text.to_owned() };
    let of_today = || parse_time(&format!("{today}T{}", seconds(text)));
    let with_seconds = || {
        let (day, rest) = text.split_once(['T', ' '])?;
        parse_time(&format!("{day}T{}", seconds(rest)))
    };
    match parse_time(text).or_else(with_seconds).or_else(of_today) {
        Some(time) => Ok(time),
        None => bail!("'{text}' is no time: write 2026-01-31T14:20, 2026-01-31T14:20:00Z, or 14:20 for today, in UTC"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOON: UnixNanos = UnixNanos(1_769_860_800_000_000_000);

    fn window(from: Option<&str>, to: Option<&str>, at: Option<&str>) -> Result<String, String> {
        let text = |text: Option<&str>| text.map(str::to_owned);
        let explain = Explain { from: text(from), to: text(to), at: text(at), causes: 3, endpoint: String::new() };
        explain.window(NOON).map(Window::arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn windows_are_read_as_people_write_them() {
        for (from, to, at, expected) in [
            (None, None, None, "'2026-01-31T11:50:00.000Z', '2026-01-31T12:00:00.000Z'"),
            (Some("last"), None, None, "'2026-01-31T11:50:00.000Z', '2026-01-31T12:00:00.000Z'"),
            (Some("11:00"), None, None, "'2026-01-31T11:00:00.000Z', '2026-01-31T11:10:00.000Z'"),
            (
                Some("2026-01-30T23:00"),
                Some("2026-01-30 23:05:30"),
                None,
                "'2026-01-30T23:00:00.000Z', '2026-01-30T23:05:30.000Z'",
            ),
            (None, None, Some("2026-01-31T10:00:00+01:00"), "'2026-01-31T08:55:00.000Z', '2026-01-31T09:05:00.000Z'"),
        ] {
            assert_eq!(window(from, to, at).unwrap(), expected);
        }
    }

    #[test]
    fn windows_that_are_none_say_how_to_write_one() {
        assert!(window(Some("yesterday"), None, None).unwrap_err().contains("write 2026-01-31T14:20"));
        assert!(window(Some("11:00"), Some("10:00"), None).unwrap_err().contains("must be before"));
        assert!(window(Some("last"), Some("10:00"), None).unwrap_err().contains("no second time"));
    }
}
