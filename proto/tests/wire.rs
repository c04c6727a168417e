//! Every frame that Apache's Java client and server exchanged in the captures: decoded, compared field by field
//! with what a separate decoder made of it, and encoded again to the same bytes.

mod support;

use ironkeeper_proto::{
    ConnectRequest, ConnectResponse, EventType, MultiHeader, MultiRequestBuf, MultiResponseBuf,
    MultiResult, OpCode, Record, Request, RequestHeader, Response, SessionId, Text, WatcherEvent,
    Writer, Xid, frame,
};
use serde_json::{Map, Value, json};
use support::{
    CapturedFrame, acl_json, captured_frames, hex, hex_number, like, stat_json, strings_json,
};

fn op_named(name: &str) -> OpCode {
    let op = OpCode::ALL.iter().find(|op| op.name() == name);
    *op.unwrap_or_else(|| panic!("no operation {name}"))
}

fn text(value: &Text<'_>) -> Value {
    json!(value.as_deref())
}

/// The fields of a request, under the names of the oracle.
fn request_json(request: &Request<'_>, oracle: &Value) -> Value {
    let data = |bytes| like(oracle.get("data"), bytes);
    match request {
        Request::Create(create)
        | Request::Create2(create)
        | Request::CreateContainer(create)
        | Request::CreateTtl(create) => {
            let mut fields = json!({
                "path": text(&create.path),
                "data": data(create.data),
                "acl": acl_json(&create.acl),
                "flags": create.flags,
            });
            if request.op() == OpCode::CreateTtl {
                fields["ttl"] = json!(create.ttl_ms);
            } else {
                assert_eq!(create.ttl_ms, -1);
            }
            fields
        }
        Request::Delete(it) | Request::Check(it) => {
            json!({"path": text(&it.path), "version": it.version})
        }
        Request::Exists(it)
        | Request::GetData(it)
        | Request::GetChildren(it)
        | Request::GetChildren2(it) => json!({"path": text(&it.path), "watch": it.watch}),
        Request::SetData(it) => {
            json!({"path": text(&it.path), "data": data(it.data), "version": it.version})
        }
        Request::SetAcl(it) => {
            json!({"path": text(&it.path), "acl": acl_json(&it.acl), "version": it.version})
        }
        Request::GetAcl { path }
        | Request::Sync { path }
        | Request::GetAllChildrenNumber { path } => json!({"path": text(path)}),
        Request::GetEphemerals { prefix } => json!({"prefixPath": text(prefix)}),
        Request::Reconfig(it) => json!({
            "joiningServers": text(&it.joining),
            "leavingServers": text(&it.leaving),
            "newMembers": text(&it.new_members),
            "curConfigId": it.config_id,
        }),
        Request::CheckWatches { path, kind } | Request::RemoveWatches { path, kind } => {
            json!({"path": text(path), "watcherType": *kind as i32})
        }
        Request::AddWatch { path, mode } => json!({"path": text(path), "mode": *mode as i32}),
        Request::SetWatches(it) | Request::SetWatches2(it) => {
            let mut fields = json!({
                "relativeZxid": hex_number(it.relative_zxid.0),
                "dataWatches": strings_json(&it.data),
                "existWatches": strings_json(&it.exist),
                "childWatches": strings_json(&it.child),
            });
            if request.op() == OpCode::SetWatches2 {
                fields["persistentWatches"] = strings_json(&it.persistent);
                fields["persistentRecursiveWatches"] = strings_json(&it.persistent_recursive);
            }
            fields
        }
        Request::Auth(it) => json!({
            "type": it.kind,
            "scheme": text(&it.scheme),
            "auth": like(oracle.get("auth"), it.auth),
        }),
        Request::Sasl { token } => json!({"token": like(oracle.get("token"), *token)}),
        Request::Multi(it) | Request::MultiRead(it) => {
            let oracles = oracle["ops"].as_array().unwrap();
            assert_eq!(it.len(), oracles.len());
            let parts = it.iter().zip(oracles).map(|(part, oracle)| {
                let mut fields = request_json(&part, oracle);
                fields["type"] = json!(part.op().name());
                fields["err"] = json!(-1);
                fields
            });
            json!({"ops": parts.collect::<Vec<_>>(), "end": [-1, -1]})
        }
        Request::Ping | Request::WhoAmI | Request::CloseSession => json!({}),
        other => panic!("{other:?}"),
    }
}

