//! What was written where: file and `-D` arguments merged under the real names of the keys.
//!
//! The file wins over `-D`, a real name wins over another spelling of it, and of two equals the
//! later one counts.

use std::collections::BTreeMap;
use std::path::Path;

use super::error::{ConfigError, Notices};
use super::keys::{self, Kind};
use super::properties::{self, Property};
use super::suggest;

/// Where a setting was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the file, in the line of this number.
    File(usize),
    /// As a `-D` argument, or by an environment variable that stands for one.
    Argument,
}

/// One setting that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Blanks around it are gone.
    pub value: String,
    /// Where it was written.
    pub origin: Origin,
    /// How good a claim it has: file over argument, real name over another spelling.
    rank: u8,
}

/// All settings that count, by the real names of their keys.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    values: BTreeMap<String, Setting>,
}

const ARGUMENT_RANK: u8 = 0;
const FILE_RANK: u8 = 2;
const REAL_NAME_RANK: u8 = 1;

impl Settings {
    /// The value of a key.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|setting| setting.value.as_str())
    }

    /// Every setting in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.values
            .iter()
            .map(|(name, setting)| (name.as_str(), setting))
    }

    /// Takes one `-D` argument, without its `-D`. True if it belongs to a server's configuration;
    /// the rest is the Java machine's.
    pub(super) fn argument(&mut self, name: &str, value: &str, notices: &mut Notices) -> bool {
        let (written, bare) = match name.strip_prefix("zookeeper.") {
            Some(rest) => (rest, false),
            None => (name, true),
        };
        let real = keys::real_name(written);
        let known = keys::find(real);
        if bare && known.is_none_or(|key| key.kind != Kind::Bare) {
            if name.starts_with("ironkeeper.") {
                notices.warn(unknown(&format!("-D{name}"), name));
                return true;
            }
            return false;
        }
        match known {
            Some(key) if key.kind == Kind::Named => {
                notices.warn(format!(
                    "-D{name} has no effect: {real} is read from the configuration file alone"
                ));
            }
            Some(_) => {
                let rank = ARGUMENT_RANK + REAL_NAME_RANK * u8::from(real == written);
                self.set(real, value, Origin::Argument, rank, notices);
            }
            None => notices.warn(unknown(&format!("-D{name}"), written)),
        }
        true
    }

    /// Takes a whole file.
    pub(super) fn file(
        &mut self,
        path: &Path,
        text: &[u8],
        notices: &mut Notices,
    ) -> Result<(), ConfigError> {
        let properties = properties::parse(text)
            .map_err(|malformed| ConfigError::within(Some(path), malformed.to_string()))?;
        if !text.is_ascii() {
            notices.warn(format!(
                "{} holds bytes that are not ASCII: they are read as ISO-8859-1, as Java does; \
                 write \\u and four hexadecimal digits to be sure",
                path.display()
            ));
        }
        for Property {
            key: written,
            value,
            line,
        } in properties
        {
            let (name, prefixed) = match written.strip_prefix("zookeeper.") {
                Some(name) => (name, true),
                None => (written.as_str(), false),
            };
            let real = keys::real_name(name);
            if keys::find(real).is_none() {
                notices.warn(unknown(
                    &format!("line {line}: \"{}\"", written.escape_debug()),
                    name,
                ));
                continue;
            }
            if prefixed {
                notices.warn(format!(
                    "line {line}: \"{written}\" is taken as \"{real}\": in a file keys have no \
                     prefix, and Apache would ignore this one"
                ));
            } else if real != name {
                notices.info(format!(
                    "line {line}: \"{written}\" is taken as \"{real}\", the name that counts"
                ));
            }
            let rank = FILE_RANK + REAL_NAME_RANK * u8::from(real == written);
            self.set(real, &value, Origin::File(line), rank, notices);
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: &str, origin: Origin, rank: u8, notices: &mut Notices) {
        if let Some(before) = self.values.get(name) {
            let same_value = before.value == value;
            let from_file = matches!((before.origin, origin), (Origin::File(_), Origin::File(_)));
            if from_file && !same_value {
                notices.warn(format!(
                    "\"{name}\" stands twice in the file with different values"
                ));
            }
            if before.rank > rank {
                return;
            }
        }
        self.values.insert(
            name.into(),
            Setting {
                value: value.into(),
                origin,
                rank,
            },
        );
    }
}

