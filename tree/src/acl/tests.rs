use super::*;

const BOB: &str = "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=";

fn peer() -> IpAddr {
    "10.1.2.3".parse().unwrap()
}

fn bob() -> Identities {
    let mut identities = Identities::of_peer(peer());
    let outcome = identities.authenticate(
        &AclRules::default(),
        peer(),
        Some("digest"),
        Some(b"bob:pw"),
    );
    assert_eq!(outcome, AuthOutcome::Accepted);
    identities
}

fn list(entries: &[(i32, Option<&str>, Option<&str>)]) -> AclListBuf {
    entries
        .iter()
        .map(|&(perms, scheme, id)| AclRef {
            perms: Perms(perms),
            scheme: scheme.map(str::as_bytes),
            id: id.map(str::as_bytes),
        })
        .collect()
}

fn expand_in(
    rules: &AclRules,
    entries: &[(i32, Option<&str>, Option<&str>)],
    identities: &Identities,
) -> Result<Vec<(i32, String, String)>, ErrorCode> {
    let list = list(entries);
    let mut buffer = AclListBuf::new();
    let expanded = match expand(rules, list.as_list(), identities, usize::MAX, &mut buffer)? {
        Expanded::AsSent => list,
        Expanded::InBuffer => buffer,
    };
    let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
    Ok(expanded
        .as_list()
        .iter()
        .map(|e| (e.perms.0, text(e.scheme), text(e.id)))
        .collect())
}

fn expanded(
    entries: &[(i32, Option<&str>, Option<&str>)],
    identities: &Identities,
) -> Result<Vec<(i32, String, String)>, ErrorCode> {
    expand_in(&AclRules::default(), entries, identities)
}

/// Line 70.
#[test]
fn the_digest_of_bob() {
    let rules = AclRules::default();
    assert_eq!(rules.digest_identity(b"bob:pw"), BOB);
    assert_eq!(
        rules.digest_identity(b"bob"),
        format!("bob:{}", base64(&DigestAlgorithm::Sha1.digest(b"bob")))
    );
    let other = AclRules {
        digest: DigestAlgorithm::Md5,
        ..AclRules::default()
    };
    assert_eq!(
        other.digest_identity(b"bob:pw"),
        "bob:mFIN705h49CRioANaL/new=="
    );
}

#[test]
fn base64_pads() {
    let check = |bytes: &str, want: &str| assert_eq!(base64(bytes.as_bytes()), want);
    check("", "");
    check("f", "Zg==");
    check("fo", "Zm8=");
    check("foo", "Zm9v");
    check("foob", "Zm9vYg==");
    assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
}

/// Line 63.
#[test]
fn acls_that_cannot_be_stored() {
    let refused = |entries: &[_], code| {
        assert_eq!(expanded(entries, &bob()), Err(code), "{entries:?}");
    };
    let invalid = ErrorCode::InvalidAcl;
    refused(&[], invalid);
    let null = expand(
        &AclRules::default(),
        AclList::NULL,
        &bob(),
        usize::MAX,
        &mut AclListBuf::new(),
    );
    assert_eq!(null, Err(invalid));
    for (scheme, id) in [
        ("nonsense", "x"),
        ("world", "bob"),
        ("world", ""),
        ("digest", "bob"),
        ("digest", "bob:"),
        ("digest", ""),
        ("digest", ":"),
        ("digest", "a:b:c"),
        ("digest", "a::c"),
        ("ip", "localhost"),
        ("ip", "10.0.0.1/33"),
        ("super", ""),
        ("sasl", "bob"),
        ("x509", "CN=bob"),
        ("ensemble", "x"),
        ("", ""),
    ] {
        refused(&[(31, Some(scheme), Some(id))], invalid);
    }
    refused(&[(31, None, Some("x"))], invalid);
    refused(&[(31, None, None)], invalid);
    refused(&[(31, Some("nonsense"), None)], invalid);
    for scheme in ["world", "ip", "digest"] {
        refused(&[(31, Some(scheme), None)], ErrorCode::MarshallingError);
    }
    // The first bad entry decides.
    refused(&[(1, Some("x"), None), (1, Some("ip"), None)], invalid);
    refused(
        &[(1, Some("ip"), None), (1, Some("x"), None)],
        ErrorCode::MarshallingError,
    );
    let no_digest = AclRules {
        digest_enabled: false,
        ..AclRules::default()
    };
    for id in [Some("a:b"), None] {
        assert_eq!(
            expand_in(&no_digest, &[(1, Some("digest"), id)], &bob()),
            Err(invalid)
        );
    }
    assert_eq!(
        expand_in(&no_digest, &[(1, Some("auth"), None)], &bob()),
        Err(invalid)
    );
}

