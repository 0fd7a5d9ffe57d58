//! How busy a component may be kept: from its own queueing behaviour and its objective, not from a fixed percentage.
//!
//! Replicas serve one queue. The mean wait of GI/G/c is Sakasegawa's (1977)
//! `W = S x rho^(sqrt(2(c+1)) - 1) / (c (1 - rho)) x (ca² + cs²) / 2`, with service time `S`; in heavy traffic waits are
//! close to exponential (Kingman, 1962), so that the 0.95 quantile is about three mean waits.

/// Squared coefficients of variation of arrivals and service, halved: as for random arrivals of random sizes.
const VARIABILITY: f64 = 1.0;
/// ln(20): the 0.95 quantile of an exponential, in means.
const TAIL: f64 = 3.0;
/// A server is never planned busier than this: beyond it the formula's wait is steeper than any forecast is good.
const BUSIEST: f64 = 0.95;

/// The utilisation, 0 to 0.95, at which the 0.95 quantile of waits on `servers` servers equals the objective.
///
/// `service` and `objective` in seconds; a service of 0 or unknown gives 0.95.
pub(super) fn utilisation(servers: u32, service: f64, objective: f64) -> f64 {
    let wait = |rho: f64| {
        let c = f64::from(servers.max(1));
        TAIL * service * rho.powf((2.0 * (c + 1.0)).sqrt() - 1.0) / (c * (1.0 - rho)) * VARIABILITY
    };
    let (mut low, mut high) = (0.0, BUSIEST);
    // A wait that is not a number fits too: there is nothing to plan against.
    if wait(high) <= objective || wait(high).is_nan() {
        return high;
    }
    for _ in 0..40 {
        let middle = (low + high) / 2.0;
        if wait(middle) > objective { high = middle } else { low = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_waits_as_the_textbook_says() {
        // M/M/1: W = rho S / (1 - rho). At rho = 0.75 and S = 1, three mean waits are 9 s.
        assert!((utilisation(1, 1.0, 9.0) - 0.75).abs() < 1e-6);
    }

    #[test]
    fn more_servers_and_more_patience_allow_more_use() {
        let mut before = 0.0;
        for servers in 1..20 {
            let now = utilisation(servers, 1.0, 3.0);
            assert!(now >= before);
            before = now;
        }
        assert!(utilisation(2, 1.0, 1.0) < utilisation(2, 1.0, 10.0));
        assert_eq!(utilisation(3, 0.0, 1.0), BUSIEST);
        assert_eq!(utilisation(3, f64::NAN, 1.0), BUSIEST);
    }
}
