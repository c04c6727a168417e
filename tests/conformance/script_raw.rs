//! Carries out the steps of a script by frames, and answers as `drivers/Scripts.java` and
//! `drivers/scripts.py` do: with every field that a client library shows, and none that it hides.

use std::collections::{HashMap, VecDeque};

use serde_json::{Map, Value, json};

use crate::jute::Cursor;
use crate::ops::{self, Entry, Op, code};
use crate::script::{Conn, Hello, Script, Session};
use crate::script_file::{Arg, Call, ScriptFile, Step};

const EVENT_XID: i32 = -1;
const AUTH_XID: i32 = -4;

/// Where a frame does not hold what it should.
const UNDECODABLE: &str = "the answer cannot be decoded";

/// Runs the whole script below `prefix`; the answers, each with the number of its line.
pub(crate) fn run(
    file: &ScriptFile,
    script: &Script<'_>,
    prefix: &str,
) -> Result<Vec<(usize, Value)>, String> {
    let mut sessions = HashMap::new();
    let mut answers = Vec::new();
    for step in &file.steps {
        let answer = Run {
            script,
            prefix,
            sessions: &mut sessions,
        }
        .step(step)
        .map_err(|e| format!("{}:{}: {e}", file.path.display(), step.line))?;
        answers.push((step.line, answer));
    }
    Ok(answers)
}

struct Run<'r, 's> {
    script: &'r Script<'s>,
    prefix: &'r str,
    sessions: &'r mut HashMap<String, Open>,
}

/// A session that the script has opened.
struct Open {
    conn: Conn,
    identity: Session,
    events: VecDeque<Value>,
}

impl Run<'_, '_> {
    fn step(&mut self, step: &Step) -> Result<Value, String> {
        let name = &step.session;
        match (step.call.verb.as_str(), step.call.args.as_slice()) {
            ("open", [Arg::Int(timeout_ms)]) => {
                let hello = Hello {
                    timeout_ms: *timeout_ms,
                    ..Hello::default()
                };
                self.connect(name, &hello)
            }
            ("again", [Arg::Int(timeout_ms)]) => {
                let hello = Hello {
                    timeout_ms: *timeout_ms,
                    ..Hello::again(&self.open(name)?.identity)
                };
                self.connect(name, &hello)
            }
            ("drop", []) => {
                self.open(name)?.conn.drop_connection();
                Ok(json!({"code": 0}))
            }
            ("close", []) => {
                let open = self.open(name)?;
                let (code, _) = open.ask(&ops::bare(code::CLOSE_SESSION))?;
                open.conn.until_closed();
                Ok(json!({"code": code}))
            }
            ("event", [Arg::Flag(with_zxid)]) => {
                let open = self.open(name)?;
                while open.events.is_empty() {
                    open.look(None)?;
                }
                let event = open.events.pop_front().unwrap_or_default();
                Ok(json!({"code": 0, "event": shown(event, *with_zxid)}))
            }
            ("events", [Arg::Flag(_), Arg::Flag(with_zxid)]) => {
                let barrier = ops::exists(self.prefix, false);
                let open = self.open(name)?;
                open.ask(&barrier)?;
                let events = open.events.drain(..);
                let events: Vec<Value> = events.map(|e| shown(e, *with_zxid)).collect();
                Ok(json!({"code": 0, "events": events}))
            }
            ("auth", [Arg::Text(scheme), Arg::Text(data)]) => {
                let op = ops::auth(Some(scheme), Some(data.as_bytes()));
                let open = self.open(name)?;
                open.conn.send_as(AUTH_XID, &op);
                let (code, _) = open.answer(AUTH_XID)?;
                Ok(json!({"code": code}))
            }
            _ => self.request(step),
        }
    }

    fn open(&mut self, name: &str) -> Result<&mut Open, String> {
        self.sessions
            .get_mut(name)
            .ok_or_else(|| format!("{name} is not open"))
    }

