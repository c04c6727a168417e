//! The format of `scripts/*.txt`, which `drivers/ScriptFile.java` and `drivers/scripts.py` read by
//! themselves; `docs/conformance.md` describes it.

use std::path::{Path, PathBuf};

use crate::ops::{ADMIN, CREATE, DELETE, READ, WRITE};
use crate::script::TIMEOUT_MS;

pub(crate) const CLIENTS: [&str; 3] = ["raw", "java", "kazoo"];

/// One script, whole and well formed.
pub(crate) struct ScriptFile {
    pub(crate) path: PathBuf,
    /// The configuration that it runs on.
    pub(crate) servers: String,
    pub(crate) steps: Vec<Step>,
}

/// One line that a client carries out and answers.
pub(crate) struct Step {
    pub(crate) line: usize,
    /// The line as it stands in the file.
    pub(crate) text: String,
    pub(crate) clients: Vec<String>,
    pub(crate) session: String,
    pub(crate) call: Call,
}

/// What a session is asked for, or a part of a multi.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) verb: String,
    pub(crate) args: Vec<Arg>,
}

#[derive(Debug)]
pub(crate) enum Arg {
    Path(Option<String>),
    Text(String),
    Data(Option<Vec<u8>>),
    Int(i32),
    Mode { flags: i32, ttl_ms: i64 },
    Acl(Vec<(i32, String, String)>),
    Kind(i32),
    Flag(bool),
    Parts(Vec<Call>),
}

/// What each step takes. A `?` marks what may be left out, a quoted word one that stands for itself.
const VERBS: &[(&str, &str)] = &[
    ("open", "timeout?"),
    ("again", "timeout?"),
    ("drop", ""),
    ("close", ""),
    ("create", "path data mode acl"),
    ("create2", "path data mode acl"),
    ("delete", "path int"),
    ("exists", "path 'watch'?"),
    ("get", "path 'watch'?"),
    ("children", "path 'watch'?"),
    ("children2", "path 'watch'?"),
    ("set", "path data int"),
    ("getacl", "path"),
    ("setacl", "path acl int"),
    ("sync", "path"),
    ("auth", "text text"),
    ("multi", "parts"),
    ("multiread", "parts"),
    ("ephemerals", "path?"),
    ("count", "path"),
    ("whoami", ""),
    ("watch", "path mode-of-watch"),
    ("checkwatch", "path kind-of-watch"),
    ("unwatch", "path kind-of-watch"),
    ("event", "'zxid'?"),
    ("events", "'sorted'? 'zxid'?"),
];

const MULTI_PARTS: &[(&str, &str)] = &[
    ("create", "path data mode acl"),
    ("delete", "path int"),
    ("set", "path data int"),
    ("check", "path int"),
];

const MULTI_READ_PARTS: &[(&str, &str)] = &[("get", "path"), ("children", "path")];

impl ScriptFile {
    pub(crate) fn read(path: &Path) -> Result<ScriptFile, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let mut file = ScriptFile {
            path: path.to_owned(),
            servers: String::new(),
            steps: Vec::new(),
        };
        for (index, text) in text.lines().enumerate() {
            let line = index + 1;
            file.take_line(line, text.trim())
                .map_err(|e| format!("{}:{line}: {e}", path.display()))?;
        }
        if file.servers.is_empty() || file.steps.is_empty() {
            return Err(format!("{}: no servers or no steps", path.display()));
        }
        Ok(file)
    }

    fn take_line(&mut self, line: usize, text: &str) -> Result<(), String> {
        if text.is_empty() || text.starts_with('#') {
            return Ok(());
        }
        if let Some(servers) = text.strip_prefix("servers ") {
            if !self.servers.is_empty() || !self.steps.is_empty() {
                return Err("servers are named once, before the first step".to_owned());
            }
            servers.clone_into(&mut self.servers);
            return Ok(());
        }
        let (clients, rest) = match text.strip_prefix('[') {
            None => (CLIENTS.map(str::to_owned).to_vec(), text),
            Some(tagged) => {
                let (names, rest) = tagged.split_once("] ").ok_or("no end of the clients")?;
                (clients(names)?, rest)
            }
        };
        let (session, rest) = rest.split_once(": ").ok_or("no session")?;
        if session.is_empty() || !session.bytes().all(|b| b.is_ascii_lowercase()) {
            return Err(format!("{session:?} is no name of a session"));
        }
        let tokens = tokens(rest)?;
        self.steps.push(Step {
            line,
            text: text.to_owned(),
            clients,
            session: session.to_owned(),
            call: call(VERBS, &tokens)?,
        });
        Ok(())
    }
}

/// Names of clients; all can send raw frames, so that their answers are there to compare with.
fn clients(names: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> = names.split(' ').map(str::to_owned).collect();
    let known = names.iter().all(|name| CLIENTS.contains(&name.as_str()));
    if !known || names.first().is_none_or(|name| name != "raw") || names.len() == CLIENTS.len() {
        return Err(format!("{names:?}: raw, and one more or none"));
    }
    Ok(names)
}

/// Words between spaces; one that begins with a quote is a JSON string.
fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let length = if rest.starts_with('"') {
            quoted_length(rest).ok_or("no end of a quoted string")?
        } else {
            rest.find(' ').unwrap_or(rest.len())
        };
        let (token, behind) = rest.split_at(length);
        if !behind.is_empty() && !behind.starts_with(' ') {
            return Err(format!("no space behind {token}"));
        }
        tokens.push(if token.starts_with('"') {
            let text = serde_json::from_str(token).map_err(|e| format!("{token}: {e}"))?;
            Token { text, quoted: true }
        } else {
            let text = token.to_owned();
            Token {
                text,
                quoted: false,
            }
        });
        rest = behind.trim_start();
    }
    Ok(tokens)
}

