//! Corpora of small files.

use std::path::PathBuf;

use super::*;

fn settings(train: Option<PathBuf>, val: Option<PathBuf>) -> DataSettings {
    DataSettings { train, val, tokens: Tokens::Chars, val_fraction: 0.1 }
}

fn codes(result: Result<Corpus, Faults>) -> Vec<&'static str> {
    result.map_or_else(|faults| faults.0.iter().map(|fault| fault.code).collect(), |_| Vec::new())
}

/// Lines that never repeat 256 bytes.
fn lines(from: usize, to: usize) -> String {
    (from..to).map(|i| format!("line {i} of the text\n")).collect()
}

#[test]
fn the_last_tenth_validates() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.txt");
    fs::write(&file, "abcdefghij".repeat(7) + "xyz").unwrap();
    let corpus = Corpus::load(&settings(Some(file), None), 4).unwrap();
    // 73 characters: int(0.9 · 73) = 65 train.
    assert_eq!((corpus.train.len(), corpus.val.len()), (65, 8));
    assert_eq!(corpus.tokenizer.decode(&corpus.val), "fghijxyz");
    assert_eq!(corpus.tokenizer.vocab_size(), 13);
    assert_eq!(corpus.floor_bpb, None);
}

#[test]
fn a_directory_is_its_texts_in_order() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("b")).unwrap();
    for (name, text) in [("c.txt", "3333"), ("a.txt", "1111"), ("b/x.txt", "2222"), ("a.md", "9999")] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let corpus = Corpus::load(&settings(Some(folder.path().into()), None), 1).unwrap();
    assert_eq!(corpus.tokenizer.decode(&[&corpus.train[..], &corpus.val[..]].concat()), "111122223333");
}

#[test]
fn what_cannot_be_read_is_a_fault_each() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("empty")).unwrap();
    fs::write(path("train"), lines(0, 200)).unwrap();
    fs::write(path("other"), lines(200, 300)).unwrap();
    fs::write(path("seen"), lines(290, 300) + &lines(50, 90)).unwrap();
    fs::write(path("strange"), lines(200, 300) + "é").unwrap();
    fs::write(path("short"), "line").unwrap();
    fs::write(path("latin1"), b"caf\xe9".repeat(100)).unwrap();
    let load = |train: &str, val: Option<&str>| codes(Corpus::load(&settings(Some(path(train)), val.map(path)), 16));
    for (train, val, expected) in [
        ("train", None, vec![]),
        ("train", Some("other"), vec![]),
        ("none", None, vec!["D404"]),
        ("none", Some("nothing"), vec!["D404", "D404"]),
        ("empty", None, vec!["D405"]),
        ("train", Some("seen"), vec!["D406"]),
        ("train", Some("strange"), vec!["D403"]),
        ("train", Some("short"), vec!["D407"]),
        ("short", None, vec!["D407", "D407"]),
        ("latin1", None, vec!["D401"]),
    ] {
        assert_eq!(load(train, val), expected, "{train} {val:?}");
    }
    assert_eq!(codes(Corpus::load(&settings(None, Some(path("other"))), 16)), ["C103"]);
    let mut all = settings(Some(path("train")), None);
    for fraction in [0.0, 1.0, f64::NAN] {
        all.val_fraction = fraction;
        assert_eq!(codes(Corpus::load(&all, 16)), ["C102"]);
    }
}

#[test]
fn a_batch_is_text_and_the_text_one_further() {
    let corpus = Corpus::load(&settings(None, None), 32).unwrap();
    let (tokens, targets) = corpus.batch(1, 2, 0, 5, 32, Device::Cpu).unwrap();
    assert_eq!((tokens.size(), targets.size()), (vec![5, 32], vec![5, 32]));
    assert_eq!(tokens.narrow(1, 1, 31), targets.narrow(1, 0, 31));
    let again = corpus.batch(1, 2, 0, 5, 32, Device::Cpu).unwrap();
    assert_eq!(tokens, again.0);
    assert_ne!(tokens, corpus.batch(1, 2, 1, 5, 32, Device::Cpu).unwrap().0);
}

#[test]
fn the_digest_follows_the_text() {
    let folder = tempfile::tempdir().unwrap();
    let digest = |train: &str, val: Option<&str>| {
        fs::write(folder.path().join("t"), train).unwrap();
        fs::write(folder.path().join("v"), val.unwrap_or_default()).unwrap();
        let val = val.map(|_| folder.path().join("v"));
        Corpus::load(&settings(Some(folder.path().join("t")), val), 2).unwrap().sha256
    };
    let first = digest("abcdefabcdefabcdefabcdefabcdefabcdef", Some("abcd"));
    assert_eq!(first, digest("abcdefabcdefabcdefabcdefabcdefabcdef", Some("abcd")));
    assert_ne!(first, digest("abcdefabcdefabcdefabcdefabcdefabcdef", Some("abce")));
    assert_ne!(first, digest("abcdefabcdefabcdefabcdefabcdefabcdea", Some("bcd")));
}
