//! The frequent ones of many texts, in bounded memory.

use hashbrown::HashMap;

/// Of n texts, every one that comes more than n / (most + 1) times, and some others; `most` in all (Misra, Gries 1982,
/// "Finding repeated elements"). What is counted here is too low once there were more: it says nothing but what to count.
#[derive(Debug)]
pub(super) struct Frequent {
    most: usize,
    counts: HashMap<String, u64>,
}

impl Frequent {
    pub(super) fn new(most: usize) -> Self {
        Self { most, counts: HashMap::new() }
    }

    pub(super) fn add(&mut self, text: &str) {
        if let Some(count) = self.counts.get_mut(text) {
            *count += 1;
        } else if self.counts.len() < self.most {
            self.counts.insert(text.to_owned(), 1);
        } else {
            // Each of these steps is paid for by those that counted: a text costs the same on average, however many.
            self.counts.retain(|_, count| {
                *count -= 1;
                *count > 0
            });
        }
    }

    pub(super) fn into_values(self) -> impl Iterator<Item = String> {
        self.counts.into_keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_frequent_is_found_among_any_number_of_others() {
        let mut frequent = Frequent::new(3);
        for number in 0..10_000 {
            frequent.add(&format!("once {number}"));
            if number % 2 == 0 {
                frequent.add("often");
            }
            assert!(frequent.counts.len() <= 3);
        }
        assert!(frequent.into_values().any(|text| text == "often"), "a third of all comes more often than a fourth");
    }

    #[test]
    fn nothing_is_lost_of_few() {
        let mut frequent = Frequent::new(3);
        ["a", "b", "a", "c", "a"].iter().for_each(|text| frequent.add(text));
        let mut found: Vec<String> = frequent.into_values().collect();
        found.sort_unstable();
        assert_eq!(found, ["a", "b", "c"]);
    }
}
