//! Positions in the total order of changes, and the client's own request numbers.

use std::fmt;

/// A transaction id: epoch in the high 32 bits, counter in the low 32. Ordered as a signed long, as clients do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zxid(pub i64);

impl Zxid {
    /// Before any change: the id of a fresh tree.
    pub const ZERO: Zxid = Zxid(0);
    /// In notifications that setWatches made up, and in replies to unknown operations.
    pub const NONE: Zxid = Zxid(-1);

    /// The id of `counter` in `epoch`.
    pub fn new(epoch: u32, counter: u32) -> Zxid {
        let [a, b, c, d] = epoch.to_be_bytes();
        let [e, f, g, h] = counter.to_be_bytes();
        Zxid(i64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }

    /// The leader's epoch; 0 on a standalone server.
    pub fn epoch(self) -> u32 {
        let [a, b, c, d, ..] = self.0.to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    /// The number of the change within its epoch; the first one has counter 1.
    pub fn counter(self) -> u32 {
        let [.., e, f, g, h] = self.0.to_be_bytes();
        u32::from_be_bytes([e, f, g, h])
    }

    /// The following id. It runs on into the next epoch, so a leader asks [`Zxid::counter_is_last`] first.
    #[must_use]
    pub fn next(self) -> Zxid {
        Zxid(self.0.wrapping_add(1))
    }

    /// Whether no id is left in this epoch: an ensemble must elect anew before it numbers another change.
    pub fn counter_is_last(self) -> bool {
        self.counter() == u32::MAX
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A request number chosen by the client and echoed by the server, which never interprets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xid(pub i32);

impl Xid {
    /// Server to client only: a watch event.
    pub const NOTIFICATION: Xid = Xid(-1);
    /// Every reply to a ping carries this, whatever the ping itself carried.
    pub const PING: Xid = Xid(-2);
    /// What Java, C and kazoo use for auth packets. Go uses an ordinary number and waits for that.
    pub const AUTH: Xid = Xid(-4);
    /// What the C client uses for setWatches and waits for.
    pub const SET_WATCHES: Xid = Xid(-8);
}

impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoch_and_counter_are_the_two_halves() {
        let zxid = Zxid(0x0000_0005_8000_0001);
        assert_eq!((zxid.epoch(), zxid.counter()), (5, 0x8000_0001));
        assert_eq!(Zxid::new(5, 0x8000_0001), zxid);
        assert_eq!(Zxid::new(u32::MAX, 0), Zxid(-1 << 32));
    }

    #[test]
    fn the_last_counter_is_noticed_before_it_runs_over() {
        assert!(Zxid::new(3, u32::MAX).counter_is_last());
        assert!(!Zxid::new(3, u32::MAX - 1).counter_is_last());
        assert_eq!(Zxid::new(3, u32::MAX).next(), Zxid::new(4, 0));
        assert_eq!(Zxid(i64::MAX).next(), Zxid(i64::MIN));
    }

    #[test]
    fn order_is_that_of_signed_longs() {
        assert!(Zxid(-1) < Zxid(0));
        assert!(Zxid::new(0x8000_0000, 0) < Zxid(0));
    }
}