fn unknown(shown: &str, name: &str) -> String {
    match suggest::nearest(name, keys::names()) {
        Some(nearest) => format!("{shown}: unknown key, ignored; did you mean \"{nearest}\"?"),
        None => format!("{shown}: unknown key, ignored"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &str, arguments: &[(&str, &str)]) -> (Settings, Vec<String>) {
        let mut settings = Settings::default();
        let mut notices = Notices::default();
        for (name, value) in arguments {
            settings.argument(name, value, &mut notices);
        }
        settings
            .file(Path::new("zoo.cfg"), file.as_bytes(), &mut notices)
            .unwrap();
        (
            settings,
            notices.0.into_iter().map(|notice| notice.text).collect(),
        )
    }

    #[test]
    fn the_file_wins_over_arguments() {
        let arguments = [("zookeeper.snapCount", "7"), ("zookeeper.maxCnxns", "9")];
        let (settings, notices) = read("snapCount=5", &arguments);
        assert_eq!(settings.get("snapCount"), Some("5"));
        assert_eq!(settings.get("maxCnxns"), Some("9"));
        assert!(notices.is_empty(), "{notices:?}");
    }

    #[test]
    fn the_last_of_two_counts_and_the_real_name_before_both() {
        let (settings, notices) = read("tickTime=1\ntickTime=2", &[]);
        assert_eq!(settings.get("tickTime"), Some("2"));
        assert_eq!(
            notices,
            ["\"tickTime\" stands twice in the file with different values"]
        );
        let (settings, _) = read(
            "throttled_op_wait_time=1\nthrottledOpWaitTime=2\nzookeeper.snapCount=3",
            &[],
        );
        assert_eq!(settings.get("throttled_op_wait_time"), Some("1"));
        assert_eq!(settings.get("snapCount"), Some("3"));
    }

    #[test]
    fn bare_properties_and_foreign_ones() {
        let mut settings = Settings::default();
        let mut notices = Notices::default();
        assert!(settings.argument("jute.maxbuffer", "1", &mut notices));
        assert!(settings.argument("zookeeper.jute.maxbuffer.extrasize", "2", &mut notices));
        assert!(settings.argument("ironkeeper.runtimes", "3", &mut notices));
        assert!(!settings.argument("snapCount", "4", &mut notices));
        assert!(!settings.argument("java.net.preferIPv4Stack", "true", &mut notices));
        let seen: Vec<_> = settings
            .iter()
            .map(|(name, s)| (name, s.value.as_str()))
            .collect();
        let expected = [
            ("ironkeeper.runtimes", "3"),
            ("jute.maxbuffer", "1"),
            ("jute.maxbuffer.extrasize", "2"),
        ];
        assert_eq!(seen, expected);
        assert!(notices.0.is_empty());
        assert!(settings.argument("zookeeper.tickTime", "1", &mut notices));
        assert_eq!(settings.get("tickTime"), None);
        assert!(notices.0[0].text.contains("configuration file alone"));
    }

    #[test]
    fn unknown_keys_are_named_with_the_nearest_known_one() {
        let (settings, notices) = read("# x\ndatDir=/x\nfoo=1", &[("zookeeper.snapcont", "1")]);
        assert_eq!(settings.iter().count(), 0);
        assert_eq!(
            notices,
            [
                "-Dzookeeper.snapcont: unknown key, ignored; did you mean \"snapCount\"?",
                "line 2: \"datDir\": unknown key, ignored; did you mean \"dataDir\"?",
                "line 3: \"foo\": unknown key, ignored",
            ]
        );
    }
}
