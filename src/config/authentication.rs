//! Who a client has to be: the digest scheme and enforced authentication.

use ironkeeper_tree::acl::DigestAlgorithm;

use super::error::ConfigError;
use super::options::Options;
use super::reader::Reader;

pub(super) fn resolve(reader: &mut Reader<'_>, options: &mut Options) -> Result<(), ConfigError> {
    digest(reader, options)?;
    enforced(reader, options)
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
