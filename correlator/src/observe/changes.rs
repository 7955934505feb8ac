//! Which events are changes, and what they say was changed.
//!
//! | event | kind |
//! |---|---|
//! | `event_type` `deployment` | deployment |
//! | `event_type` `feature_flag`, unless it only evaluates the flag | feature flag |
//! | `event_type` `scaling`; a Kubernetes event about replicas | scaling |
//! | `event_type` beginning with `config` | configuration |
//! | `event_type` `model_change`, `prompt_change`, `change`; `source_module` `change` | other |
//! | a new `service.version` of an asset | deployment |
//! | a new value of a flag that an asset evaluates | feature flag |
//! | a new model of an asset's `gen_ai` spans | other |
//!
//! `mapping_rules` of the configuration decide event types and modules, so anybody's events can become changes. Spans
//! are none: attributes such as `deployment.id` on every span of a service would make each of them one.

use super::event_texts::{flag, shortened, text};
use crate::method::observations::{ChangeKind, ChangeSeen};
use hashbrown::HashMap;
use serde_json::{Map, Value};

/// Changes kept at most.
const MOST: usize = 10_000;
/// The same change said again within this time is said twice, not done twice.
const SAID_AGAIN: i64 = 60_000_000_000;

/// Longest description, in bytes.
const LONGEST: usize = 200;

/// What decides whether an event is a change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Described<'a> {
    pub(super) signal: &'a str,
    pub(super) source_module: &'a str,
    pub(super) event_type: &'a str,
    pub(super) name: &'a str,
    pub(super) body: &'a str,
}

/// Whether an event may be a change, before its payload was read.
pub(super) fn may_be_change(signal: &str, source_module: &str, event_type: &str) -> bool {
    let typed = matches!(
        event_type,
        "deployment" | "feature_flag" | "scaling" | "k8s_event" | "model_change" | "prompt_change" | "change"
    );
    signal != "span" && (typed || event_type.starts_with("config") || matches!(source_module, "change" | "changes"))
}

/// The kind of the change that an event is, if it is one.
pub(super) fn kind(event: Described<'_>, payload: &Map<String, Value>) -> Option<ChangeKind> {
    if !may_be_change(event.signal, event.source_module, event.event_type) {
        return None;
    }
    match event.event_type {
        "deployment" => Some(ChangeKind::Deployment),
        "feature_flag" => (!evaluates_flag(event)).then_some(ChangeKind::FeatureFlag),
        "scaling" => Some(ChangeKind::Scaling),
        "k8s_event" => {
            let reason = text(payload, &["k8s.event.reason"]).unwrap_or_default();
            (reason.starts_with("Scal") || reason.ends_with("Rescale")).then_some(ChangeKind::Scaling)
        }
        event_type if event_type.starts_with("config") => Some(ChangeKind::Configuration),
        _ => Some(ChangeKind::Other),
    }
}

/// Whether an event tells that a flag was looked at, not that it was turned over.
pub(super) fn evaluates_flag(event: Described<'_>) -> bool {
    event.event_type == "feature_flag" && (event.signal == "span_event" || event.name.ends_with("evaluation"))
}

/// What was changed, for people: the flag and its value, the version, or what the event says itself.
pub(super) fn what(kind: ChangeKind, event: Described<'_>, payload: &Map<String, Value>) -> String {
    let said = if event.body.is_empty() { event.name } else { event.body };
    let what = match kind {
        ChangeKind::FeatureFlag => match flag(payload) {
            Some((key, value)) if !value.is_empty() => format!("{key}={value}"),
            Some((key, _)) => key.to_owned(),
            None => said.to_owned(),
        },
        ChangeKind::Deployment => match text(payload, &["service.version", "deployment.version"]) {
            Some(version) => match text(payload, &["service.version.previous"]) {
                Some(before) => format!("version {version}, before {before}"),
                None => format!("version {version}"),
            },
            None if !said.is_empty() => said.to_owned(),
            None => text(payload, &["deployment.name", "deployment.id"]).unwrap_or_default().to_owned(),
        },
        _ => said.to_owned(),
    };
    shortened(&what, LONGEST).to_owned()
}

