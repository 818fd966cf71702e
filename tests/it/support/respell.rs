//! Changes to a JSON text along its tokens: other spellings of the same value, and near misses.

use fastrand::Rng;

/// Changes `body` in one place; a text that is no JSON stays as it is.
pub fn respell(rng: &mut Rng, body: &mut Vec<u8>) {
    let Ok(text) = std::str::from_utf8(body) else { return };
    let mut tokens = tokens(text);
    let at = rng.usize(0..tokens.len().max(1));
    if at >= tokens.len() {
        return;
    }
    match rng.u8(0..10) {
        0 | 1 => tokens.insert(at, [" ", "\n", "\t", "\r", "  \r\n"][rng.usize(0..5)].to_owned()),
        2 | 3 => change_one(rng, &mut tokens, |t| t.starts_with('"') && t.len() > 2, escape_one),
        4 | 5 => change_one(rng, &mut tokens, is_number, respell_number),
        6 => duplicate_member(rng, &mut tokens),
        7 => swap_members(rng, &mut tokens),
        8 => drop_member(rng, &mut tokens),
        _ => change_one(
            rng,
            &mut tokens,
            |t| matches!(t, "null" | "true" | "false"),
            |rng, _| {
                ["null", "true", "false", "0", "1", "\"\"", "{}", "[]"][rng.usize(0..8)].to_owned()
            },
        ),
    }
    *body = tokens.concat().into_bytes();
}

/// Strings, numbers, words and single characters, in order; nothing is left out.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_length(rest),
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token.to_owned());
        rest = after;
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.')
}

fn is_number(token: &str) -> bool {
    token.starts_with(|c: char| c == '-' || c.is_ascii_digit())
}

fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn change_one(
    rng: &mut Rng,
    tokens: &mut [String],
    wanted: impl Fn(&str) -> bool,
    change: impl Fn(&mut Rng, &str) -> String,
) {
    let fitting: Vec<usize> = (0..tokens.len()).filter(|at| wanted(&tokens[*at])).collect();
    if let Some(at) = rng.choice(fitting) {
        tokens[at] = change(rng, &tokens[at]);
    }
}

/// Writes one character of a string as an escape, plainly, or as another one.
fn escape_one(rng: &mut Rng, token: &str) -> String {
    let chars: Vec<char> = token.chars().collect();
    let at = rng.usize(1..chars.len());
    let (before, after) = (chars[..at].iter(), chars[at + 1..].iter());
    let mut units = [0_u16; 2];
    let spelled: String = match rng.u8(0..5) {
        0 => format!("\\{}", chars[at]),
        1 => chars[at].to_ascii_uppercase().to_string(),
        2 => "\\ud800".to_owned(),
        _ => chars[at].encode_utf16(&mut units).iter().map(|u| format!("\\u{u:04x}")).collect(),
    };
    before.collect::<String>() + &spelled + &after.collect::<String>()
}

fn respell_number(rng: &mut Rng, token: &str) -> String {
    match rng.u8(0..10) {
        0 => format!("{token}0"),
        1 => format!("{token}.0"),
        2 => format!("{token}e0"),
        3 => token.replace('e', "E"),
        4 => token.replace("e+", "e"),
        5 => format!("-{token}"),
        6 => format!("0{token}"),
        7 => token.replace(['1', '5'], "2"),
        8 => format!("{token}.00000000000000000001"),
        _ => token.replace(['.', '-'], ""),
    }
}

/// Where `"name": scalar` stands: the index of the name.
fn members(tokens: &[String]) -> Vec<usize> {
    let scalar = |token: &str| token.starts_with(|c: char| c == '"' || is_word(c));
    let is_member = |at: &usize| {
        tokens[*at].starts_with('"')
            && tokens.get(at + 1).is_some_and(|t| t == ":")
            && tokens.get(at + 2).is_some_and(|t| scalar(t))
    };
    (0..tokens.len()).filter(is_member).collect()
}

fn duplicate_member(rng: &mut Rng, tokens: &mut Vec<String>) {
    let Some(at) = rng.choice(members(tokens)) else { return };
    let mut copy = tokens[at..at + 3].to_vec();
    if rng.bool() {
        copy[2] = "\"other\"".to_owned();
    }
    if rng.bool() {
        copy[0] = escape_one(rng, &copy[0]);
    }
    copy.push(",".to_owned());
    drop(tokens.splice(at..at, copy));
}

/// Swaps two members: the same value when both are of one object, another one otherwise.
fn swap_members(rng: &mut Rng, tokens: &mut [String]) {
    let members = members(tokens);
    let (Some(one), Some(other)) = (rng.choice(&members), rng.choice(&members)) else { return };
    if one.abs_diff(*other) > 2 {
        for part in [0, 2] {
            tokens.swap(one + part, other + part);
        }
    }
}

fn drop_member(rng: &mut Rng, tokens: &mut Vec<String>) {
    let Some(at) = rng.choice(members(tokens)) else { return };
    let comma_after = tokens.get(at + 3).is_some_and(|t| t == ",");
    let comma_before = at > 0 && tokens[at - 1] == ",";
    let (start, end) = match (comma_after, comma_before) {
        (true, _) => (at, at + 4),
        (false, true) => (at - 1, at + 3),
        (false, false) => (at, at + 3),
    };
    drop(tokens.drain(start..end));
}