    fn connect(&mut self, name: &str, hello: &Hello) -> Result<Value, String> {
        let mut conn = self.script.connect(name);
        conn.expect_hello();
        conn.send_bytes(&hello.frame());
        let frame = conn.frame().ok_or("no answer to the handshake")?;
        let mut cursor = Cursor::new(frame.get(8..).unwrap_or_default());
        let fields = (cursor.int(), cursor.long(), cursor.bytes());
        let (Some(timeout_ms), Some(id), Some(Some(password))) = fields else {
            return Err(UNDECODABLE.to_owned());
        };
        if id == 0 {
            return Ok(json!({"code": -112}));
        }
        let identity = Session {
            id,
            password: password.to_vec(),
        };
        let open = Open {
            conn,
            identity,
            events: VecDeque::new(),
        };
        self.sessions.insert(name.to_owned(), open);
        let hex: String = password.iter().map(|b| format!("{b:02x}")).collect();
        Ok(json!({"code": 0, "timeout": timeout_ms, "newSession": id, "password": hex}))
    }

    fn request(&mut self, step: &Step) -> Result<Value, String> {
        let call = &step.call;
        let op = self.op(call)?;
        let (code, body) = self.open(&step.session)?.ask(&op)?;
        let mut answer = Map::from_iter([("code".to_owned(), json!(code))]);
        if code == 0 {
            let mut cursor = Cursor::new(&body);
            fields(op.code, &mut cursor, &mut answer).ok_or(UNDECODABLE)?;
            if !cursor.rest().is_empty() {
                return Err(format!("{} bytes too many", cursor.rest().len()));
            }
        }
        // A container is made by a request that answers with a Stat; libraries throw it away.
        if call.verb == "create" {
            answer.remove("stat");
        }
        Ok(Value::Object(answer))
    }

    /// The request that a call becomes in Apache's client.
    fn op(&self, call: &Call) -> Result<Op, String> {
        let op = match (call.verb.as_str(), call.args.as_slice()) {
            (verb @ ("create" | "create2"), [path, data, mode, Arg::Acl(acl)]) => {
                let (Arg::Data(data), Arg::Mode { flags, ttl_ms }) = (data, mode) else {
                    return Err("no data or no mode".to_owned());
                };
                let code = match flags {
                    4 => code::CREATE_CONTAINER,
                    5 | 6 => code::CREATE_TTL,
                    _ if verb == "create" => code::CREATE,
                    _ => code::CREATE2,
                };
                let path = self.full(path);
                let (path, data) = (Some(path.as_bytes()), data.as_deref());
                let mut op = ops::create_with(code, path, data, &entries(acl), *flags);
                if code == code::CREATE_TTL {
                    op.body.extend_from_slice(&ttl_ms.to_be_bytes());
                }
                op
            }
            ("delete", [path, Arg::Int(version)]) => ops::delete(&self.full(path), *version),
            ("check", [path, Arg::Int(version)]) => ops::check(&self.full(path), *version),
            ("exists", [path, Arg::Flag(watch)]) => ops::exists(&self.full(path), *watch),
            ("get", [path, Arg::Flag(watch)]) => ops::get_data(&self.full(path), *watch),
            ("get", [path]) => ops::get_data(&self.full(path), false),
            ("children", [path, Arg::Flag(watch)]) => ops::get_children(&self.full(path), *watch),
            ("children", [path]) => ops::get_children(&self.full(path), false),
            ("children2", [path, Arg::Flag(watch)]) => ops::get_children2(&self.full(path), *watch),
            ("set", [path, Arg::Data(data), Arg::Int(version)]) => {
                ops::set_data_to(&self.full(path), data.as_deref(), *version)
            }
            ("getacl", [path]) => ops::get_acl(&self.full(path)),
            ("setacl", [path, Arg::Acl(acl), Arg::Int(version)]) => {
                ops::set_acl(&self.full(path), &entries(acl), *version)
            }
            ("sync", [path]) => ops::sync(Some(&self.full(path))),
            ("ephemerals", [path]) => ops::path_only(code::GET_EPHEMERALS, Some(&self.full(path))),
            ("count", [path]) => {
                ops::path_only(code::GET_ALL_CHILDREN_NUMBER, Some(&self.full(path)))
            }
            ("whoami", []) => ops::bare(code::WHO_AM_I),
            ("watch", [path, Arg::Kind(mode)]) => ops::add_watch(&self.full(path), *mode),
            ("checkwatch", [path, Arg::Kind(kind)]) => ops::check_watches(&self.full(path), *kind),
            ("unwatch", [path, Arg::Kind(kind)]) => ops::remove_watches(&self.full(path), *kind),
            ("multi", [Arg::Parts(parts)]) => ops::multi(&self.ops(parts)?),
            ("multiread", [Arg::Parts(parts)]) => ops::multi_read(&self.ops(parts)?),
            (verb, args) => return Err(format!("{verb} of {args:?} is not known to raw frames")),
        };
        Ok(op)
    }

