//! The session password: derived from the session id, as every ZooKeeper server derives it, so that
//! a session can move between servers of a mixed ensemble (client-protocol 2.4).
//!
//! It proves nothing cryptographically; it keeps a client from taking a session by mistake.

use ironkeeper_proto::SessionId;

/// Length of a session password in bytes; clients read the handshake into a fixed area.
pub const PASSWORD_BYTES: usize = 16;

const SECRET: u64 = 0xB341_5C00;
const LCG_MULTIPLIER: u64 = 0x5_DEEC_E66D;
const LCG_INCREMENT: u64 = 0xB;
const LCG_MASK: u64 = (1 << 48) - 1;

/// The password of `session`.
#[must_use]
pub fn session_password(session: SessionId) -> [u8; PASSWORD_BYTES] {
    let seed = u64::from_be_bytes(session.0.to_be_bytes()) ^ SECRET;
    let mut state = (seed ^ LCG_MULTIPLIER) & LCG_MASK;
    let mut password = [0; PASSWORD_BYTES];
    for word in password.chunks_exact_mut(4) {
        state = state
            .wrapping_mul(LCG_MULTIPLIER)
            .wrapping_add(LCG_INCREMENT)
            & LCG_MASK;
        let bytes = (state >> 16).to_le_bytes();
        word.copy_from_slice(&bytes[..4]);
    }
    password
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Session ids and passwords that a 3.9.5 server handed out (fixtures/wire/client).
    #[test]
    fn passwords_are_those_of_a_real_server() {
        assert_eq!(
            session_password(SessionId(0x0100_0027_6682_0001)),
            [
                0x5f, 0x28, 0x51, 0xfc, 0x89, 0xe0, 0x20, 0x55, 0xff, 0xcb, 0xe9, 0xff, 0xae, 0x26,
                0xa2, 0x26
            ]
        );
    }
}
