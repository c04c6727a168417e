//! What is refused, and what is named because it does nothing.

use std::collections::BTreeMap;

use super::error::{ConfigError, Notices};
use super::java;
use super::keys::{self, Effect, Kind, Type};
use super::reader::{Reader, parse_interval};
use super::settings::{Origin, Settings};

/// Classes of metrics providers that Apache ships; another one it cannot load.
const METRICS_PROVIDERS: [&str; 3] = [
    "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider",
    "org.apache.zookeeper.metrics.impl.NullMetricsProvider",
    "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider",
];

/// Names every setting that does nothing, one line a reason.
pub(super) fn name_what_does_nothing(settings: &Settings, notices: &mut Notices) {
    let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut needless: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, setting) in settings.iter() {
        match without_effect(name, &setting.value) {
            Some(Effect::Missing(why)) => missing.entry(why).or_default().push(name),
            Some(Effect::Needless(why)) => needless.entry(why).or_default().push(name),
            _ => {}
        }
    }
    let line = |(why, names): (&str, Vec<&str>)| {
        format!("without effect: {}: {why}", names.join(", ").escape_debug())
    };
    for one in needless {
        notices.info(line(one));
    }
    for one in missing {
        notices.warn(line(one));
    }
}

/// The effect of a setting that does nothing though something was asked for.
pub(super) fn without_effect(name: &str, value: &str) -> Option<Effect> {
    let key = keys::find(name)?;
    match key.effect {
        Effect::Honoured | Effect::Refused(_) => None,
        // It has an error line of its own.
        Effect::Missing(_) if name.starts_with("secureClientPort") => None,
        // What is not there is off.
        Effect::Missing(_) if key.value == Type::Bool && !java::boolean(value) => None,
        Effect::Missing(_)
            if name == "metricsProvider.className" && value != METRICS_PROVIDERS[2] =>
        {
            None
        }
        effect => Some(effect),
    }
}

/// Checks the values of all named keys, those without effect included: what Apache refuses is
/// refused.
pub(super) fn named_values(reader: &Reader<'_>) -> Result<(), ConfigError> {
    for (name, setting) in reader.settings.iter() {
        let Some(key) = keys::find(name) else {
            continue;
        };
        if !matches!(setting.origin, Origin::File(_)) || key.kind != Kind::Named {
            continue;
        }
        let value = setting.value.as_str();
        let is_right = match key.value {
            Type::Int => java::parse_int(value).is_some(),
            Type::Long => java::parse_long(value).is_some(),
            Type::Interval => parse_interval(value).is_some(),
            _ => true,
        };
        let shown = value.escape_debug();
        if !is_right {
            let hint = if value.contains(['#', '!']) {
                "; a comment needs a line of its own"
            } else {
                ""
            };
            return Err(reader.fault(format!(
                "{name}: NumberFormatException: For input string: \"{shown}\"{hint}"
            )));
        }
        if key.value == Type::Bool && java::strict_boolean(value).is_none() {
            return Err(ConfigError::top(format!(
                "Invalid option {shown} for {name}. Choose 'true' or 'false.'"
            )));
        }
    }
    related_values(reader)
}

fn related_values(reader: &Reader<'_>) -> Result<(), ConfigError> {
    if reader
        .named_int("electionAlg")
        .is_some_and(|algorithm| algorithm != 3)
    {
        return Err(ConfigError::top(
            "Invalid electionAlg value. Only 3 is supported.",
        ));
    }
    if let Some(role) = reader.settings.get("peerType")
        && !["participant", "observer"].contains(&role.to_ascii_lowercase().as_str())
    {
        return Err(ConfigError::top(format!(
            "Unrecognised peertype: {}",
            role.escape_debug()
        )));
    }
    let [sasl, learner, server] = [
        "quorum.auth.enableSasl",
        "quorum.auth.learnerRequireSasl",
        "quorum.auth.serverRequireSasl",
    ];
    for (needed, wanted) in [(sasl, server), (sasl, learner), (learner, server)] {
        if reader.switch(wanted, false) && !reader.switch(needed, false) {
            return Err(reader.fault(format!("{needed} is disabled, so cannot enable {wanted}")));
        }
    }
    if let Some(class) = reader.settings.get("metricsProvider.className")
        && !METRICS_PROVIDERS.contains(&class)
    {
        return Err(reader.fault("metrics provider class was not found"));
    }
    Ok(())
}

/// Refuses settings whose silence would open what somebody closed.
pub(super) fn refusals(reader: &Reader<'_>) -> Result<(), ConfigError> {
    for (name, setting) in reader.settings.iter() {
        let Some(Effect::Refused(why)) = keys::find(name).map(|key| key.effect) else {
            continue;
        };
        if java::boolean(&setting.value) {
            let value = keys::shown(name, &setting.value);
            return Err(ConfigError::top(format!(
                "{name}={value} is refused: {why}"
            )));
        }
    }
    Ok(())
}