#[test]
fn acls_that_are_stored_as_sent() {
    for entry in [
        (31, Some("world"), Some("anyone")),
        (0, Some("world"), Some("anyone")),
        (-1, Some("ip"), Some("::/0")),
        (1 << 20, Some("digest"), Some(":b")),
        (1, Some("digest"), Some("a:b:")),
        (1, Some("ip"), Some("10.0.0.0/8")),
    ] {
        let want = (
            entry.0,
            entry.1.unwrap().to_owned(),
            entry.2.unwrap().to_owned(),
        );
        assert_eq!(expanded(&[entry], &Identities::NONE), Ok(vec![want]));
    }
}

/// Line 64.
#[test]
fn auth_becomes_every_authenticated_identity() {
    let rules = AclRules::default();
    for id in [None, Some(""), Some("whatever")] {
        assert_eq!(
            expanded(&[(7, Some("auth"), id)], &bob()),
            Ok(vec![(7, "digest".to_owned(), BOB.to_owned())])
        );
        let only_ip = Identities::of_peer(peer());
        assert_eq!(
            expanded(&[(7, Some("auth"), id)], &only_ip),
            Err(ErrorCode::InvalidAcl)
        );
    }
    let mut two = bob();
    let _ = two.authenticate(&rules, peer(), Some("digest"), Some(b"ann:x"));
    two.add(Identity::new("super", ""));
    let ids = expanded(&[(7, Some("auth"), None)], &two).unwrap();
    assert_eq!(ids.len(), 2, "super has no provider: {ids:?}");
    // Duplicates that expansion makes are kept.
    let entries = [(7, Some("auth"), None), (7, Some("digest"), Some(BOB))];
    assert_eq!(expanded(&entries, &bob()).unwrap().len(), 2);
}

/// Line 65.
#[test]
fn duplicates_collapse_and_order_is_kept() {
    let a = (1, Some("ip"), Some("1.1.1.1"));
    let b = (2, Some("ip"), Some("1.1.1.1"));
    let c = (1, Some("digest"), Some("a:b"));
    let got = expanded(&[c, a, b, a, c, b], &Identities::NONE).unwrap();
    let got: Vec<_> = got.iter().map(|(p, s, _)| (*p, s.as_str())).collect();
    assert_eq!(got, [(1, "digest"), (1, "ip"), (2, "ip")]);
}

#[test]
fn ill_formed_ids_are_stored_as_they_were_read() {
    let sent: AclListBuf = [AclRef {
        perms: Perms::ALL,
        scheme: Some(b"digest"),
        id: Some(b"a:\xff"),
    }]
    .into_iter()
    .collect();
    let mut buffer = AclListBuf::new();
    let outcome = expand(
        &AclRules::default(),
        sent.as_list(),
        &Identities::NONE,
        usize::MAX,
        &mut buffer,
    );
    assert_eq!(outcome, Ok(Expanded::InBuffer));
    assert_eq!(
        buffer.as_list().iter().next().unwrap().id,
        Some("a:\u{fffd}".as_bytes())
    );
}

#[test]
fn the_open_list_and_the_empty_one_let_everyone_in() {
    let rules = AclRules::default();
    for list in [AclList::OPEN, AclList::EMPTY, AclList::NULL] {
        assert!(allows(&rules, list, Perms::ADMIN, &Identities::NONE));
    }
    assert!(is_open(AclList::OPEN) && !is_open(AclList::READ_ONLY));
    assert!(allows(
        &rules,
        AclList::READ_ONLY,
        Perms::READ,
        &Identities::NONE
    ));
    assert!(!allows(
        &rules,
        AclList::READ_ONLY,
        Perms::WRITE,
        &Identities::NONE
    ));
}

