//! Cost by the number of connections, and by the share of forged requests.

use std::time::Duration;

use crate::contender::Kind;
use crate::measure::{AT_WORK, Figures, House, at_full_speed, median};
use crate::work::{forged, works};

const CONNECTIONS: [usize; 6] = [10, 100, 500, 1_000, 2_000, 5_000];
/// Of a hundred.
const FORGED: [usize; 5] = [0, 25, 50, 75, 100];

/// A place on a curve, and what was measured there.
pub struct Point {
    pub at: usize,
    pub figures: Vec<Figures>,
}

impl Point {
    pub fn median(&self, figure: fn(&Figures) -> f64) -> f64 {
        median(self.figures.iter().map(figure))
    }
}

pub struct Growth {
    /// By connections: nginx, fedgate.
    pub connections: [Vec<Point>; 2],
    /// By the share of forged requests.
    pub forged: Vec<Point>,
}

pub async fn measure(house: &House, rounds: usize, time: Duration) -> Growth {
    let points = |places: &[usize]| -> Vec<Point> {
        places.iter().map(|at| Point { at: *at, figures: Vec::new() }).collect()
    };
    let mut growth = Growth {
        connections: [points(&CONNECTIONS), points(&CONNECTIONS)],
        forged: points(&FORGED),
    };
    let [get, ..] = works();
    let get = get.request;
    for _ in 0..rounds {
        for (kind, curve) in [Kind::Nginx, Kind::Fedgate].into_iter().zip(&mut growth.connections) {
            for point in curve {
                let requests = std::slice::from_ref(&get);
                point.figures.push(at_full_speed(house.get(kind), requests, point.at, time).await);
            }
        }
        for point in &mut growth.forged {
            // Of four, so many are forged.
            let requests: Vec<_> =
                (0..4).map(|n| if n < point.at / 25 { forged() } else { get.clone() }).collect();
            point
                .figures
                .push(at_full_speed(house.get(Kind::Fedgate), &requests, AT_WORK, time).await);
        }
    }
    growth
}
