//! Who may do what: identities of connections, ACL checks, and the expansion of ACLs that clients send.
//!
//! Schemes: `world` and `auth` are words of the ACL language; `ip` and `digest` have providers; `super` is an
//! identity that everything is open to and no ACL names. `x509` and `sasl` are answered as Apache's server does
//! without those providers.
//!
//! Lists stay encoded ([`AclList`]); the open list is recognised by its bytes and costs nothing.

mod algorithm;
mod ip;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use hashbrown::HashSet;
use ironkeeper_proto::{AclList, AclListBuf, AclRef, ErrorCode, Perms, jute};

pub use algorithm::DigestAlgorithm;
pub use ip::java_text as ip_text;

/// Identities that one connection may hold; an auth packet that adds one beyond them fails. Apache has no bound.
pub const IDENTITIES_MAX: usize = 1024;

/// Settings that decide about ACLs. One for a whole server; all its peers must have the same.
#[derive(Clone)]
pub struct AclRules {
    /// `zookeeper.skipACL`: permissions are not checked; what clients store is checked all the same.
    pub skip_acl: bool,
    /// `zookeeper.DigestAuthenticationProvider.enabled`.
    pub digest_enabled: bool,
    /// `zookeeper.DigestAuthenticationProvider.superDigest`: who has this identity is super.
    pub super_digest: Option<String>,
    /// `zookeeper.DigestAuthenticationProvider.digestAlg`.
    pub digest: DigestAlgorithm,
}

impl Default for AclRules {
    fn default() -> Self {
        AclRules {
            skip_acl: false,
            digest_enabled: true,
            super_digest: None,
            digest: DigestAlgorithm::Sha1,
        }
    }
}

impl fmt::Debug for AclRules {
    /// Without the super digest: settings end up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AclRules")
            .field("skip_acl", &self.skip_acl)
            .field("digest_enabled", &self.digest_enabled)
            .field("has_super_digest", &self.super_digest.is_some())
            .finish_non_exhaustive()
    }
}

impl AclRules {
    /// The identity that the digest scheme makes of `user:password`. Without a colon all of it is the user.
    pub fn digest_identity(&self, auth: &[u8]) -> String {
        let text = jute::lossy(auth);
        let user = text.split(':').next().unwrap_or_default();
        format!("{user}:{}", base64(&self.digest.digest(text.as_bytes())))
    }
}

/// One thing that a connection has proved to be.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    scheme: Cow<'static, str>,
    id: String,
    /// Of scheme `ip`: parsed once.
    address: Option<IpAddr>,
}

impl Identity {
    /// An identity of any scheme but `ip`.
    pub fn new(scheme: impl Into<Cow<'static, str>>, id: impl Into<String>) -> Self {
        Identity {
            scheme: scheme.into(),
            id: id.into(),
            address: None,
        }
    }

    /// A peer's address, in Java's text.
    pub fn ip(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Identity {
            scheme: Cow::Borrowed("ip"),
            id: ip::java_text(address),
            address: Some(address),
        }
    }

    /// The scheme.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The id: for digest with the password's hash. It must reach no log and no other client.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What whoAmI tells: of digest the part before the first colon, of super nothing.
    pub fn user(&self) -> &str {
        match self.scheme.as_ref() {
            "digest" => self.id.split(':').next().unwrap_or_default(),
            "super" => "",
            _ => &self.id,
        }
    }
}

impl fmt::Debug for Identity {
    /// Without the password's hash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.scheme, self.user())
    }
}

/// What an auth packet led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum AuthOutcome {
    /// Reply with err 0; requests read from now on carry the identity.
    Accepted,
    /// Reply with -115, then close.
    Failed,
}

/// The identities of one connection. They accumulate and end with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identities {
    list: Vec<Identity>,
    is_super: bool,
}

impl Identities {
    /// None: what the server itself has.
    pub const NONE: Identities = Identities {
        list: Vec::new(),
        is_super: false,
    };

    /// Those of a new connection: its address.
    pub fn of_peer(peer: IpAddr) -> Self {
        Identities {
            list: vec![Identity::ip(peer)],
            is_super: false,
        }
    }

