//! What somebody meant who wrote something like it.

/// A name without what people mix up: case, and which mark stands between words.
pub(super) fn folded(name: &str) -> String {
    let mut folded = String::new();
    for c in name.chars() {
        let c = if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
        if c != '_' || !folded.ends_with('_') {
            folded.push(c);
        }
    }
    folded
}

/// How many changes still make the same word: one in three of its letters.
pub(super) fn allowed(word: &str) -> usize {
    (word.chars().count() / 3).max(1)
}

/// The word that is likest to `wrong`, if any is like it.
pub(super) fn nearest_word(wrong: &str, words: &[&'static str]) -> Option<&'static str> {
    let wrong = folded(wrong);
    words
        .iter()
        .map(|word| (strsim::damerau_levenshtein(&wrong, &folded(word)), *word))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= allowed(&wrong))
        .map(|(_, word)| word)
}
