//! The hash behind the digest scheme: every one that Apache's server finds in its Java machine (JDK 17).

use md2::Md2;
use md5::Md5;
use sha1::{Digest, Sha1};
use sha2::{Sha224, Sha256, Sha384, Sha512, Sha512_224, Sha512_256};
use sha3::{Sha3_224, Sha3_256, Sha3_384, Sha3_512};

/// `zookeeper.DigestAuthenticationProvider.digestAlg`. All servers and all stored ACLs must agree in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum DigestAlgorithm {
    Md2,
    Md5,
    #[default]
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Sha512_224,
    Sha512_256,
    Sha3_224,
    Sha3_256,
    Sha3_384,
    Sha3_512,
}

impl DigestAlgorithm {
    /// Java's names, aliases and object identifiers, in any case.
    pub fn named(name: &str) -> Option<DigestAlgorithm> {
        let name = name.to_ascii_uppercase();
        let number = name.strip_prefix("OID.").unwrap_or(&name);
        Some(match (name.as_str(), number) {
            ("MD2", _) => Self::Md2,
            ("MD5", _) => Self::Md5,
            ("SHA" | "SHA1" | "SHA-1", _) | (_, "1.3.14.3.2.26") => Self::Sha1,
            ("SHA224" | "SHA-224", _) | (_, "2.16.840.1.101.3.4.2.4") => Self::Sha224,
            ("SHA256" | "SHA-256", _) | (_, "2.16.840.1.101.3.4.2.1") => Self::Sha256,
            ("SHA384" | "SHA-384", _) | (_, "2.16.840.1.101.3.4.2.2") => Self::Sha384,
            ("SHA512" | "SHA-512", _) | (_, "2.16.840.1.101.3.4.2.3") => Self::Sha512,
            ("SHA512/224" | "SHA-512/224", _) | (_, "2.16.840.1.101.3.4.2.5") => Self::Sha512_224,
            ("SHA512/256" | "SHA-512/256", _) | (_, "2.16.840.1.101.3.4.2.6") => Self::Sha512_256,
            ("SHA3-224", _) | (_, "2.16.840.1.101.3.4.2.7") => Self::Sha3_224,
            ("SHA3-256", _) | (_, "2.16.840.1.101.3.4.2.8") => Self::Sha3_256,
            ("SHA3-384", _) | (_, "2.16.840.1.101.3.4.2.9") => Self::Sha3_384,
            ("SHA3-512", _) | (_, "2.16.840.1.101.3.4.2.10") => Self::Sha3_512,
            _ => return None,
        })
    }