    /// Adds one; what is there already is not added again.
    pub fn add(&mut self, identity: Identity) {
        self.is_super |= identity.scheme == "super";
        if !self.list.contains(&identity) {
            self.list.push(identity);
        }
    }

    /// All of them, in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = &Identity> {
        self.list.iter()
    }

    /// Whether everything is open to this connection.
    pub fn is_super(&self) -> bool {
        self.is_super
    }

    /// Handles an auth packet. After a failure the identities are as before.
    pub fn authenticate(
        &mut self,
        rules: &AclRules,
        peer: IpAddr,
        scheme: Option<&str>,
        auth: Option<&[u8]>,
    ) -> AuthOutcome {
        let proved = match (scheme, auth) {
            (Some("ip"), _) => [None, Some(Identity::ip(peer))],
            (Some("digest"), Some(auth)) if rules.digest_enabled => {
                let id = rules.digest_identity(auth);
                let is_super = rules.super_digest.as_ref() == Some(&id);
                let digest = Identity::new("digest", id);
                [is_super.then(|| Identity::new("super", "")), Some(digest)]
            }
            _ => return AuthOutcome::Failed,
        };
        let proved = proved.into_iter().flatten();
        let new: Vec<Identity> = proved.filter(|one| !self.list.contains(one)).collect();
        if !new.is_empty() && self.list.len() + new.len() > IDENTITIES_MAX {
            return AuthOutcome::Failed;
        }
        for identity in new {
            self.add(identity);
        }
        AuthOutcome::Accepted
    }
}

/// Whether a list lets everyone do everything, as nearly all do.
#[inline]
pub fn is_open(list: AclList<'_>) -> bool {
    let (bytes, open) = (list.as_bytes(), AclList::OPEN.as_bytes());
    std::ptr::eq(bytes, open) || bytes == open
}

/// Whether a node's list grants one of the `wanted` permissions to one of the identities.
#[inline]
pub fn allows(rules: &AclRules, list: AclList<'_>, wanted: Perms, identities: &Identities) -> bool {
    is_open(list) || allows_slowly(rules, list, wanted, identities)
}

fn allows_slowly(
    rules: &AclRules,
    list: AclList<'_>,
    wanted: Perms,
    identities: &Identities,
) -> bool {
    if rules.skip_acl || list.is_empty() || identities.is_super {
        return true;
    }
    list.iter()
        .filter(|entry| entry.perms.intersects(wanted))
        .any(|entry| {
            let (Some(scheme), Some(id)) = (entry.scheme, entry.id) else {
                return false;
            };
            if scheme == b"world" && id == b"anyone" {
                return true;
            }
            identities
                .list
                .iter()
                .filter(|i| i.scheme.as_bytes() == scheme)
                .any(|identity| match scheme {
                    b"ip" => ip::Range::parse(id)
                        .is_some_and(|range| identity.address.is_some_and(|a| range.contains(a))),
                    b"digest" => rules.digest_enabled && same_text(&identity.id, id),
                    _ => false,
                })
        })
}

/// Whether the bytes of a stored id say `text`. Apache's files hold characters beyond U+FFFF as two surrogates.
fn same_text(text: &str, stored: &[u8]) -> bool {
    if text.as_bytes() == stored {
        return true;
    }
    // Each such character is four bytes here and six there.
    stored.contains(&0xed) && text.len() < stored.len() && surrogates_apart(text) == stored
}