    fn ops(&self, parts: &[Call]) -> Result<Vec<Op>, String> {
        parts.iter().map(|part| self.op(part)).collect()
    }

    /// The script's root is the node `prefix`; the server's own nodes are as they are.
    fn full(&self, path: &Arg) -> String {
        match path {
            Arg::Path(Some(path)) if path == "/" => self.prefix.to_owned(),
            Arg::Path(Some(path)) if path.starts_with("/zookeeper") => path.clone(),
            Arg::Path(Some(path)) if path.starts_with('/') => format!("{}{path}", self.prefix),
            Arg::Path(Some(path)) => path.clone(),
            _ => "/".to_owned(),
        }
    }
}

impl Open {
    /// Sends a request; the error code of the reply and what follows its header.
    fn ask(&mut self, op: &Op) -> Result<(i32, Vec<u8>), String> {
        let xid = self.conn.send(op);
        self.answer(xid)
    }

    fn answer(&mut self, xid: i32) -> Result<(i32, Vec<u8>), String> {
        loop {
            if let Some(answer) = self.look(Some(xid))? {
                return Ok(answer);
            }
        }
    }

    /// Takes one frame: an event, or the reply that is awaited.
    fn look(&mut self, awaited: Option<i32>) -> Result<Option<(i32, Vec<u8>)>, String> {
        let frame = self.conn.frame().ok_or("the connection ended")?;
        let mut cursor = Cursor::new(frame.get(4..).unwrap_or_default());
        let (xid, zxid, err) = (cursor.int(), cursor.long(), cursor.int());
        let (Some(xid), Some(zxid), Some(err)) = (xid, zxid, err) else {
            return Err(UNDECODABLE.to_owned());
        };
        if xid == EVENT_XID {
            let event = event(zxid, &mut cursor).ok_or(UNDECODABLE)?;
            self.events.push_back(event);
            return Ok(None);
        }
        if awaited != Some(xid) {
            return Err(format!("an answer to {xid}, which nobody asked for"));
        }
        Ok(Some((err, cursor.rest().to_vec())))
    }
}

fn entries(acl: &[(i32, String, String)]) -> Vec<Entry<'_>> {
    acl.iter()
        .map(|(perms, scheme, id)| Entry(*perms, Some(scheme), Some(id)))
        .collect()
}

fn event(zxid: i64, cursor: &mut Cursor<'_>) -> Option<Value> {
    let (kind, state) = (cursor.int()?, cursor.int()?);
    let path = text(cursor)?;
    let kind = match (kind, state) {
        (1, 3) => "NodeCreated".to_owned(),
        (2, 3) => "NodeDeleted".to_owned(),
        (3, 3) => "NodeDataChanged".to_owned(),
        (4, 3) => "NodeChildrenChanged".to_owned(),
        other => format!("{other:?}"),
    };
    Some(json!({"type": kind, "path": path, "zxid": zxid}))
}

/// An event as a script asks for it: kazoo does not tell its zxid.
fn shown(mut event: Value, with_zxid: bool) -> Value {
    if let (Value::Object(map), false) = (&mut event, with_zxid) {
        map.remove("zxid");
    }
    event
}