/// The fields of a response, under the names of the oracle.
fn response_json(op: OpCode, response: &Response<'_>, oracle: &Value) -> Value {
    match response {
        Response::Empty => json!({}),
        Response::Create { path } => json!({"path": path}),
        Response::CreateStat { path, stat } => json!({"path": path, "stat": stat_json(stat)}),
        Response::Stat(stat) => json!({"stat": stat_json(stat)}),
        Response::Data { data, stat } => {
            json!({"data": like(oracle.get("data"), *data), "stat": stat_json(stat)})
        }
        Response::Acl { acl, stat } => json!({"acl": acl_json(acl), "stat": stat_json(stat)}),
        Response::Strings(list) if op == OpCode::GetEphemerals => {
            json!({"ephemerals": strings_json(list)})
        }
        Response::Strings(list) => json!({"children": strings_json(list)}),
        Response::Children2 { children, stat } => {
            json!({"children": strings_json(children), "stat": stat_json(stat)})
        }
        Response::Sync { path } => json!({"path": text(path)}),
        Response::AddWatch { err } => json!({"err": err}),
        Response::Count(count) => json!({"totalNumber": count}),
        Response::WhoAmI(infos) => {
            let infos = infos.iter().map(|info| json!([info.scheme, info.user]));
            json!({"clientInfo": infos.collect::<Vec<_>>()})
        }
        Response::Sasl { token } => json!({"token": like(oracle.get("token"), *token)}),
        Response::Multi(results) => {
            let oracles = oracle["results"].as_array().unwrap();
            assert_eq!(results.len(), oracles.len());
            let results = results
                .iter()
                .zip(oracles)
                .map(|(result, oracle)| result_json(&result, oracle));
            json!({"results": results.collect::<Vec<_>>(), "end": [-1, -1]})
        }
        other => panic!("{other:?}"),
    }
}

fn result_json(result: &MultiResult<'_>, oracle: &Value) -> Value {
    match result {
        MultiResult::Create { path } => json!({"type": "create", "err": 0, "path": path}),
        MultiResult::Create2 { path, stat } => {
            json!({"type": "create2", "err": 0, "path": path, "stat": stat_json(stat)})
        }
        MultiResult::Delete => json!({"type": "delete", "err": 0}),
        MultiResult::SetData { stat } => {
            json!({"type": "setData", "err": 0, "stat": stat_json(stat)})
        }
        MultiResult::Check => json!({"type": "check", "err": 0}),
        MultiResult::GetData { data, stat } => json!({
            "type": "getData",
            "err": 0,
            "data": like(oracle.get("data"), *data),
            "stat": stat_json(stat),
        }),
        MultiResult::GetChildren { children } => {
            json!({"type": "getChildren", "err": 0, "children": strings_json(children)})
        }
        MultiResult::Error { code } => json!({"type": "error", "err": code, "code": code}),
        other => panic!("{other:?}"),
    }
}

/// A frame's bytes again, built from its parts and not from the bytes that were kept of it.
fn request_again(header: RequestHeader, request: &Request<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    match request {
        Request::Multi(multi) | Request::MultiRead(multi) => {
            let mut parts = MultiRequestBuf::new();
            multi.iter().for_each(|part| parts.push(&part));
            header.encode(&mut Writer::new(&mut out));
            out.extend(parts.finish());
        }
        _ => {
            frame::write_request(&mut out, header.xid, request);
            out.drain(..frame::PREFIX_BYTES);
        }
    }
    out
}

fn check_request(frame: &CapturedFrame) {
    let (header, body) = frame::split_request(&frame.body).unwrap();
    assert_eq!(json!(header.xid.0), frame.oracle["xid"]);
    assert_eq!(json!(header.op), frame.oracle["op"]);
    let op = header.op_code().unwrap();
    assert_eq!(op, op_named(frame.kind()));
    let request = Request::decode(op, body).unwrap();
    assert_eq!(request.op(), op);
    assert_eq!(
        &request_json(&request, frame.fields()),
        frame.fields(),
        "{}",
        frame.capture
    );
    assert_eq!(
        hex(&request_again(header, &request)),
        hex(&frame.body),
        "{}",
        frame.capture
    );
}

fn check_reply(frame: &CapturedFrame) {
    let (header, body) = frame::split_reply(&frame.body).unwrap();
    assert_eq!(json!(header.xid.0), frame.oracle["xid"]);
    assert_eq!(hex_number(header.zxid.0), frame.oracle["zxid"]);
    assert_eq!(json!(header.err), frame.oracle["err"]);
    assert_eq!(header.error_code().unwrap().to_i32(), header.err);
    let mut out = Vec::new();
    header.encode(&mut Writer::new(&mut out));

    if frame.kind() == "notification" {
        assert_eq!(header.xid, Xid::NOTIFICATION);
        let event = WatcherEvent::from_prefix(body).unwrap();
        let name = match event.kind {
            EventType::NodeCreated => "NodeCreated",
            EventType::NodeDeleted => "NodeDeleted",
            EventType::NodeDataChanged => "NodeDataChanged",
            EventType::NodeChildrenChanged => "NodeChildrenChanged",
        };
        let fields = json!({"event": name, "state": event.state, "path": event.path});
        assert_eq!(&fields, frame.fields());
        WatcherEvent::new(event.kind, &event.path).encode(&mut Writer::new(&mut out));
    } else {
        let op = op_named(frame.kind().strip_prefix("reply to ").unwrap());
        if header.err == 0 {
            let response = Response::decode(op, body).unwrap();
            assert_eq!(
                &response_json(op, &response, frame.fields()),
                frame.fields(),
                "{}",
                frame.capture
            );
            if let Response::Multi(results) = response {
                let mut again = MultiResponseBuf::new();
                results.iter().for_each(|result| again.push(&result));
                again.finish().encode(&mut Writer::new(&mut out));
            } else {
                response.encode(&mut Writer::new(&mut out));
            }
        } else {
            assert_eq!(frame.fields(), &json!({}));
            assert!(body.is_empty(), "{}", frame.capture);
        }
    }
    assert_eq!(hex(&out), hex(&frame.body), "{}", frame.capture);
}

