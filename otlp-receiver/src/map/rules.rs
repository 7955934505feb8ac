//! Which module an event belongs to and what kind of event it is: an ordered list of rules, the first match decides.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;

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
    /// First bytes of the attribute keys that some rule names.
    key_starts: [bool; 256],
    /// Some rule names an attribute by `*` alone.
    any_key: bool,
}

impl Rules {
    pub(super) fn new(rules: Vec<Rule>) -> Self {
        let mut key_starts = [false; 256];
        let mut any_key = false;
        for key in rules.iter().filter_map(|r| r.attribute.as_deref()) {
            match key.as_bytes().first() {
                Some(b'*') | None => any_key = true,
                Some(first) => key_starts[usize::from(*first)] = true,
            }
        }
        Self { rules, key_starts, any_key }
    }

    /// The first rule that matches an item.
    pub(super) fn first_match(&self, signal: &str, event_name: &str, attributes: &[KeyValue]) -> Option<&Rule> {
        let named = |a: &KeyValue| a.key.as_bytes().first().is_some_and(|b| self.key_starts[usize::from(*b)]);
        if event_name.is_empty() && !self.any_key && !attributes.iter().any(named) {
            return self.rules.iter().find(|r| {
                r.event_name.is_none() && r.attribute.is_none() && r.signal.as_deref().is_none_or(|s| s == signal)
            });
        }
        self.rules.iter().find(|rule| rule_matches(rule, signal, event_name, attributes))
    }
}

fn rule_matches(rule: &Rule, signal: &str, event_name: &str, attributes: &[KeyValue]) -> bool {
    rule.signal.as_deref().is_none_or(|s| s == signal)
        && rule.event_name.as_deref().is_none_or(|pattern| !event_name.is_empty() && matches(pattern, event_name))
        && rule.attribute.as_deref().is_none_or(|pattern| {
            attributes
                .iter()
                .any(|a| matches(pattern, &a.key) && rule.equals.as_deref().is_none_or(|text| value_is(a, text)))
        })
}

fn matches(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => text.starts_with(prefix),
        None => pattern == text,
    }
}

fn value_is(attribute: &KeyValue, text: &str) -> bool {
    match attribute.value.as_ref().and_then(|v| v.value.as_ref()) {
        Some(Value::StringValue(value)) => value == text,
        Some(Value::BoolValue(value)) => text == if *value { "true" } else { "false" },
        Some(Value::IntValue(value)) => text.parse() == Ok(*value),
        _ => false,
    }
}