    /// The hash of some bytes.
    pub fn digest(self, bytes: &[u8]) -> Vec<u8> {
        fn of<D: Digest>(bytes: &[u8]) -> Vec<u8> {
            D::digest(bytes).to_vec()
        }
        match self {
            Self::Md2 => of::<Md2>(bytes),
            Self::Md5 => of::<Md5>(bytes),
            Self::Sha1 => of::<Sha1>(bytes),
            Self::Sha224 => of::<Sha224>(bytes),
            Self::Sha256 => of::<Sha256>(bytes),
            Self::Sha384 => of::<Sha384>(bytes),
            Self::Sha512 => of::<Sha512>(bytes),
            Self::Sha512_224 => of::<Sha512_224>(bytes),
            Self::Sha512_256 => of::<Sha512_256>(bytes),
            Self::Sha3_224 => of::<Sha3_224>(bytes),
            Self::Sha3_256 => of::<Sha3_256>(bytes),
            Self::Sha3_384 => of::<Sha3_384>(bytes),
            Self::Sha3_512 => of::<Sha3_512>(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acl::base64;

    /// `bob:pw` by `java.security.MessageDigest` of JDK 17, each name and its aliases.
    #[test]
    fn hashes_are_those_of_java() {
        let known = [
            ("MD2", "+aoiqZNWy8dAr5USuBbXCg=="),
            ("MD5", "mFIN705h49CRioANaL/new=="),
            (
                "SHA-1 1.3.14.3.2.26 OID.1.3.14.3.2.26 SHA SHA1",
                "ikIaKsbtGweaHnb/jKn7OHqbunM=",
            ),
            (
                "SHA-224 2.16.840.1.101.3.4.2.4 OID.2.16.840.1.101.3.4.2.4 SHA224",
                "V2mvd2ffOcs02HpVY83ycSg9kqz4jTlMn1ET9Q==",
            ),
            (
                "SHA-256 2.16.840.1.101.3.4.2.1 OID.2.16.840.1.101.3.4.2.1 SHA256",
                "lXdkgIa9O1CDDWAryQ0pe9wUYi2LkG6M7Uocn/Vyn2g=",
            ),
            (
                "SHA-384 2.16.840.1.101.3.4.2.2 OID.2.16.840.1.101.3.4.2.2 SHA384",
                "Pd/l06QeLk9MqD36VccOX0Fw1tgKhSdAl0mKINCHnwpI9R17BoWbdxukNC3K47Q1",
            ),
            (
                "SHA-512 2.16.840.1.101.3.4.2.3 OID.2.16.840.1.101.3.4.2.3 SHA512",
                "jQFpfQMlS0Fkelz3cdxBlcfmOOApGvKAjybCSpc/oHQD7ouOUKaAFXPlHr/2XpjmwJ0yssqB0Mh7gRRVqmyALQ==",
            ),
            (
                "SHA-512/224 2.16.840.1.101.3.4.2.5 OID.2.16.840.1.101.3.4.2.5 SHA512/224",
                "cqvSV2UbZ2q5COXLGv28T5tsr77x6AK7tzbGZg==",
            ),
            (
                "SHA-512/256 2.16.840.1.101.3.4.2.6 OID.2.16.840.1.101.3.4.2.6 SHA512/256",
                "A9N1joy8pAxXpZyuKoYHmry5YD7X6ES6VJn8WVyn8xY=",
            ),
            (
                "SHA3-224 2.16.840.1.101.3.4.2.7 OID.2.16.840.1.101.3.4.2.7",
                "fqMLUfmRZ/TdX0+Lt0clG29f8TwR0BK3i2sI4Q==",
            ),
            (
                "SHA3-256 2.16.840.1.101.3.4.2.8 OID.2.16.840.1.101.3.4.2.8",
                "W/mjsw4pvF0wVTGZI9EiUQDRnUt7BAezTWEy2LgNGUU=",
            ),
            (
                "SHA3-384 2.16.840.1.101.3.4.2.9 OID.2.16.840.1.101.3.4.2.9",
                "neI1l8NU58TsHuf2cowDs76KxkaB8h1w2ynsbAWtkX74bewzshqLfF6LxMupPWoT",
            ),
            (
                "SHA3-512 2.16.840.1.101.3.4.2.10 OID.2.16.840.1.101.3.4.2.10",
                "9JiU1QoRHYjkQxinb/Pky+SyJQD3SLv3LWNYy7TX/W5j+QuI+VpFa9SjJxvJcHoP9V3Nqf0j+v3SigN2Lchj6Q==",
            ),
        ];
        for (names, expected) in known {
            for name in names.split(' ') {
                for name in [name.to_owned(), name.to_lowercase()] {
                    let found = DigestAlgorithm::named(&name).unwrap_or_else(|| panic!("{name}"));
                    assert_eq!(base64(&found.digest(b"bob:pw")), expected, "{name}");
                }
            }
        }
        for name in [
            "",
            " SHA1",
            "SHA2-256",
            "SHA-512-256",
            "OID.MD5",
            "SHAKE256",
            "CRC32",
        ] {
            assert_eq!(DigestAlgorithm::named(name), None, "{name}");
        }
    }
}
