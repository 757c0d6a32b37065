use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Value {
    Value::parse(text.as_bytes()).unwrap()
}

fn canonical(text: &str) -> String {
    parse(text).to_canonical_string()
}

fn reason(text: &[u8]) -> (usize, ParseReason) {
    let error = Value::parse(text).unwrap_err();
    (error.offset, error.reason)
}

/// RFC 8785, appendix B.
#[test]
fn doubles_are_written_as_rfc_8785_publishes() {
    let vectors: &[(u64, &str)] = &[
        (0x0000_0000_0000_0000, "0"),
        (0x8000_0000_0000_0000, "0"),
        (0x0000_0000_0000_0001, "5e-324"),
        (0x8000_0000_0000_0001, "-5e-324"),
        (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
        (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
        (0x4340_0000_0000_0000, "9007199254740992"),
        (0xc340_0000_0000_0000, "-9007199254740992"),
        (0x4430_0000_0000_0000, "295147905179352830000"),
        (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
        (0x44b5_2d02_c7e1_4af6, "1e+23"),
        (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
        (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
        (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
        (0x444b_1ae4_d6e2_ef50, "1e+21"),
        (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
        (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
        (0x41b3_de43_5555_5553, "333333333.3333332"),
        (0x41b3_de43_5555_5554, "333333333.33333325"),
        (0x41b3_de43_5555_5555, "333333333.3333333"),
        (0x41b3_de43_5555_5556, "333333333.3333334"),
        (0x41b3_de43_5555_5557, "333333333.33333343"),
        (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
        (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
    ];
    for (bits, expected) in vectors {
        let number = Number::from_f64(f64::from_bits(*bits)).unwrap();
        assert_eq!(Value::Number(number.clone()).to_canonical_string(), *expected);
        assert_eq!(canonical(expected), *expected);
        let minus_zero = 1 << 63;
        assert_eq!(number.as_f64().map(f64::to_bits), Some(if *bits == minus_zero { 0 } else { *bits }));
    }
    assert_eq!(Number::from_f64(f64::NAN), None);
    assert_eq!(Number::from_f64(f64::INFINITY), None);
}

/// RFC 8785, section 3.2.2; its first number loses a digit in a double, which is where we differ on purpose.
#[test]
fn the_sample_of_rfc_8785() {
    let sample = r#"{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }"#;
    assert_eq!(
        canonical(sample),
        r#"{"literals":[null,true,false],"numbers":[{"$dec":"333333333.33333329"},1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}"#
    );
}

/// RFC 8785, section 3.2.3.
#[test]
fn keys_are_sorted_by_utf16_units() {
    let sample = r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One",
        "\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#;
    let order = [
        "Carriage Return",
        "One",
        "Control",
        "Latin Small Letter O With Diaeresis",
        "Euro Sign",
        "Emoji: Grinning Face",
        "Hebrew Letter Dalet With Dagesh",
    ];
    let out = canonical(sample);
    let places: Vec<_> = order.iter().map(|name| out.find(name).unwrap()).collect();
    assert!(places.is_sorted(), "{out}");
}

/// Torture list, line 18.
#[test]
fn amounts_past_2_53_that_differ_by_one_differ() {
    let texts = [
        "9007199254740991",
        "9007199254740992",
        "9007199254740993",
        "9007199254740994",
        "-9007199254740993",
        "18446744073709551615",
        "18446744073709551616",
        "18446744073709551617",
        "18446744073709552000",
        "100000000000000000000000000000000000001",
        "0.1",
        "0.1000000000000000055511151231257827",
        "0.10000000000000001",
        "1e400",
        "1e401",
        "1e-400",
    ];
    let forms: std::collections::BTreeSet<_> = texts.iter().map(|t| canonical(t)).collect();
    assert_eq!(forms.len(), texts.len());
    assert_eq!(canonical("9007199254740993"), r#"{"$int":"9007199254740993"}"#);
    assert_eq!(canonical("0.10000000000000000555"), r#"{"$dec":"0.10000000000000000555"}"#);
    assert_eq!(canonical("1e400"), r#"{"$int":"1e400"}"#);
    assert_eq!(canonical("12.5e-400"), r#"{"$dec":"125e-401"}"#);
}

/// Torture list, line 18.
#[test]
fn parameters_that_differ_in_bytes_that_are_not_utf8_differ() {
    let of = |bytes: &[u8]| Value::object([("arg", Value::bytes_or_string(bytes))]).canonical();
    assert_ne!(of(b"\xff\xfe"), of(b"\xff\xfd"));
    assert_ne!(of(b"a\xff"), of("a\u{fffd}".as_bytes()));
    assert_eq!(of(b"plain"), br#"{"arg":"plain"}"#);
    assert_eq!(of(b"\xff\xfe"), br#"{"arg":{"$bytes":"//4="}}"#);
}

#[test]
fn one_value_has_one_form() {
    for (a, b) in [
        ("1", "1.0"),
        ("1", "1e0"),
        ("0", "-0"),
        ("0", "0e999999999999"),
        ("100", "1E+2"),
        ("9007199254740993", "9007199254740993.00"),
        ("9007199254740993", "900719925474099.3e1"),
        ("1e400", "10000e396"),
        ("0.5", "5e-1"),
        (r#""\u0041\/""#, r#""A/""#),
        (r#"{"a":1,"b":2}"#, r#" { "b" : 2 , "a" : 1 } "#),
    ] {
        assert_eq!(parse(a), parse(b));
        assert_eq!(canonical(a), canonical(b));
    }
}

#[test]
fn a_key_of_the_user_is_not_a_number_of_ours() {
    for tag in ["$int", "$dec", "$bytes", "$$int", "$", "$x"] {
        let forged = parse(&format!(r#"{{"{tag}":"9007199254740993"}}"#));
        assert_eq!(forged.get(tag).unwrap().as_str(), Some("9007199254740993"));
        assert_eq!(forged.to_canonical_string(), format!(r#"{{"${tag}":"9007199254740993"}}"#));
        assert_eq!(Value::from_canonical(&forged.canonical()).unwrap(), forged);
    }
    assert_ne!(canonical(r#"{"$int":"9007199254740993"}"#), canonical("9007199254740993"));
}

#[test]
fn only_the_canonical_spelling_reads_back() {
    for text in [
        "1.0",
        "1e0",
        " 1",
        "9007199254740993",
        r#"{"b":1,"a":1}"#,
        r#""\u0041""#,
        r#"{"$int":"1"}"#,
        r#"{"$int":"9007199254740993.5"}"#,
        r#"{"$dec":"9007199254740993"}"#,
        r#"{"$int":"09007199254740993"}"#,
        r#"{"$int":9007199254740993}"#,
        r#"{"$bytes":"//5="}"#,
        r#"{"$bytes":"//4"}"#,
        r#"{"$bytes":"not base64"}"#,
        r#"{"$x":1}"#,
        r#"{"$int":"9007199254740993","a":1}"#,
    ] {
        assert!(Value::from_canonical(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn numbers_are_bounded_before_they_cost_anything() {
    let long = "1".repeat(1_001);
    assert_eq!(reason(long.as_bytes()), (0, ParseReason::Number(NumberError::TooLong)));
    assert!(Value::parse("1".repeat(1_000).as_bytes()).is_ok());
    for text in ["1e999999999", "1e-999999999", "1e1001", "1e99999999999999999999999999"] {
        assert_eq!(reason(text.as_bytes()), (0, ParseReason::Number(NumberError::OutOfRange)));
    }
    // A text as long as a literal may be reads back, zeros filled in or not.
    for text in [format!("0.{}1", "0".repeat(997)), format!("-{}.5", "9".repeat(997))] {
        let value = parse(&text);
        assert_eq!(Value::from_canonical(&value.canonical()).unwrap(), value);
    }
}

#[test]
fn what_readers_disagree_about_is_refused() {
    use ParseReason as R;
    let cases: &[(&[u8], usize, R)] = &[
        (b"", 0, R::UnexpectedEnd),
        (b"\xef\xbb\xbf1", 0, R::UnexpectedByte),
        (b"[1,]", 3, R::UnexpectedByte),
        (b"{\"a\":1,}", 7, R::UnexpectedByte),
        (b"{\"a\":1,\"\\u0061\":2}", 7, R::DuplicateKey),
        (b"[1] x", 4, R::TrailingData),
        (b"\"\\ud800\"", 1, R::LoneSurrogate),
        (b"\"\\ud800\\u0041\"", 1, R::LoneSurrogate),
        (b"\"\\udc00\"", 1, R::LoneSurrogate),
        (b"\"\\u12g4\"", 5, R::BadEscape),
        (b"\"\\x\"", 1, R::BadEscape),
        (b"\"a\nb\"", 2, R::ControlCharacter),
        (b"\"abc", 4, R::UnexpectedEnd),
        (b"\"\\", 2, R::UnexpectedEnd),
        (b"\"\xff\"", 1, R::NotUtf8),
        (b"01", 0, R::Number(NumberError::Syntax)),
        (b"[-]", 1, R::Number(NumberError::Syntax)),
        (b"1.", 0, R::Number(NumberError::Syntax)),
        (b".5", 0, R::UnexpectedByte),
        (b"1e", 0, R::Number(NumberError::Syntax)),
        (b"1-2", 0, R::Number(NumberError::Syntax)),
        (b"NaN", 0, R::UnexpectedByte),
        (b"nul", 0, R::UnexpectedByte),
        (b"truex", 4, R::TrailingData),
        (b"'a'", 0, R::UnexpectedByte),
        (b"[1 2]", 3, R::UnexpectedByte),
        (b"{1:2}", 1, R::UnexpectedByte),
    ];
    for (text, offset, expected) in cases {
        assert_eq!(reason(text), (*offset, expected.clone()), "{text:?}");
    }
}

#[test]
fn nesting_is_limited_on_both_ways() {
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert!(Value::parse(deep(MAX_DEPTH).as_bytes()).is_ok());
    assert_eq!(reason(deep(MAX_DEPTH + 1).as_bytes()), (MAX_DEPTH, ParseReason::TooDeep(MAX_DEPTH)));
    assert!(Value::parse("[".repeat(1_000_000).as_bytes()).is_err());
    assert!(Value::parse("{\"a\":".repeat(1_000_000).as_bytes()).is_err());
    // A number at the deepest place gets a wrapper and still reads back.
    let value = parse(&deep(MAX_DEPTH).replace("[]", "[9007199254740993]"));
    assert_eq!(Value::from_canonical(&value.canonical()).unwrap(), value);
}

#[test]
fn integers_come_back_as_integers() {
    assert_eq!(parse("3.0").as_i64(), Some(3));
    assert_eq!(parse("-9223372036854775808").as_i64(), Some(i64::MIN));
    assert_eq!(parse("9223372036854775808").as_i64(), None);
    assert_eq!(parse("18446744073709551615").as_u64(), Some(u64::MAX));
    assert_eq!(parse("18446744073709551616").as_u64(), None);
    assert_eq!(parse("1e19").as_u64(), Some(10_000_000_000_000_000_000));
    assert_eq!(Value::from(u64::MAX).to_canonical_string(), r#"{"$int":"18446744073709551615"}"#);
    assert_eq!(parse("-1").as_u64(), None);
    assert_eq!(parse("0.5").as_i64(), None);
    assert_eq!(parse("9007199254740993").as_number().unwrap().as_f64(), None);
}

#[test]
fn plain_json_keeps_the_keys_and_the_digits() {
    let value = parse(r#"{"$int":9007199254740993,"b":[0.5]}"#);
    assert_eq!(value.to_plain_json().unwrap(), r#"{"$int":9007199254740993,"b":[0.5]}"#);
    assert_eq!(Value::Bytes(vec![255]).to_plain_json(), None);
}

#[test]
fn serde_refuses_what_it_would_have_to_guess() {
    assert!(serde_json::from_str::<Value>(r#"{"$x":1}"#).is_err());
    assert!(serde_json::from_str::<Value>(r#"{"a":1,"a":2}"#).is_err());
    assert!(serde_json::from_str::<Value>(r#"{"$int":"12"}"#).is_err());
}

fn number() -> impl Strategy<Value = Number> {
    prop_oneof![
        any::<i64>().prop_map(Number::from),
        any::<u64>().prop_map(Number::from),
        any::<f64>().prop_filter_map("finite", Number::from_f64),
        "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,40})?(e[+-]?[0-9]{1,3})?"
            .prop_filter_map("in range", |text| Number::from_literal(&text).ok()),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "\\$?\\$?(int|dec|bytes|[a-z]{0,2})"]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        number().prop_map(Value::Number),
        text().prop_map(Value::String),
        any::<Vec<u8>>().prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::btree_map(text(), inner, 0..5).prop_map(Value::Object),
        ]
    })
}

proptest! {
    #[test]
    fn the_canonical_form_reads_back(value in value()) {
        prop_assert_eq!(Value::from_canonical(&value.canonical()).unwrap(), value);
    }

    #[test]
    fn serde_json_loses_nothing(value in value()) {
        let text = serde_json::to_string(&value).unwrap();
        prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value.clone());
        let tree = serde_json::to_value(&value).unwrap();
        prop_assert_eq!(serde_json::from_value::<Value>(tree).unwrap(), value);
    }

    #[test]
    fn plain_json_parses_to_the_same_value(value in value()) {
        if let Some(text) = value.to_plain_json() {
            prop_assert_eq!(Value::parse(text.as_bytes()).unwrap(), value);
        }
    }

    #[test]
    fn equal_forms_mean_equal_numbers(a in number(), b in number()) {
        let same = Value::Number(a.clone()).canonical() == Value::Number(b.clone()).canonical();
        prop_assert_eq!(same, a == b);
    }

    #[test]
    fn a_plain_number_is_what_a_double_keeps(n in number()) {
        let form = Value::Number(n.clone()).to_canonical_string();
        if form.starts_with('{') {
            prop_assert_eq!(n.as_f64(), None);
        } else {
            prop_assert_eq!(Number::from_f64(form.parse::<f64>().unwrap()), Some(n));
        }
    }

    /// serde_json brings a formatter of its own, which knows the rule of the even digit too.
    #[test]
    fn doubles_are_written_as_another_formatter_does(bits in prop_oneof![any::<u64>(), (0x4310_u64..0x4340, any::<u64>())
        .prop_map(|(top, low)| (top << 48) | (low >> 16))])
    {
        let value = f64::from_bits(bits);
        if let Some(number) = Number::from_f64(value) {
            let other = Number::from_literal(&serde_json::to_string(&value).unwrap()).unwrap();
            prop_assert_eq!(number, other);
        }
    }

    #[test]
    fn no_input_panics(bytes in any::<Vec<u8>>()) {
        let _either = Value::parse(&bytes);
        let _either = Value::from_canonical(&bytes);
    }

    #[test]
    fn no_input_of_json_characters_panics(text in "[\\[\\]{}\":,0-9eE+\\-. \\\\u$intdecbytes]{0,60}") {
        if let Ok(value) = Value::parse(text.as_bytes()) {
            // An independent reader accepts whatever the strict one does, but for what a double cannot hold.
            let other = serde_json::from_str::<serde_json::Value>(&text);
            prop_assert!(other.is_ok() || other.is_err_and(|e| e.to_string().contains("out of range")));
            prop_assert_eq!(Value::from_canonical(&value.canonical()).unwrap(), value);
        }
    }
}