fn check_handshake(frame: &CapturedFrame) {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    let again = if frame.to_server {
        let request = ConnectRequest::from_prefix(&frame.body).unwrap();
        put("protocolVersion", json!(request.protocol_version));
        put("lastZxidSeen", hex_number(request.last_zxid_seen.0));
        put("timeOut", json!(request.timeout_ms));
        put("sessionId", hex_number(request.session.0));
        put("passwd", json!(request.password.map(hex)));
        put("readOnly", json!(request.read_only));
        request.to_vec()
    } else {
        let response = ConnectResponse::from_prefix(&frame.body).unwrap();
        put("protocolVersion", json!(response.protocol_version));
        put("timeOut", json!(response.timeout_ms));
        put("sessionId", hex_number(response.session.0));
        put("passwd", json!(response.password.map(hex)));
        put("readOnly", json!(response.read_only));
        if response.session == SessionId::NONE {
            assert_eq!(response, ConnectResponse::refused(response.read_only));
        } else {
            assert_eq!(response.password, Some(&response.session.password()[..]));
        }
        response.to_vec()
    };
    for (name, value) in &fields {
        assert_eq!(value, &frame.oracle[name], "{} {name}", frame.capture);
    }
    assert_eq!(hex(&again), hex(&frame.body), "{}", frame.capture);
}

#[test]
fn every_captured_frame_is_what_the_oracle_says_and_encodes_to_the_same_bytes() {
    let frames = captured_frames();
    let (mut requests, mut replies, mut handshakes) = (0, 0, 0);
    for frame in &frames {
        match (frame.kind(), frame.to_server) {
            ("ConnectRequest" | "ConnectResponse", _) => {
                check_handshake(frame);
                handshakes += 1;
            }
            (_, true) => {
                check_request(frame);
                requests += 1;
            }
            (_, false) => {
                check_reply(frame);
                replies += 1;
            }
        }
    }
    // A capture that is not read would be a test that cannot fail.
    assert_eq!((requests, replies, handshakes), (223, 250, 142));
}

#[test]
fn the_captures_hold_every_operation_of_the_client_protocol() {
    let frames = captured_frames();
    let missing: Vec<&str> = OpCode::ALL
        .iter()
        .filter(|op| op.is_client_request())
        .map(|op| op.name())
        .filter(|name| !frames.iter().any(|frame| frame.kind() == *name))
        .collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn surplus_bytes_after_a_request_are_ignored() {
    for frame in captured_frames().iter().filter(|frame| frame.to_server) {
        let mut longer = frame.body.clone();
        longer.extend([0xff; 9]);
        if frame.kind() == "ConnectRequest" {
            assert_eq!(
                ConnectRequest::from_prefix(&longer).unwrap(),
                ConnectRequest::from_prefix(&frame.body).unwrap(),
            );
        } else {
            let (header, body) = frame::split_request(&frame.body).unwrap();
            let op = header.op_code().unwrap();
            let (_, longer_body) = frame::split_request(&longer).unwrap();
            assert_eq!(Request::decode(op, longer_body), Request::decode(op, body));
        }
    }
}

/// Cut anywhere, a request is refused; but setWatches2 read as setWatches, say, is not this test's business.
#[test]
fn a_request_cut_short_is_never_taken_for_a_whole_one() {
    for frame in captured_frames().iter().filter(|frame| frame.to_server) {
        for length in 0..frame.body.len() {
            let cut = &frame.body[..length];
            if frame.kind() == "ConnectRequest" {
                // Without its last byte it is the request of a client that sends no readOnly.
                let request = ConnectRequest::from_prefix(cut);
                assert_eq!(request.is_ok(), length == frame.body.len() - 1);
                assert!(request.is_err() || request.unwrap().read_only.is_none());
            } else if let Ok((header, body)) = frame::split_request(cut) {
                let op = header.op_code().unwrap();
                assert!(
                    Request::decode(op, body).is_err(),
                    "{} {length}",
                    frame.capture
                );
            } else {
                assert!(length < frame::REQUEST_BYTES_MIN);
            }
        }
    }
}

#[test]
fn the_last_header_of_a_multi_is_nine_bytes() {
    assert_eq!(
        MultiHeader::END.to_vec(),
        [0xff, 0xff, 0xff, 0xff, 1, 0xff, 0xff, 0xff, 0xff]
    );
}