/// The text with every character beyond U+FFFF as two surrogates of three bytes.
fn surrogates_apart(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() + text.len() / 2);
    for character in text.chars() {
        let mut units = [0; 2];
        match *character.encode_utf16(&mut units) {
            [high, low] => {
                for unit in [high, low] {
                    let [a, b] = unit.to_be_bytes();
                    bytes.extend([0xe0 | a >> 4, 0x80 | (a & 15) << 2 | b >> 6, 0x80 | b & 63]);
                }
            }
            _ => bytes.extend(character.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    bytes
}

/// What [`expand`] made of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expanded {
    /// The list is to be stored as it came.
    AsSent,
    /// The list is in the buffer.
    InBuffer,
}

/// Checks a list that a client wants to store and replaces what only its connection can explain: exact duplicates
/// go, `auth` becomes the identities that were authenticated. Under `skip_acl` as well.
///
/// # Errors
/// -114 for what cannot be stored, -5 where Apache's server trips over a null id, and for what would become longer
/// than `bytes_max`.
pub fn expand(
    rules: &AclRules,
    list: AclList<'_>,
    identities: &Identities,
    bytes_max: usize,
    buffer: &mut AclListBuf,
) -> Result<Expanded, ErrorCode> {
    if is_open(list) {
        return Ok(Expanded::AsSent);
    }
    if list.is_empty() {
        return Err(ErrorCode::InvalidAcl);
    }
    buffer.clear();
    let mut seen = HashSet::with_hasher(foldhash::fast::FixedState::default());
    for entry in list.iter() {
        if !seen.insert((entry.perms.0, entry.scheme, entry.id)) {
            continue;
        }
        // As text: ill-formed UTF-8 is stored as the U+FFFD that Apache's server would have read.
        let scheme = entry.scheme_text().ok_or(ErrorCode::InvalidAcl)?;
        let id = entry.id_text();
        match scheme.as_ref() {
            "auth" => expand_auth(rules, entry.perms, identities, bytes_max, buffer)?,
            "world" | "ip" | "digest" if scheme != "digest" || rules.digest_enabled => {
                let id = id.ok_or(ErrorCode::MarshallingError)?;
                let well_formed = match scheme.as_ref() {
                    "world" => id == "anyone",
                    "ip" => ip::Range::parse(id.as_bytes()).is_some(),
                    _ => is_digest_id(&id),
                };
                if !well_formed {
                    return Err(ErrorCode::InvalidAcl);
                }
                buffer.push(AclRef::new(entry.perms, &scheme, &id));
            }
            _ => return Err(ErrorCode::InvalidAcl),
        }
        check_length(bytes_max, buffer)?;
    }
    Ok(Expanded::InBuffer)
}

fn expand_auth(
    rules: &AclRules,
    perms: Perms,
    identities: &Identities,
    bytes_max: usize,
    buffer: &mut AclListBuf,
) -> Result<(), ErrorCode> {
    // Of the schemes there are, only digest proves who somebody is.
    let mut found = false;
    for identity in identities
        .iter()
        .filter(|i| i.scheme == "digest" && rules.digest_enabled)
    {
        buffer.push(AclRef::new(perms, &identity.scheme, &identity.id));
        check_length(bytes_max, buffer)?;
        found = true;
    }
    if found {
        Ok(())
    } else {
        Err(ErrorCode::InvalidAcl)
    }
}

/// Whoever has many identities can make a long list of a short one.
fn check_length(bytes_max: usize, buffer: &AclListBuf) -> Result<(), ErrorCode> {
    if buffer.as_list().as_bytes().len() > bytes_max {
        return Err(ErrorCode::MarshallingError);
    }
    Ok(())
}

/// Two parts around one colon; empty parts at the end do not count.
fn is_digest_id(id: &str) -> bool {
    let trimmed = id.trim_end_matches(':');
    !trimmed.is_empty() && trimmed.split(':').count() == 2
}

/// What getACL shows to those who may not administer the node: password hashes become `x`.
pub fn redact(list: AclList<'_>, buffer: &mut AclListBuf) {
    buffer.clear();
    for entry in list.iter() {
        let colon = entry.id.and_then(|id| id.iter().position(|&b| b == b':'));
        match (entry.scheme, entry.id, colon) {
            (Some(b"digest"), Some(id), Some(colon)) => {
                let mut id = id[..=colon].to_vec();
                id.push(b'x');
                buffer.push(AclRef {
                    id: Some(&id),
                    ..entry
                });
            }
            _ => buffer.push(entry),
        }
    }
}

/// Standard base64 with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4 {
            let sextet = (bits >> (18 - 6 * i)) as usize & 63;
            text.push(if i <= chunk.len() {
                char::from(ALPHABET[sextet])
            } else {
                '='
            });
        }
    }
    text
}