/// The changes in order of time, each once: without what is said again at the same time, and without what was found by
/// a new value where the change was recorded as well.
pub(super) fn settled(recorded: Vec<ChangeSeen>, found: Vec<ChangeSeen>) -> Vec<ChangeSeen> {
    let mut recorded = recorded;
    recorded.sort_by_key(|change| (change.time, change.id));
    let mut last: HashMap<(u32, ChangeKind, String), i64> = HashMap::new();
    recorded.retain(|change| {
        let said = last.insert((change.asset, change.kind, change.what.clone()), change.time.0);
        said.is_none_or(|before| change.time.0 - before > SAID_AGAIN)
    });
    let near = |change: &ChangeSeen, other: &ChangeSeen| {
        let apart = (change.time.0 - other.time.0).abs();
        change.asset == other.asset && change.kind == other.kind && apart <= 3 * SAID_AGAIN
    };
    let found: Vec<ChangeSeen> =
        found.into_iter().filter(|change| !recorded.iter().any(|other| near(change, other))).collect();
    recorded.extend(found);
    recorded.sort_by_key(|change| (change.time, change.id));
    recorded.truncate(MOST);
    recorded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::detail::parse;
    use whence_schema::{EventId, UnixNanos};

    const LOG: Described<'static> =
        Described { signal: "log", source_module: "telemetry", event_type: "log", name: "", body: "" };

    #[test]
    fn deployments_flags_replicas_and_settings_are_changes_and_say_what_was_changed() {
        let change = |event: Described<'_>, payload: &str| {
            let payload = parse(payload);
            kind(event, &payload).map(|kind| (kind, what(kind, event, &payload)))
        };
        let deployment = Described { event_type: "deployment", body: "deployed", ..LOG };
        let versions = r#"{"service.version":"2.1","service.version.previous":"2.0"}"#;
        assert_eq!(change(deployment, versions), Some((ChangeKind::Deployment, "version 2.1, before 2.0".into())));
        assert_eq!(change(deployment, "{}"), Some((ChangeKind::Deployment, "deployed".into())));
        let flag = Described { event_type: "feature_flag", name: "feature_flag.change", ..LOG };
        let on = r#"{"feature_flag.key":"fast","feature_flag.result.variant":"on"}"#;
        assert_eq!(change(flag, on), Some((ChangeKind::FeatureFlag, "fast=on".into())));
        assert_eq!(change(Described { signal: "span_event", ..flag }, on), None);
        assert_eq!(change(Described { name: "feature_flag.evaluation", ..flag }, on), None);
        assert_eq!(change(Described { signal: "span", ..deployment }, "{}"), None);
        let kubernetes = Described { event_type: "k8s_event", body: "Scaled up to 3", ..LOG };
        let scaled = r#"{"k8s.event.reason":"ScalingReplicaSet"}"#;
        assert_eq!(change(kubernetes, scaled), Some((ChangeKind::Scaling, "Scaled up to 3".into())));
        assert_eq!(change(kubernetes, r#"{"k8s.event.reason":"OOMKilling"}"#), None);
        let setting = Described { event_type: "config_change", body: "pool 5", ..LOG };
        assert_eq!(change(setting, "{}"), Some((ChangeKind::Configuration, "pool 5".into())));
        let own = Described { source_module: "change", body: "moved to another zone", ..LOG };
        assert_eq!(change(own, "{}"), Some((ChangeKind::Other, "moved to another zone".into())));
        assert_eq!(change(LOG, "{}"), None);
    }

    #[test]
    fn a_change_that_is_said_twice_or_shows_as_well_is_one() {
        let at = |second: i64, what: &str| ChangeSeen {
            id: EventId(second as u128),
            time: UnixNanos(second * 1_000_000_000),
            asset: 1,
            kind: ChangeKind::FeatureFlag,
            what: what.to_owned(),
        };
        let recorded = vec![at(100, "on"), at(10, "on"), at(130, "off"), at(20, "on")];
        let found = vec![at(50, "on"), at(900, "other"), ChangeSeen { asset: 2, ..at(15, "on") }];
        let seconds: Vec<i64> = settled(recorded, found).iter().map(|c| c.time.0 / 1_000_000_000).collect();
        assert_eq!(seconds, [10, 15, 100, 130, 900]);
    }
}
