//! Who a client has to be: providers of schemes, the digest scheme and enforced authentication.

use ironkeeper_tree::acl::DigestAlgorithm;

use super::error::ConfigError;
use super::keys::{NO_SASL, NO_TLS};
use super::options::{EnsembleAuth, Options};
use super::reader::Reader;

pub(super) fn resolve(reader: &mut Reader<'_>, options: &mut Options) -> Result<(), ConfigError> {
    digest(reader, options)?;
    providers(reader, options);
    ensemble(reader, options);
    enforced(reader, options)
}

/// `authProvider.*`: of Apache's classes the one for the scheme `ensemble` has to be asked for; `ip` and `digest`
/// are there without.
fn providers(reader: &mut Reader<'_>, options: &mut Options) {
    const PACKAGE: &str = "org.apache.zookeeper.server.auth.";
    for (name, setting) in reader.settings.iter() {
        if !name.starts_with("authProvider.") {
            continue;
        }
        let class = setting.value.as_str();
        let why = match class.strip_prefix(PACKAGE) {
            Some("EnsembleAuthenticationProvider") => {
                options.ensemble_auth = Some(EnsembleAuth::default());
                continue;
            }
            Some("IPAuthenticationProvider") => continue,
            Some("DigestAuthenticationProvider") if options.digest_auth.enabled => continue,
            Some("DigestAuthenticationProvider") => {
                "DigestAuthenticationProvider.enabled=false switches it off"
            }
            Some("SASLAuthenticationProvider") => NO_SASL,
            Some("X509AuthenticationProvider") => NO_TLS,
            _ => {
                "there are no providers but those built in: a client that asks for its scheme is sent away"
            }
        };
        let (name, class) = (name.escape_debug(), class.escape_debug());
        reader
            .notices
            .warn(format!("Problems loading {class} ({name}): {why}"));
    }
}

/// `ensembleAuthName`.
fn ensemble(reader: &mut Reader<'_>, options: &mut Options) {
    let Some(list) = reader.settings.get("ensembleAuthName") else {
        return;
    };
    let Some(auth) = &mut options.ensemble_auth else {
        reader.notices.warn(
            "ensembleAuthName has no effect without authProvider.1=\
             org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider: the scheme ensemble is \
             unknown, and clients that use it are sent away",
        );
        return;
    };
    // As Java trims.
    let names = list
        .split(',')
        .map(|name| name.trim_matches(|c| c <= ' ').to_owned());
    auth.names = Some(names.collect());
    let list = list.escape_debug();
    reader
        .notices
        .info(format!("Set expected ensemble names to {list}"));
}

fn digest(reader: &mut Reader<'_>, options: &mut Options) -> Result<(), ConfigError> {
    let auth = &mut options.digest_auth;
    auth.enabled = reader.switch("DigestAuthenticationProvider.enabled", true);
    auth.super_digest = reader
        .settings
        .get("DigestAuthenticationProvider.superDigest")
        .map(Into::into);
    let has_colon = |digest: &String| digest.contains(':');
    if auth.super_digest.as_ref().is_some_and(|d| !has_colon(d)) {
        reader.notices.warn(
            "DigestAuthenticationProvider.superDigest has no colon: it is \
             super:base64(sha1(super:password)), with the hash of digestAlg, and as it stands \
             nobody matches it",
        );
    }
    if let Some(name) = reader
        .settings
        .get("DigestAuthenticationProvider.digestAlg")
    {
        auth.algorithm = DigestAlgorithm::named(name).ok_or_else(|| {
            let name = name.escape_debug();
            ConfigError::top(format!(
                "don't support this ACL digest algorithm: {name}; it is one of MD2, MD5, SHA1, \
                 SHA-224, SHA-256, SHA-384, SHA-512, SHA-512/224, SHA-512/256, SHA3-224, SHA3-256, \
                 SHA3-384, SHA3-512"
            ))
        })?;
    }
    Ok(())
}

/// `enforce.auth.*`. A scheme that no client can have is refused: everybody would be turned away.
fn enforced(reader: &mut Reader<'_>, options: &mut Options) -> Result<(), ConfigError> {
    let list = reader.settings.get("enforce.auth.schemes");
    if !reader.switch("enforce.auth.enabled", false) {
        if list.is_some_and(|list| !list.is_empty()) {
            reader.notices.warn(
                "enforce.auth.schemes has no effect without enforce.auth.enabled=true: every \
                 client is served",
            );
        }
        return Ok(());
    }
    // As Java splits: what is empty counts, but at the end.
    let list = list.map(|list| list.trim_end_matches(','));
    let schemes: Vec<&str> = match list {
        None => Vec::new(),
        Some("") if reader.settings.get("enforce.auth.schemes") != Some("") => Vec::new(),
        Some(list) => list.split(',').map(str::trim).collect(),
    };
    if schemes.is_empty() {
        return Err(ConfigError::top(
            "zookeeper.enforce.auth.enabled is true zookeeper.enforce.auth.schemes must be  \
             configured.",
        ));
    }
    for scheme in &schemes {
        let hint = match *scheme {
            "ip" => continue,
            "digest" if options.digest_auth.enabled => continue,
            "digest" => " (DigestAuthenticationProvider.enabled=false)",
            "sasl" => " (SASL is not built yet)",
            "x509" => " (TLS is not built yet)",
            "ensemble" => " (it says who the server is, not who the client is)",
            _ => "",
        };
        let scheme = scheme.escape_debug();
        return Err(ConfigError::top(format!(
            "Authentication scheme {scheme} is not available.{hint}"
        )));
    }
    options.enforced_schemes = schemes.into_iter().map(Into::into).collect();
    Ok(())
}
