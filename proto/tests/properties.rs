//! Whatever value a record may have, encoding and decoding give it back.

use ironkeeper_proto::apache::{
    AclTableEntry, FileHeader, LogEntries, LogStop, SessionEntry, SnapshotNode, encode_entry,
};
use ironkeeper_proto::txn::{
    CheckTxn, CreateContainerTxn, CreateTtlTxn, CreateTxn, SetAclTxn, SetDataTxn,
};
use ironkeeper_proto::{
    AclListBuf, AclRef, AddWatchMode, AuthPacket, ClientInfo, ConnectRequest, ConnectResponse,
    CreateRequest, EventType, Frames, MultiHeader, MultiRequestBuf, MultiResponseBuf, MultiResult,
    MultiTxnBuf, OpCode, PathList, PathVersion, PathWatch, Perms, Reader, Reconfig, Record,
    ReplyHeader, Request, RequestHeader, Response, SessionId, SetAcl, SetData, SetWatches, Stat,
    StatPersisted, StringListBuf, Text, Txn, TxnDigest, TxnHeader, WatcherEvent, WatcherType,
    Writer, Xid, Zxid, decode_record, encode_record, frame,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::fmt::Debug;

/// Values of every sort that fields have; records are made of them.
#[derive(Clone, Debug)]
struct Parts {
    texts: [Option<String>; 3],
    buffer: Option<Vec<u8>>,
    acl: AclListBuf,
    lists: [StringListBuf; 5],
    ints: [i32; 8],
    longs: [i64; 8],
    flag: bool,
    choice: usize,
}

fn text() -> impl Strategy<Value = String> {
    let characters = prop_oneof![
        8 => proptest::char::range('\u{20}', '\u{7e}'),
        2 => Just('/'),
        1 => any::<char>(),
    ];
    vec(characters, 0..12).prop_map(|characters| characters.into_iter().collect())
}

fn acl() -> impl Strategy<Value = AclListBuf> {
    let bytes = || option::of(vec(any::<u8>(), 0..9));
    vec((any::<i32>(), bytes(), bytes()), 0..4).prop_map(|entries| {
        entries
            .iter()
            .map(|(perms, scheme, id)| AclRef {
                perms: Perms(*perms),
                scheme: scheme.as_deref(),
                id: id.as_deref(),
            })
            .collect()
    })
}

fn parts() -> impl Strategy<Value = Parts> {
    let list = || vec(text(), 0..4).prop_map(|strings| strings.iter().collect());
    let lists = [list(), list(), list(), list(), list()];
    let texts = [option::of(text()), option::of(text()), option::of(text())];
    (
        texts,
        option::of(vec(any::<u8>(), 0..40)),
        acl(),
        lists,
        any::<[i32; 8]>(),
        any::<[i64; 8]>(),
        any::<bool>(),
        any::<usize>(),
    )
        .prop_map(
            |(texts, buffer, acl, lists, ints, longs, flag, choice)| Parts {
                texts,
                buffer,
                acl,
                lists,
                ints,
                longs,
                flag,
                choice,
            },
        )
}

impl Parts {
    fn text(&self, index: usize) -> Text<'_> {
        self.texts[index].as_deref().map(Into::into)
    }

    fn path(&self) -> &str {
        self.texts[0].as_deref().unwrap_or("/a")
    }

    fn buffer(&self) -> Option<&[u8]> {
        self.buffer.as_deref()
    }

    fn stat(&self) -> Stat {
        let [czxid, mzxid, ctime, mtime, ephemeral_owner, pzxid, ..] = self.longs;
        let [version, cversion, aversion, data_length, num_children, ..] = self.ints;
        Stat {
            czxid: Zxid(czxid),
            mzxid: Zxid(mzxid),
            ctime,
            mtime,
            version,
            cversion,
            aversion,
            ephemeral_owner,
            data_length,
            num_children,
            pzxid: Zxid(pzxid),
        }
    }

    fn stat_persisted(&self) -> StatPersisted {
        let stat = self.stat();
        StatPersisted {
            czxid: stat.czxid,
            mzxid: stat.mzxid,
            ctime: stat.ctime,
            mtime: stat.mtime,
            version: stat.version,
            cversion: stat.cversion,
            aversion: stat.aversion,
            ephemeral_owner: stat.ephemeral_owner,
            pzxid: stat.pzxid,
        }
    }

    fn pick<T: Copy>(&self, choices: &[T]) -> T {
        choices[self.choice % choices.len()]
    }

    /// One of every request that has no parts of its own.
    fn requests(&self) -> Vec<Request<'_>> {
        let create = |ttl_ms| CreateRequest {
            path: self.text(0),
            data: self.buffer(),
            acl: self.acl.as_list(),
            flags: self.ints[0],
            ttl_ms,
        };
        let watch = || PathWatch {
            path: self.text(0),
            watch: self.flag,
        };
        let version = || PathVersion {
            path: self.text(0),
            version: self.ints[0],
        };
        let kind = self.pick(&[
            WatcherType::Children,
            WatcherType::Data,
            WatcherType::Any,
            WatcherType::Persistent,
            WatcherType::PersistentRecursive,
        ]);
        let mode = self.pick(&[AddWatchMode::Persistent, AddWatchMode::PersistentRecursive]);
        let watches = SetWatches {
            relative_zxid: Zxid(self.longs[0]),
            data: self.lists[0].as_list(),
            exist: self.lists[1].as_list(),
            child: self.lists[2].as_list(),
            ..SetWatches::default()
        };
        let all_watches = SetWatches {
            persistent: self.lists[3].as_list(),
            persistent_recursive: self.lists[4].as_list(),
            ..watches
        };
        vec![
            Request::Create(create(-1)),
            Request::Create2(create(-1)),
            Request::CreateContainer(create(-1)),
            Request::CreateTtl(create(self.longs[0])),
            Request::Delete(version()),
            Request::Exists(watch()),
            Request::GetData(watch()),
            Request::SetData(SetData {
                path: self.text(0),
                data: self.buffer(),
                version: self.ints[0],
            }),
            Request::GetAcl { path: self.text(0) },
            Request::SetAcl(SetAcl {
                path: self.text(0),
                acl: self.acl.as_list(),
                version: self.ints[0],
            }),
            Request::GetChildren(watch()),
            Request::GetChildren2(watch()),
            Request::Sync { path: self.text(0) },
            Request::Ping,
            Request::Check(version()),
            Request::Reconfig(Reconfig {
                joining: self.text(0),
                leaving: self.text(1),
                new_members: self.text(2),
                config_id: self.longs[0],
            }),
            Request::CheckWatches {
                path: self.text(0),
                kind,
            },
            Request::RemoveWatches {
                path: self.text(0),
                kind,
            },
            Request::AddWatch {
                path: self.text(0),
                mode,
            },
            Request::SetWatches(watches),
            Request::SetWatches2(all_watches),
            Request::GetEphemerals {
                prefix: self.text(0),
            },
            Request::GetAllChildrenNumber { path: self.text(0) },
            Request::WhoAmI,
            Request::Auth(AuthPacket {
                kind: self.ints[0],
                scheme: self.text(0),
                auth: self.buffer(),
            }),
            Request::Sasl {
                token: self.buffer(),
            },
            Request::CloseSession,
        ]
    }

    /// What a multi may hold, if its paths, flags and ACLs are as they must be.
    fn multi_parts(&self) -> Vec<Request<'_>> {
        let path = || Some(self.path().into());
        let create = |flags| CreateRequest {
            path: path(),
            data: self.buffer(),
            acl: self.acl.as_list(),
            flags,
            ttl_ms: -1,
        };
        let flags = self.pick(&[0, 1, 2, 3, 4]);
        vec![
            Request::Create(create(flags)),
            Request::Create2(create(flags)),
            Request::CreateContainer(create(flags)),
            Request::CreateTtl(CreateRequest {
                ttl_ms: self.longs[0],
                ..create(self.ints[1])
            }),
            Request::Delete(PathVersion {
                path: path(),
                version: self.ints[0],
            }),
            Request::Check(PathVersion {
                path: path(),
                version: self.ints[0],
            }),
            Request::SetData(SetData {
                path: path(),
                data: self.buffer(),
                version: self.ints[0],
            }),
        ]
    }

    fn multi_reads(&self) -> Vec<Request<'_>> {
        let read = || PathWatch {
            path: Some(self.path().into()),
            watch: self.flag,
        };
        vec![Request::GetData(read()), Request::GetChildren(read())]
    }

    /// One of every response, with an operation that it answers.
    fn responses(&self) -> Vec<(OpCode, Response<'_>)> {
        let path = || self.path().into();
        let stat = self.stat();
        let info = ClientInfo {
            scheme: path(),
            user: path(),
        };
        vec![
            (OpCode::Delete, Response::Empty),
            (OpCode::Create, Response::Create { path: path() }),
            (OpCode::Create2, Response::CreateStat { path: path(), stat }),
            (
                OpCode::CreateContainer,
                Response::CreateStat { path: path(), stat },
            ),
            (
                OpCode::CreateTtl,
                Response::CreateStat { path: path(), stat },
            ),
            (OpCode::Exists, Response::Stat(stat)),
            (OpCode::SetData, Response::Stat(stat)),
            (
                OpCode::GetData,
                Response::Data {
                    data: self.buffer(),
                    stat,
                },
            ),
            (
                OpCode::Reconfig,
                Response::Data {
                    data: self.buffer(),
                    stat,
                },
            ),
            (
                OpCode::GetAcl,
                Response::Acl {
                    acl: self.acl.as_list(),
                    stat,
                },
            ),
            (
                OpCode::GetChildren,
                Response::Strings(self.lists[0].as_list()),
            ),
            (
                OpCode::GetEphemerals,
                Response::Strings(self.lists[0].as_list()),
            ),
            (
                OpCode::GetChildren2,
                Response::Children2 {
                    children: self.lists[0].as_list(),
                    stat,
                },
            ),
            (OpCode::Sync, Response::Sync { path: self.text(0) }),
            (OpCode::AddWatch, Response::AddWatch { err: self.ints[0] }),
            (OpCode::GetAllChildrenNumber, Response::Count(self.ints[0])),
            (
                OpCode::WhoAmI,
                Response::WhoAmI(vec![info; self.choice % 4]),
            ),
            (
                OpCode::Sasl,
                Response::Sasl {
                    token: self.buffer(),
                },
            ),
        ]
    }

    fn results(&self) -> Vec<MultiResult<'_>> {
        let path = || self.path().into();
        let stat = self.stat();
        vec![
            MultiResult::Create { path: path() },
            MultiResult::Create2 { path: path(), stat },
            MultiResult::Delete,
            MultiResult::SetData { stat },
            MultiResult::Check,
            MultiResult::GetData {
                data: self.buffer(),
                stat,
            },
            MultiResult::GetChildren {
                children: self.lists[0].as_list(),
            },
            MultiResult::Error { code: self.ints[0] },
        ]
    }

    /// What a multi txn may hold.
    fn txn_parts(&self) -> Vec<Txn<'_>> {
        let create = CreateTxn {
            path: self.path(),
            data: self.buffer(),
            acl: self.acl.as_list(),
            ephemeral: self.flag,
            parent_cversion: Some(self.ints[0]),
        };
        let set = SetDataTxn {
            path: self.path(),
            data: self.buffer(),
            version: self.ints[0],
        };
        vec![
            Txn::Create(create),
            Txn::Create2(create),
            Txn::CreateContainer(CreateContainerTxn {
                path: self.path(),
                data: self.buffer(),
                acl: self.acl.as_list(),
                parent_cversion: self.ints[0],
            }),
            Txn::CreateTtl(CreateTtlTxn {
                path: self.path(),
                data: self.buffer(),
                acl: self.acl.as_list(),
                parent_cversion: self.ints[0],
                ttl_ms: self.longs[0],
            }),
            Txn::Delete { path: self.path() },
            Txn::DeleteContainer { path: self.path() },
            Txn::SetData(set),
            Txn::Check(CheckTxn {
                path: self.path(),
                version: self.ints[0],
            }),
            Txn::Error { code: self.ints[0] },
        ]
    }

    /// What a record may hold besides [`Parts::txn_parts`] and multis.
    fn lone_txns<'a>(&'a self, paths: &'a StringListBuf) -> Vec<Txn<'a>> {
        let set = SetDataTxn {
            path: self.path(),
            data: self.buffer(),
            version: self.ints[0],
        };
        vec![
            Txn::Reconfig(set),
            Txn::SetAcl(SetAclTxn {
                path: self.path(),
                acl: self.acl.as_list(),
                version: self.ints[0],
            }),
            Txn::CreateSession {
                timeout_ms: self.ints[0],
            },
            Txn::CloseSession { paths: None },
            Txn::CloseSession {
                paths: Some(PathList::EMPTY),
            },
            Txn::CloseSession {
                paths: Some(PathList::from_buf(paths)),
            },
        ]
    }
}

