//! Whether the configuration describes a server that stands alone, and what its own `server.N`
//! line says about it.

use std::net::SocketAddr;
use std::path::Path;

use super::error::{ConfigError, Notices};
use super::membership::{self, Member};
use super::settings::Settings;
use super::{address, java, properties, read_text};

/// What the ensemble's part of a configuration says about this server.
pub(super) struct Standing {
    pub(super) my_id: Option<i64>,
    pub(super) client_address: Option<SocketAddr>,
}

/// Judges membership; an ensemble is refused. `client_address` is what the static keys say.
pub(super) fn resolve(
    file: Option<&Path>,
    settings: &Settings,
    data_dir: &Path,
    client_address: Option<SocketAddr>,
    ipv4_only: bool,
    notices: &mut Notices,
) -> Result<Standing, ConfigError> {
    let standalone_enabled = settings.get("standaloneEnabled").is_none_or(java::boolean);
    let members = members(file, settings)?;
    let votes = members.iter().filter(|member| member.votes).count();
    let watches = members.len() - votes;
    let invalid = |message: &str| Err(ConfigError::within(file, message));
    match votes {
        0 if !standalone_enabled => {
            return invalid("standaloneEnabled = false then number of participants should be >0");
        }
        0 if watches > 0 => {
            return invalid("Observers w/o participants is an invalid configuration");
        }
        1 if standalone_enabled => {
            // The official container image depends on this being no error.
            notices.error("Invalid configuration, only one server specified (ignoring)");
            if watches > 0 {
                return invalid("Observers w/o quorum is an invalid configuration");
            }
        }
        _ => {}
    }
    let my_id = my_id(file, data_dir)?;
    if votes > 1 || !standalone_enabled {
        return Err(refusal(file, settings, my_id, votes));
    }
    if file.is_some() {
        notices.warn("Either no config or no quorum defined in config, running in standalone mode");
    }
    if settings
        .get("peerType")
        .is_some_and(|role| role.eq_ignore_ascii_case("observer"))
    {
        notices.warn(
            "Peer type from servers list (PARTICIPANT) doesn't match peerType (OBSERVER). \
             Defaulting to servers list.",
        );
    }
    let own = members.iter().find(|member| Some(member.id) == my_id);
    let client_address = match own.and_then(|member| member.client.as_ref()) {
        None => client_address,
        Some((host, port)) => {
            let listed = address::resolve(host, *port, ipv4_only)
                .map_err(|message| ConfigError::within(file, message))?;
            agreed(my_id, client_address, listed)?
        }
    };
    let elsewhere = members.iter().any(|member| member.client.is_some());
    if client_address.is_none() && elsewhere {
        let shown = my_id.map_or_else(|| "is missing".to_owned(), |id| format!("says {id}"));
        notices.warn(format!(
            "the client port of the server.N line is not used: {} {shown}, so that line is not \
             this server's",
            data_dir.join("myid").display()
        ));
    }
    Ok(Standing {
        my_id,
        client_address,
    })
}

/// The address that a static key and this server's own line agree on; the line is as a rule the
/// more precise one.
fn agreed(
    my_id: Option<i64>,
    fixed: Option<SocketAddr>,
    listed: SocketAddr,
) -> Result<Option<SocketAddr>, ConfigError> {
    if let Some(fixed) = fixed {
        let same = if fixed.ip().is_unspecified() {
            fixed.port() == listed.port()
        } else {
            fixed == listed
        };
        if !same {
            return Err(ConfigError::top(format!(
                "client address for this server (id = {}) in static config file is {fixed} is \
                 different from client address found in dynamic file: {listed}",
                my_id.unwrap_or_default()
            )));
        }
    }
    Ok(Some(listed))
}

fn members(file: Option<&Path>, settings: &Settings) -> Result<Vec<Member>, ConfigError> {
    let several = settings
        .get("multiAddress.enabled")
        .is_some_and(java::boolean);
    let Some(dynamic) = settings.get("dynamicConfigFile") else {
        return settings
            .iter()
            .filter(|(name, _)| name.starts_with("server."))
            .map(|(name, setting)| membership::parse(name, &setting.value, several))
            .collect();
    };
    let is_membership = |name: &str| {
        ["server.", "group", "weight"]
            .iter()
            .any(|start| name.starts_with(start))
    };
    if let Some((name, _)) = settings.iter().find(|(name, _)| is_membership(name)) {
        return Err(ConfigError::top(format!(
            "parameter: {name} must be in a separate dynamic config file"
        )));
    }
    let dynamic = Path::new(dynamic);
    let text = read_text(dynamic, dynamic)?;
    let parsed = properties::parse(&text)
        .map_err(|malformed| ConfigError::within(Some(dynamic), malformed.to_string()))?;
    if parsed.iter().any(|property| property.key == "version") {
        return Err(ConfigError::top(
            "dynamic file shouldn't have version inside",
        ));
    }
    if let Some(other) = parsed.iter().find(|property| !is_membership(&property.key)) {
        return Err(ConfigError::top(format!(
            "Unrecognised parameter: {}",
            other.key.escape_debug()
        )));
    }
    let mut members = Vec::new();
    for property in parsed
        .iter()
        .filter(|property| property.key.starts_with("server."))
    {
        let member = membership::parse(&property.key, &property.value, several)
            .map_err(|error| ConfigError::within(file.or(Some(dynamic)), error.to_string()))?;
        // Of two lines for one server the last one counts.
        members.retain(|earlier: &Member| earlier.id != member.id);
        members.push(member);
    }
    Ok(members)
}

/// The number in `<dataDir>/myid`; a file that is not there is no error for one server.
fn my_id(file: Option<&Path>, data_dir: &Path) -> Result<Option<i64>, ConfigError> {
    let path = data_dir.join("myid");
    if !path.is_file() {
        return Ok(None);
    }
    let text = std::fs::read(&path)
        .map_err(|error| ConfigError::within(file, format!("{}: {error}", path.display())))?;
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().next().unwrap_or("null").trim();
    java::parse_long(line).map(Some).ok_or_else(|| {
        let line = line.escape_debug();
        ConfigError::within(file, format!("serverid {line} is not a number"))
    })
}

/// First what Apache would find missing, then why this server does not join.
fn refusal(
    file: Option<&Path>,
    settings: &Settings,
    my_id: Option<i64>,
    votes: usize,
) -> ConfigError {
    for limit in ["initLimit", "syncLimit"] {
        if settings.get(limit).and_then(java::parse_int).unwrap_or(0) == 0 {
            return ConfigError::within(file, format!("{limit} is not set"));
        }
    }
    if my_id.is_none() {
        return ConfigError::within(file, "myid file is missing");
    }
    let what = if votes > 1 {
        format!("{votes} voting servers make an ensemble")
    } else {
        "standaloneEnabled=false makes this an ensemble".to_owned()
    };
    ConfigError::top(format!(
        "{what}, and this version cannot be a member of one: alone it would take writes that the \
         others never see. For one server remove all server.N lines but its own, and \
         standaloneEnabled=false"
    ))
}
