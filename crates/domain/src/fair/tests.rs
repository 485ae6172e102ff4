//! The bound of the fair share, by simulation, and the properties of a division.

use proptest::prelude::*;

use super::*;

/// A lane that never runs out of jobs, as the simulation sees it.
#[derive(Clone, Debug)]
struct Tenant {
    weight: u32,
    /// What its jobs take, in turn, by kind.
    jobs: Vec<(usize, i64)>,
    /// What each kind is expected to take.
    expected: Vec<i64>,
    virtual_us: i64,
    cost_us: i64,
    started: usize,
    /// Slot time really taken by the jobs that were started, as they will be billed.
    billed_us: i64,
}

#[derive(Debug)]
struct Running {
    ends_at: i64,
    lane: usize,
    kind: usize,
    took_us: i64,
    charged_us: i64,
}

/// The extremes that the bound is made of, as they occurred, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Extremes {
    /// The greatest charge at a start.
    charge: i64,
    /// The greatest charge added when a job ended.
    up: i64,
    /// The greatest charge given back when a job ended.
    down: i64,
    /// The greatest difference between what a division expected a job to be
    /// charged and what it was charged.
    blind: i64,
}

struct Simulation {
    now: i64,
    slots: usize,
    batch: u32,
    lanes: Vec<Tenant>,
    running: Vec<Running>,
    extremes: Extremes,
}

impl Simulation {
    fn new(slots: usize, batch: u32, lanes: Vec<Tenant>) -> Self {
        Self { now: 0, slots, batch, lanes, running: Vec::new(), extremes: Extremes::default() }
    }

    /// Fills the free slots, in claims of at most `batch`.
    fn fill(&mut self) {
        while self.running.len() < self.slots {
            let free = (self.slots - self.running.len()) as u32;
            let view: Vec<_> = self
                .lanes
                .iter()
                .map(|lane| Lane {
                    virtual_us: lane.virtual_us,
                    weight: lane.weight,
                    cost_us: lane.cost_us,
                    limits: [None, None],
                })
                .collect();
            for (lane, take) in share(free.min(self.batch), &view, &mut []).into_iter().enumerate() {
                self.start(lane, take);
            }
        }
    }

    fn start(&mut self, index: usize, take: u32) {
        let lane = &mut self.lanes[index];
        let mut sum = 0;
        for _ in 0..take {
            let (kind, took_us) = lane.jobs[lane.started % lane.jobs.len()];
            let charged_us = lane.expected[kind];
            lane.started += 1;
            lane.billed_us += billed_us(took_us);
            sum += charged_us;
            self.extremes.charge = self.extremes.charge.max(charged_us);
            self.extremes.blind = self.extremes.blind.max((charged_us - lane.cost_us).abs());
            let ends_at = self.now + took_us;
            self.running.push(Running { ends_at, lane: index, kind, took_us, charged_us });
        }
        if take > 0 {
            lane.virtual_us += charge_us(sum, lane.weight);
            lane.cost_us = sum / i64::from(take);
        }
    }

    /// Lets time pass until the next job ends, and settles it.
    fn step(&mut self) {
        let next = (0..self.running.len()).min_by_key(|index| self.running[*index].ends_at);
        let ended = self.running.swap_remove(next.expect("slots are never all free"));
        self.now = ended.ends_at;
        let settle = correction_us(ended.charged_us, ended.took_us);
        self.extremes.up = self.extremes.up.max(settle);
        self.extremes.down = self.extremes.down.max(-settle);
        let lane = &mut self.lanes[ended.lane];
        if settle != 0 {
            lane.virtual_us += charge_us(settle, lane.weight);
            lane.expected[ended.kind] = average_us(lane.expected[ended.kind], ended.charged_us + settle);
        }
    }

    /// The bound of the module's documentation, with the rounding of whole microseconds.
    fn bound_us(&self, ahead: usize, behind: usize) -> i64 {
        let Extremes { charge, up, down, blind } = self.extremes;
        let (slots, quantum) = (self.slots as i64, i64::from(QUANTUM));
        let over = quantum.min(slots) * charge + slots * (up + blind);
        let under = slots * (down + blind);
        over / i64::from(self.lanes[ahead].weight) + under / i64::from(self.lanes[behind].weight) + 4 * slots
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for ahead in 0..self.lanes.len() {
            for behind in 0..self.lanes.len() {
                let lead = self.lanes[ahead].virtual_us - self.lanes[behind].virtual_us;
                let bound = self.bound_us(ahead, behind);
                prop_assert!(lead <= bound, "lane {ahead} leads {behind} by {lead} us, over {bound} us");
            }
        }
        Ok(())
    }
}