fn round_trip<'a, R: Record<'a> + PartialEq + Debug>(record: &R, bytes: &'a mut Vec<u8>) {
    bytes.clear();
    record.encode(&mut Writer::new(bytes));
    let bytes: &'a [u8] = bytes;
    let mut reader = Reader::new(bytes);
    assert_eq!(&R::decode(&mut reader).unwrap(), record);
    reader.finish().unwrap();
}

fn round_trip_record(txn: &Txn<'_>, parts: &Parts) {
    let header = TxnHeader {
        session: SessionId(parts.longs[0]),
        cxid: Xid(parts.ints[0]),
        zxid: Zxid(parts.longs[1]),
        time_ms: parts.longs[2],
        kind: txn.kind(),
    };
    // Apache knows version 2 alone, and a body of twelve bytes depends on it.
    let digest = TxnDigest {
        version: 2,
        tree_digest: parts.longs[3],
    };
    for digest in [None, Some(digest)] {
        let mut bytes = Vec::new();
        encode_record(&mut bytes, &header, txn, digest.as_ref());
        assert_eq!(decode_record(&bytes), Ok((header, *txn, digest)));
        assert_eq!(
            ironkeeper_proto::txn::record_zxid(&bytes),
            Some(header.zxid)
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests(parts in parts(), xid: i32) {
        for request in parts.requests() {
            let mut out = Vec::new();
            frame::write_request(&mut out, Xid(xid), &request);
            let mut frames = Frames::new(&out, out.len());
            let body = frames.next().unwrap().unwrap();
            prop_assert!(frames.next().is_none() && frames.rest().is_empty());
            let (header, body) = frame::split_request(body).unwrap();
            prop_assert_eq!(header, RequestHeader { xid: Xid(xid), op: request.op().to_i32() });
            let mut reader = Reader::new(body);
            prop_assert_eq!(&Request::read(request.op(), &mut reader).unwrap(), &request);
            prop_assert!(reader.finish().is_ok());
        }
    }

    #[test]
    fn multi_requests(many in vec(parts(), 0..4)) {
        let writes: Vec<_> = many.iter().flat_map(Parts::multi_parts).collect();
        let reads: Vec<_> = many.iter().flat_map(Parts::multi_reads).collect();
        for (op, expected) in [(OpCode::Multi, writes), (OpCode::MultiRead, reads)] {
            let mut multi = MultiRequestBuf::new();
            expected.iter().for_each(|part| multi.push(part));
            let body = multi.finish();
            let request = Request::decode(op, &body).unwrap();
            let (Request::Multi(multi) | Request::MultiRead(multi)) = &request else { panic!() };
            prop_assert_eq!(multi.len(), expected.len());
            prop_assert_eq!(multi.iter().collect::<Vec<_>>(), expected);
            let mut again = Vec::new();
            request.encode(&mut Writer::new(&mut again));
            prop_assert_eq!(again, body);
        }
    }

    #[test]
    fn responses(parts in parts(), xid: i32, zxid: i64, err: i32) {
        let expected_header = ReplyHeader { xid: Xid(xid), zxid: Zxid(zxid), err };
        for (op, response) in parts.responses() {
            let mut out = Vec::new();
            frame::write_reply(&mut out, &expected_header, &response);
            let body = Frames::new(&out, out.len()).next().unwrap().unwrap();
            let (header, body) = frame::split_reply(body).unwrap();
            prop_assert_eq!(header, expected_header);
            let mut reader = Reader::new(body);
            prop_assert_eq!(&Response::read(op, &mut reader).unwrap(), &response);
            prop_assert!(reader.finish().is_ok());
        }
    }

    #[test]
    fn multi_responses(many in vec(parts(), 0..4)) {
        let expected: Vec<_> = many.iter().flat_map(Parts::results).collect();
        let mut results = MultiResponseBuf::new();
        expected.iter().for_each(|result| results.push(result));
        let mut bytes = Vec::new();
        results.finish().encode(&mut Writer::new(&mut bytes));
        for op in [OpCode::Multi, OpCode::MultiRead] {
            let Response::Multi(decoded) = Response::decode(op, &bytes).unwrap() else { panic!() };
            prop_assert_eq!(decoded.len(), expected.len());
            prop_assert_eq!(&decoded.iter().collect::<Vec<_>>(), &expected);
        }
    }

    #[test]
    fn txns(many in vec(parts(), 1..4)) {
        let first = &many[0];
        let paths: StringListBuf = many.iter().map(Parts::path).collect();
        let mut multi = MultiTxnBuf::new();
        round_trip_record(&Txn::Multi(multi.as_txn()), first);
        for parts in &many {
            for part in parts.txn_parts() {
                multi.push(&part);
                if !matches!(part, Txn::Check(_)) {
                    round_trip_record(&part, first);
                }
            }
        }
        round_trip_record(&Txn::Multi(multi.as_txn()), first);
        let expected: Vec<_> = many.iter().flat_map(Parts::txn_parts).collect();
        prop_assert_eq!(multi.as_txn().iter().collect::<Vec<_>>(), expected);
        // Two empty paths are eight bytes that look like a digest; paths are never empty.
        if many.iter().all(|parts| !parts.path().is_empty()) {
            first.lone_txns(&paths).iter().for_each(|txn| round_trip_record(txn, first));
        }
    }

    #[test]
    fn a_create_from_before_parent_cversions(parts in parts()) {
        let create = CreateTxn {
            path: parts.path(),
            data: parts.buffer(),
            acl: parts.acl.as_list(),
            ephemeral: parts.flag,
            parent_cversion: None,
        };
        let header = TxnHeader {
            session: SessionId(1),
            cxid: Xid(1),
            zxid: Zxid(1),
            time_ms: 1,
            kind: OpCode::Create,
        };
        let mut bytes = Vec::new();
        encode_record(&mut bytes, &header, &Txn::Create(create), None);
        prop_assert_eq!(decode_record(&bytes), Ok((header, Txn::Create(create), None)));
        let header = TxnHeader { kind: OpCode::Create2, ..header };
        bytes.clear();
        encode_record(&mut bytes, &header, &Txn::Create2(create), None);
        prop_assert!(decode_record(&bytes).is_err());
    }

    #[test]
    fn records(parts in parts(), read_only: Option<bool>) {
        round_trip(&parts.stat(), &mut Vec::new());
        round_trip(&parts.stat_persisted(), &mut Vec::new());
        round_trip(&parts.acl.as_list(), &mut Vec::new());
        round_trip(&parts.lists[0].as_list(), &mut Vec::new());
        round_trip(&PathList::from_buf(&parts.lists[0]), &mut Vec::new());
        let kind = parts.ints[0];
        round_trip(&MultiHeader { kind, done: parts.flag, err: parts.ints[1] }, &mut Vec::new());
        let event = EventType::from_i32(1 + i32::from(parts.flag)).unwrap();
        round_trip(
            &WatcherEvent { kind: event, state: kind, path: parts.path().into() },
            &mut Vec::new(),
        );
        round_trip(
            &ConnectRequest {
                protocol_version: kind,
                last_zxid_seen: Zxid(parts.longs[0]),
                timeout_ms: parts.ints[1],
                session: SessionId(parts.longs[1]),
                password: parts.buffer(),
                read_only,
            },
            &mut Vec::new(),
        );
        round_trip(
            &ConnectResponse {
                protocol_version: kind,
                timeout_ms: parts.ints[1],
                session: SessionId(parts.longs[1]),
                password: parts.buffer(),
                read_only,
            },
            &mut Vec::new(),
        );
        round_trip(
            &FileHeader { magic: kind, version: parts.ints[1], dbid: parts.longs[0] },
            &mut Vec::new(),
        );
        round_trip(
            &SessionEntry { session: SessionId(parts.longs[0]), timeout_ms: kind },
            &mut Vec::new(),
        );
        round_trip(
            &AclTableEntry { id: parts.longs[0], acl: parts.acl.as_list() },
            &mut Vec::new(),
        );
        round_trip(
            &SnapshotNode {
                path: parts.path(),
                data: parts.buffer(),
                acl_id: parts.longs[0],
                stat: parts.stat_persisted(),
            },
            &mut Vec::new(),
        );
    }

    #[test]
    fn logs(payloads in vec(vec(any::<u8>(), 1..50), 0..6), padding in 0..40_usize) {
        let mut log = FileHeader::LOG.to_vec();
        payloads.iter().for_each(|payload| encode_entry(&mut log, payload));
        log.resize(log.len() + padding, 0);
        let mut entries = LogEntries::new(&log, FileHeader::ENCODED_BYTES);
        for payload in &payloads {
            let entry = entries.next().unwrap().unwrap();
            prop_assert_eq!(entry.payload, payload);
            prop_assert!(entry.is_checksum_right() && entry.is_finished());
        }
        let expected = match padding {
            0 => LogStop::EndOfFile,
            1..12 => LogStop::Short { missing: 12 - padding },
            _ => LogStop::Padding,
        };
        prop_assert_eq!(entries.next(), Some(Err(expected)));
    }

    /// A buffer that is reused holds nothing of what it held before.
    #[test]
    fn cleared_lists_are_like_new(first in acl(), second in acl(), strings in vec(text(), 0..5)) {
        let mut reused = first;
        reused.clear();
        second.as_list().iter().for_each(|entry| reused.push(entry));
        prop_assert_eq!(&reused, &second);
        let mut list: StringListBuf = ["x"; 3].into_iter().collect();
        list.clear();
        strings.iter().for_each(|string| list.push(string));
        let decoded: Vec<_> =
            list.as_list().iter().map(|string| string.unwrap().into_owned()).collect();
        prop_assert_eq!(decoded, strings);
    }

    /// The fast check of paths agrees with splitting into components.
    #[test]
    fn joined_paths_come_apart(names in vec("[a-z.]{1,6}", 1..5)) {
        let path: String = names.iter().flat_map(|name| ["/", name]).collect();
        let valid = names.iter().all(|name| name != "." && name != "..");
        prop_assert_eq!(ironkeeper_proto::path::is_valid(&path), valid);
        prop_assert_eq!(ironkeeper_proto::path::basename(&path), names.last().unwrap());
        let parent = ironkeeper_proto::path::parent(&path).unwrap();
        let above: String = names[..names.len() - 1].iter().flat_map(|name| ["/", name]).collect();
        prop_assert_eq!(parent, if above.is_empty() { "/" } else { &above });
    }
}
