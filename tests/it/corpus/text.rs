//! The text of case files as bytes: escapes, and places that are filled in.

/// Reads `\r`, `\n`, `\t`, `\0`, `\\` and `\xNN`; any other backslash is a mistake.
pub fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        let kind = after.chars().next().unwrap_or('\0');
        let mut taken = 1;
        bytes.push(match kind {
            'r' => b'\r',
            'n' => b'\n',
            't' => b'\t',
            '0' => 0,
            '\\' => b'\\',
            'x' => {
                taken = 3;
                let digits = after.get(1..3).ok_or("\\x wants two digits")?;
                u8::from_str_radix(digits, 16).map_err(|e| format!("\\x{digits}: {e}"))?
            }
            other => return Err(format!("unknown escape \\{other}")),
        });
        rest = &after[taken..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

/// What stands in the place `<name>`; `None` when there is no such place.
pub type Places<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Fills in the places of a text and reads its escapes. `<repeat 9 ab>` stands for nine times `ab`.
/// A `<` of the input itself is written `\x3c`.
pub fn fill_in(text: &str, places: Places<'_>) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        bytes.extend(unescape(before)?);
        let (place, after) = after.split_once('>').ok_or("a place without its end")?;
        if let Some(repeat) = place.strip_prefix("repeat ") {
            let (times, what) = repeat.split_once(' ').ok_or("repeat wants a number and a text")?;
            let times = times.parse().map_err(|e| format!("{times}: {e}"))?;
            bytes.extend(unescape(what)?.repeat(times));
        } else {
            let text = places(place).ok_or_else(|| format!("no place <{place}>"))?;
            bytes.extend_from_slice(text.as_bytes());
        }
        rest = after;
    }
    bytes.extend(unescape(rest)?);
    Ok(bytes)
}

/// Hexadecimal digits, with spaces anywhere.
pub fn hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let pairs = digits.chunks(2).map(|pair| pair.iter().collect::<String>());
    pairs.map(|pair| u8::from_str_radix(&pair, 16).map_err(|e| format!("{pair}: {e}"))).collect()
}

#[test]
fn places_and_escapes_are_read_and_mistakes_are_not() {
    let places = |name: &str| (name == "a").then(|| "\\r".to_owned());
    assert_eq!(fill_in("<a>\\r\\x41<repeat 3 \\n>", &places).unwrap(), b"\\r\rA\n\n\n");
    for mistake in ["<b>", "<a", "\\q", "\\x4", "<repeat a>"] {
        assert!(fill_in(mistake, &places).is_err(), "{mistake}");
    }
}
