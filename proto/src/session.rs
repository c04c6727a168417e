//! Session ids and the password that goes with each.

use std::fmt;

/// A session id: bits 63..56 are the server id, the rest a clock and a counter. Opaque to clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub i64);

/// Apache's constant for deriving passwords: a session must be able to move between its servers and ours.
const PASSWORD_SALT: i64 = 0xB341_5C00;

impl SessionId {
    /// "No session": a request for a new one, and the answer to a refused one.
    pub const NONE: SessionId = SessionId(0);

    /// Whether an id may belong to a session. The most negative long marks container nodes.
    pub fn is_valid(self) -> bool {
        self.0 != 0 && self.0 != i64::MIN
    }

    /// The password every server of an ensemble derives for this session: 16 bytes from the 48-bit linear
    /// congruential generator of the Java library, seeded with the id. It is an identifier, not a secret.
    pub fn password(self) -> [u8; 16] {
        const MULTIPLIER: u64 = 0x5_DEEC_E66D;
        const MASK: u64 = (1 << 48) - 1;
        let seed = u64::from_be_bytes((self.0 ^ PASSWORD_SALT).to_be_bytes());
        let mut state = (seed ^ MULTIPLIER) & MASK;
        let mut password = [0; 16];
        for word in password.chunks_exact_mut(4) {
            state = state.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
            // Bits 47..16, least significant byte first.
            let [_, _, bytes @ .., _, _] = state.to_be_bytes();
            for (to, from) in word.iter_mut().zip(bytes.iter().rev()) {
                *to = *from;
            }
        }
        password
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
