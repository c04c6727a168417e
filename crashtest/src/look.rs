//! Reading back everything that the sessions of a run may have left on a server.

use std::collections::{BTreeMap, BTreeSet};

use ironkeeper_client::{Client, ClientError, requests};
use ironkeeper_proto::{ErrorCode, Stat};

use crate::model::{History, Observed, QUEUE, Seen};

/// Requests sent ahead of their replies: one buffer of the socket holds them.
const DEPTH: usize = 200;

/// The nodes of a server, by the session that they belong to.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    /// By number of the session.
    pub(crate) sessions: BTreeMap<usize, BTreeMap<String, Seen>>,
    /// Numbers of the sequential nodes, with the key of each.
    pub(crate) numbers: BTreeMap<u64, String>,
    /// What belongs to nobody.
    pub(crate) strays: Vec<String>,
}

/// Reads all nodes with `client`.
pub(crate) fn read(client: &mut Client, histories: &[History]) -> Result<Nodes, ClientError> {
    let mut nodes = Nodes::default();
    let known: BTreeSet<usize> = histories.iter().map(|history| history.number).collect();
    let mut paths = Vec::new();
    for name in client.children("/", false)?.0 {
        let number = name
            .strip_prefix('s')
            .and_then(|number| number.parse().ok());
        match number.filter(|number| known.contains(number)) {
            Some(number) => {
                let directory = format!("/{name}");
                let (children, _) = client.children(&directory, false)?;
                let children = children.iter().map(|child| format!("{directory}/{child}"));
                let children: Vec<String> = children.collect();
                paths.push((Some(number), directory));
                paths.extend(children.into_iter().map(|path| (Some(number), path)));
            }
            None if name == "zookeeper" || format!("/{name}") == QUEUE => {}
            None => nodes.strays.push(format!("/{name}")),
        }
    }
    for child in client.children(QUEUE, false)?.0 {
        paths.push((None, format!("{QUEUE}/{child}")));
    }
    let data = read_data(client, paths.iter().map(|(_, path)| path.as_str()))?;
    for ((number, path), (data, stat)) in paths.into_iter().zip(data) {
        let key = match number {
            Some(_) => path.clone(),
            None => String::from_utf8_lossy(&data).into_owned(),
        };
        let number = number.or_else(|| key.split_once('.')?.0.parse().ok());
        let Some(number) = number.filter(|number| known.contains(number)) else {
            nodes.strays.push(format!("{path} with data {key:?}"));
            continue;
        };
        if path.starts_with(QUEUE) {
            match sequence_number(&path) {
                Some(sequence) => drop(nodes.numbers.insert(sequence, key.clone())),
                None => nodes.strays.push(path.clone()),
            }
        }
        let Stat {
            version,
            czxid,
            mzxid,
            ephemeral_owner: owner,
            ..
        } = stat;
        let seen = Seen {
            data,
            version,
            owner,
            czxid,
            mzxid,
            path,
        };
        if let Some(twin) = nodes.sessions.entry(number).or_default().insert(key, seen) {
            nodes.strays.push(format!(
                "{}, made a second time under another name",
                twin.path
            ));
        }
    }
    Ok(nodes)
}

/// The number at the end of a sequential node's name.
pub(crate) fn sequence_number(path: &str) -> Option<u64> {
    path.get(path.len().checked_sub(10)?..)?.parse().ok()
}

fn read_data<'a>(
    client: &mut Client,
    paths: impl Iterator<Item = &'a str>,
) -> Result<Vec<(Vec<u8>, Stat)>, ClientError> {
    let mut answers = Vec::new();
    for path in paths {
        if client.outstanding() == DEPTH {
            client.flush()?;
            while client.outstanding() > 0 {
                answers.push(client.reply()?.data_and_stat()?);
            }
        }
        client.submit(&requests::get(path, false));
    }
    client.flush()?;
    while client.outstanding() > 0 {
        answers.push(client.reply()?.data_and_stat()?);
    }
    Ok(answers)
}

/// What became of a session on the server.
pub(crate) enum Reattached {
    /// It is alive, on this connection.
    Alive(Box<Client>),
    /// It was refused.
    Refused,
}

/// Tries to take up the session of `history` again, claiming what it has seen.
pub(crate) fn reattach(
    address: std::net::SocketAddr,
    history: &History,
) -> Result<Reattached, ClientError> {
    let options = ironkeeper_client::ConnectOptions {
        last_zxid_seen: history.last_zxid,
        timeout_ms: history.session.timeout_ms,
        ..ironkeeper_client::ConnectOptions::default()
    };
    match Client::connect(address, &options.with_session(history.session.clone())) {
        Ok(client) => Ok(Reattached::Alive(Box::new(client))),
        Err(ClientError::SessionRefused) => Ok(Reattached::Refused),
        Err(error) => Err(error),
    }
}

/// Whether the server refuses the session of `history` to somebody with another password.
pub(crate) fn refuses_wrong_password(
    address: std::net::SocketAddr,
    history: &History,
) -> Result<bool, ClientError> {
    let mut stranger = history.clone();
    if let Some(byte) = stranger.session.password.first_mut() {
        *byte ^= 0x40;
    }
    Ok(matches!(reattach(address, &stranger)?, Reattached::Refused))
}

/// What the server shows of one session.
pub(crate) fn observed(nodes: &mut Nodes, number: usize, alive: bool) -> Observed {
    Observed {
        alive,
        nodes: nodes.sessions.remove(&number).unwrap_or_default(),
    }
}

/// A node that is missing while it is read is the server's fault: nobody else is connected.
pub(crate) fn describe(error: &ClientError) -> String {
    match error.code() {
        Some(ErrorCode::NoNode) => "a node that was listed cannot be read".to_owned(),
        _ => error.to_string(),
    }
}
