//! Which of many tests found something: the false discovery rate by Benjamini and Hochberg (1995, "Controlling the False
//! Discovery Rate", section 3).

/// For each p-value, in their order, the smallest false discovery rate at which its test is a discovery.
///
/// Holds for independent tests, and for those that depend on each other positively (Benjamini and Yekutieli 2001), as
/// tests of streams do that have one of them in common.
pub(super) fn q_values(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*b].total_cmp(&p_values[*a]));
    let all = p_values.len() as f64;
    let mut q_values = vec![1.0; p_values.len()];
    let mut smallest = 1.0_f64;
    for (above, test) in order.into_iter().enumerate() {
        let rank = all - above as f64;
        smallest = smallest.min(p_values[test] * all / rank);
        q_values[test] = smallest;
    }
    q_values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_paper_has_its_four_discoveries() {
        // Section 4.1: fifteen comparisons of two treatments, q = 0.05.
        let p_values = [
            0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528,
            0.7590, 1.0,
        ];
        let q_values = q_values(&p_values);
        assert_eq!(q_values.iter().filter(|q| **q <= 0.05).count(), 4, "{q_values:?}");
        assert!((q_values[0] - 0.0015).abs() < 1e-12);
        assert!((q_values[3] - 0.0095 * 15.0 / 4.0).abs() < 1e-12);
        assert_eq!(q_values[14], 1.0);
    }

    #[test]
    fn the_order_of_the_tests_says_nothing_and_a_smaller_p_never_has_a_larger_q() {
        let q_values = q_values(&[0.04, 0.03, 0.04, 0.01]);
        assert_eq!(q_values.iter().map(|q| (q * 1_000.0).round()).collect::<Vec<_>>(), [40.0, 40.0, 40.0, 40.0]);
        assert_eq!(super::q_values(&[]), Vec::<f64>::new());
    }
}
