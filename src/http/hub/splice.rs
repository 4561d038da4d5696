//! Adds the site's name to each object of a JSON array, and the other sites that know the device, while the array passes
//! in pieces: nothing of it is kept but the beginning of an object.

use std::sync::Arc;

use super::elsewhere::{self, HEAD};
use crate::{fleet::SiteName, service::fleet::Elsewhere};

/// Why an array cannot be passed on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SpliceError {
    /// It is not an array of objects.
    #[error("it is not a list of objects")]
    Malformed,
    /// It ends within an element.
    #[error("it is cut off")]
    CutOff,
}

/// An array that passes. Only its outer structure is checked: this program has written it.
pub(super) struct Splice {
    site: SiteName,
    place: Place,
    /// Whether it is an object, and no array of objects.
    is_one: bool,
    /// If the objects are devices, which sites know them.
    elsewhere: Option<Arc<Elsewhere>>,
    /// The first bytes of the object that passes.
    head: Vec<u8>,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The bracket that opens the array.
    Start,
    /// An element, or the end.
    Between,
    /// The first member of an element, or its end.
    Opened,
    /// More of an element, within this many brackets.
    Within(usize),
    /// More of a text in an element.
    Text(usize),
    /// A character that is escaped in such a text.
    Escaped(usize),
    /// Nothing.
    End,
}

impl Splice {
    /// An array of the elements of this site; of devices, if it is given which sites know them.
    pub(super) fn of_list(site: &SiteName, elsewhere: Option<Arc<Elsewhere>>) -> Self {
        let (site, head) = (site.clone(), Vec::with_capacity(HEAD));
        Self { site, place: Place::Start, is_one: false, elsewhere, head }
    }

    /// One device of this site.
    pub(super) fn of_one(site: &SiteName, elsewhere: Arc<Elsewhere>) -> Self {
        Self { is_one: true, place: Place::Between, ..Self::of_list(site, Some(elsewhere)) }
    }

    /// Appends the elements of the next piece, without the outer brackets, each after a comma if any were written.
    ///
    /// # Errors
    /// It is not an array of objects.
    pub(super) fn write(
        &mut self,
        piece: &[u8],
        begun: &mut bool,
        text: &mut Vec<u8>,
    ) -> Result<(), SpliceError> {
        for &byte in piece {
            let is_space = matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
            self.place = match (self.place, byte) {
                (Place::Start | Place::Between | Place::Opened | Place::End, _) if is_space => continue,
                (Place::Start, b'[') => Place::Between,
                // The comma of this array is left out: another one is written before each element but the first.
                (Place::Between, b',') if !self.is_one => continue,
                (Place::Between, b']') if !self.is_one => Place::End,
                (Place::Between, b'{') => {
                    if std::mem::replace(begun, true) {
                        text.push(b',');
                    }
                    text.push(b'{');
                    text.extend_from_slice(b"\"site\":\"");
                    // a-z, 0-9 and hyphens.
                    text.extend_from_slice(self.site.as_str().as_bytes());
                    text.push(b'"');
                    self.head.clear();
                    Place::Opened
                }
                (Place::Opened, b'}') => {
                    text.push(byte);
                    self.after_element()
                }
                (Place::Opened, b'"') => {
                    text.extend_from_slice(b",\"");
                    self.head.push(byte);
                    Place::Text(1)
                }
                (Place::Within(depth), _) => {
                    let is_last = depth <= 1 && matches!(byte, b'}' | b']');
                    if let Some(elsewhere) = self.elsewhere.as_deref().filter(|_| is_last) {
                        elsewhere::write(elsewhere, &self.site, &self.head, text);
                    }
                    self.pass(byte, text);
                    match byte {
                        b'"' => Place::Text(depth),
                        b'{' | b'[' => Place::Within(depth.saturating_add(1)),
                        _ if is_last => self.after_element(),
                        b'}' | b']' => Place::Within(depth.saturating_sub(1)),
                        _ => Place::Within(depth),
                    }
                }
                (Place::Text(depth), _) => {
                    self.pass(byte, text);
                    match byte {
                        b'"' => Place::Within(depth),
                        b'\\' => Place::Escaped(depth),
                        _ => Place::Text(depth),
                    }
                }
                (Place::Escaped(depth), _) => {
                    self.pass(byte, text);
                    Place::Text(depth)
                }
                (Place::Start | Place::Between | Place::Opened | Place::End, _) => {
                    return Err(SpliceError::Malformed);
                }
            };
        }
        Ok(())
    }

    /// A byte of an object.
    fn pass(&mut self, byte: u8, text: &mut Vec<u8>) {
        text.push(byte);
        if self.head.len() < HEAD {
            self.head.push(byte);
        }
    }

    fn after_element(&self) -> Place {
        if self.is_one { Place::End } else { Place::Between }
    }

    /// Whether nothing is begun that is not written whole.
    pub(super) fn is_between(&self) -> bool {
        matches!(self.place, Place::Start | Place::Between | Place::End)
    }

