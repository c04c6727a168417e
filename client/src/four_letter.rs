//! Four-letter words: a word out, raw text back until the server closes.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// An answer longer than this is cut off with an error: `cons` of a few thousand sessions stays
/// far below it, a server that never stops sending does not exhaust the memory of a test.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Sends `word` on a connection of its own and returns the answer's text.
///
/// # Errors
/// Any error of the socket, a `within` that passed, or an answer above 16 MiB.
pub fn four_letter(server: SocketAddr, word: &str, within: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&server, within)?;
    stream.set_read_timeout(Some(within))?;
    stream.set_write_timeout(Some(within))?;
    stream.write_all(word.as_bytes())?;
    // Apache answers as soon as it has the word; other servers may wait for the end of input.
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX + 1).read_to_end(&mut answer)?;
    if answer.len() as u64 > ANSWER_BYTES_MAX {
        return Err(io::Error::other(format!(
            "answer to {word} above {ANSWER_BYTES_MAX} bytes"
        )));
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The answer to `mntr` as a map from key to value, both as text.
///
/// # Errors
/// As [`four_letter`].
pub fn mntr(server: SocketAddr, within: Duration) -> io::Result<BTreeMap<String, String>> {
    Ok(parse_mntr(&four_letter(server, "mntr", within)?))
}

fn parse_mntr(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mntr_lines_are_key_tab_value() {
        let map = parse_mntr("zk_version\t3.9.5-x, built on 1\nzk_znode_count\t5\nno tab here\n");
        assert_eq!(map["zk_version"], "3.9.5-x, built on 1");
        assert_eq!(map["zk_znode_count"], "5");
        assert_eq!(map.len(), 2);
    }
}
