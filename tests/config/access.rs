//! Keys of authentication, and of nodes that end by themselves.

use std::time::Duration;

use ironkeeper_tree::acl::DigestAlgorithm;

use crate::{fault_of, options, warnings};

#[test]
fn enforced_authentication() {
    let schemes = |list: &str| {
        options(&format!(
            "enforce.auth.enabled=true\nenforce.auth.schemes={list}"
        ))
        .enforced_schemes
    };
    assert_eq!(schemes("digest"), ["digest"]);
    assert_eq!(schemes(" ip , digest,,"), ["ip", "digest"]);
    let fault = |more: &str| fault_of(&format!("enforce.auth.enabled=true\n{more}"));
    for nothing in ["", "enforce.auth.schemes=,", "enforce.auth.schemes=,,"] {
        assert!(fault(nothing).contains("must be  configured"), "{nothing}");
    }
    for (list, scheme) in [
        ("", ""),
        ("digest,,ip", ""),
        ("sasl", "sasl"),
        ("digest,x509", "x509"),
        ("Digest", "Digest"),
        ("super", "super"),
    ] {
        let said = fault(&format!("enforce.auth.schemes={list}"));
        let expected = format!("Authentication scheme {scheme} is not available.");
        assert!(said.starts_with(&expected), "{list}: {said}");
    }
    let off = fault("enforce.auth.schemes=digest\nDigestAuthenticationProvider.enabled=false");
    assert!(off.contains("digest is not available"), "{off}");
    let alone = "enforce.auth.schemes=sasl";
    assert!(options(alone).enforced_schemes.is_empty());
    assert!(warnings(alone).contains("every client is served"));
    options("enforce.auth.enabled=false\nenforce.auth.schemes=sasl");
}

const ENSEMBLE: &str =
    "authProvider.7=org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider\n";

#[test]
fn names_of_the_ensemble() {
    let names = |list: &str| {
        let auth = options(&format!("{ENSEMBLE}ensembleAuthName={list}")).ensemble_auth;
        auth.unwrap().names.unwrap()
    };
    assert_eq!(names("blue"), ["blue"]);
    assert_eq!(
        names("blue, green sea\t,,Black "),
        ["blue", "green sea", "", "Black"]
    );
    assert_eq!(names(""), [""]);
    assert_eq!(options(ENSEMBLE).ensemble_auth.unwrap().names, None);
    // Apache would start, and turn everybody away.
    let enforced = "enforce.auth.enabled=true\nenforce.auth.schemes=digest,ensemble\n";
    let said = fault_of(&format!("{ENSEMBLE}{enforced}"));
    assert!(said.starts_with("Authentication scheme ensemble is not available."));
    let alone = warnings("ensembleAuthName=blue");
    assert!(
        alone.contains("without authProvider.1=org.apache."),
        "{alone}"
    );
    assert_eq!(options("ensembleAuthName=blue").ensemble_auth, None);
}

#[test]
fn providers_that_are_not_there_are_named() {
    let provider = |class: &str| format!("authProvider.1={class}\n");
    let of_apache = |name: &str| {
        provider(&format!(
            "org.apache.zookeeper.server.auth.{name}AuthenticationProvider"
        ))
    };
    for name in ["IP", "Digest", "Ensemble"] {
        assert!(
            !warnings(&of_apache(name)).contains("Problems loading"),
            "{name}"
        );
    }
    let off = format!(
        "{}DigestAuthenticationProvider.enabled=false",
        of_apache("Digest")
    );
    assert!(!options(&off).digest_auth.enabled);
    for (text, why) in [
        (off, "enabled=false"),
        (of_apache("SASL"), "SASL is not built yet"),
        (of_apache("X509"), "TLS is not built yet"),
        (of_apache("Key"), "built in"),
        (provider("org.example.Nothing"), "built in"),
        (provider("EnsembleAuthenticationProvider"), "built in"),
    ] {
        assert_eq!(options(&text).ensemble_auth, None);
        let said = warnings(&text);
        assert!(
            said.contains("Problems loading ") && said.contains(why),
            "{said}"
        );
    }
}

#[test]
fn algorithms_of_the_digest_scheme() {
    let with = |name: &str| {
        options(&format!("DigestAuthenticationProvider.digestAlg={name}"))
            .digest_auth
            .algorithm
    };
    assert_eq!(with("sha1"), DigestAlgorithm::Sha1);
    assert_eq!(with("SHA-512/256"), DigestAlgorithm::Sha512_256);
    assert_eq!(with("sha3-256"), DigestAlgorithm::Sha3_256);
    let error = fault_of("DigestAuthenticationProvider.digestAlg=SHA2");
    assert!(
        error.contains("don't support this ACL digest algorithm: SHA2"),
        "{error}"
    );
}

#[test]
fn lifetimes_of_nodes() {
    let plain = options("").reaping;
    assert_eq!(plain.check_interval, Duration::from_secs(60));
    assert_eq!((plain.per_minute_max, plain.never_used_max_ms), (10_000, 0));
    for interval in ["0", "-1"] {
        let error = fault_of(&format!("znode.container.checkIntervalMs={interval}"));
        assert!(error.contains("must be above 0"), "{error}");
    }
    assert_eq!(
        options("znode.container.maxPerMinute=-5")
            .reaping
            .per_minute_max,
        -5
    );
    assert!(warnings("znode.container.maxPerMinute=0").contains("is ever removed"));
    let dir = tempfile::tempdir().unwrap();
    let more = format!(
        "dataDir={}\nextendedTypesEnabled=true\n",
        dir.path().display()
    );
    std::fs::write(dir.path().join("myid"), "254\n").unwrap();
    assert!(options(&more).extended_types);
    std::fs::write(dir.path().join("myid"), "255\n").unwrap();
    assert!(fault_of(&more).contains("Cannot be larger than 254"));
}
