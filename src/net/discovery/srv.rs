//! The order of SRV targets (RFC 2782).

use crate::net::dns::SrvTarget;

/// Orders targets by priority, and within a priority at random by weight.
pub(super) fn in_order(mut targets: Vec<SrvTarget>, random: &mut fastrand::Rng) -> Vec<SrvTarget> {
    // Weight 0 first within a priority, so that it is chosen now and then beside heavier ones.
    targets.sort_by_key(|target| (target.priority, target.weight));
    let mut ordered = Vec::with_capacity(targets.len());
    while let Some(best) = targets.first().map(|target| target.priority) {
        let group = targets.iter().take_while(|target| target.priority == best);
        let total: u64 = group.clone().map(|target| u64::from(target.weight)).sum();
        let chosen = random.u64(0..=total);
        let mut running = 0_u64;
        let position = group.map(|target| u64::from(target.weight)).position(|weight| {
            running += weight;
            running >= chosen
        });
        // The running sum ends at `total`, so one is always found.
        ordered.push(targets.remove(position.unwrap_or(0)));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(priority: u16, weight: u16, host: &str) -> SrvTarget {
        SrvTarget { priority, weight, host: host.to_owned(), port: 1 }
    }

    fn hosts(targets: Vec<SrvTarget>, seed: u64) -> Vec<String> {
        in_order(targets, &mut fastrand::Rng::with_seed(seed)).into_iter().map(|t| t.host).collect()
    }

    #[test]
    fn lower_priorities_come_first_whatever_the_weight() {
        for seed in 0..50 {
            let targets = vec![target(20, 9, "c"), target(10, 0, "b"), target(5, 1, "a")];
            assert_eq!(hosts(targets, seed), ["a", "b", "c"], "seed {seed}");
        }
    }

    #[test]
    fn weights_are_shares() {
        let rounds: u16 = 2_000;
        let first_is = |wanted: &str| {
            (0..u64::from(rounds))
                .filter(|seed| {
                    let targets = vec![target(1, 10, "light"), target(1, 30, "heavy")];
                    hosts(targets, *seed).first().is_some_and(|host| host == wanted)
                })
                .count()
        };
        let heavy = first_is("heavy");
        // Three in four; far beyond ten standard deviations (19) it would not be.
        assert!((1_300..=1_700).contains(&heavy), "{heavy} of {rounds}");
        assert_eq!(first_is("light") + heavy, usize::from(rounds));
    }

    #[test]
    fn all_targets_are_kept_also_with_weight_zero_and_the_largest() {
        for seed in 0..50 {
            let targets = vec![
                target(1, 0, "zero"),
                target(1, u16::MAX, "max"),
                target(1, u16::MAX, "max too"),
                target(0, 0, "first"),
            ];
            let mut ordered = hosts(targets, seed);
            assert_eq!(ordered.remove(0), "first");
            ordered.sort();
            assert_eq!(ordered, ["max", "max too", "zero"], "seed {seed}");
        }
        assert!(hosts(Vec::new(), 0).is_empty());
    }
}
