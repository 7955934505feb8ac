//! Which module an event belongs to and what kind of event it is: an ordered list of rules, the first match decides.

use super::columns::{by_key, values};
use super::event_rows::EventSignal;
use crate::otlp::{AnyValue, Attribute};
use crate::protobuf::Utf8;
use arrow::array::{ArrayRef, StringViewArray};
use arrow::datatypes::UInt32Type;

/// One mapping rule. All conditions that are set must hold; a trailing `*` matches any continuation.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Shown in `metadata.rule` of the events it maps.
    pub name: String,
    /// Only events that came as this: `span`, `span_event` or `log`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Name of the log record's or span event's event, for example `exception` or `gen_ai.evaluation.*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_name: Option<String>,
    /// Key of an attribute of the item, for example `deployment.id` or `feature_flag.*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribute: Option<String>,
    /// Text the attribute's value must equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equals: Option<String>,
    /// `source_module` of the events it maps.
    pub source_module: String,
    /// `event_type` of the events it maps.
    pub event_type: String,
}

/// The rules for the OpenTelemetry semantic conventions, used unless the configuration lists others.
pub fn default_rules() -> Vec<Rule> {
    let event = |name: &str, pattern: &str, module: &str, event_type: &str| Rule {
        name: name.into(),
        signal: None,
        event_name: Some(pattern.into()),
        attribute: None,
        equals: None,
        source_module: module.into(),
        event_type: event_type.into(),
    };
    let attribute = |name: &str, key: &str, equals: Option<&str>, module: &str, event_type: &str| Rule {
        name: name.into(),
        signal: None,
        event_name: None,
        attribute: Some(key.into()),
        equals: equals.map(Into::into),
        source_module: module.into(),
        event_type: event_type.into(),
    };
    let operation = |value: &str, event_type: &str| {
        attribute(event_type, "gen_ai.operation.name", Some(value), "telemetry", event_type)
    };
    vec![
        event("exception", "exception", "telemetry", "exception"),
        attribute("exception_log", "exception.type", None, "telemetry", "exception"),
        event("guardrail", "gen_ai.guardrail*", "security", "guardrail_violation"),
        event("evaluation", "gen_ai.evaluation*", "governance", "evaluation"),
        operation("execute_tool", "tool_execution"),
        operation("invoke_agent", "agent_execution"),
        operation("create_agent", "agent_creation"),
        operation("chat", "llm_call"),
        operation("text_completion", "llm_call"),
        operation("generate_content", "llm_call"),
        operation("embeddings", "embedding"),
        attribute("gen_ai", "gen_ai.*", None, "telemetry", "gen_ai"),
        attribute("deployment_id", "deployment.id", None, "telemetry", "deployment"),
        attribute("deployment_name", "deployment.name", None, "telemetry", "deployment"),
        attribute("deployment_status", "deployment.status", None, "telemetry", "deployment"),
        event("deployment_event", "deployment*", "telemetry", "deployment"),
        attribute("feature_flag", "feature_flag.*", None, "telemetry", "feature_flag"),
        attribute("cicd", "cicd.*", None, "telemetry", "cicd"),
        attribute("vcs", "vcs.*", None, "telemetry", "vcs"),
        attribute("k8s_event", "k8s.event.*", None, "telemetry", "k8s_event"),
        attribute("security_rule", "security_rule.*", None, "security", "security_event"),
        attribute("threat", "threat.*", None, "security", "security_event"),
        attribute("vulnerability", "vulnerability.*", None, "security", "security_event"),
    ]
}

/// The rules, with what is needed to pass over an item that none can match without looking at each.
#[derive(Debug)]
pub(super) struct Rules {
    rules: Vec<Rule>,
    /// Texts that begin patterns, by their first byte: an attribute key or event name that begins with none of them
    /// cannot match a rule that names one.
    starts: Box<[Vec<Box<[u8]>>; 256]>,
    /// Some rule names `*` alone.
    any: bool,
    /// The first rule without a condition on names, for each signal.
    unconditional: [Option<usize>; SIGNALS.len()],
    columns: RuleColumns,
}

/// What decides `source_module`, `event_type` and `metadata` of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RuleKey {
    /// No rule: the defaults of the signal.
    Default(EventSignal),
    /// A rule, by its place in the list.
    Rule(usize),
}

const SIGNALS: [EventSignal; 3] = [EventSignal::Span, EventSignal::SpanEvent, EventSignal::Log];

impl RuleKey {
    pub(super) fn index(self) -> u32 {
        match self {
            Self::Default(signal) => signal as u32,
            Self::Rule(index) => (SIGNALS.len() + index) as u32,
        }
    }
}

/// Values of the columns that rules decide, by [`RuleKey::index`].
#[derive(Debug)]
pub(super) struct RuleColumns {
    modules: StringViewArray,
    event_types: StringViewArray,
    metadata: StringViewArray,
}

