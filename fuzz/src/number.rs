//! Numbers of JSON and the texts CPython prints for them.

/// Longest integer in digits, as the library has it.
const DIGITS_MAX: usize = 4_300;

/// The largest integer of canonical JSON.
const LARGEST: &str = "9007199254740991";

/// The canonical form; none if the text is no number of JSON, or has no value.
pub fn canonical(text: &str) -> Option<String> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let mantissa_end = unsigned.find(['e', 'E']).unwrap_or(unsigned.len());
    let (mantissa, exponent) = unsigned.split_at(mantissa_end);
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let all_digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    if !all_digits(whole) || (whole.len() > 1 && whole.starts_with('0')) {
        return None;
    }
    if fraction.is_some_and(|digits| !all_digits(digits)) {
        return None;
    }
    let exponent = (!exponent.is_empty()).then(|| &exponent[1..]);
    if exponent.is_some_and(|digits| !all_digits(digits.strip_prefix(['+', '-']).unwrap_or(digits)))
    {
        return None;
    }
    if fraction.is_none() && exponent.is_none() {
        let zero = text == "-0";
        return (whole.len() <= DIGITS_MAX).then(|| if zero { "0" } else { text }.to_owned());
    }
    let value: f64 = text.parse().ok()?;
    value.is_finite().then(|| print(value))
}

/// Whether canonical JSON, taken by the letter, has a place for the number.
pub fn is_within_canonical_json(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_integer = digits.chars().all(|c| c.is_ascii_digit());
    let is_small =
        digits.len() < LARGEST.len() || (digits.len() == LARGEST.len() && digits <= LARGEST);
    is_integer && is_small
}

/// `repr` of a float: the fewest digits that read back, of those the nearest to the value.
fn print(value: f64) -> String {
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let magnitude = value.abs();
    if magnitude == 0.0 {
        return format!("{sign}0.0");
    }
    let (digits, exponent) = shortest(magnitude);
    let count = digits.len() as i32;
    if !(-4..16).contains(&exponent) {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        let (direction, size) = if exponent < 0 { ('-', -exponent) } else { ('+', exponent) };
        return format!("{sign}{first}{point}{rest}e{direction}{size:02}");
    }
    if exponent < 0 {
        return format!("{sign}0.{}{digits}", "0".repeat((-exponent - 1) as usize));
    }
    if count <= exponent + 1 {
        return format!("{sign}{digits}{}.0", "0".repeat((exponent + 1 - count) as usize));
    }
    let (whole, fraction) = digits.split_at((exponent + 1) as usize);
    format!("{sign}{whole}.{fraction}")
}

/// The digits without needless zeros, and the power of ten of the first one. Of a given number of
/// digits the nearest is tried, and its neighbours: beside a power of two the nearest may not read
/// back, where one of them does.
fn shortest(value: f64) -> (String, i32) {
    for count in 1..=17_usize {
        let nearest = format!("{value:.*e}", count - 1);
        let (mantissa, exponent) = nearest.split_once('e').unwrap();
        let digits: u64 = mantissa.replace('.', "").parse().unwrap();
        let exponent: i32 = exponent.parse().unwrap();
        for candidate in [digits, digits + 1, digits - 1] {
            let scale = exponent - (count as i32 - 1);
            if format!("{candidate}e{scale}").parse() == Ok(value) {
                let text = candidate.to_string();
                let exponent = exponent + text.len() as i32 - count as i32;
                return (text.trim_end_matches('0').to_owned(), exponent);
            }
        }
    }
    unreachable!("17 digits always read back")
}
