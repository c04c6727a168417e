//! Counting what leaves, where it is made.

/// Frames on their way to one client, counted where they are made; [`super::Stats::sent`] takes them a
/// batch at a time. Sizes are those behind the length, as Apache counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(super) packets: u64,
    pub(super) response_bytes: u64,
    pub(super) watch_bytes: u64,
    /// 0 before the first: no frame is empty.
    pub(super) size_last: i64,
    pub(super) size_min: i64,
    pub(super) size_max: i64,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// The answer to an operation.
    Reply,
    /// A watch event.
    Event,
    /// The answer to a ping or to an auth packet.
    Other,
}

impl Outgoing {
    /// A frame of `bytes`, its length included.
    pub(crate) fn frame(&mut self, kind: Frame, bytes: usize) {
        let bytes = bytes.saturating_sub(ironkeeper_proto::frame::PREFIX_BYTES) as u64;
        match kind {
            Frame::Reply => self.response_bytes += bytes,
            Frame::Event => self.watch_bytes += bytes,
            Frame::Other => {}
        }
        let size = i64::try_from(bytes).unwrap_or(i64::MAX);
        let none = self.size_max == 0;
        self.size_min = if none { size } else { self.size_min.min(size) };
        self.size_max = self.size_max.max(size);
        self.size_last = size;
        self.packets += 1;
    }

    /// Packets that have no size of their own: handshakes, and the text of four-letter words.
    pub(crate) fn bare(&mut self, packets: u64) {
        self.packets += packets;
    }

    pub(crate) fn packets(&self) -> u64 {
        self.packets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Stats;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn frames_are_counted_one_by_one_and_added_at_once() {
        let stats = Stats::default();
        let mut frames = Outgoing::default();
        frames.bare(1);
        stats.sent(&frames);
        assert_eq!(stats.response_size_last.load(Relaxed), -1);
        for (kind, bytes) in [
            (Frame::Reply, 104),
            (Frame::Event, 24),
            (Frame::Other, 20),
            (Frame::Reply, 44),
        ] {
            frames.frame(kind, bytes);
        }
        stats.sent(&frames);
        assert_eq!(stats.packets_sent.load(Relaxed), 1 + 5);
        assert_eq!(stats.response_bytes.load(Relaxed), 100 + 40);
        assert_eq!(stats.watch_bytes.load(Relaxed), 20);
        let sizes = [
            &stats.response_size_last,
            &stats.response_size_min,
            &stats.response_size_max,
        ];
        assert_eq!(sizes.map(|size| size.load(Relaxed)), [40, 16, 100]);
    }
}