    /// Called after the last piece.
    ///
    /// # Errors
    /// The array has not ended.
    pub(super) fn finish(&self) -> Result<(), SpliceError> {
        if self.place == Place::End { Ok(()) } else { Err(SpliceError::CutOff) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::SystemClock,
        model::Device,
        store::{FILE_NAME, Store},
    };

    const MAC: &str = "02:00:00:00:00:07";

    /// The elements of an array that arrives in pieces of this size.
    fn spliced(array: &str, size: usize) -> Result<String, SpliceError> {
        pass(array, size, Splice::of_list(&name("a"), None))
    }

    fn name(site: &str) -> SiteName {
        site.parse().unwrap()
    }

    fn pass(array: &str, size: usize, mut splice: Splice) -> Result<String, SpliceError> {
        let (mut text, mut begun) = (Vec::new(), false);
        for piece in array.as_bytes().chunks(size) {
            splice.write(piece, &mut begun, &mut text)?;
        }
        splice.finish()?;
        Ok(String::from_utf8(text).unwrap())
    }

    #[test]
    fn each_element_gets_the_site_however_the_array_is_cut_into_pieces() {
        let array = r#" [ {"a":"}]\"{[\\","b":[{"c":1},[]]}, {} ,{"é":{"x":{}}}] "#;
        let expected =
            r#"{"site":"a","a":"}]\"{[\\","b":[{"c":1},[]]},{"site":"a"},{"site":"a","é":{"x":{}}}"#;
        for size in 1..=array.len() {
            assert_eq!(spliced(array, size).as_deref(), Ok(expected), "pieces of {size}");
        }
        assert_eq!(spliced("[]\n", 1).as_deref(), Ok(""));
    }

    /// What two sites know of a device.
    async fn elsewhere() -> Arc<Elsewhere> {
        let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let mut stores = Vec::new();
        for (dir, site) in dirs.iter().zip(["a", "b"]) {
            let clock = Arc::new(SystemClock::start());
            let (store, threads) = Store::open(&dir.path().join(FILE_NAME), clock).unwrap();
            let device = Device {
                address: "192.168.1.7".parse().unwrap(),
                mac: Some(MAC.parse().unwrap()),
                name: None,
            };
            store.enter(device, "2026-11-30T18:02:00Z".parse().unwrap()).await.unwrap();
            stores.push(((name(site), store), threads));
        }
        let (stores, _threads): (Vec<_>, Vec<_>) = stores.into_iter().unzip();
        Arc::new(Elsewhere::of_shared(&stores).await)
    }

    #[tokio::test]
    async fn a_device_gets_the_other_sites_that_know_it_however_it_is_cut_into_pieces() {
        let known = concat!(
            r#","elsewhere":[{"site":"b","address":"192.168.1.7","presence":"unknown","#,
            r#""first_seen":"2026-11-30T18:02:00Z","last_seen":"2026-11-30T18:02:00Z"}]}"#
        );
        let rest = r#","ports":[{"port":22},{}],"note":"}]\"mac\":\"02:00:00:00:00:07\""}"#;
        let other = r#""mac":"02:00:00:00:00:08""#;
        let array =
            format!(r#"[{{"mac":"{MAC}"{rest},{{{other}{rest},{{"mac":null}},{{}},{{"mac":"{MAC}"}}]"#);
        let end = rest.strip_suffix('}').unwrap();
        let expected = format!(
            r#"{{"site":"a","mac":"{MAC}"{end}{known},{{"site":"a",{other}{rest},{{"site":"a","mac":null}},{{"site":"a"}},{{"site":"a","mac":"{MAC}"{known}"#
        );
        let elsewhere = elsewhere().await;
        for size in 1..=array.len() {
            let splice = Splice::of_list(&name("a"), Some(Arc::clone(&elsewhere)));
            assert_eq!(pass(&array, size, splice).as_deref(), Ok(&*expected), "pieces of {size}");
        }
        let one = |text: &str| pass(text, 5, Splice::of_one(&name("a"), Arc::clone(&elsewhere)));
        let whole = format!(r#"{{"mac":"{MAC}"{rest}"#);
        assert_eq!(one(&format!("{whole}\n")), Ok(format!(r#"{{"site":"a","mac":"{MAC}"{end}{known}"#)));
        assert_eq!(one(&whole[..whole.len() - 1]), Err(SpliceError::CutOff));
        for malformed in ["[]", "[{}]", "{},{}", "{}]", ",{}", "]"] {
            assert_eq!(one(malformed), Err(SpliceError::Malformed), "{malformed}");
        }
    }

    #[test]
    fn an_array_that_is_cut_off_is_no_shorter_array() {
        let array = r#"[{"a":["b"]},{"c":{}}]"#;
        for end in 0..array.len() {
            assert_eq!(spliced(&array[..end], 3), Err(SpliceError::CutOff), "the first {end}");
        }
        for other in ["{}", "[1]", "[\"a\"]", "[{}]x", "[[]]", "[{1}]"] {
            assert_eq!(spliced(other, 3), Err(SpliceError::Malformed), "{other}");
        }
    }
}
