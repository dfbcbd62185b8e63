use super::*;

const QWEN: &[u8] = include_bytes!("../../../../tests/tokenizers/qwen.tiktoken");

fn file(tokens: &[(&[u8], u32)]) -> Vec<u8> {
    let lines = tokens.iter().map(|(token, rank)| format!("{} {rank}\n", STANDARD.encode(token)));
    lines.collect::<String>().into_bytes()
}

#[test]
fn the_text_is_known_by_its_ids() {
    let tokens = parse("f", QWEN, Class::Listed).unwrap();
    let ranks = Ranks::new("f", FIELD, tokens.iter().map(|(token, rank)| (&**token, *rank))).unwrap();
    let module = |pattern: &str| Module {
        file: "t.py".to_owned(),
        class: Class::Listed,
        vocabulary: "f".to_owned(),
        pattern: pattern.to_owned(),
        special: Special::Reserved(0),
    };
    assert_eq!(recognise(&module(slow::QWEN2_PATTERN), &ranks).unwrap(), "qwen2");
    assert_eq!(encode(KIMI_PATTERN, &ranks).unwrap().len(), 181);
    let few = tokens[..1024].iter().map(|(token, rank)| (&**token, *rank));
    let few = Ranks::new("f", FIELD, few).unwrap();
    let error = recognise(&module(slow::QWEN2_PATTERN), &few).unwrap_err();
    assert!(matches!(error, E::UnknownPreTokenizer { .. }), "{error}");
    let error = recognise(&module(r"(\s*)*x"), &ranks).unwrap_err().to_string();
    assert!(error.contains("`t.py`: `PAT_STR` must be a pattern that is known"), "{error}");
}

#[test]
fn the_text_stays_as_it_is_when_it_is_normalized() {
    use tokenizers::{NormalizedString, Normalizer};
    let mut text = NormalizedString::from(TEXT);
    tokenizers::normalizers::NFC.normalize(&mut text).unwrap();
    assert_eq!(text.get(), TEXT);
}

#[test]
fn tokens_are_made_of_those_before_them() {
    let made = |tokens: &[(&[u8], u32)]| -> Vec<String> {
        let merges = all_merges("f", &file(tokens)).unwrap();
        merges.iter().map(|m| String::from_utf8_lossy(m).into_owned()).collect()
    };
    assert_eq!(made(&[(b"bc", 300), (b"abc", 302), (b"ab", 301)]), ["b c", "a bc", "a b"]);
    // Of four others: no merge.
    assert_eq!(made(&[(b"ab", 300), (b"wxyz", 301)]), ["a b"]);
    let tokens = parse("f", &file(&[(b"wxyz", 301)]), Class::Listed).unwrap();
    let ranks = Ranks::new("f", FIELD, std::iter::empty()).unwrap();
    let error = merges("f", &tokens, &ranks, Rules::Qwen).unwrap_err().to_string();
    assert_eq!(error, "`f`: `tokens` must be each made of two others, not `301`");
}

#[test]
fn broken_files_are_refused() {
    #[track_caller]
    fn check(bytes: &[u8], class: Class, expected: &str) {
        let error = parse("f", bytes, class).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    check(b"YQ==\n", Class::Listed, "`line 1` must be a token and its rank");
    check(b"YQ== 1 2", Class::Listed, "a token and its rank");
    check(b"YQ== 1\r\n? 2", Class::Listed, "`line 3` must be bytes in base64");
    check(b"YQ== -1", Class::Listed, "a rank that vocabularies have");
    check(b"YQ== +1", Class::Listed, "a rank that vocabularies have");
    check(b"YQ== 16777216", Class::Listed, "a rank that vocabularies have");
    check(b"YQ== 1", Class::Counted, "a token of the rank of its place");
    let error = all_merges("f", b"YQ== 1\nYQ== 2").unwrap_err().to_string();
    assert!(error.contains("without a token twice"), "{error}");
}

#[test]
fn neither_a_text_nor_an_id_is_twice_there() {
    let check = |special: (&str, u32), expected: &str| {
        let tokens = vec![(b"a".to_vec(), 0), (b" ".to_vec(), 1)];
        let error =
            Listed::new("f", &tokens, &[(special.0.to_owned(), special.1)]).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(("<s>", 1), "without an id twice");
    check(("a", 2), "without a token twice");
    check(("Ġ", 2), "without a token twice");
}
