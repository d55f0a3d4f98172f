//! "Did you mean": the one known word that somebody probably meant.

/// Most edits between a word and its suggestion.
const MAX_EDITS: usize = 3;

/// The candidate fewest edits from `given`, if it is near enough to be what was meant: at most one edit
/// for each three bytes, and no more than three.
///
/// ```
/// let known = ["duration", "bytes"];
/// assert_eq!(telemetry_core::catalog::nearest("duraton", known), Some("duration"));
/// assert_eq!(telemetry_core::catalog::nearest("speed", known), None);
/// ```
#[must_use]
pub fn nearest<'c>(given: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let bound = MAX_EDITS.min(given.len() / 3);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(given.len()) <= bound)
        .map(|candidate| (strsim::osa_distance(given, candidate), candidate))
        .filter(|(edits, _)| *edits <= bound)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}