impl RuleColumns {
    fn new(rules: &[Rule]) -> Self {
        let metadata: Vec<String> =
            rules.iter().map(|r| format!("{{\"rule\":{}}}", serde_json::Value::from(r.name.as_str()))).collect();
        let with_defaults = |defaults: [Option<&'static str>; SIGNALS.len()], of_rules: Vec<&str>| {
            values(defaults.into_iter().chain(of_rules.into_iter().map(Some)))
        };
        Self {
            modules: with_defaults(
                [Some("telemetry"); SIGNALS.len()],
                rules.iter().map(|r| r.source_module.as_str()).collect(),
            ),
            event_types: with_defaults(
                SIGNALS.map(|s| Some(s.as_str())),
                rules.iter().map(|r| r.event_type.as_str()).collect(),
            ),
            metadata: with_defaults([None; SIGNALS.len()], metadata.iter().map(String::as_str).collect()),
        }
    }

    /// `source_module`, `event_type` and `metadata` of rows with these [`RuleKey`]s.
    pub(super) fn columns(&self, keys: Vec<u32>) -> [ArrayRef; 3] {
        let all = [&self.modules, &self.event_types, &self.metadata];
        // Most requests match no rule: their columns should not keep the texts of the rules.
        if keys.iter().all(|key| *key < SIGNALS.len() as u32) {
            return all.map(|values| by_key::<UInt32Type>(&values.slice(0, SIGNALS.len()).gc(), keys.clone()));
        }
        all.map(|values| by_key::<UInt32Type>(values, keys.clone()))
    }
}

impl Rules {
    pub(super) fn new(rules: Vec<Rule>) -> Self {
        let mut starts: Box<[Vec<Box<[u8]>>; 256]> = Box::new([const { Vec::new() }; 256]);
        let mut any = false;
        for pattern in rules.iter().flat_map(|r| [r.attribute.as_deref(), r.event_name.as_deref()]).flatten() {
            let text = pattern.strip_suffix('*').unwrap_or(pattern).as_bytes();
            match text.first() {
                None => any = true,
                Some(first) => {
                    let list = &mut starts[usize::from(*first)];
                    if !list.iter().any(|start| **start == *text) {
                        list.push(text.into());
                    }
                }
            }
        }
        let unconditional = SIGNALS.map(|signal| {
            rules.iter().position(|r| r.event_name.is_none() && r.attribute.is_none() && of_signal(r, signal))
        });
        let columns = RuleColumns::new(&rules);
        Self { rules, starts, any, unconditional, columns }
    }

    pub(super) fn columns(&self) -> &RuleColumns {
        &self.columns
    }

    /// What the first rule that matches an item says of it.
    pub(super) fn first_match(
        &self,
        signal: EventSignal,
        event_name: Utf8<'_>,
        attributes: &[Attribute<'_>],
    ) -> RuleKey {
        let named = self.any || self.begins(event_name) || attributes.iter().any(|a| self.begins(a.key));
        let found = if named {
            self.rules.iter().position(|rule| rule_matches(rule, signal, event_name, attributes))
        } else {
            self.unconditional[signal as usize]
        };
        found.map_or(RuleKey::Default(signal), RuleKey::Rule)
    }

    /// Whether the text begins as some rule's pattern does.
    #[inline]
    fn begins(&self, text: Utf8<'_>) -> bool {
        let bytes = text.as_bytes();
        bytes.first().is_some_and(|b| self.starts[usize::from(*b)].iter().any(|start| bytes.starts_with(start)))
    }

    /// `event_type` of the events that `key` decides.
    pub(super) fn event_type(&self, key: RuleKey) -> &str {
        match key {
            RuleKey::Default(signal) => signal.as_str(),
            RuleKey::Rule(index) => self.rules.get(index).map_or("", |rule| &rule.event_type),
        }
    }
}

fn of_signal(rule: &Rule, signal: EventSignal) -> bool {
    rule.signal.as_deref().is_none_or(|s| s == signal.as_str())
}

fn rule_matches(rule: &Rule, signal: EventSignal, event_name: Utf8<'_>, attributes: &[Attribute<'_>]) -> bool {
    of_signal(rule, signal)
        && rule.event_name.as_deref().is_none_or(|pattern| !event_name.is_empty() && matches(pattern, event_name))
        && rule.attribute.as_deref().is_none_or(|pattern| {
            attributes
                .iter()
                .any(|a| matches(pattern, a.key) && rule.equals.as_deref().is_none_or(|text| value_is(a, text)))
        })
}

fn matches(pattern: &str, text: Utf8<'_>) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => text.as_bytes().starts_with(prefix.as_bytes()),
        None => pattern.as_bytes() == text.as_bytes(),
    }
}

fn value_is(attribute: &Attribute<'_>, text: &str) -> bool {
    match attribute.value {
        AnyValue::Text(value) => value.as_bytes() == text.as_bytes(),
        AnyValue::Boolean(value) => text == if value { "true" } else { "false" },
        AnyValue::Integer(value) => text.parse() == Ok(value),
        _ => false,
    }
}
