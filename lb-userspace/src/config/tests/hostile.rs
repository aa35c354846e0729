//! Whatever the text, parsing answers: a configuration, or mistakes that can be shown.

use std::path::Path;

use proptest::prelude::*;

use crate::config::parse;

const EXAMPLE: &str = include_str!("../../../../examples/lb.toml");

fn answers(text: &str) {
    if let Err(errors) = parse(Path::new("lb.toml"), text) {
        assert!(!errors.diagnostics().is_empty(), "refused without a reason");
        for diagnostic in errors.diagnostics() {
            let (line, column) = errors.position(diagnostic);
            assert!(line >= 1 && column >= 1);
        }
        assert!(errors.to_string().contains("lb.toml"));
    }
}

fn words() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "[[services]]",
        "[node]",
        "[pools.a]",
        "\n",
        " = ",
        "{",
        "}",
        "[",
        "]",
        ",",
        "\"",
        "'",
        "name",
        "addresses",
        "ports",
        "port",
        "handlers",
        "tls",
        "http",
        "10.0.0.1",
        "::1",
        "443",
        "\"5s\"",
        "-1",
        "true",
        "1.5",
        "1979-05-27",
        "\u{feff}",
        "ä",
        "\r\n",
        "\\",
        "#",
        ".",
    ]);
    prop::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn any_text(text in any::<String>()) {
        answers(&text);
    }

    #[test]
    fn any_words(text in words()) {
        answers(&text);
    }

    #[test]
    fn the_example_with_a_piece_replaced(
        at in 0..EXAMPLE.len(),
        length in 0_usize..40,
        piece in prop_oneof![words(), any::<String>()],
    ) {
        let start = EXAMPLE.floor_char_boundary(at);
        let end = EXAMPLE.ceil_char_boundary((at + length).min(EXAMPLE.len()));
        answers(&[&EXAMPLE[..start], &piece, &EXAMPLE[end..]].concat());
    }

    #[test]
    fn the_example_with_a_value_replaced(
        line in 0..EXAMPLE.lines().count(),
        value in prop::sample::select(vec![
            "0", "-1", "''", "'x'", "[]", "{}", "[[]]", "[{}]", "true", "1.5", "1979-05-27",
            "9999999999999999999999", "['::1', '::1', 5]", "{ a = { b = 1 } }", "\"\\u0000\"",
        ]),
    ) {
        let lines = EXAMPLE.lines().enumerate().map(|(index, text)| match text.split_once('=') {
            Some((key, _)) if index == line => format!("{key}= {value}\n"),
            _ => format!("{text}\n"),
        });
        answers(&lines.collect::<String>());
    }
}