struct Token {
    text: String,
    quoted: bool,
}

fn quoted_length(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            b'"' if !escaped => return Some(at + 1),
            _ => escaped = byte == b'\\' && !escaped,
        }
    }
    None
}

fn call(verbs: &[(&str, &str)], tokens: &[Token]) -> Result<Call, String> {
    let (verb, mut rest) = tokens.split_first().ok_or("no step")?;
    let (_, signature) = verbs
        .iter()
        .find(|(name, _)| *name == verb.text && !verb.quoted)
        .ok_or_else(|| format!("{:?} is no step here", verb.text))?;
    let mut args = Vec::new();
    for kind in signature.split_whitespace() {
        if kind == "parts" {
            let allowed = if verb.text == "multi" {
                MULTI_PARTS
            } else {
                MULTI_READ_PARTS
            };
            args.push(Arg::Parts(parts(allowed, std::mem::take(&mut rest))?));
            continue;
        }
        let (arg, used) = arg(kind, rest.first())?;
        args.push(arg);
        rest = &rest[used..];
    }
    match rest.first() {
        None => Ok(Call {
            verb: verb.text.clone(),
            args,
        }),
        Some(token) => Err(format!("{:?} is one too many", token.text)),
    }
}

/// Calls with semicolons between them, or none at all.
fn parts(allowed: &[(&str, &str)], tokens: &[Token]) -> Result<Vec<Call>, String> {
    if tokens.is_empty() {
        return Ok(Vec::new());
    }
    let is_end = |token: &Token| token.text == ";" && !token.quoted;
    tokens
        .split(is_end)
        .map(|part| call(allowed, part))
        .collect()
}

/// One argument, and how many tokens it took.
fn arg(kind: &str, token: Option<&Token>) -> Result<(Arg, usize), String> {
    let word = token.filter(|t| !t.quoted).map(|t| t.text.as_str());
    if let Some(literal) = kind.strip_prefix('\'').and_then(|k| k.strip_suffix("'?")) {
        let is_there = word == Some(literal);
        return Ok((Arg::Flag(is_there), usize::from(is_there)));
    }
    let Some(token) = token else {
        return match kind {
            "timeout?" => Ok((Arg::Int(TIMEOUT_MS), 0)),
            "path?" => Ok((Arg::Path(None), 0)),
            _ => Err(format!("no {kind}")),
        };
    };
    let wrong = || format!("{:?} is no {kind}", token.text);
    let arg = match (kind, word) {
        ("path" | "path?", _) => Arg::Path(Some(token.text.clone())),
        ("text", _) => Arg::Text(token.text.clone()),
        ("data", None) => Arg::Data(Some(token.text.clone().into_bytes())),
        ("data", Some(word)) => Arg::Data(data(word).ok_or_else(wrong)?),
        ("int" | "timeout?", Some(word)) => Arg::Int(word.parse().map_err(|_| wrong())?),
        ("mode", Some(word)) => mode(word).ok_or_else(wrong)?,
        ("acl", _) => Arg::Acl(acl(&token.text).ok_or_else(wrong)?),
        ("mode-of-watch", Some("persistent")) => Arg::Kind(0),
        ("mode-of-watch", Some("recursive")) => Arg::Kind(1),
        ("kind-of-watch", Some("children")) => Arg::Kind(1),
        ("kind-of-watch", Some("data")) => Arg::Kind(2),
        ("kind-of-watch", Some("any")) => Arg::Kind(3),
        ("kind-of-watch", Some("persistent")) => Arg::Kind(4),
        ("kind-of-watch", Some("recursive")) => Arg::Kind(5),
        _ => return Err(wrong()),
    };
    Ok((arg, 1))
}

/// Data that is no quoted string: null, bytes in hex, or a number of the letter x.
fn data(word: &str) -> Option<Option<Vec<u8>>> {
    if word == "null" {
        return Some(None);
    }
    if let Some(length) = word.strip_prefix("fill:") {
        return Some(Some(vec![b'x'; length.parse().ok()?]));
    }
    let digits = word.strip_prefix("hex:")?.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    let is_whole = digits.len().is_multiple_of(2);
    bytes.filter(|_| is_whole).map(Some)
}

fn mode(word: &str) -> Option<Arg> {
    let (name, ttl_ms) = match word.split_once(':') {
        Some((name, ttl)) => (name, Some(ttl.parse().ok()?)),
        None => (word, None),
    };
    let flags = match (name, ttl_ms) {
        ("persistent", None) => 0,
        ("ephemeral", None) => 1,
        ("sequential", None) => 2,
        ("ephemeral-sequential", None) => 3,
        ("container", None) => 4,
        ("ttl", Some(_)) => 5,
        ("sequential-ttl", Some(_)) => 6,
        _ => return None,
    };
    let ttl_ms = ttl_ms.unwrap_or(0);
    Some(Arg::Mode { flags, ttl_ms })
}

/// `scheme:id:permissions`, several with commas between them, or `none`.
fn acl(text: &str) -> Option<Vec<(i32, String, String)>> {
    if text == "none" {
        return Some(Vec::new());
    }
    let entry = |entry: &str| {
        let (scheme, rest) = entry.split_once(':')?;
        let (id, letters) = rest.rsplit_once(':')?;
        let perms = letters.chars().try_fold(0, |perms, letter| {
            let bit = match letter {
                'c' => CREATE,
                'd' => DELETE,
                'r' => READ,
                'w' => WRITE,
                'a' => ADMIN,
                _ => return None,
            };
            Some(perms | bit)
        })?;
        Some((perms, scheme.to_owned(), id.to_owned()))
    };
    text.split(',').map(entry).collect()
}
