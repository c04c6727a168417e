//! One value at a time: how a setting's text becomes a number, a switch or a choice.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{ConfigError, Notices};
use super::settings::Settings;
use super::{java, keys, warn_of_relative};

/// Reads values of settings and notes what is odd about them.
pub(super) struct Reader<'a> {
    pub(super) file: Option<&'a Path>,
    pub(super) settings: &'a Settings,
    pub(super) notices: &'a mut Notices,
}

impl Reader<'_> {
    /// A fault inside the file.
    pub(super) fn fault(&self, message: impl Into<String>) -> ConfigError {
        ConfigError::within(self.file, message)
    }

    /// A number of a named key; that it is one was checked for all of them.
    pub(super) fn named_int(&self, name: &str) -> Option<i32> {
        self.settings.get(name).and_then(java::parse_int)
    }

    /// A number of a property key: what is no number is warned of and the default counts, as in
    /// Apache, where nobody is told.
    pub(super) fn property(&mut self, name: &str) -> Option<i64> {
        let text = self.settings.get(name)?;
        let number = java::decode(text);
        if number.is_none() {
            let default = keys::find(name).map_or("", |key| key.default);
            self.notices.warn(format!(
                "{name}: \"{}\" is not a number; the default {default} counts",
                keys::shown(name, text)
            ));
        }
        number
    }

    /// [`Reader::property`] brought between two bounds, with a warning where it was not.
    pub(super) fn bounded(&mut self, name: &str, least: u64, most: u64) -> Option<u64> {
        let number = self.property(name)?;
        let used = u64::try_from(number).unwrap_or(0).clamp(least, most);
        if i128::from(used) != i128::from(number) {
            self.notices.warn(format!(
                "{name}={number} is outside of {least} to {most}; {used} is used instead"
            ));
        }
        Some(used)
    }

    /// A property key that counts milliseconds, at least `least`.
    pub(super) fn millis(&mut self, name: &str, least: u64) -> Option<Duration> {
        self.bounded(name, least, u64::from(u32::MAX))
            .map(Duration::from_millis)
    }

    /// A fraction of a property key, from 0 to 1.
    pub(super) fn ratio(&mut self, name: &str) -> Option<f64> {
        let text = self.settings.get(name)?;
        let Some(written) = text.parse::<f64>().ok().filter(|ratio| ratio.is_finite()) else {
            let default = keys::find(name).map_or("", |key| key.default);
            self.notices.warn(format!(
                "{name}: \"{}\" is not a number; the default {default} counts",
                keys::shown(name, text)
            ));
            return None;
        };
        let used = written.clamp(0.0, 1.0);
        if !(0.0..=1.0).contains(&written) {
            self.notices.warn(format!(
                "{name}={written} is outside of 0 to 1; {used} is used instead"
            ));
        }
        Some(used)
    }

    /// A switch of a property key: `true` in any case, and anything else is off.
    pub(super) fn switch(&self, name: &str, default: bool) -> bool {
        self.settings.get(name).map_or(default, java::boolean)
    }

    /// A path of a named key.
    pub(super) fn path(&mut self, name: &str) -> Option<PathBuf> {
        let path = PathBuf::from(self.settings.get(name)?);
        warn_of_relative(&path, self.notices);
        Some(path)
    }

    /// One of a few words. Only our own keys have such, and they are strict: nothing was ever
    /// written for a lenient reading of them.
    pub(super) fn choice<T: Copy>(
        &self,
        name: &str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, ConfigError> {
        let Some(text) = self.settings.get(name) else {
            return Ok(None);
        };
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == text) {
            return Ok(Some(*choice));
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        Err(self.fault(format!(
            "{name}: \"{}\" is none of {}",
            text.escape_debug(),
            words.join(", ")
        )))
    }

    /// A number of one of our own keys, which is strict.
    pub(super) fn own_number(
        &self,
        name: &str,
        least: u64,
        most: u64,
    ) -> Result<Option<u64>, ConfigError> {
        let Some(text) = self.settings.get(name) else {
            return Ok(None);
        };
        match text.parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => Err(self.fault(format!(
                "{name}: \"{}\" is not a number from {least} to {most}",
                text.escape_debug()
            ))),
        }
    }
}

/// `autopurge.purgeInterval`: whole hours, or a number with a unit. Zero or less is off: `None`
/// inside; `None` outside is no interval at all.
pub(super) fn parse_interval(text: &str) -> Option<Option<Duration>> {
    const UNITS: [(&str, u64); 5] = [
        ("ms", 1),
        ("s", 1000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
    ];
    const HOUR: u64 = 3_600_000;
    let (number, unit) = UNITS
        .iter()
        .find_map(|(unit, ms)| Some((text.strip_suffix(unit)?, *ms)))
        .unwrap_or((text, HOUR));
    let number = u64::try_from(java::parse_int(number)?).unwrap_or(0);
    Some((number > 0).then(|| Duration::from_millis(number.saturating_mul(unit))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals() {
        let check = |text: &str, expected: Option<Option<u64>>| {
            let expected = expected.map(|ms| ms.map(Duration::from_millis));
            assert_eq!(parse_interval(text), expected, "{text}");
        };
        check("24", Some(Some(86_400_000)));
        check("0", Some(None));
        check("-1", Some(None));
        check("500ms", Some(Some(500)));
        check("90s", Some(Some(90_000)));
        check("2m", Some(Some(120_000)));
        check("1h", Some(Some(3_600_000)));
        check("2d", Some(Some(172_800_000)));
        check("1w", None);
        check("", None);
        check("h", None);
    }
}
