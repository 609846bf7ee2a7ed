//! What samples add up to.

/// The samples of all subjects, round by round, in nanoseconds.
#[derive(Debug)]
pub struct Figures {
    subjects: Vec<(String, Vec<f64>)>,
    /// Samples taken again because the core was taken away in the midst of them.
    pub disturbed: usize,
}

/// The middle of many values, and the quarter of them below and above it.
#[derive(Clone, Copy, Debug)]
pub struct Middle {
    /// A quarter is below.
    pub lower: f64,
    /// Half is.
    pub median: f64,
    /// A quarter is above.
    pub upper: f64,
}

impl Middle {
    /// That of at least one value.
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |quarters: usize| values[(values.len() - 1) * quarters / 4];
        Self { lower: at(1), median: at(2), upper: at(3) }
    }
}

impl Figures {
    /// No samples yet of these subjects.
    pub fn new(names: impl Iterator<Item = String>) -> Self {
        Self { subjects: names.map(|name| (name, Vec::new())).collect(), disturbed: 0 }
    }

    /// Adds a sample of a subject, by its number.
    pub fn add(&mut self, subject: usize, nanoseconds: f64) {
        self.subjects[subject].1.push(nanoseconds);
    }

    fn samples(&self, name: &str) -> Option<&[f64]> {
        self.subjects.iter().find(|(own, _)| own == name).map(|(_, samples)| samples.as_slice())
    }

    /// The subject's time; none where there is no such subject.
    pub fn time(&self, name: &str) -> Option<Middle> {
        self.samples(name).map(|samples| Middle::of(samples.iter().copied()))
    }

    /// One subject compared to another, each sample to the other's of the same round; none where one of them was left out.
    pub fn compare(&self, name: &str, to: &str, how: impl Fn(f64, f64) -> f64) -> Option<Middle> {
        let (own, other) = (self.samples(name)?, self.samples(to)?);
        Some(Middle::of(own.iter().zip(other).map(|(own, other)| how(*own, *other))))
    }

    /// Adds what follows from the samples of three subjects, round by round, as if it were one itself.
    pub fn derive(&mut self, name: &str, from: [&str; 3], how: impl Fn(f64, f64, f64) -> f64) {
        if let [Some(a), Some(b), Some(c)] = from.map(|name| self.samples(name)) {
            let samples = a.iter().zip(b).zip(c).map(|((a, b), c)| how(*a, *b, *c)).collect();
            self.subjects.push((name.to_owned(), samples));
        }
    }
}
