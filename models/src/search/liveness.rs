//! Whether everything can still end well: the graph of a search, walked against its arrows.

/// All steps between states.
#[derive(Debug, Default)]
pub(super) struct Edges(Vec<(usize, usize)>);

impl Edges {
    /// A step leads from one state to another.
    pub(super) fn add(&mut self, from: usize, to: usize) {
        self.0.push((to, from));
    }

    /// The first of `states` from which none of `goals` can be reached.
    pub(super) fn first_without_way_to(mut self, goals: &[usize], states: usize) -> Option<usize> {
        self.0.sort_unstable();
        let mut is_fine = vec![false; states];
        let mut open = goals.to_vec();
        while let Some(state) = open.pop() {
            if std::mem::replace(&mut is_fine[state], true) {
                continue;
            }
            let first = self.0.partition_point(|(to, _)| *to < state);
            let into = self.0[first..].iter().take_while(|(to, _)| *to == state);
            open.extend(into.map(|(_, from)| *from).filter(|from| !is_fine[*from]));
        }
        is_fine.iter().position(|is_fine| !is_fine)
    }
}