/// Lines 68 and 73, and the algorithm of 8.3.
#[test]
fn who_is_let_in() {
    let rules = AclRules::default();
    let acl = list(&[
        (1, Some("ip"), Some("10.0.0.0/8")),
        (2, Some("digest"), Some(BOB)),
        (4, Some("digest"), Some("bob:other")),
        (8, Some("sasl"), Some("bob")),
        (16, Some("world"), Some("bob")),
        (32, None, Some("x")),
        (64, Some("ip"), None),
    ]);
    let can = |rules: &AclRules, identities: &Identities| -> Vec<i32> {
        (0..8)
            .map(|bit| 1 << bit)
            .filter(|&p| allows(rules, acl.as_list(), Perms(p), identities))
            .collect()
    };
    assert_eq!(can(&rules, &bob()), [1, 2]);
    assert_eq!(
        can(&rules, &Identities::of_peer("11.0.0.1".parse().unwrap())),
        [0; 0]
    );
    let mapped = Identities::of_peer("::ffff:10.9.9.9".parse().unwrap());
    assert_eq!(can(&rules, &mapped), [1], "a mapped peer is an IPv4 peer");
    assert!(
        allows(&rules, acl.as_list(), Perms(2 | 16), &bob()),
        "one common bit is enough"
    );
    let mut root = Identities::of_peer(peer());
    root.add(Identity::new("super", ""));
    assert_eq!(can(&rules, &root).len(), 8);
    let skip = AclRules {
        skip_acl: true,
        ..AclRules::default()
    };
    assert_eq!(can(&skip, &Identities::NONE).len(), 8);
    assert_eq!(
        expand_in(&skip, &[(1, Some("world"), Some("x"))], &bob()),
        Err(ErrorCode::InvalidAcl)
    );
    let off = AclRules {
        digest_enabled: false,
        ..AclRules::default()
    };
    assert_eq!(can(&off, &bob()), [1]);
    let mut sasl = Identities::NONE;
    sasl.add(Identity::new("sasl", "bob"));
    assert_eq!(
        can(&rules, &sasl),
        [0; 0],
        "without its provider the scheme matches nothing"
    );
}

