//! The globs that are more than a name and one star at its end: steps, followed all at once.
//!
//! A pattern becomes a row of steps, no more than two for each of its characters. A name is read once, with the
//! steps that it may be at: so no pattern takes more time than its length times that of the name, however it is
//! nested.

use std::str::Chars;

/// What a name has to have at one place, or where else to go.
#[derive(Debug, Clone)]
enum Step {
    /// This character.
    Literal(char),
    /// Any one character.
    One,
    /// Any run of characters.
    Run,
    /// A character of one of these ranges, both ends within; of none of them if negated.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    /// Nothing: on with the next step, or with this one.
    Fork(usize),
    /// Nothing: on with this one.
    Jump(usize),
}

/// A glob as steps; a name that gets behind the last one matches.
#[derive(Debug, Clone)]
pub(super) struct Glob {
    steps: Box<[Step]>,
}

impl Glob {
    /// Reads a pattern. The error says what is wrong with it.
    pub(super) fn parse(pattern: &str) -> Result<Self, String> {
        let mut steps = Vec::new();
        let mut groups: Vec<Group> = Vec::new();
        let mut rest = pattern.chars();
        while let Some(character) = rest.next() {
            match character {
                '?' => steps.push(Step::One),
                '*' => steps.push(Step::Run),
                '[' => steps.push(class(&mut rest)?),
                '\\' => match rest.next() {
                    Some(literal) => steps.push(Step::Literal(literal)),
                    None => return Err("dangling '\\'".to_owned()),
                },
                '{' => groups.push(Group::open(&mut steps)),
                '}' => match groups.pop() {
                    Some(group) => group.close(&mut steps),
                    None => {
                        let problem =
                            "unopened alternate group; missing '{' (maybe escape '}' with '[}]'?)";
                        return Err(problem.to_owned());
                    }
                },
                ',' => match groups.last_mut() {
                    Some(group) => group.next(&mut steps),
                    None => steps.push(Step::Literal(',')),
                },
                literal => steps.push(Step::Literal(literal)),
            }
        }
        if !groups.is_empty() {
            let problem = "unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?)";
            return Err(problem.to_owned());
        }
        Ok(Self {
            steps: steps.into_boxed_slice(),
        })
    }

    /// Whether the glob covers the whole of `name`.
    pub(super) fn matches(&self, name: &str) -> bool {
        let mut places = Places::before(self);
        places.reach(self, 0);
        let mut next = Places::before(self);
        for character in name.chars() {
            for &place in &places.reached {
                match self.steps.get(place) {
                    Some(Step::Run) => next.reach(self, place),
                    Some(step) if step.takes(character) => next.reach(self, place + 1),
                    _ => {}
                }
            }
            std::mem::swap(&mut places, &mut next);
            next.clear();
            if places.reached.is_empty() {
                return false;
            }
        }
        places.is_reached[self.steps.len()]
    }
}

impl Step {
    /// Whether a name with this character there goes on with the next step.
    fn takes(&self, character: char) -> bool {
        match self {
            Self::Literal(literal) => *literal == character,
            Self::One => true,
            Self::Class { negated, ranges } => {
                let is_in = |&(first, last): &(char, char)| (first..=last).contains(&character);
                ranges.iter().any(is_in) != *negated
            }
            Self::Run | Self::Fork(_) | Self::Jump(_) => false,
        }
    }
}

/// The places in a glob that what was read of a name may be at; that behind the last step is one, too.
struct Places {
    reached: Vec<usize>,
    is_reached: Vec<bool>,
    /// Those from which it is still to be looked further.
    open: Vec<usize>,
}

impl Places {
    fn before(glob: &Glob) -> Self {
        Self {
            reached: Vec::new(),
            is_reached: vec![false; glob.steps.len() + 1],
            open: Vec::new(),
        }
    }

    /// Notes `place`, and those that a name is at as well, without another character.
    fn reach(&mut self, glob: &Glob, place: usize) {
        self.open.push(place);
        while let Some(place) = self.open.pop() {
            if std::mem::replace(&mut self.is_reached[place], true) {
                continue;
            }
            self.reached.push(place);
            match glob.steps.get(place) {
                Some(Step::Fork(other)) => self.open.extend([place + 1, *other]),
                Some(Step::Jump(other)) => self.open.push(*other),
                Some(Step::Run) => self.open.push(place + 1),
                _ => {}
            }
        }
    }

    fn clear(&mut self) {
        for place in self.reached.drain(..) {
            self.is_reached[place] = false;
        }
    }
}

/// A `{` whose `}` is still to come.
struct Group {
    /// The fork before its last branch.
    fork: usize,
    /// The jumps behind its other branches.
    jumps: Vec<usize>,
}

impl Group {
    fn open(steps: &mut Vec<Step>) -> Self {
        let group = Self {
            fork: steps.len(),
            jumps: Vec::new(),
        };
        // Without another branch it leads where it would go anyway.
        steps.push(Step::Fork(steps.len() + 1));
        group
    }

    /// At a comma: the branch ends, and another one begins.
    fn next(&mut self, steps: &mut Vec<Step>) {
        self.jumps.push(steps.len());
        steps.push(Step::Jump(0));
        steps[self.fork] = Step::Fork(steps.len());
        self.fork = steps.len();
        steps.push(Step::Fork(steps.len() + 1));
    }

    fn close(self, steps: &mut [Step]) {
        let end = steps.len();
        for jump in self.jumps {
            steps[jump] = Step::Jump(end);
        }
    }
}

/// Reads a class behind its `[`, to its `]`. There a backslash is one, a `]` at the beginning is no end, and
/// a `-` at the beginning or the end no range.
fn class(rest: &mut Chars<'_>) -> Result<Step, String> {
    let mut ranges: Vec<(char, char)> = Vec::new();
    let negated = rest.as_str().starts_with(['!', '^']);
    if negated {
        rest.next();
    }
    // The first character of a range whose last one is still to come.
    let mut begun = None;
    loop {
        let Some(character) = rest.next() else {
            return Err("unclosed character class; missing ']'".to_owned());
        };
        match (character, begun.take()) {
            (']', begun) if begun.is_some() || !ranges.is_empty() => {
                if begun.is_some() {
                    ranges.push(('-', '-'));
                }
                return Ok(Step::Class { negated, ranges });
            }
            (last, Some(first)) if last < first => {
                return Err(format!("invalid range; '{first}' > '{last}'"));
            }
            (last, Some(_)) => {
                if let Some(range) = ranges.last_mut() {
                    range.1 = last;
                }
            }
            ('-', None) if !ranges.is_empty() => begun = ranges.last().map(|range| range.0),
            (single, None) => ranges.push((single, single)),
        }
    }
}