/// Puts what an answer to `op` holds into `out`.
fn fields(op: i32, cursor: &mut Cursor<'_>, out: &mut Map<String, Value>) -> Option<()> {
    let mut put = |key: &str, value: Value| drop(out.insert(key.to_owned(), value));
    match op {
        code::CREATE | code::SYNC => put("path", text(cursor)?),
        code::CREATE2 | code::CREATE_CONTAINER | code::CREATE_TTL => {
            put("path", text(cursor)?);
            put("stat", stat(cursor)?);
        }
        code::EXISTS | code::SET_DATA | code::SET_ACL => put("stat", stat(cursor)?),
        code::GET_DATA => {
            put("data", data(cursor)?);
            put("stat", stat(cursor)?);
        }
        code::GET_ACL => {
            put("acl", list(cursor, acl_entry)?);
            put("stat", stat(cursor)?);
        }
        code::GET_CHILDREN | code::GET_EPHEMERALS => put("names", list(cursor, text)?),
        code::GET_CHILDREN2 => {
            put("names", list(cursor, text)?);
            put("stat", stat(cursor)?);
        }
        code::GET_ALL_CHILDREN_NUMBER => put("count", json!(cursor.int()?)),
        // The body of an answer to addWatch is an error code once more.
        code::ADD_WATCH => return (cursor.int()? == 0).then_some(()),
        code::WHO_AM_I => put("names", list(cursor, identity)?),
        code::MULTI | code::MULTI_READ => {
            let results = results(cursor)?;
            let failed = |result: &Value| result.get("code").filter(|c| **c != json!(0)).cloned();
            // Libraries take the first failure of a multi for its own; that of a read is the part's.
            let first = results.iter().find_map(failed);
            if let (Some(code), code::MULTI) = (first, op) {
                put("code", code);
            }
            put("results", Value::Array(results));
        }
        _ => {}
    }
    Some(())
}

fn results(cursor: &mut Cursor<'_>) -> Option<Vec<Value>> {
    let mut results = Vec::new();
    loop {
        let (op, is_done, _) = (cursor.int()?, cursor.byte()?, cursor.int()?);
        if is_done != 0 {
            return Some(results);
        }
        let mut result = Map::new();
        if op == -1 {
            result.insert("code".to_owned(), json!(cursor.int()?));
        } else {
            fields(op, cursor, &mut result)?;
        }
        results.push(Value::Object(result));
    }
}

fn text(cursor: &mut Cursor<'_>) -> Option<Value> {
    let bytes = cursor.bytes()?;
    Some(bytes.map_or(Value::Null, |b| json!(String::from_utf8_lossy(b))))
}

/// Bytes as characters of the same number.
fn data(cursor: &mut Cursor<'_>) -> Option<Value> {
    let bytes = cursor.bytes()?;
    let latin = |b: &[u8]| json!(b.iter().map(|b| char::from(*b)).collect::<String>());
    Some(bytes.map_or(Value::Null, latin))
}

fn list(cursor: &mut Cursor<'_>, element: fn(&mut Cursor<'_>) -> Option<Value>) -> Option<Value> {
    let count = cursor.count()?;
    (0..count).map(|_| element(cursor)).collect()
}

fn acl_entry(cursor: &mut Cursor<'_>) -> Option<Value> {
    let perms = cursor.int()?;
    let (scheme, id) = (text(cursor)?, text(cursor)?);
    let (scheme, id) = (scheme.as_str()?, id.as_str()?);
    Some(json!(format!("{perms} {scheme}:{id}")))
}

fn identity(cursor: &mut Cursor<'_>) -> Option<Value> {
    let (scheme, user) = (text(cursor)?, text(cursor)?);
    Some(json!(format!("{}:{}", scheme.as_str()?, user.as_str()?)))
}

fn stat(cursor: &mut Cursor<'_>) -> Option<Value> {
    let (czxid, mzxid) = (cursor.long()?, cursor.long()?);
    let (ctime, mtime) = (cursor.long()?, cursor.long()?);
    let (version, cversion, aversion) = (cursor.int()?, cursor.int()?, cursor.int()?);
    let owner = cursor.long()?;
    let (length, children) = (cursor.int()?, cursor.int()?);
    let pzxid = cursor.long()?;
    Some(json!({
        "czxid": czxid, "mzxid": mzxid, "pzxid": pzxid, "ctime": ctime, "mtime": mtime,
        "version": version, "cversion": cversion, "aversion": aversion,
        "ephemeralOwner": owner, "dataLength": length, "numChildren": children,
    }))
}
