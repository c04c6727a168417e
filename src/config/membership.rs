//! `server.N` lines: who the members of an ensemble are, and where this one has its clients.

use super::error::ConfigError;
use super::java;

/// One `server.N` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) id: i64,
    pub(super) votes: bool,
    /// Host and port of the `;` part; the host is the wildcard where only a port stands there.
    pub(super) client: Option<(String, u16)>,
}

/// `host:port:port[:role][|...][;[host:]port]`, with Apache's messages for what is wrong.
pub(super) fn parse(key: &str, text: &str, several_addresses: bool) -> Result<Member, ConfigError> {
    let number = key.strip_prefix("server.").unwrap_or(key);
    let id = java::parse_long(number).ok_or_else(|| {
        ConfigError::top(format!(
            "{key}: NumberFormatException: For input string: \"{number}\""
        ))
    })?;
    let malformed = || {
        ConfigError::top(format!(
            "{text} does not have the form server_config or server_config;client_config where \
             server_config is the pipe separated list of host:port:port or host:port:port:type \
             and client_config is port or host:port"
        ))
    };
    let mut parts = text.split(';');
    let servers = parts.next().unwrap_or_default();
    let client = parts.next().filter(|client| !client.is_empty());
    if parts.next().is_some() {
        return Err(malformed());
    }
    let client = client
        .map(|client| client_part(client, &malformed))
        .transpose()?;
    let addresses: Vec<&str> = servers.split('|').collect();
    if addresses.len() > 1 && !several_addresses {
        return Err(ConfigError::top(format!(
            "Multiple address feature is disabled, but multiple addresses were specified for sid \
             {id}"
        )));
    }
    let mut role = None;
    for address in addresses {
        let votes = server_part(id, address, &malformed)?;
        if let (Some(first), Some(this)) = (role, votes)
            && first != this
        {
            return Err(ConfigError::top(format!(
                "{key}: Multiple addresses should have similar roles"
            )));
        }
        role = role.or(votes);
    }
    Ok(Member {
        id,
        votes: role.unwrap_or(true),
        client,
    })
}

fn client_part(
    text: &str,
    malformed: &dyn Fn() -> ConfigError,
) -> Result<(String, u16), ConfigError> {
    let (host, port) = match split_host(text, malformed)?.as_slice() {
        [port] => ("0.0.0.0".to_owned(), (*port).to_owned()),
        [host, port] => ((*host).to_owned(), (*port).to_owned()),
        _ => return Err(malformed()),
    };
    let port = parse_port(&host, &port)?;
    Ok((host, port))
}

/// Checks `host:port:port[:role]`; whether it votes, if it says so.
fn server_part(
    id: i64,
    text: &str,
    malformed: &dyn Fn() -> ConfigError,
) -> Result<Option<bool>, ConfigError> {
    let parts = split_host(text, malformed)?;
    let (host, quorum, election, role) = match parts.as_slice() {
        [host, quorum, election] => (host, quorum, election, None),
        [host, quorum, election, role] => (host, quorum, election, Some(role)),
        _ => return Err(malformed()),
    };
    if parse_port(host, quorum)? == parse_port(host, election)? {
        return Err(ConfigError::top(format!(
            "Client and election port must be different! Please update the configuration file on \
             server.{id}"
        )));
    }
    match role.map(|role| role.trim().to_ascii_lowercase()).as_deref() {
        None => Ok(None),
        Some("participant") => Ok(Some(true)),
        Some("observer") => Ok(Some(false)),
        Some(_) => {
            let role = role.copied().unwrap_or_default();
            Err(ConfigError::top(format!("Unrecognised peertype: {role}")))
        }
    }
}

/// Parts between colons; a host in brackets is one part, without its brackets.
fn split_host<'a>(
    text: &'a str,
    malformed: &dyn Fn() -> ConfigError,
) -> Result<Vec<&'a str>, ConfigError> {
    let Some(rest) = text.strip_prefix('[') else {
        return Ok(text.split(':').collect());
    };
    let (host, rest) = rest.split_once(']').ok_or_else(malformed)?;
    let mut parts = vec![host];
    if !rest.is_empty() {
        parts.extend(rest.strip_prefix(':').ok_or_else(malformed)?.split(':'));
    }
    Ok(parts)
}

fn parse_port(host: &str, text: &str) -> Result<u16, ConfigError> {
    let port = java::parse_int(text)
        .ok_or_else(|| ConfigError::top(format!("Address unresolved: {host}:{text}")))?;
    u16::try_from(port).map_err(|_| ConfigError::top(format!("port out of range:{port}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, votes: bool, client: Option<(&str, u16)>) {
        let client = client.map(|(host, port)| (host.to_owned(), port));
        assert_eq!(
            parse("server.3", text, true),
            Ok(Member {
                id: 3,
                votes,
                client
            }),
            "{text}"
        );
    }

    fn refused(text: &str, part_of_message: &str) {
        let error = parse("server.3", text, false).unwrap_err().to_string();
        assert!(error.contains(part_of_message), "{text}: {error}");
    }

    #[test]
    fn members() {
        check("a:2888:3888", true, None);
        check("a:2888:3888;2181", true, Some(("0.0.0.0", 2181)));
        check("a:2888:3888:OBSERVER;b:2181", false, Some(("b", 2181)));
        check(
            "[::1]:2888:3888:participant;[::]:2181",
            true,
            Some(("::", 2181)),
        );
        check("a:1:2:observer|b:3:4:observer", false, None);
    }

    #[test]
    fn mistakes_have_the_words_of_apache() {
        refused("a:2888", "a:2888 does not have the form server_config");
        refused("a:1:2;3;4", "does not have the form");
        refused("a:1:2:3:4", "does not have the form");
        refused("[::1:1:2", "does not have the form");
        refused("a:1:2;b:c:d", "does not have the form");
        refused("a:x:2", "Address unresolved: a:x");
        refused("a:1:2;b:x", "Address unresolved: b:x");
        refused("a:1:1", "Client and election port must be different!");
        refused("a:1:2:leader", "Unrecognised peertype: leader");
        refused("a:1:70000", "port out of range:70000");
        refused("a:1:2|b:1:2", "Multiple address feature is disabled");
        assert!(
            parse("server.x", "a:1:2", false)
                .unwrap_err()
                .to_string()
                .contains("\"x\"")
        );
    }
}
