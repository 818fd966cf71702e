mod hostile;

use super::*;

#[test]
fn error_texts_are_printable_and_bounded() {
    let error =
        FetchError::Net(NetError::Tls(format!("a\n\u{1b}[31m\u{202e}é{}", "x".repeat(999))));
    let text = error.to_string();
    assert!(text.starts_with(r"tls: a\n\u{1b}[31m\u{202e}\u{e9}xxx"), "{text}");
    assert!(text.chars().all(|c| c == ' ' || c.is_ascii_graphic()));
    assert!(text.len() < 400, "{}", text.len());
}