/// A tenant whose jobs are of up to three kinds, and take anything up to `longest`.
fn tenants(longest: i64) -> impl Strategy<Value = Tenant> {
    let jobs = proptest::collection::vec((0..3usize, 1..longest), 1..20);
    (1..=20u32, jobs).prop_map(|(weight, jobs)| Tenant {
        weight,
        jobs,
        expected: vec![UNKNOWN_COST_US; 3],
        virtual_us: 0,
        cost_us: UNKNOWN_COST_US,
        started: 0,
        billed_us: 0,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn backlogged_lanes_stay_together(
        lanes in proptest::collection::vec(tenants(2_000_000), 2..7),
        slots in 1..40usize,
        batch in 1..60u32,
    ) {
        let mut simulation = Simulation::new(slots, batch, lanes);
        for _ in 0..1_000 {
            simulation.fill();
            simulation.check()?;
            simulation.step();
            simulation.check()?;
        }
    }

    #[test]
    fn time_is_shared_by_weight_in_the_long_run(
        weights in proptest::collection::vec(1..=10u32, 2..5),
        takes in proptest::collection::vec(1_000..1_000_000i64, 4),
        slots in 1..10usize,
    ) {
        let lanes: Vec<_> = weights.iter().zip(&takes).map(|(&weight, &took)| Tenant {
            weight,
            jobs: vec![(0, took)],
            expected: vec![UNKNOWN_COST_US],
            virtual_us: 0,
            cost_us: UNKNOWN_COST_US,
            started: 0,
            billed_us: 0,
        }).collect();
        let mut simulation = Simulation::new(slots, 100, lanes);
        for _ in 0..6_000 {
            simulation.fill();
            simulation.step();
        }
        let shares: Vec<_> = simulation.lanes.iter()
            .map(|lane| lane.billed_us as f64 / f64::from(lane.weight)).collect();
        let longest = takes.iter().max().copied().unwrap_or(0).max(UNKNOWN_COST_US) as f64;
        // What is let go at the end of a job is at most a tenth of its charge
        // on either side; the rest is the bound, which does not grow.
        let slack = 2.0 * (f64::from(QUANTUM) + 3.0 * slots as f64) * longest;
        for ahead in &shares {
            for behind in &shares {
                prop_assert!(ahead * 0.9 <= behind * 1.1 + slack, "{ahead} and {behind} of {shares:?}");
            }
        }
    }

    #[test]
    fn a_division_keeps_to_its_limits(
        batch in 0..500u32,
        lanes in proptest::collection::vec(
            (0..1_000_000i64, 0..20u32, 0..100_000i64, proptest::option::of(0..4usize),
             proptest::option::of(4..8usize)),
            0..20,
        ),
        rooms in proptest::collection::vec(0..60u32, 8),
    ) {
        let lanes: Vec<_> = lanes.into_iter().map(|(virtual_us, weight, cost_us, one, two)| {
            Lane { virtual_us, weight, cost_us, limits: [one, two] }
        }).collect();
        let mut left = rooms.clone();
        let takes = share(batch, &lanes, &mut left);
        prop_assert_eq!(takes.len(), lanes.len());
        let total: u32 = takes.iter().sum();
        prop_assert!(total <= batch);
        for limit in 0..rooms.len() {
            let under = lanes.iter().zip(&takes).filter(|(lane, _)| lane.limits.contains(&Some(limit)));
            let taken: u32 = under.map(|(_, take)| take).sum();
            prop_assert_eq!(taken + left[limit], rooms[limit], "limit {}", limit);
        }
        // Work conserving: what is not given out, no lane could have taken.
        if total < batch {
            for lane in &lanes {
                prop_assert!(lane.limits.iter().flatten().any(|&limit| left[limit] == 0));
            }
        }
    }

    #[test]
    fn charges_are_fair_to_a_microsecond(cost in 0..=MOST_COST_US, weight in 0..=1_000u32) {
        let charge = charge_us(cost, weight);
        let exact = cost as f64 / f64::from(weight.max(1));
        prop_assert!((charge as f64 - exact).abs() <= 1.0 + exact * 1e-9);
        prop_assert!(cost == 0 || charge > 0, "every job moves its lane");
    }

    #[test]
    fn a_correction_leaves_at_most_a_tenth(charged in 1..=MOST_COST_US, took in any::<i64>()) {
        let rest = billed_us(took) - (charged + correction_us(charged, took));
        prop_assert!(rest.abs() * 10 <= charged);
    }

    #[test]
    fn an_average_stays_between_what_it_knew_and_what_it_saw(
        average in LEAST_COST_US..=MOST_COST_US,
        took in any::<i64>(),
    ) {
        let (seen, next) = (billed_us(took), average_us(average, took));
        prop_assert!(next >= average.min(seen) && next <= average.max(seen));
    }
}

#[test]
fn the_least_virtual_time_goes_first() {
    let lane = |virtual_us| Lane { virtual_us, weight: 1, cost_us: 10_000, limits: [None, None] };
    let lanes = [lane(500_000), lane(0), lane(100_000)];
    assert_eq!(share(10, &lanes, &mut []), [0, 10, 0]);
    assert_eq!(share(20, &lanes, &mut []), [0, 20, 0], "at equal times the first lane goes first");
    assert_eq!(share(30, &lanes, &mut []), [0, 20, 10]);
    assert_eq!(share(3, &lanes, &mut []), [0, 3, 0]);
    assert_eq!(share(5, &[], &mut []), [0u32; 0]);
}

#[test]
fn a_claim_looks_at_enough_lanes() {
    for batch in 1..2_000 {
        let lanes = lanes_for(batch);
        assert!(lanes >= 1 && lanes * QUANTUM + QUANTUM > batch, "{lanes} lanes for {batch}");
    }
    assert_eq!((lanes_for(1), lanes_for(7), lanes_for(100), lanes_for(1_000)), (1, 7, 10, 100));
}

#[test]
fn a_tenants_own_lanes_give_by_the_order_of_their_jobs() {
    assert_eq!(in_order(&[3, 0], [1, 1, 0, 1]), [1, 2]);
    assert_eq!(in_order(&[0, 1, 0], [2, 0]), [0, 0, 1]);
    assert_eq!(in_order(&[10, 0], [0, 1, 1]), [5, 5], "each is asked for more than it has");
    assert_eq!(in_order(&[3, 1], [1, 1, 0]), [2, 2], "and never for more in all");
    assert_eq!(in_order(&[0, 0], [1]), [0, 0], "no room, no jobs");
    assert_eq!(in_order(&[], []), Vec::<u32>::new());
}
