//! Adds the site's name to each object of a JSON array, while the array passes in pieces: nothing of it is kept.

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
    /// `"site":"NAME"`
    member: String,
    place: Place,
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
    /// An array of the elements of this site; the name is written as it is.
    pub(super) fn new(site: &str) -> Self {
        Self { member: format!("\"site\":\"{site}\""), place: Place::Start }
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
                (Place::Between, b',') => continue,
                (Place::Between, b']') => Place::End,
                (Place::Between, b'{') => {
                    if std::mem::replace(begun, true) {
                        text.push(b',');
                    }
                    text.push(b'{');
                    text.extend_from_slice(self.member.as_bytes());
                    Place::Opened
                }
                (Place::Opened, b'}') => {
                    text.push(byte);
                    Place::Between
                }
                (Place::Opened, b'"') => {
                    text.extend_from_slice(b",\"");
                    Place::Text(1)
                }
                (Place::Within(depth), _) => {
                    text.push(byte);
                    match byte {
                        b'"' => Place::Text(depth),
                        b'{' | b'[' => Place::Within(depth.saturating_add(1)),
                        b'}' | b']' if depth <= 1 => Place::Between,
                        b'}' | b']' => Place::Within(depth.saturating_sub(1)),
                        _ => Place::Within(depth),
                    }
                }
                (Place::Text(depth), _) => {
                    text.push(byte);
                    match byte {
                        b'"' => Place::Within(depth),
                        b'\\' => Place::Escaped(depth),
                        _ => Place::Text(depth),
                    }
                }
                (Place::Escaped(depth), _) => {
                    text.push(byte);
                    Place::Text(depth)
                }
                (Place::Start | Place::Between | Place::Opened | Place::End, _) => {
                    return Err(SpliceError::Malformed);
                }
            };
        }
        Ok(())
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

    /// The elements of an array that arrives in pieces of this size.
    fn spliced(array: &str, size: usize) -> Result<String, SpliceError> {
        let (mut text, mut begun, mut splice) = (Vec::new(), false, Splice::new("a"));
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