/// Line 69, as far as one connection is concerned.
#[test]
fn auth_packets() {
    let rules = AclRules {
        super_digest: Some(
            "super:".to_owned() + &base64(&DigestAlgorithm::Sha1.digest(b"super:secret")),
        ),
        ..AclRules::default()
    };
    let mut identities = Identities::of_peer(peer());
    for (scheme, auth) in [
        (Some("nonsense"), Some(&b"x"[..])),
        (None, Some(b"x")),
        (Some("digest"), None),
        (Some("sasl"), Some(b"x")),
        (Some("x509"), Some(b"")),
        (Some("super"), Some(b"")),
        (Some("world"), Some(b"anyone")),
        (Some("auth"), Some(b"")),
    ] {
        let outcome = identities.authenticate(&rules, peer(), scheme, auth);
        assert_eq!(outcome, AuthOutcome::Failed, "{scheme:?}");
    }
    let mut accept = |scheme, auth| {
        let outcome = identities.authenticate(&rules, peer(), Some(scheme), auth);
        assert_eq!(outcome, AuthOutcome::Accepted);
        identities
            .iter()
            .map(|i| format!("{i:?}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(accept("ip", None), ["ip:10.1.2.3"]);
    assert_eq!(
        accept("digest", Some(&b"bob:pw"[..])),
        ["ip:10.1.2.3", "digest:bob"]
    );
    assert_eq!(accept("digest", Some(&b"bob:pw"[..])).len(), 2);
    assert_eq!(
        accept("digest", Some(&b"super:secret"[..])),
        ["ip:10.1.2.3", "digest:bob", "super:", "digest:super"]
    );
    assert!(identities.is_super());
    while identities.iter().count() < IDENTITIES_MAX {
        let user = format!("u{}:x", identities.iter().count());
        let _ = identities.authenticate(&rules, peer(), Some("digest"), Some(user.as_bytes()));
    }
    let full = identities.clone();
    let more = identities.authenticate(&rules, peer(), Some("digest"), Some(b"one:more"));
    assert_eq!(more, AuthOutcome::Failed);
    // What a client says again, as all do on every new connection, takes no room.
    for (scheme, auth) in [
        ("ip", &b""[..]),
        ("digest", b"bob:pw"),
        ("digest", b"super:secret"),
    ] {
        let again = identities.authenticate(&rules, peer(), Some(scheme), Some(auth));
        assert_eq!(again, AuthOutcome::Accepted, "{scheme}");
    }
    assert_eq!(identities, full);
    // Super is two identities: half of it is none.
    let mut nearly = Identities {
        list: full.list[4..].to_vec(),
        is_super: false,
    };
    for n in 0..3 {
        nearly.add(Identity::new("digest", format!("n{n}")));
    }
    let refused = nearly.authenticate(&rules, peer(), Some("digest"), Some(b"super:secret"));
    assert_eq!(refused, AuthOutcome::Failed);
    assert_eq!(
        (nearly.list.len(), nearly.is_super),
        (IDENTITIES_MAX - 1, false)
    );
}

/// Line 66, the part about what is shown.
#[test]
fn hashes_are_cut_off() {
    let acl = list(&[
        (31, Some("digest"), Some(BOB)),
        (1, Some("digest"), Some("a:b:c")),
        (1, Some("digest"), Some("plain")),
        (1, Some("ip"), Some("::1")),
        (1, Some("world"), Some("anyone")),
    ]);
    let mut buffer = AclListBuf::new();
    redact(acl.as_list(), &mut buffer);
    let ids: Vec<_> = buffer
        .as_list()
        .iter()
        .map(|e| e.id.unwrap().to_vec())
        .collect();
    let want: [&[u8]; 5] = [b"bob:x", b"a:x", b"plain", b"::1", b"anyone"];
    assert_eq!(ids, want);
}

/// An ACL imported from Apache's files names a character beyond U+FFFF by two surrogates.
#[test]
fn stored_surrogates_match_the_character() {
    let text = "a\u{1f600}\u{e9}:x";
    let stored = surrogates_apart(text);
    assert_eq!(&stored[..7], b"a\xed\xa0\xbd\xed\xb8\x80");
    assert!(same_text(text, &stored) && same_text(text, text.as_bytes()));
    assert!(!same_text("a\u{1f601}\u{e9}:x", &stored));
    assert!(!same_text("\u{d7ff}", b"\xed\x9f\xbe"));
}

/// Debug output of identities and rules ends up in logs.
#[test]
fn secrets_are_not_printed() {
    let rules = AclRules {
        super_digest: Some(BOB.to_owned()),
        ..AclRules::default()
    };
    let text = format!("{:?} {:?}", bob(), rules);
    assert!(!text.contains("ikIa"), "{text}");
}

#[test]
fn no_list_becomes_longer_than_it_may() {
    let rules = AclRules::default();
    let mut identities = bob();
    for n in 0..100 {
        let auth = format!("user{n}:pw");
        let ip = [127, 0, 0, 1].into();
        let outcome = identities.authenticate(&rules, ip, Some("digest"), Some(auth.as_bytes()));
        assert_eq!(outcome, AuthOutcome::Accepted);
    }
    let sent = list(&[(31, Some("auth"), Some(""))]);
    let mut buffer = AclListBuf::new();
    let mut expand_to = |bytes_max| {
        let outcome = expand(&rules, sent.as_list(), &identities, bytes_max, &mut buffer);
        (outcome, buffer.as_list().as_bytes().len())
    };
    let (outcome, whole) = expand_to(usize::MAX);
    assert_eq!(outcome, Ok(Expanded::InBuffer));
    assert!(whole > 4000, "{whole}");
    assert_eq!(expand_to(whole).0, Ok(Expanded::InBuffer));
    let too_long = Err(ErrorCode::MarshallingError);
    assert_eq!(expand_to(whole - 1).0, too_long);
    let (outcome, made) = expand_to(100);
    assert!(outcome == too_long && made < 200, "it stops early: {made}");
}
