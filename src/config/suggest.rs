//! The known name nearest to one that is not: what a typing error was meant to be.

/// The nearest of `known` to `word`, if it is near enough to be a slip of the fingers: a third of
/// its letters at most, three at most. Case and the dots and underscores between words are not
/// counted, since that is where memory fails.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = fold(word);
    let distance_max = (folded.len() / 3).min(3);
    known
        .into_iter()
        .map(|candidate| (distance(&folded, &fold(candidate)), candidate))
        .filter(|(distance, _)| *distance <= distance_max)
        // Of several the first in the alphabet, so that the answer does not depend on their order.
        .min()
        .map(|(_, candidate)| candidate)
}

fn fold(word: &str) -> Vec<char> {
    word.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

/// Insertions, deletions, replacements and swaps of neighbours from `a` to `b`.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, to) in b.iter().enumerate() {
            let replaced = above[j] + usize::from(from != to);
            let mut least = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *from == b[j - 1] && a[i - 1] == *to {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 5] = [
        "dataDir",
        "dataLogDir",
        "maxClientCnxns",
        "syncLimit",
        "connection_throttle_tokens",
    ];

    fn check(word: &str, expected: Option<&str>) {
        assert_eq!(nearest(word, KNOWN), expected, "{word}");
    }

    #[test]
    fn slips_are_recognised() {
        check("datDir", Some("dataDir"));
        check("DATADIR", Some("dataDir"));
        check("maxClientConns", Some("maxClientCnxns"));
        check("maxClientConnections", None);
        check("SYNCLIMIT", Some("syncLimit"));
        check("synLcimit", Some("syncLimit"));
        check(
            "connectionThrottleTokens",
            Some("connection_throttle_tokens"),
        );
    }

    #[test]
    fn other_names_are_left_alone() {
        check("foo", None);
        check("", None);
        check("my.own.flag", None);
    }

    #[test]
    fn distances() {
        let d = |a: &str, b: &str| distance(&fold(a), &fold(b));
        assert_eq!(d("", "abc"), 3);
        assert_eq!(d("abc", ""), 3);
        assert_eq!(d("abcd", "abdc"), 1);
        assert_eq!(d("kitten", "sitting"), 3);
    }
}
